//! What the operations of a history mean in a model, and which object each acts on.

use std::collections::{BTreeMap, HashMap};

use super::plan::Span;
use super::spec::{Op, Spec, State};
use super::translation::Translation;
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
pub(super) struct Done<'a> {
    /// Its arguments.
    pub(super) asked: &'a RawOp,
    /// Its result, when it is known.
    pub(super) result: Option<&'a RawOp>,
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
        Model::Lock => "acquire, release, reentrant-acquire and reentrant-release",
        Model::Bank => "transfer with {:from a, :to b, :amount n}, and read of {account balance …}",
        Model::EtcdTxn => {
            "txn with {:compare [[= key :value v] …], :success [[:get key] [:put key v] [:delete key] …], :failure […]}"
        }
    }
}

/// Whether values are `[key value]`, as Jepsen writes independent objects: everything that is asked without an argument
/// has a key and nil, and every compare-and-set has a key and a pair.
fn is_keyed(history: &Loaded, model: Model, calls: &[Call]) -> bool {
    match model {
        Model::Kv => return true,
        Model::MultiRegister | Model::Bank | Model::EtcdTxn => return false,
        Model::Register | Model::CasRegister | Model::Set | Model::Queue | Model::Counter | Model::Lock => {}
    }
    let mut seen = false;
    for op in calls.iter().filter_map(|call| history.ops.get(call.begins())) {
        let inner = op.value.pair().map(|(_, inner)| inner);
        let keyed = match &*op.f {
            "read" | "dequeue" | "acquire" | "release" | "reentrant-acquire" | "reentrant-release"
                if op.kind == Kind::Invoke =>
            {
                inner.is_some_and(Value::is_nil)
            }
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
pub(super) struct Alien;

/// The key an operation acts on, when objects have keys.
fn key_of(op: &RawOp, keyed: bool) -> Result<Option<&Value>, Alien> {
    if keyed { op.value.pair().map(|(key, _)| Some(key)).ok_or(Alien) } else { Ok(None) }
}
