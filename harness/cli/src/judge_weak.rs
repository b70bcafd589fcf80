//! `firedrill judge FILE --model rw-register --consistency rc-axiomatic,ra,cc`: weak isolation.

use std::time::Duration;

use firedrill_check::limits::{Stop, Watch};
use firedrill_check::weak::{self, Level, Report, Verdict};
use firedrill_core::units::human;
use firedrill_core::verdict::exit;
use firedrill_reports::clean;
use serde::Serialize;

use crate::args::JudgeArgs;
use crate::failure::Failure;
use crate::judge_evidence;
use crate::judge_txn::list;
use crate::limited::{Limited, limit, memory_line};

/// What is to be printed, and the exit code.
pub(crate) fn judge(args: &JudgeArgs, levels: &[Level], limited: &Limited<'_>) -> Result<(String, u8), Failure> {
    let unreadable = || Failure::usage(format!("{} cannot be judged", args.run.display()));
    let report = match limited.text()? {
        Ok(text) => {
            let exceeded = |more| limited.exceeded(more);
            weak::judge(&text, levels, &mut Watch::new(&exceeded)).map_err(|error| unreadable().because(&error))?
        }
        Err(stop) => weak::nothing_read(stop),
    };
    let took = limited.took();
    judge_evidence::write(args, &report.evidence)?;
    let text = if args.json {
        let told = serde_json::to_string(&Told::new(&report, levels, took));
        let told = told.map_err(|error| Failure::new(exit::BUG, "no JSON").because(&error))?;
        format!("{told}\n")
    } else {
        format!("{}\n{}", clean::line(&format!("{}: rw-register", args.run.display())), words(&report, levels, took))
    };
    let code = match report.verdict {
        Verdict::Valid => exit::PASS,
        Verdict::Violated => exit::FAIL,
        Verdict::Unknown(_) | Verdict::Nothing => exit::INVALID,
    };
    Ok((text, code))
}

/// The verdict for a person: of each anomaly what shows it.
fn words(report: &Report, levels: &[Level], took: Duration) -> String {
    let mut lines = vec![match report.verdict {
        Verdict::Valid => format!("valid: {}", list(levels)),
        Verdict::Violated => format!("violated: {}", list(&report.anomalies)),
        Verdict::Unknown(stop) => format!("unknown: {} was reached", limit(stop)),
        Verdict::Nothing => "nothing: there is no transaction".to_owned(),
    }];
    if !report.violates.is_empty() {
        lines.push(format!("  not {}", list(&report.violates)));
        if !report.also_violates.is_empty() {
            lines.push(format!("  so also not {}", list(&report.also_violates)));
        }
    }
    lines.extend(report.words().lines().map(str::to_owned));
    let (operations, transactions) = (report.operations, report.transactions);
    lines.push(format!("{operations} reads and writes in {transactions} transactions, in {}", human(took)));
    let clean: Vec<String> = lines.iter().map(|line| clean::line(line)).collect();
    format!("{}\n", clean.join("\n"))
}

/// What `--json` prints.
#[derive(Serialize, Debug)]
struct Told<'a> {
    verdict: &'static str,
    model: &'static str,
    consistency: Vec<&'static str>,
    /// The limit that was reached.
    limit: Option<&'static str>,
    /// Reads and writes.
    operations: usize,
    /// Whatever became of them.
    transactions: usize,
    anomalies: Vec<String>,
    violates: Vec<&'static str>,
    also_violates: Vec<&'static str>,
    witness: Vec<Shown<'a>>,
    /// Of each anomaly the smallest part of the history that shows it.
    evidence: Vec<judge_evidence::Told<'a>>,
    seconds: f64,
    /// Bytes, as the kernel counted them for this process.
    peak_memory: Option<u64>,
}

/// One witness.
#[derive(Serialize, Debug)]
struct Shown<'a> {
    anomaly: String,
    /// Lines of the file in which the transactions T1, T2, … end.
    lines: Vec<usize>,
    transactions: Vec<&'a str>,
    reasons: &'a [String],
}

impl<'a> Told<'a> {
    fn new(report: &'a Report, levels: &[Level], took: Duration) -> Self {
        let names = |levels: &[Level]| levels.iter().map(|level| level.name()).collect();
        let shown = report.witnesses.iter().map(|witness| Shown {
            anomaly: witness.anomaly.name(),
            lines: witness.transactions.iter().map(|txn| txn.line).collect(),
            transactions: witness.transactions.iter().map(|txn| txn.text.as_str()).collect(),
            reasons: &witness.reasons,
        });
        let (verdict, limit) = match report.verdict {
            Verdict::Valid => ("valid", None),
            Verdict::Violated => ("violated", None),
            Verdict::Unknown(Stop::Time) => ("unknown", Some("time")),
            Verdict::Unknown(Stop::Memory) => ("unknown", Some("memory")),
            Verdict::Nothing => ("nothing", None),
        };
        Self {
            verdict,
            model: "rw-register",
            consistency: names(levels),
            limit,
            operations: report.operations,
            transactions: report.transactions,
            anomalies: report.anomalies.iter().map(|anomaly| anomaly.name()).collect(),
            violates: names(&report.violates),
            also_violates: names(&report.also_violates),
            witness: shown.collect(),
            evidence: report.evidence.iter().map(judge_evidence::Told::new).collect(),
            seconds: took.as_secs_f64(),
            peak_memory: memory_line("VmHWM:"),
        }
    }
}
