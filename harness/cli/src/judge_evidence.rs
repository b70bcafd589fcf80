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

#[cfg(test)]
mod tests {
    use firedrill_core::verdict::exit;

    use super::*;
    use crate::judge_file::tests::judge;

    #[test]
    fn what_shows_an_anomaly_is_drawn_and_written_as_a_history() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (picture, witness) = (file("a.svg"), file("a.edn"));
        let skew = "{:process 0 :type :ok :f :txn :value [[:append :x 1] [:r :y] [:append :z 9]]}
            {:process 7 :type :ok :f :txn :value [[:append :z 8]]}
            {:process 1 :type :ok :f :txn :value [[:append :y 1] [:r :x]]}";
        let model = ["--model", "list-append", "--consistency", "serializable"];
        let asked = [&model[..], &["--picture", &picture, "--witness", &witness]].concat();
        let (text, code) = judge(skew, &asked).unwrap();
        assert_eq!((code, text.contains("G2-item, shown by 2 of 3 transactions:\n")), (exit::FAIL, true), "{text}");
        assert!(fs::read_to_string(&picture).unwrap().contains(">1 rw</text>"));
        let written = fs::read_to_string(&witness).unwrap();
        assert!(!written.contains(":z") && written.lines().count() == 2, "{written}");
        let (text, code) = judge(&written, &model).unwrap();
        assert_eq!((code, text.contains("violated: G2-item\n")), (exit::FAIL, true), "{text}");
        for (options, want) in [
            (["--model", "list-append", "--picture", "a.png"], "a.png is no picture"),
            (["--model", "list-append", "--witness", "a.txt"], "a.txt is no history"),
            (["--model", "register", "--witness", "a.edn"], "--witness is not for register"),
            (["--model", "monotonic", "--picture", "a.svg"], "--picture is not for monotonic"),
        ] {
            let write = "{:process 0 :type :ok :f :write :value 1}";
            let failure = judge(if options[1] == "list-append" { skew } else { write }, &options).unwrap_err();
            assert_eq!((failure.code, failure.message.as_str()), (exit::USAGE, want));
        }
    }
}
