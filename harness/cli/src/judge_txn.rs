//! `firedrill judge FILE --model list-append|rw-register`: which anomalies a history of transactions shows.

use std::process::ExitCode;
use std::time::Duration;

use firedrill_check::history::Loaded;
use firedrill_check::txn::{self, Anomaly, Consistency, Model, Options, Report, Verdict};
use firedrill_core::units::human;
use firedrill_core::verdict::exit;
use firedrill_reports::clean;
use serde::Serialize;

use crate::args::{JudgeArgs, TxnArgs};
use crate::failure::Failure;
use crate::output;

/// The models by name.
pub(crate) const MODELS: [(&str, Model); 2] = [("list-append", Model::ListAppend), ("rw-register", Model::RwRegister)];

/// What `--anomalies` names: one, or a group.
#[derive(Clone, Debug)]
pub(crate) struct Named(Vec<Anomaly>);

/// Reads the name of a consistency model.
pub(crate) fn consistency(name: &str) -> Result<Consistency, String> {
    Consistency::named(name).ok_or_else(|| {
        let known: Vec<&str> = Consistency::ALL.iter().map(|model| model.name()).collect();
        format!("no such consistency model; there are {}", known.join(", "))
    })
}

/// Reads the name of an anomaly or of a group of them.
pub(crate) fn anomalies(name: &str) -> Result<Named, String> {
    Anomaly::named(name).map(Named).ok_or_else(|| {
        let known: Vec<&str> = Anomaly::all().map(Anomaly::name).collect();
        format!("no such anomaly; there are G1, G2, G-single, G-nonadjacent, {}", known.join(", "))
    })
}

/// The model of transactions of this name.
pub(crate) fn model(name: &str) -> Option<Model> {
    MODELS.iter().find(|(known, _)| *known == name).map(|(_, model)| *model)
}

/// Whether an option was given that only transactions have.
pub(crate) fn is_asked(args: &TxnArgs) -> bool {
    let keys = [args.linearizable_keys, args.sequential_keys, args.wfr_keys];
    !args.consistency.is_empty() || !args.anomalies.is_empty() || keys.contains(&true)
}

/// Checks the history; neither consistency nor anomalies given means strict serializability.
pub(crate) fn check(args: &TxnArgs, history: &Loaded, model: Model) -> Result<Report, txn::TxnError> {
    let anomalies: Vec<Anomaly> = args.anomalies.iter().flat_map(|named| named.0.iter().copied()).collect();
    let mut consistency = args.consistency.clone();
    if consistency.is_empty() && anomalies.is_empty() {
        consistency = Options::default().consistency;
    }
    let options = Options {
        consistency,
        anomalies,
        linearizable_keys: args.linearizable_keys,
        sequential_keys: args.sequential_keys,
        wfr_keys: args.wfr_keys,
    };
    txn::check(history, model, &options)
}

/// What was checked, and what that took.
pub(crate) struct Judged<'a> {
    pub(crate) history: &'a Loaded,
    pub(crate) model: &'a str,
    pub(crate) report: &'a Report,
    pub(crate) took: Duration,
    pub(crate) peak_memory: Option<u64>,
}

/// Prints the verdict and gives its exit code.
pub(crate) fn tell(args: &JudgeArgs, judged: &Judged<'_>) -> Result<ExitCode, Failure> {
    if args.json {
        let text = serde_json::to_string(&Told::new(judged));
        let text = text.map_err(|error| Failure::new(exit::BUG, "no JSON").because(&error))?;
        output::print(&format!("{text}\n"));
    } else {
        let head = format!("{}: {}, {}", args.run.display(), judged.model, judged.history.format);
        output::print(&format!("{}\n{}", clean::line(&head), words(judged)));
    }
    Ok(ExitCode::from(match judged.report.verdict {
        Verdict::Valid => exit::PASS,
        Verdict::Violated => exit::FAIL,
        Verdict::Unknown => exit::INVALID,
    }))
}

fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Valid => "valid",
        Verdict::Violated => "violated",
        Verdict::Unknown => "unknown",
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The verdict for a person: of each anomaly the first witness.
fn words(judged: &Judged<'_>) -> String {
    let report = judged.report;
    let mut lines = vec![match report.verdict {
        Verdict::Valid if judged.model == "rw-register" => "valid: no anomaly in the inferred graph".to_owned(),
        Verdict::Valid => "valid: no anomaly".to_owned(),
        Verdict::Violated => format!("violated: {}", list(&report.anomalies)),
        Verdict::Unknown => "unknown: no transaction depends on another, so that there is nothing to check".to_owned(),
    }];
    if !report.violates.is_empty() {
        lines.push(format!("  not {}", list(&report.violates)));
        lines.push(format!("  so also not {}", list(&report.also_violates)));
    }
    let mut shown = None;
    for witness in &report.witnesses {
        if shown.replace(witness.anomaly) == Some(witness.anomaly) {
            continue;
        }
        lines.push(format!("{}:", witness.anomaly));
        for (number, place) in (1..).zip(&witness.transactions) {
            let op = judged.history.ops.get(*place).map(ToString::to_string).unwrap_or_default();
            lines.push(format!("  T{number}: {op}"));
        }
        lines.extend(witness.reasons.iter().map(|reason| format!("  - {reason}")));
    }
    if report.unknown_keys > 0 {
        lines.push(format!("keys of unknown version order: {}", report.unknown_keys));
    }
    if report.garbage_reads > 0 {
        lines.push(format!("reads of values that nobody wrote: {}", report.garbage_reads));
    }
    lines.push(format!("{} transactions, in {}", report.transactions, human(judged.took)));
    let clean: Vec<String> = lines.iter().map(|line| clean::line(line)).collect();
    format!("{}\n", clean.join("\n"))
}

/// What `--json` prints.
#[derive(Serialize, Debug)]
struct Told<'a> {
    verdict: &'static str,
    model: &'a str,
    format: String,
    /// Events in the file.
    events: usize,
    /// Transactions, whatever became of them.
    operations: usize,
    anomalies: Vec<&'static str>,
    violates: Vec<&'static str>,
    also_violates: Vec<&'static str>,
    witness: Vec<Shown<'a>>,
    unknown_keys: usize,
    garbage_reads: usize,
    seconds: f64,
    /// Bytes, as the kernel counted them for this process.
    peak_memory: Option<u64>,
}

/// One witness.
#[derive(Serialize, Debug)]
struct Shown<'a> {
    anomaly: &'static str,
    /// Lines of the file in which the transactions T1, T2, … end, or begin when they have no end.
    lines: Vec<usize>,
    transactions: Vec<String>,
    reasons: &'a [String],
}

impl<'a> Told<'a> {
    fn new(judged: &Judged<'a>) -> Self {
        let report = judged.report;
        let names = |models: &[Consistency]| models.iter().map(|model| model.name()).collect();
        let ops = |places: &'a [usize]| places.iter().filter_map(|place| judged.history.ops.get(*place));
        let shown = report.witnesses.iter().map(|witness| Shown {
            anomaly: witness.anomaly.name(),
            lines: ops(&witness.transactions).map(|op| op.line).collect(),
            transactions: ops(&witness.transactions).map(|op| op.value.to_string()).collect(),
            reasons: &witness.reasons,
        });
        Self {
            verdict: name(report.verdict),
            model: judged.model,
            format: judged.history.format.to_string(),
            events: judged.history.ops.len(),
            operations: report.transactions,
            anomalies: report.anomalies.iter().map(|anomaly| anomaly.name()).collect(),
            violates: names(&report.violates),
            also_violates: names(&report.also_violates),
            witness: shown.collect(),
            unknown_keys: report.unknown_keys,
            garbage_reads: report.garbage_reads,
            seconds: judged.took.as_secs_f64(),
            peak_memory: judged.peak_memory,
        }
    }
}
