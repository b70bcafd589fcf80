//! What an operation means in a model, and which numbers its values have.

use std::collections::HashMap;
use std::sync::Arc;

use super::bank::Business;
use super::elements::Gathering;
use super::etcd::Store;
use super::lock::Lock;
use super::models::{Alien, Done};
use super::spec::{Micro, Op, State};
use super::{Model, Refusal, Stop, bank, etcd, lock};
use crate::dense::Dense;
use crate::hash::FastMap;
use crate::history::{Event, Item, Kind, Packed, Process, Value, View};
use crate::limits::Watch;

/// Steps of a [`Watch`] for one operation that is made a tree.
const STEPS: usize = 16;

/// What is known of a history while its operations are read.
pub(super) struct Translation {
    model: Model,
    /// Whether a read of nil has read nil. Otherwise nil is what Jepsen writes for a value that is not known.
    nil_is_value: bool,
    pub(super) values: Vec<Value>,
    /// Numbers of whole numbers, and of all others.
    whole: Dense,
    numbers: FastMap<Value, u32>,
    keys: FastMap<Box<[u8]>, u32>,
    registers: HashMap<String, usize>,
    fenced: bool,
    /// Of the read that is being read.
    gathering: Gathering,
}

impl etcd::Numbers for Translation {
    fn key(&mut self, key: &Value) -> usize {
        self.register(key)
    }

    fn value(&mut self, value: &Value) -> u32 {
        self.number(value)
    }
}

impl Translation {
    pub(super) fn new(
        history: &Packed,
        model: Model,
        initial: &Value,
        keyed: bool,
        watch: &mut Watch<'_>,
    ) -> Result<Self, Stop> {
        let mut translation = Self {
            model,
            nil_is_value: false,
            values: Vec::new(),
            whole: Dense::default(),
            numbers: FastMap::default(),
            keys: FastMap::default(),
            registers: HashMap::new(),
            fenced: model == Model::Lock && lock::is_fenced(history),
            gathering: Gathering::default(),
        };
        translation.number(&Value::Nil);
        translation.nil_is_value = match model {
            Model::MultiRegister => translation.find_registers(history, initial, watch)?,
            Model::Bank => {
                translation.find_accounts(history, initial, watch)?;
                false
            }
            Model::EtcdTxn => {
                for op in history.ops() {
                    watch.spend(STEPS)?;
                    etcd::keys(&op.value, |key| {
                        translation.register(key);
                    });
                }
                false
            }
            Model::Register
            | Model::CasRegister
            | Model::Kv
            | Model::Set
            | Model::Queue
            | Model::Counter
            | Model::Lock => {
                let is_nil = |event: &Event| {
                    let value = history.view(event);
                    if keyed { value.pair().is_some_and(|(_, inner)| inner.is_nil()) } else { value.is_nil() }
                };
                initial.is_nil()
                    || (0..history.len())
                        .filter_map(|place| history.event(place))
                        .any(|event| event.kind == Kind::Invoke && history.name(&event) == "write" && is_nil(&event))
            }
        };
        Ok(translation)
    }

    /// Bytes of the table that is about to take the place of another, if it is large.
    pub(super) fn growth(&self) -> usize {
        self.whole.growth()
    }

    /// Numbers every register. Returns whether one begins with nil, or is made nil.
    fn find_registers(&mut self, history: &Packed, initial: &Value, watch: &mut Watch<'_>) -> Result<bool, Stop> {
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
        for op in history.ops() {
            watch.spend(STEPS)?;
            for micro in op.value.list().unwrap_or_default() {
                if let Some([f, key, value]) = micro.list() {
                    self.register(key);
                    nil |= matches!(f.name(), Some("write" | "w")) && value.is_nil();
                }
            }
        }
        Ok(nil || known.len() < self.registers.len())
    }

    fn find_accounts(&mut self, history: &Packed, initial: &Value, watch: &mut Watch<'_>) -> Result<(), Stop> {
        for value in history.ops().map(|op| op.value).chain([initial.clone()]) {
            watch.spend(STEPS)?;
            let value = &value;
            if bank::transfer(value, |account| self.register(account)).is_none() {
                bank::balances(value, |account| self.register(account));
            }
        }
        Ok(())
    }

    fn register(&mut self, key: &Value) -> usize {
        let name = key.name().map_or_else(|| key.to_string(), ToOwned::to_owned);
        let next = self.registers.len();
        *self.registers.entry(name).or_insert(next)
    }

    /// The number of a value. A keyword is the text that JSON makes of it.
    fn number(&mut self, value: &Value) -> u32 {
        let next = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        let number = match value {
            Value::Keyword(name) => return self.number(&Value::Text(name.clone())),
            Value::Int(int) => return self.whole_number(*int),
            Value::Nil
            | Value::Bool(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Set(_)
            | Value::Map(_)
            | Value::Literal(_) => match self.numbers.get(value) {
                Some(number) => *number,
                None => *self.numbers.entry(value.clone()).or_insert(next),
            },
        };
        if number == next {
            self.values.push(value.clone());
        }
        number
    }

    /// A number of a key, apart from those of values.
    pub(super) fn number_of(&mut self, key: View<'_>) -> u32 {
        let bytes = key.bytes();
        if let Some(number) = self.keys.get(bytes) {
            return *number;
        }
        let next = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        self.keys.insert(bytes.into(), next);
        next
    }

    pub(super) fn initial(&mut self, initial: &Value) -> Result<State, Refusal> {
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
                Ok(State::Set(elements.iter().map(|element| self.number(element)).collect()))
            }
            Model::Queue => {
                let elements = elements(initial).ok_or_else(|| refusal("an array of elements, or null"))?;
                Ok(State::Queue(elements.iter().map(|element| self.number(element)).collect()))
            }
            Model::Counter => {
                let sum = if initial.is_nil() { Some(0) } else { initial.int() };
                sum.map(State::Sum).ok_or_else(|| refusal("a whole number, or null"))
            }
            Model::Lock => Lock::first(initial)
                .map(State::Lock)
                .ok_or_else(|| refusal("whether it is held (true or false), its last fencing token, or null")),
            Model::Bank => {
                let mut sums = vec![0; self.registers.len()];
                if !initial.is_nil() {
                    let known = bank::balances(initial, |account| self.register(account));
                    for (account, balance) in
                        known.ok_or_else(|| refusal("an object of accounts and balances, or null"))?
                    {
                        if let Some(sum) = sums.get_mut(account) {
                            *sum = balance;
                        }
                    }
                }
                Ok(State::Balances(sums.into()))
            }
            Model::EtcdTxn => Store::first(initial, self.registers.len())
                .map(|store| State::Store(Box::new(store)))
                .ok_or_else(|| refusal("the revision of the empty store, or null for 1")),
        }
    }

    /// What a call is in the model; nothing when it bears on no verdict.
    pub(super) fn op(&mut self, done: &Done<'_>) -> Result<Option<Op>, Alien> {
        let (f, asked, result) = (done.f, &done.asked, done.result.as_ref());
        match (self.model, f) {
            (Model::Register | Model::CasRegister, "read") => {
                let result = result.filter(|result| self.nil_is_value || !result.is_nil());
                Ok(result.map(|result| Op::Read(self.number(result))))
            }
            (Model::Register | Model::CasRegister, "write") => Ok(Some(Op::Write(self.number(asked)))),
            (Model::CasRegister, "cas") => {
                let (from, to) = asked.pair().ok_or(Alien)?;
                let (from, to) = (self.number(from), self.number(to));
                Ok(Some(if done.refused { Op::CasFalse(from) } else { Op::Cas(from, to) }))
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
            (Model::Lock, f) => {
                let process = if let Process::Client(process) = done.process { Some(*process) } else { None };
                lock::turn(f, process, result, self.fenced).map(|turn| Some(Op::Lock(turn)))
            }
            (Model::Bank, "transfer") => {
                let transfer = bank::transfer(asked, |account| self.register(account));
                transfer.map(|transfer| Some(Op::Bank(transfer))).ok_or(Alien)
            }
            (Model::EtcdTxn, "txn") => {
                etcd::txn(asked, result, self).map(|txn| Some(Op::Store(Box::new(txn)))).ok_or(Alien)
            }
            (Model::Set, "read") => match done.elements {
                Some(elements) => self.elements(elements),
                None => Ok(None),
            },
            (Model::Kv, "get" | "read") | (Model::Counter | Model::Bank, "read") => match result {
                Some(result) => self.observed(result),
                None => Ok(None),
            },
            (_, _) => Err(Alien),
        }
    }

    /// A read of a whole set; nil is what Jepsen writes for an unknown one.
    fn elements(&mut self, read: View<'_>) -> Result<Option<Op>, Alien> {
        if read.is_nil() {
            return Ok(None);
        }
        let mut gathering = std::mem::take(&mut self.gathering);
        let items = read.items(|item| {
            gathering.add(match item {
                Item::Int(int) => self.whole_number(int),
                Item::Other(item) => self.number(&item.value()),
            });
        });
        let elements = gathering.take();
        self.gathering = gathering;
        items.map(|()| Some(Op::Elements(elements))).ok_or(Alien)
    }

    /// The number of a whole number.
    fn whole_number(&mut self, int: i64) -> u32 {
        let next = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        let (number, is_new) = self.whole.int(0, int, next);
        if is_new {
            self.values.push(Value::Int(int));
        }
        number
    }

    /// A read of a whole key or counter. Of counters, nil is what Jepsen writes for an unknown value.
    fn observed(&mut self, result: &Value) -> Result<Option<Op>, Alien> {
        let op = match self.model {
            Model::Kv => text(result).map(Op::Get),
            Model::Counter | Model::Bank if result.is_nil() => return Ok(None),
            Model::Counter => result.int().map(Op::Sum),
            Model::Bank => {
                let read = bank::balances(result, |account| self.register(account));
                read.map(|read| Op::Bank(Business::Balances(read)))
            }
            Model::Register
            | Model::CasRegister
            | Model::MultiRegister
            | Model::Set
            | Model::Queue
            | Model::Lock
            | Model::EtcdTxn => None,
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
