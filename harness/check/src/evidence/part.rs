//! A part of a history of transactions: some of them, and of these some micro-operations.
//!
//! What is left out is left out everywhere: a read of a value whose write is not there goes with it, and so does an element
//! in a list. A serial order of a whole history is one of each such part, so that what a part shows, the whole shows too.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::history::{Format, Kind, Loaded, Process, RawOp, Value};
use crate::micro::Outcome;

/// A micro-operation.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Mop {
    pub(crate) is_write: bool,
    pub(crate) key: Value,
    /// What was written or read; of a list all that was read.
    pub(crate) value: Value,
}

/// A transaction.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Member {
    pub(crate) process: i64,
    pub(crate) outcome: Outcome,
    /// Places of its events in the whole history, and their lines. The end is not known of those of unknown outcome.
    pub(crate) begins: (usize, usize),
    pub(crate) ends: Option<(usize, usize)>,
    pub(crate) mops: Vec<Mop>,
    /// So many micro-operations were left out.
    pub(crate) left_out: usize,
}

/// Transactions in any order.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Part {
    /// What a write is called: `append` or `w`.
    pub(crate) write: &'static str,
    /// How the whole history was written, which says whether its order is that of real time.
    pub(crate) format: Format,
    pub(crate) members: Vec<Member>,
}

impl Part {
    /// The micro-operations, each by its transaction and its place in that.
    pub(crate) fn mops(&self) -> impl Iterator<Item = (usize, usize, &Mop)> {
        let all = self.members.iter().enumerate();
        all.flat_map(|(number, member)| member.mops.iter().enumerate().map(move |(place, mop)| (number, place, mop)))
    }

    /// The part of this part that has these micro-operations; transactions without any are not in it.
    pub(crate) fn only(&self, keep: impl Fn(usize, usize) -> bool) -> Self {
        let mut lost: BTreeSet<(&Value, &Value)> = BTreeSet::new();
        let mut kept: BTreeSet<(&Value, &Value)> = BTreeSet::new();
        for (number, place, mop) in self.mops().filter(|(.., mop)| mop.is_write) {
            if keep(number, place) { &mut kept } else { &mut lost }.insert((&mop.key, &mop.value));
        }
        let is_lost = |key: &Value, value: &Value| lost.contains(&(key, value)) && !kept.contains(&(key, value));
        let members = self.members.iter().enumerate().filter_map(|(number, member)| {
            let kept = member.mops.iter().enumerate().filter(|(place, _)| keep(number, *place));
            let mops: Vec<Mop> = kept.filter_map(|(_, mop)| without(mop, &is_lost)).collect();
            let left_out = member.left_out + member.mops.len() - mops.len();
            (!mops.is_empty()).then(|| Member { mops, left_out, ..member.clone() })
        });
        Self { members: members.collect(), ..*self }
    }

    /// As a history. Its lines are those of the whole; of each event also whose it is.
    pub(crate) fn history(&self) -> (Loaded, Vec<usize>) {
        let mut events: Vec<(usize, usize, Kind, usize)> = Vec::new();
        for (number, member) in self.members.iter().enumerate() {
            let (begins, line) = member.begins;
            if member.ends.is_none_or(|ends| ends.0 != begins) {
                events.push((begins, number, Kind::Invoke, line));
            }
            match (member.outcome, member.ends) {
                (Outcome::Committed, Some((place, line))) => events.push((place, number, Kind::Ok, line)),
                (Outcome::Aborted, Some((place, line))) => events.push((place, number, Kind::Fail, line)),
                (Outcome::Committed | Outcome::Aborted | Outcome::Unknown, _) => {
                    events.push((usize::MAX, number, Kind::Info, line));
                }
            }
        }
        events.sort_unstable_by_key(|(place, number, ..)| (*place, *number));
        let name: Arc<str> = "txn".into();
        let op = |(index, (_, number, kind, line)): (usize, &(usize, usize, Kind, usize))| RawOp {
            index: i64::try_from(index).ok(),
            time: None,
            process: Process::Client(self.members[*number].process),
            kind: *kind,
            f: Arc::clone(&name),
            value: self.value(*number, *kind),
            compare_false: false,
            line: *line,
        };
        let ops = events.iter().enumerate().map(op).collect();
        (Loaded { format: self.format, ops }, events.iter().map(|(_, number, ..)| *number).collect())
    }

    fn value(&self, number: usize, kind: Kind) -> Value {
        let mops = self.members[number].mops.iter();
        Value::List(mops.map(|mop| self.micro(mop, kind == Kind::Ok)).collect())
    }

    /// As it is written; a read that is not answered is one of nil.
    pub(crate) fn micro(&self, mop: &Mop, is_answered: bool) -> Value {
        let name = if mop.is_write { self.write } else { "r" };
        let value = if mop.is_write || is_answered { mop.value.clone() } else { Value::Nil };
        Value::List([Value::Keyword(name.into()), mop.key.clone(), value].into())
    }
}

/// A micro-operation without what is lost; nothing when all of it is.
fn without(mop: &Mop, is_lost: &dyn Fn(&Value, &Value) -> bool) -> Option<Mop> {
    match mop.value.list().filter(|_| !mop.is_write) {
        Some(list) if list.iter().any(|value| is_lost(&mop.key, value)) => {
            let kept = list.iter().filter(|value| !is_lost(&mop.key, value)).cloned().collect();
            Some(Mop { value: Value::List(kept), ..mop.clone() })
        }
        None if !mop.is_write && is_lost(&mop.key, &mop.value) => None,
        Some(_) | None => Some(mop.clone()),
    }
}
