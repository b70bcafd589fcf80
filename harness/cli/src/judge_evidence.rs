//! What shows an anomaly of transactions: told, drawn, and written as a history.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use firedrill_check::evidence::{self, Evidence};
use firedrill_check::history;
use serde::Serialize;

use crate::args::JudgeArgs;
use crate::failure::Failure;

/// Draws all of it, and writes that of the first anomaly, where that was asked for.
pub(crate) fn write(args: &JudgeArgs, all: &[Evidence]) -> Result<(), Failure> {
    let Some(first) = all.first() else { return Ok(()) };
    if let Some(path) = &args.picture {
        draw(path, || evidence::svg(all), || evidence::html(all))?;
    }
    let Some(path) = &args.witness else { return Ok(()) };
    let text = match path.extension().and_then(OsStr::to_str) {
        Some("edn") => history::to_edn(&first.history),
        Some("json" | "jsonl") => history::to_json_lines(&first.history),
        Some(_) | None => {
            let help = "end its name with .edn or .jsonl";
            return Err(Failure::usage(format!("{} is no history", path.display())).help(help));
        }
    };
    save(path, &text)
}

/// Writes a picture, as the name of the file says.
pub(crate) fn draw(path: &Path, svg: impl Fn() -> String, html: impl Fn() -> String) -> Result<(), Failure> {
    let picture = match path.extension().and_then(OsStr::to_str) {
        Some("svg") => svg(),
        Some("html") => html(),
        Some(_) | None => {
            let help = "end its name with .svg or .html";
            return Err(Failure::usage(format!("{} is no picture", path.display())).help(help));
        }
    };
    save(path, &picture)
}

fn save(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text)
        .map_err(|error| Failure::usage(format!("{} cannot be written", path.display())).because(&error))
}

/// Refuses what only transactions have.
pub(crate) fn refuse(args: &JudgeArgs, model: &str) -> Result<(), Failure> {
    if args.witness.is_some() {
        let help = "it is for list-append and rw-register; --export writes a whole history";
        return Err(Failure::usage(format!("--witness is not for {model}")).help(help));
    }
    Ok(())
}

/// An anomaly without evidence, because a limit was reached before it was found: the transactions in words, and why.
pub(crate) struct Bare<'a> {
    pub(crate) anomaly: String,
    pub(crate) transactions: Vec<String>,
    pub(crate) reasons: &'a [String],
}

/// Lines for a person: the evidence, then of each anomaly that has none the first witness.
pub(crate) fn lines<'a>(all: &[Evidence], witnesses: impl Iterator<Item = Bare<'a>>) -> Vec<String> {
    let mut told: Vec<String> = all.iter().map(|evidence| evidence.anomaly.clone()).collect();
    let words = all.iter().map(evidence::describe).collect::<String>();
    let mut lines: Vec<String> = words.lines().map(str::to_owned).collect();
    for witness in witnesses {
        if told.contains(&witness.anomaly) {
            continue;
        }
        lines.push(format!("{}:", witness.anomaly));
        let numbered = (1..).zip(&witness.transactions);
        lines.extend(numbered.map(|(number, transaction)| format!("  T{number}: {transaction}")));
        lines.extend(witness.reasons.iter().map(|reason| format!("  - {reason}")));
        told.push(witness.anomaly);
    }
    lines
}

/// Evidence, as `--json` has it.
#[derive(Serialize, Debug)]
pub(crate) struct Told<'a> {
    anomaly: &'a str,
    /// T1, T2, …: those that the reasons name, then those that only show the order of versions.
    transactions: Vec<ToldTransaction<'a>>,
    reasons: Vec<ToldReason<'a>>,
}

#[derive(Serialize, Debug)]
struct ToldTransaction<'a> {
    process: Option<i64>,
    outcome: &'static str,
    /// Lines of the file in which it begins and ends, when that is known.
    lines: (usize, Option<usize>),
    operations: &'a [String],
    /// So many operations do not matter.
    left_out: usize,
}

#[derive(Serialize, Debug)]
struct ToldReason<'a> {
    /// Which transaction precedes which, counted from 1, and how.
    from: Option<usize>,
    to: Option<usize>,
    relation: Option<&'static str>,
    words: &'a str,
}

impl<'a> Told<'a> {
    pub(crate) fn new(evidence: &'a Evidence) -> Self {
        let transactions = evidence.transactions.iter().map(|transaction| ToldTransaction {
            process: transaction.process,
            outcome: transaction.kind.name(),
            lines: transaction.lines,
            operations: &transaction.mops,
            left_out: transaction.left_out,
        });
        let reasons = evidence.reasons.iter().map(|reason| ToldReason {
            from: reason.edge.map(|(from, ..)| from + 1),
            to: reason.edge.map(|(_, to, _)| to + 1),
            relation: reason.edge.map(|(.., relation)| relation.name()),
            words: &reason.words,
        });
        Self { anomaly: &evidence.anomaly, transactions: transactions.collect(), reasons: reasons.collect() }
    }
}
