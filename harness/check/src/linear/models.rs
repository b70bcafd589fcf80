//! What the operations of a history mean in a model, and which object each acts on.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::plan::Span;
use super::spec::{Micro, Op, Spec, State};
use super::{Model, Refusal};
use crate::history::{Call, Kind, Loaded, RawOp, Value, calls};

/// One independent object and the calls on it.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) key: Option<Value>,
    pub(super) spec: Spec,
    pub(super) spans: Vec<Span>,
}

/// A history in a model.
#[derive(Debug)]
pub(super) struct Translated {
    /// Calls of clients, also those that did not happen.
    pub(super) recorded: usize,
    pub(super) objects: Vec<Object>,
    /// Values by the numbers that operations and states use.
    pub(super) values: Vec<Value>,
}

/// A call as it bears on a verdict.
#[derive(Clone, Copy, Debug)]
struct Done<'a> {
    /// Its arguments.
    asked: &'a RawOp,
    /// Its result, when it is known.
    result: Option<&'a RawOp>,
}

impl<'a> Done<'a> {
    /// Nothing when it did not happen.
    fn new(history: &'a Loaded, call: &Call) -> Option<Self> {
        let asked = history.ops.get(call.begins())?;
        let result = call.complete.and_then(|place| history.ops.get(place));
        match result.map(|result| result.kind) {
            Some(Kind::Ok) => Some(Self { asked, result }),
            Some(Kind::Info | Kind::Invoke) | None => Some(Self { asked, result: None }),
            Some(Kind::Fail) => None,
        }
    }
}

/// Reads every call. The initial value is checked even when there is none.
pub(super) fn translate(history: &Loaded, model: Model, initial: &Value) -> Result<Translated, Refusal> {
    let calls = calls(history)?;
    let keyed = is_keyed(history, model, &calls);
    let mut translation = Translation::new(history, model, initial, keyed);
    let first = translation.initial(initial)?;
    let mut objects: BTreeMap<Option<&Value>, Building> = BTreeMap::new();
    for call in &calls {
        let Some(done) = Done::new(history, call) else { continue };
        let refusal = || Refusal::Operation {
            line: done.asked.line,
            found: done.asked.to_string(),
            model: model.name(),
            knows: knows(model),
        };
        let key = key_of(done.asked, keyed).map_err(|Alien| refusal())?;
        if let Some(op) = translation.op(done).map_err(|Alien| refusal())? {
            let ends = done.result.and(call.complete);
            objects.entry(key).or_default().add(op, call.begins(), ends);
        }
    }
    let objects = objects.into_iter().map(|(key, building)| building.object(key, first.clone())).collect();
    Ok(Translated { recorded: calls.len(), objects, values: translation.values })
}

/// The calls of one object, each operation once.
#[derive(Default)]
struct Building {
    ops: Vec<Op>,
    numbers: HashMap<Op, usize>,
    spans: Vec<Span>,
}

impl Building {
    fn add(&mut self, op: Op, begins: usize, ends: Option<usize>) {
        let number = self.numbers.get(&op).copied().unwrap_or_else(|| {
            self.ops.push(op.clone());
            self.numbers.insert(op, self.ops.len() - 1);
            self.ops.len() - 1
        });
        self.spans.push(Span { begins, ends, op: number });
    }

    fn object(self, key: Option<&Value>, initial: State) -> Object {
        Object { key: key.cloned(), spec: Spec::new(initial, self.ops), spans: self.spans }
    }
}

/// What a refusal says.
fn knows(model: Model) -> &'static str {
    match model {
        Model::Register => "read and write",
        Model::CasRegister => "read, write, and cas with [from to]",
        Model::MultiRegister => "txn with [[:read key value] [:write key value] …]",
        Model::Kv => "get, put and append of texts, with [key value] or a :key",
        Model::Set => "add, and read of every element",
        Model::Queue => "enqueue and dequeue",
        Model::Counter => "add with a whole number, and read",
        Model::Lock => "acquire and release",
    }
}

/// Whether values are `[key value]`, as Jepsen writes independent objects: everything that is asked without an argument
/// has a key and nil, and every compare-and-set has a key and a pair.
fn is_keyed(history: &Loaded, model: Model, calls: &[Call]) -> bool {
    match model {
        Model::Kv => return true,
        Model::MultiRegister => return false,
        Model::Register | Model::CasRegister | Model::Set | Model::Queue | Model::Counter | Model::Lock => {}
    }
    let mut seen = false;
    for op in calls.iter().filter_map(|call| history.ops.get(call.begins())) {
        let inner = op.value.pair().map(|(_, inner)| inner);
        let keyed = match &*op.f {
            "read" | "dequeue" | "acquire" | "release" if op.kind == Kind::Invoke => inner.is_some_and(Value::is_nil),
            "cas" => inner.is_some_and(|inner| inner.pair().is_some()),
            _ => continue,
        };
        if !keyed {
            return false;
        }
        seen = true;
    }
    seen
}

/// An operation that is none of the model.
struct Alien;

/// The key an operation acts on, when objects have keys.
fn key_of(op: &RawOp, keyed: bool) -> Result<Option<&Value>, Alien> {
    if keyed { op.value.pair().map(|(key, _)| Some(key)).ok_or(Alien) } else { Ok(None) }
}

/// What is known of a history while its operations are read.
struct Translation {
    model: Model,
    keyed: bool,
    /// Whether a read of nil has read nil. Otherwise nil is what Jepsen writes for a value that is not known.
    nil_is_value: bool,
    values: Vec<Value>,
    numbers: HashMap<Value, u32>,
    registers: HashMap<String, usize>,
}

impl Translation {
    fn new(history: &Loaded, model: Model, initial: &Value, keyed: bool) -> Self {
        let mut translation = Self {
            model,
            keyed,
            nil_is_value: false,
            values: Vec::new(),
            numbers: HashMap::new(),
            registers: HashMap::new(),
        };
        translation.number(&Value::Nil);
        translation.nil_is_value = match model {
            Model::MultiRegister => translation.find_registers(history, initial),
            Model::Register
            | Model::CasRegister
            | Model::Kv
            | Model::Set
            | Model::Queue
            | Model::Counter
            | Model::Lock => {
                initial.is_nil()
                    || history.ops.iter().any(|op| {
                        op.kind == Kind::Invoke && &*op.f == "write" && translation.inner(op).is_some_and(Value::is_nil)
                    })
            }
        };
        translation
    }

    /// Numbers every register. Returns whether one begins with nil, or is made nil.
    fn find_registers(&mut self, history: &Loaded, initial: &Value) -> bool {
        let mut known = Vec::new();
        if let Value::Map(entries) = initial {
            for (key, value) in entries {
                let register = self.register(key);
                if !value.is_nil() {
                    known.push(register);
                }
            }
        }
        let mut nil = false;
        for micro in history.ops.iter().filter_map(|op| op.value.list()).flatten() {
            if let Some([f, key, value]) = micro.list() {
                self.register(key);
                nil |= matches!(f.name(), Some("write" | "w")) && value.is_nil();
            }
        }
        nil || known.len() < self.registers.len()
    }

    fn register(&mut self, key: &Value) -> usize {
        let name = key.name().map_or_else(|| key.to_string(), ToOwned::to_owned);
        let next = self.registers.len();
        *self.registers.entry(name).or_insert(next)
    }

    /// The number of a value. A keyword is the text that JSON makes of it.
    fn number(&mut self, value: &Value) -> u32 {
        if let Value::Keyword(name) = value {
            return self.number(&Value::Text(name.clone()));
        }
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        let number = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        self.values.push(value.clone());
        self.numbers.insert(value.clone(), number);
        number
    }

    fn numbers(&mut self, values: &[Value]) -> Box<[u32]> {
        let mut numbers: Vec<u32> = values.iter().map(|value| self.number(value)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into()
    }

    fn initial(&mut self, initial: &Value) -> Result<State, Refusal> {
        let model = self.model.name();
        let refusal = |expected| Refusal::Initial { model, expected };
        match self.model {
            Model::Register | Model::CasRegister => Ok(State::Value(self.number(initial))),
            Model::MultiRegister => {
                let mut values = vec![self.number(&Value::Nil); self.registers.len()];
                match initial {
                    Value::Nil => {}
                    Value::Map(entries) => {
                        for (key, value) in entries {
                            let (register, number) = (self.register(key), self.number(value));
                            if let Some(place) = values.get_mut(register) {
                                *place = number;
                            }
                        }
                    }
                    Value::Bool(_)
                    | Value::Int(_)
                    | Value::Text(_)
                    | Value::Keyword(_)
                    | Value::List(_)
                    | Value::Set(_)
                    | Value::Literal(_) => return Err(refusal("an object of registers and values, or null")),
                }
                Ok(State::Values(values.into()))
            }
            Model::Kv => text(initial).map(State::Text).ok_or_else(|| refusal("a text, or null")),
            Model::Set => {
                let elements = elements(initial).ok_or_else(|| refusal("an array of elements, or null"))?;
                Ok(State::Set(self.numbers(elements)))
            }
            Model::Queue => {
                let elements = elements(initial).ok_or_else(|| refusal("an array of elements, or null"))?;
                Ok(State::Queue(elements.iter().map(|element| self.number(element)).collect()))
            }
            Model::Counter => {
                let sum = if initial.is_nil() { Some(0) } else { initial.int() };
                sum.map(State::Sum).ok_or_else(|| refusal("a whole number, or null"))
            }
            Model::Lock => match initial {
                Value::Nil | Value::Bool(false) => Ok(State::Held(false)),
                Value::Bool(true) => Ok(State::Held(true)),
                Value::Int(_)
                | Value::Text(_)
                | Value::Keyword(_)
                | Value::List(_)
                | Value::Set(_)
                | Value::Map(_)
                | Value::Literal(_) => Err(refusal("whether it is held: true or false, or null")),
            },
        }
    }

    /// The value of an operation beside its key.
    fn inner<'a>(&self, op: &'a RawOp) -> Option<&'a Value> {
        if self.keyed { op.value.pair().map(|(_, inner)| inner) } else { Some(&op.value) }
    }

    /// What a call is in the model; nothing when it bears on no verdict.
    fn op(&mut self, done: Done<'_>) -> Result<Option<Op>, Alien> {
        let result = match done.result {
            Some(result) => Some(self.inner(result).ok_or(Alien)?),
            None => None,
        };
        let asked = self.inner(done.asked).ok_or(Alien)?;
        let f = &*done.asked.f;
        match (self.model, f) {
            (Model::Register | Model::CasRegister, "read") => {
                let result = result.filter(|result| self.nil_is_value || !result.is_nil());
                Ok(result.map(|result| Op::Read(self.number(result))))
            }
            (Model::Register | Model::CasRegister, "write") => Ok(Some(Op::Write(self.number(asked)))),
            (Model::CasRegister, "cas") => {
                let (from, to) = asked.pair().ok_or(Alien)?;
                let (from, to) = (self.number(from), self.number(to));
                let refused = done.result.is_some_and(|result| result.compare_false);
                Ok(Some(if refused { Op::CasFalse(from) } else { Op::Cas(from, to) }))
            }
            (Model::MultiRegister, "txn") => self.txn(result.unwrap_or(asked), result.is_some()).map(Some).ok_or(Alien),
            (Model::Kv, "put" | "write") => text(asked).map(|text| Some(Op::Put(text))).ok_or(Alien),
            (Model::Kv, "append") => text(asked).map(|text| Some(Op::Append(text))).ok_or(Alien),
            (Model::Set, "add") => Ok(Some(Op::Insert(self.number(asked)))),
            (Model::Queue, "enqueue") => Ok(Some(Op::Enqueue(self.number(asked)))),
            (Model::Queue, "dequeue") => Ok(Some(match result {
                Some(Value::Nil) => Op::DequeueNothing,
                Some(result) => Op::Dequeue(self.number(result)),
                None => Op::DequeueSomething,
            })),
            (Model::Counter, "add") => asked.int().map(|more| Some(Op::Add(more))).ok_or(Alien),
            (Model::Lock, "acquire") => Ok(Some(Op::Acquire)),
            (Model::Lock, "release") => Ok(Some(Op::Release)),
            (Model::Kv, "get" | "read") | (Model::Set | Model::Counter, "read") => match result {
                Some(result) => self.observed(result),
                None => Ok(None),
            },
            (_, _) => Err(Alien),
        }
    }

    /// A read of a whole key, set or counter. Of sets and counters, nil is what Jepsen writes for an unknown value.
    fn observed(&mut self, result: &Value) -> Result<Option<Op>, Alien> {
        let op = match self.model {
            Model::Kv => text(result).map(Op::Get),
            Model::Set | Model::Counter if result.is_nil() => return Ok(None),
            Model::Set => elements(result).map(|elements| Op::Elements(self.numbers(elements))),
            Model::Counter => result.int().map(Op::Sum),
            Model::Register | Model::CasRegister | Model::MultiRegister | Model::Queue | Model::Lock => None,
        };
        op.map(Some).ok_or(Alien)
    }

    /// What is read in a transaction of unknown outcome is not known.
    fn txn(&mut self, micros: &Value, known: bool) -> Option<Op> {
        let mut ops = Vec::new();
        for micro in micros.list()? {
            let [f, key, value] = micro.list()? else { return None };
            let register = self.register(key);
            match f.name()? {
                "read" | "r" if known && (self.nil_is_value || !value.is_nil()) => {
                    ops.push(Micro::Read(register, self.number(value)));
                }
                "read" | "r" => {}
                "write" | "w" => ops.push(Micro::Write(register, self.number(value))),
                _ => return None,
            }
        }
        Some(Op::Txn(ops.into()))
    }
}

/// A text; nil is the empty one.
fn text(value: &Value) -> Option<Arc<str>> {
    if value.is_nil() { Some("".into()) } else { value.name().map(Into::into) }
}

/// The elements of a list or set; nil has none.
fn elements(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Nil => Some(&[]),
        Value::List(items) | Value::Set(items) => Some(items),
        Value::Bool(_) | Value::Int(_) | Value::Text(_) | Value::Keyword(_) | Value::Map(_) | Value::Literal(_) => None,
    }
}
