//! Evidence in words.

use std::fmt::Write as _;

use super::{Evidence, Transaction};
use crate::drawing::shortened;
use crate::history::Kind;

/// So much of a micro-operation is shown.
const MOP: usize = 120;
/// So many micro-operations of a transaction are shown.
const MOPS: usize = 12;

/// Lines for a person: the transactions in the order of the file, each without what does not matter, then why.
pub fn describe(evidence: &Evidence) -> String {
    let (shown, of) = (evidence.transactions.len(), evidence.of);
    let mut out = format!("{}, shown by {shown} of {of} transactions:\n", evidence.anomaly);
    let mut numbered: Vec<(usize, &Transaction)> = (1..).zip(&evidence.transactions).collect();
    numbered.sort_by_key(|(_, transaction)| (transaction.process.is_some(), transaction.span.0));
    for (number, transaction) in numbered {
        // Writing to a string cannot fail, here and below.
        let _written = writeln!(out, "  T{number}: {}", one(transaction));
    }
    for reason in &evidence.reasons {
        let edge =
            reason.edge.map(|(from, to, relation)| format!("T{} -{}-> T{}: ", from + 1, relation.name(), to + 1));
        let _written = writeln!(out, "  - {}{}", edge.unwrap_or_default(), reason.words);
    }
    out
}

/// An anomaly whose evidence was not found within limits: its name, its transactions, and why.
type Bare = (String, Vec<String>, Vec<String>);

/// All evidence, then of each anomaly that has none the first witness.
pub(crate) fn words(all: &[Evidence], witnesses: impl Iterator<Item = Bare>) -> String {
    let mut told: Vec<String> = all.iter().map(|evidence| evidence.anomaly.clone()).collect();
    let mut out: String = all.iter().map(describe).collect();
    for (anomaly, transactions, reasons) in witnesses {
        if told.contains(&anomaly) {
            continue;
        }
        let _written = writeln!(out, "{anomaly}:");
        for (number, transaction) in (1..).zip(transactions) {
            let _written = writeln!(out, "  T{number}: {transaction}");
        }
        for reason in reasons {
            let _written = writeln!(out, "  - {reason}");
        }
        told.push(anomaly);
    }
    out
}

fn one(transaction: &Transaction) -> String {
    let Some(process) = transaction.process else { return transaction.mops.join(" ") };
    let lines = match transaction.lines {
        (begins, Some(ends)) if begins != ends => format!("lines {begins} to {ends}"),
        (_, Some(line)) => format!("line {line}"),
        (line, None) => format!("from line {line}"),
    };
    let mut mops: Vec<String> = transaction.mops.iter().take(MOPS).map(|mop| shortened(mop, MOP)).collect();
    let more = transaction.mops.len().saturating_sub(MOPS);
    if more > 0 {
        mops.push(format!("… {more} more"));
    }
    let left_out = if transaction.left_out == 0 { "" } else { " …" };
    format!("{lines}: process {process} {} [{}{left_out}]", outcome(transaction.kind), mops.join(" "))
}

/// What became of a transaction, as a word of a line.
pub(super) fn outcome(kind: Kind) -> &'static str {
    match kind {
        Kind::Ok | Kind::Invoke => "ok",
        Kind::Fail => "aborted",
        Kind::Info => "unknown",
    }
}
