//! What shows an anomaly of transactions: the smallest part of the history that has it, as a history of its own, in words and
//! as a picture.

mod lanes;
mod part;
mod picture;
mod shrink;
mod tell;

use crate::history::{Kind, Loaded};
use crate::limits::{Stop, Watch};
use crate::micro::Outcome;

pub(crate) use part::{Member, Mop, Part};
pub use picture::{html, svg};
pub use tell::describe;
pub(crate) use tell::words;

/// Why one transaction precedes another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Relation {
    /// The second replaced what the first wrote.
    WriteWrite,
    /// The second read what the first wrote.
    WriteRead,
    /// The second replaced what the first read.
    ReadWrite,
    /// One process performed both.
    Process,
    /// The first ended before the second began.
    Realtime,
    /// What a third transaction read demands that the first commits before the second.
    Commit,
}

impl Relation {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::WriteWrite => "ww",
            Self::WriteRead => "wr",
            Self::ReadWrite => "rw",
            Self::Process => "process",
            Self::Realtime => "realtime",
            Self::Commit => "commit",
        }
    }
}

/// A transaction, without what does not matter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transaction {
    /// Who performed it; nobody did what was there at the beginning.
    pub process: Option<i64>,
    /// What became of it.
    pub kind: Kind,
    /// Lines of the file in which it begins and ends.
    pub lines: (usize, Option<usize>),
    /// Places of its events in [`Evidence::history`].
    pub span: (usize, Option<usize>),
    /// Its micro-operations, as Jepsen writes them.
    pub mops: Vec<String>,
    /// So many micro-operations are left out.
    pub left_out: usize,
}

/// One step of an argument.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reason {
    /// Which transaction precedes which, by their places in [`Evidence::transactions`], and how; an anomaly that is no
    /// cycle has no such steps.
    pub edge: Option<(usize, usize, Relation)>,
    /// A sentence. T1 is the first transaction.
    pub words: String,
}

/// What shows an anomaly.
#[derive(Clone, PartialEq, Debug)]
pub struct Evidence {
    /// Its name.
    pub anomaly: String,
    /// The smallest part of the history that shows it. Its lines are those of the whole.
    pub history: Loaded,
    /// T1, T2, …: those that the reasons name, then those that only show the order of versions.
    pub transactions: Vec<Transaction>,
    /// So many of them are named.
    pub named: usize,
    /// Why.
    pub reasons: Vec<Reason>,
    /// So many transactions the whole history has.
    pub of: usize,
}

/// A witness in a part: which anomaly, the places of its transactions' last events (none is what was there at the beginning),
/// and why.
pub(crate) struct Shown {
    pub(crate) transactions: Vec<Option<usize>>,
    pub(crate) relations: Vec<Relation>,
    pub(crate) reasons: Vec<String>,
}

/// Of each anomaly the evidence for its first witness, as far as limits allow.
pub(crate) fn of_each<'a, A: PartialEq, W>(
    anomalies: &[A],
    witnesses: &'a [W],
    anomaly: impl Fn(&W) -> A,
    mut of: impl FnMut(&'a W) -> Result<Option<Evidence>, Stop>,
) -> Vec<Evidence> {
    let mut found = Vec::new();
    for wanted in anomalies {
        let Some(witness) = witnesses.iter().find(|witness| anomaly(witness) == *wanted) else { continue };
        match of(witness) {
            Ok(evidence) => found.extend(evidence),
            Err(_) => break,
        }
    }
    found
}

/// Looks for the smallest part that shows an anomaly, among parts each of which should be enough if those before it are not.
/// Nothing when none of them shows it.
pub(crate) fn evidence(
    anomaly: &str,
    of: usize,
    parts: &mut dyn Iterator<Item = Result<Part, Stop>>,
    shown: &dyn Fn(&Loaded) -> Option<Shown>,
    watch: &mut Watch<'_>,
) -> Result<Option<Evidence>, Stop> {
    for part in parts {
        let part = part?;
        if shown(&part.history().0).is_none() {
            continue;
        }
        let mut stop = None;
        let part = shrink::shrink(part, &mut |part| {
            stop = stop.or_else(|| watch.spend(part.mops().count() + 1).err());
            stop.is_none() && shown(&part.history().0).is_some()
        });
        let (history, whose) = part.history();
        return Ok(shown(&history).map(|shown| told(anomaly, of, &part, (history, whose), shown)));
    }
    Ok(None)
}

fn told(anomaly: &str, of: usize, part: &Part, (history, whose): (Loaded, Vec<usize>), shown: Shown) -> Evidence {
    let named: Vec<Option<usize>> =
        shown.transactions.iter().map(|place| place.and_then(|place| whose.get(place).copied())).collect();
    let rest = (0..part.members.len()).filter(|number| !named.contains(&Some(*number)));
    let mut rest: Vec<usize> = rest.collect();
    rest.sort_by_key(|number| part.members[*number].begins);
    let all: Vec<Option<usize>> = named.iter().copied().chain(rest.into_iter().map(Some)).collect();
    let transactions: Vec<Transaction> = all.iter().map(|number| transaction(part, *number, &whose)).collect();
    let length = shown.relations.len();
    let reason = |(place, words): (usize, String)| {
        let edge = shown.relations.get(place).map(|relation| (place, (place + 1) % length, *relation));
        Reason { edge, words: in_lines(edge, &transactions).unwrap_or(words) }
    };
    let reasons = shown.reasons.into_iter().enumerate().map(reason).collect();
    Evidence { anomaly: anomaly.to_owned(), history, transactions, named: named.len(), reasons, of }
}

/// Events of the part are not those of the file, so that a step of real time names lines.
fn in_lines(edge: Option<(usize, usize, Relation)>, transactions: &[Transaction]) -> Option<String> {
    let (from, to, _) = edge.filter(|(.., relation)| *relation == Relation::Realtime)?;
    let (end, begin) = (transactions.get(from)?.lines.1?, transactions.get(to)?.lines.0);
    Some(format!("T{} ended (line {end}) before T{} began (line {begin})", from + 1, to + 1))
}

fn transaction(part: &Part, number: Option<usize>, whose: &[usize]) -> Transaction {
    let Some(member) = number.and_then(|number| part.members.get(number)) else {
        let mops = vec!["the initial values".to_owned()];
        return Transaction {
            process: None,
            kind: Kind::Ok,
            lines: (0, Some(0)),
            span: (0, Some(0)),
            mops,
            left_out: 0,
        };
    };
    let kind = match member.outcome {
        Outcome::Committed => Kind::Ok,
        Outcome::Unknown => Kind::Info,
        Outcome::Aborted => Kind::Fail,
    };
    let is_own = |of: &&usize| Some(**of) == number;
    let begins = whose.iter().position(|of| is_own(&of)).unwrap_or_default();
    let ends = whose.iter().rposition(|of| is_own(&of)).filter(|_| member.ends.is_some());
    Transaction {
        process: Some(member.process),
        kind,
        lines: (member.begins.1, member.ends.map(|(_, line)| line)),
        span: (begins, ends),
        mops: member.mops.iter().map(|mop| part.micro(mop, kind == Kind::Ok).to_string()).collect(),
        left_out: member.left_out,
    }
}
