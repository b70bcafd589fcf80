//! A store with revisions, as etcd's: a transaction compares, then makes one of two lists of requests. One that changes
//! something makes the next revision.
//!
//! Semantics: <https://etcd.io/docs/v3.5/learning/api/>. A key that is not there has no value that is equal to another,
//! and its version and revisions are 0.

use std::cmp::Ordering;

use super::bank::field;
use crate::history::Value;

/// The store.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Store {
    pub(super) revision: i64,
    pub(super) keys: Box<[Option<Entry>]>,
}

/// A key that is there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Entry {
    pub(super) value: u32,
    created: i64,
    modified: i64,
    version: i64,
}

/// A transaction with what it answered.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct Txn {
    compare: Box<[Compare]>,
    success: Box<[Request]>,
    failure: Box<[Request]>,
    /// Whether every comparison was true, when it is known.
    succeeded: Option<bool>,
    /// What the requests answered, as far as it is known.
    answers: Box<[Answer]>,
    /// The revision of the store after it.
    revision: Option<i64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Compare {
    key: usize,
    relation: Relation,
    target: Target,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Relation {
    Less,
    Equal,
    Greater,
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Target {
    Value(u32),
    Version(i64),
    Created(i64),
    Modified(i64),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Request {
    Get(usize),
    Put(usize, u32),
    Delete(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Answer {
    /// Nothing is known of it.
    Any,
    /// Of a get: the value, 0 when there is none, and its revision when it was told.
    Got(u32, Option<i64>),
}

impl Store {
    /// What is said of it: the revision.
    pub(super) fn first(initial: &Value, keys: usize) -> Option<Self> {
        let revision = if initial.is_nil() { 1 } else { initial.int()? };
        Some(Self { revision, keys: vec![None; keys].into() })
    }

    pub(super) fn step(&self, txn: &Txn) -> Option<Self> {
        let holds = txn.compare.iter().all(|compare| self.holds(*compare));
        if txn.succeeded.is_some_and(|succeeded| succeeded != holds) {
            return None;
        }
        let mut after = self.clone();
        let next = self.revision.checked_add(1)?;
        for (place, request) in if holds { &txn.success } else { &txn.failure }.iter().enumerate() {
            let answer = txn.answers.get(place).copied().unwrap_or(Answer::Any);
            after.request(*request, answer, next)?;
        }
        (txn.revision.is_none_or(|revision| revision == after.revision)).then_some(after)
    }

    fn request(&mut self, request: Request, answer: Answer, next: i64) -> Option<()> {
        match request {
            Request::Get(key) => {
                let found = self.keys.get(key).copied().flatten();
                let value = found.map_or(0, |entry| entry.value);
                let modified = found.map_or(0, |entry| entry.modified);
                let fits = match answer {
                    Answer::Any => true,
                    Answer::Got(read, told) => read == value && told.is_none_or(|told| told == modified),
                };
                return fits.then_some(());
            }
            Request::Put(key, value) => {
                let place = self.keys.get_mut(key)?;
                let (created, version) = place.map_or((next, 1), |entry| (entry.created, entry.version + 1));
                *place = Some(Entry { value, created, modified: next, version });
                self.revision = next;
            }
            Request::Delete(key) => {
                // Deleting nothing changes nothing.
                if self.keys.get_mut(key)?.take().is_some() {
                    self.revision = next;
                }
            }
        }
        Some(())
    }

    fn holds(&self, compare: Compare) -> bool {
        let entry = self.keys.get(compare.key).copied().flatten();
        let number = |of: fn(Entry) -> i64, with: i64| entry.map_or(0, of).cmp(&with);
        let order = match compare.target {
            Target::Value(with) => match entry {
                Some(entry) if entry.value == with => Ordering::Equal,
                Some(_) => Ordering::Less,
                None => return false,
            },
            Target::Version(with) => number(|entry| entry.version, with),
            Target::Created(with) => number(|entry| entry.created, with),
            Target::Modified(with) => number(|entry| entry.modified, with),
        };
        match compare.relation {
            Relation::Less => order == Ordering::Less,
            Relation::Equal => order == Ordering::Equal,
            Relation::Greater => order == Ordering::Greater,
            Relation::Other => order != Ordering::Equal,
        }
    }
}

impl Txn {
    /// Whether it only reads.
    pub(super) fn is_pure(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|request| matches!(request, Request::Get(_)))
    }
}

/// Who numbers keys and values.
pub(super) trait Numbers {
    /// The place of a key in the store.
    fn key(&mut self, key: &Value) -> usize;
    /// The number of a value; that of nil is 0.
    fn value(&mut self, value: &Value) -> u32;
}

/// `{:compare [[= k :value v] …], :success [[:get k] [:put k v] [:delete k] …], :failure […]}`; in what it answers there
/// are `:succeeded`, `:results` (for a get `[:get k v]` or `[:get k v mod-revision]`) and `:revision`, each if it is known.
pub(super) fn txn(asked: &Value, result: Option<&Value>, numbers: &mut impl Numbers) -> Option<Txn> {
    let list = |name: &str| match field(asked, name) {
        None | Some(Value::Nil) => Some(&[][..]),
        Some(value) => value.list(),
    };
    let compare = list("compare")?.iter().map(|value| comparison(value, numbers)).collect::<Option<_>>()?;
    let success = list("success")?.iter().map(|value| request(value, numbers)).collect::<Option<_>>()?;
    let failure = list("failure")?.iter().map(|value| request(value, numbers)).collect::<Option<_>>()?;
    let told = |name: &str| result.and_then(|result| field(result, name)).filter(|value| !value.is_nil());
    let succeeded = match told("succeeded") {
        None => None,
        Some(Value::Bool(succeeded)) => Some(*succeeded),
        Some(_) => return None,
    };
    let revision = match told("revision") {
        None => None,
        Some(revision) => Some(revision.int()?),
    };
    // Without the branch nobody knows which requests the answers belong to.
    let answers = match told("results").filter(|_| succeeded.is_some()) {
        None => Box::default(),
        Some(results) => results.list()?.iter().map(|value| answer(value, numbers)).collect::<Option<_>>()?,
    };
    Some(Txn { compare, success, failure, succeeded, answers, revision })
}

fn comparison(value: &Value, numbers: &mut impl Numbers) -> Option<Compare> {
    let [relation, key, target, with] = value.list()? else { return None };
    let sign = if let Value::Literal(sign) = relation { &**sign } else { relation.name()? };
    let relation = match sign {
        "<" => Relation::Less,
        "=" => Relation::Equal,
        ">" => Relation::Greater,
        "!=" => Relation::Other,
        _ => return None,
    };
    let target = match target.name()? {
        // Values have no order here.
        "value" if matches!(relation, Relation::Equal | Relation::Other) => Target::Value(numbers.value(with)),
        "version" => Target::Version(with.int()?),
        "create-revision" => Target::Created(with.int()?),
        "mod-revision" => Target::Modified(with.int()?),
        _ => return None,
    };
    Some(Compare { key: numbers.key(key), relation, target })
}

fn request(value: &Value, numbers: &mut impl Numbers) -> Option<Request> {
    let [f, key, rest @ ..] = value.list()? else { return None };
    let key = numbers.key(key);
    match (f.name()?, rest) {
        ("get", _) => Some(Request::Get(key)),
        ("put", [value]) => Some(Request::Put(key, numbers.value(value))),
        ("delete", _) => Some(Request::Delete(key)),
        (_, _) => None,
    }
}

fn answer(value: &Value, numbers: &mut impl Numbers) -> Option<Answer> {
    match value.list() {
        Some([f, _, value, rest @ ..]) if f.name() == Some("get") => {
            let modified = match rest.first() {
                None | Some(Value::Nil) => None,
                Some(revision) => Some(revision.int()?),
            };
            Some(Answer::Got(numbers.value(value), modified))
        }
        Some(_) | None => Some(Answer::Any),
    }
}

/// Every key a value of a transaction names.
pub(super) fn keys(value: &Value, mut each: impl FnMut(&Value)) {
    for name in ["compare", "success", "failure"] {
        for item in field(value, name).and_then(Value::list).unwrap_or_default() {
            if let Some(key) = item.list().and_then(|items| items.get(1)) {
                each(key);
            }
        }
    }
}
