//! What objects do: for each model, the operations and the state that each makes of a state.

use std::collections::HashMap;
use std::sync::Arc;

use super::bank::{self, Business};
use super::elements::Elements;
use super::etcd::{self, Store, Txn};
use super::lock::{Lock, Turn};

/// An operation with its result. Values are numbers that the caller gave them.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum Op {
    /// The value is this.
    Read(u32),
    /// The value becomes this.
    Write(u32),
    /// The value was the first and becomes the second.
    Cas(u32, u32),
    /// The value was not this.
    CasFalse(u32),
    /// Reads and writes of several registers, in turn.
    Txn(Box<[Micro]>),
    /// The text is this.
    Get(Arc<str>),
    /// The text becomes this.
    Put(Arc<str>),
    /// The text is prolonged.
    Append(Arc<str>),
    /// The elements are exactly these.
    Elements(Elements),
    /// The elements include this from now on.
    Insert(u32),
    /// The last of the queue is this.
    Enqueue(u32),
    /// The first of the queue is this, and taken.
    Dequeue(u32),
    /// The queue is empty.
    DequeueNothing,
    /// The first of the queue, whatever it is, is taken.
    DequeueSomething,
    /// The sum is this.
    Sum(i64),
    /// The sum grows.
    Add(i64),
    /// A lock is acquired or released.
    Lock(Turn),
    /// Of a bank.
    Bank(Business),
    /// Of a store with revisions.
    Store(Box<Txn>),
}

/// Part of a transaction on several registers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum Micro {
    /// This register has this value.
    Read(usize, u32),
    /// This register gets this value.
    Write(usize, u32),
}

impl Op {
    /// Whether it leaves every state as it is.
    pub(super) fn is_pure(&self) -> bool {
        match self {
            Self::Read(_)
            | Self::CasFalse(_)
            | Self::Get(_)
            | Self::Elements(_)
            | Self::DequeueNothing
            | Self::Sum(_)
            | Self::Add(0)
            | Self::Bank(Business::Balances(_)) => true,
            Self::Store(txn) => txn.is_pure(),
            Self::Cas(from, to) => from == to,
            Self::Txn(micros) => micros.iter().all(|micro| matches!(micro, Micro::Read(..))),
            Self::Append(text) => text.is_empty(),
            Self::Write(_)
            | Self::Put(_)
            | Self::Insert(_)
            | Self::Enqueue(_)
            | Self::Dequeue(_)
            | Self::DequeueSomething
            | Self::Add(_)
            | Self::Lock(_)
            | Self::Bank(Business::Transfer(..)) => false,
        }
    }
}

/// A state of an object.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum State {
    /// Of a register.
    Value(u32),
    /// Of several registers.
    Values(Box<[u32]>),
    /// Of a key.
    Text(Arc<str>),
    /// Of a set.
    Set(Elements),
    /// Of a queue, first in first.
    Queue(Box<[u32]>),
    /// Of a counter.
    Sum(i64),
    /// Of a lock.
    Lock(Lock),
    /// Of the accounts of a bank.
    Balances(Box<[i64]>),
    /// Of a store with revisions.
    Store(Box<Store>),
}

impl State {
    /// What an operation makes of it; nothing when it cannot happen here.
    pub(super) fn step(&self, op: &Op) -> Option<Self> {
        match (self, op) {
            (Self::Value(now), Op::Read(read)) => (now == read).then(|| self.clone()),
            (Self::Value(_), Op::Write(value)) => Some(Self::Value(*value)),
            (Self::Value(now), Op::Cas(from, to)) => (now == from).then_some(Self::Value(*to)),
            (Self::Value(now), Op::CasFalse(from)) => (now != from).then(|| self.clone()),
            (Self::Values(values), Op::Txn(micros)) => txn(values, micros).map(Self::Values),
            (Self::Text(now), Op::Get(read)) => (now == read).then(|| self.clone()),
            (Self::Text(_), Op::Put(text)) => Some(Self::Text(Arc::clone(text))),
            (Self::Text(now), Op::Append(text)) => Some(Self::Text(format!("{now}{text}").into())),
            (Self::Set(now), Op::Elements(read)) => (now == read).then(|| self.clone()),
            (Self::Set(now), Op::Insert(element)) => Some(Self::Set(now.with(*element))),
            (Self::Queue(queue), Op::Enqueue(value)) => {
                Some(Self::Queue(queue.iter().chain([value]).copied().collect()))
            }
            (Self::Queue(queue), Op::Dequeue(value)) => match queue.split_first() {
                Some((first, rest)) if first == value => Some(Self::Queue(rest.into())),
                Some(_) | None => None,
            },
            (Self::Queue(queue), Op::DequeueNothing) => queue.is_empty().then(|| self.clone()),
            (Self::Queue(queue), Op::DequeueSomething) => {
                Some(Self::Queue(queue.split_first().map_or_else(Box::default, |(_, rest)| rest.into())))
            }
            (Self::Sum(now), Op::Sum(read)) => (now == read).then(|| self.clone()),
            (Self::Sum(now), Op::Add(more)) => now.checked_add(*more).map(Self::Sum),
            (Self::Lock(lock), Op::Lock(turn)) => lock.step(*turn).map(Self::Lock),
            (Self::Balances(balances), Op::Bank(business)) => bank::step(balances, business).map(Self::Balances),
            (Self::Store(store), Op::Store(txn)) => store.step(txn).map(|store| Self::Store(Box::new(store))),
            // An operation of another object: the translation makes none.
            (_, _) => None,
        }
    }
}

fn txn(values: &[u32], micros: &[Micro]) -> Option<Box<[u32]>> {
    let mut values: Box<[u32]> = values.into();
    for micro in micros {
        match *micro {
            Micro::Read(register, value) => {
                if values.get(register) != Some(&value) {
                    return None;
                }
            }
            Micro::Write(register, value) => *values.get_mut(register)? = value,
        }
    }
    Some(values)
}

/// A step and where it led; an empty place has no operation.
#[derive(Clone, Copy, Debug)]
struct Step {
    state: u32,
    op: usize,
    after: Option<u32>,
}

/// The most steps remembered.
const STEPS: usize = 1024;

/// One object: its operations and the states that were reached, by number.
#[derive(Debug)]
pub(super) struct Spec {
    ops: Vec<Op>,
    states: Vec<Arc<State>>,
    numbers: HashMap<Arc<State>, u32>,
    /// Steps taken lately, by a mixture of state and operation.
    steps: Vec<Step>,
    /// Estimate of what the states hold.
    pub(super) bytes: usize,
}

impl Spec {
    /// The initial state has the number 0.
    pub(super) fn new(initial: State, ops: Vec<Op>) -> Self {
        let places = ops.len().saturating_mul(4).clamp(1, STEPS).next_power_of_two();
        let steps = vec![Step { state: 0, op: usize::MAX, after: None }; places];
        let mut spec = Self { ops, states: Vec::new(), numbers: HashMap::new(), steps, bytes: 0 };
        spec.number(initial);
        spec
    }

    pub(super) fn op(&self, op: usize) -> Option<&Op> {
        self.ops.get(op)
    }

    pub(super) fn is_pure(&self, op: usize) -> bool {
        self.op(op).is_some_and(Op::is_pure)
    }

    pub(super) fn state(&self, number: u32) -> Option<&State> {
        usize::try_from(number).ok().and_then(|place| self.states.get(place)).map(|state| &**state)
    }

    /// The number of the state that an operation makes of a state.
    pub(super) fn step(&mut self, state: u32, op: usize) -> Option<u32> {
        let mixed = usize::try_from(state).unwrap_or_default().wrapping_mul(31).wrapping_add(op);
        let place = mixed & (self.steps.len() - 1);
        if let Some(step) = self.steps.get(place)
            && (step.state, step.op) == (state, op)
        {
            return step.after;
        }
        let after = self.fresh_step(state, op);
        if let Some(step) = self.steps.get_mut(place) {
            *step = Step { state, op, after };
        }
        after
    }

    fn fresh_step(&mut self, state: u32, op: usize) -> Option<u32> {
        let (before, op) = (self.state(state)?, self.ops.get(op)?);
        let after = before.step(op)?;
        if after == *before { Some(state) } else { Some(self.number(after)) }
    }

    fn number(&mut self, state: State) -> u32 {
        if let Some(number) = self.numbers.get(&state) {
            return *number;
        }
        let number = u32::try_from(self.states.len()).unwrap_or(u32::MAX);
        self.bytes += 64
            + match &state {
                State::Values(words) | State::Queue(words) => words.len() * 4,
                State::Set(elements) => elements.bytes(),
                State::Text(text) => text.len(),
                State::Balances(balances) => balances.len() * 8,
                State::Store(store) => store.keys.len() * size_of::<Option<etcd::Entry>>(),
                State::Value(_) | State::Sum(_) | State::Lock(_) => 0,
            };
        let state = Arc::new(state);
        self.states.push(Arc::clone(&state));
        self.numbers.insert(state, number);
        number
    }
}
