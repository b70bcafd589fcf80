//! `firedrill judge FILE --model list-append|rw-register`: which anomalies a history of transactions shows.

use std::time::Duration;

use firedrill_check::limits::Watch;
use firedrill_check::txn::{self, Anomaly, Consistency, Judged, Model, Options, Verdict};
use firedrill_check::weak::Level;
use firedrill_core::units::human;
use firedrill_core::verdict::exit;
use firedrill_reports::clean;
use serde::Serialize;

use crate::args::{JudgeArgs, TxnArgs};
use crate::failure::Failure;
use crate::judge_evidence;
use crate::limited::{Limited, limit, limit_name, memory_line};
use crate::{judge_durable, judge_weak};

/// The models by name.
pub(crate) const MODELS: [(&str, Model); 2] = [("list-append", Model::ListAppend), ("rw-register", Model::RwRegister)];

/// What `--consistency` names: a model of the lattice, or an axiomatic level of weak isolation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked {
    Model(Consistency),
    Level(Level),
}

/// Reads the name of a consistency model.
pub(crate) fn consistency(name: &str) -> Result<Asked, String> {
    let level = Level::named(name).map(Asked::Level);
    Consistency::named(name).map(Asked::Model).or(level).ok_or_else(|| {
        let models = Consistency::ALL.iter().map(|model| model.name());
        let known: Vec<&str> = models.chain(Level::ALL.iter().map(|level| level.name())).collect();
        format!("no such consistency model; there are {}", known.join(", "))
    })
}

/// The levels of weak isolation that are asked about; they are asked about alone.
fn levels(asked: &TxnArgs, model: Model) -> Result<Vec<Level>, Failure> {
    let of = |asked: &Asked| if let Asked::Level(level) = asked { Some(*level) } else { None };
    let mut levels: Vec<Level> = asked.consistency.iter().filter_map(of).collect();
    if levels.is_empty() {
        return Ok(levels);
    }
    let keys = [asked.linearizable_keys, asked.sequential_keys, asked.wfr_keys];
    if levels.len() < asked.consistency.len() || !asked.anomalies.is_empty() || keys.contains(&true) {
        let help = "judge the levels of weak isolation without --anomalies, options of keys and other models";
        return Err(Failure::usage("these are not judged together").help(help));
    }
    if model != Model::RwRegister {
        return Err(Failure::usage("levels of weak isolation are for rw-register"));
    }
    levels.sort_unstable();
    levels.dedup();
    Ok(levels)
}

/// The anomalies of this name, or of this group of them.
fn anomalies(name: &str) -> Result<Vec<Anomaly>, Failure> {
    Anomaly::named(name).ok_or_else(|| {
        let known: Vec<&str> = Anomaly::all().map(Anomaly::name).collect();
        let help = format!("there are G1, G2, G-single, G-nonadjacent, {}", known.join(", "));
        Failure::usage(format!("--anomalies: no such anomaly: {name}")).help(help)
    })
}

/// The model of transactions of this name; for another, options are refused that only these have.
pub(crate) fn model(args: &JudgeArgs, name: &str) -> Result<Option<Model>, Failure> {
    let found = MODELS.iter().find(|(known, _)| *known == name).map(|(_, model)| *model);
    let asked = &args.transactions;
    let keys = [asked.linearizable_keys, asked.sequential_keys, asked.wfr_keys];
    if found.is_none() {
        judge_evidence::refuse(args, name)?;
    }
    let names_anomalies = !asked.anomalies.is_empty() && judge_durable::model(name).is_none();
    if found.is_none() && (!asked.consistency.is_empty() || names_anomalies || keys.contains(&true)) {
        let help = "--consistency, --anomalies and the options of keys are for list-append and rw-register, --anomalies \
                    also for models of durability";
        return Err(Failure::usage(format!("{name} is not a model of transactions")).help(help));
    }
    Ok(found)
}

/// What is to be printed, and the exit code. The initial value is fixed.
pub(crate) fn judge(
    args: &JudgeArgs,
    (name, model): (&str, Model),
    limited: &Limited<'_>,
) -> Result<(String, u8), Failure> {
    if args.initial != "null" {
        return Err(Failure::usage(format!("--initial is not for {name}: its keys begin empty")));
    }
    let levels = levels(&args.transactions, model)?;
    if !levels.is_empty() {
        return judge_weak::judge(args, &levels, limited);
    }
    let unreadable = || Failure::usage(format!("{} cannot be judged", args.run.display()));
    let exceeded = |more| limited.exceeded(more);
    let judged = match limited.text()? {
        Ok(text) => {
            let options = options(&args.transactions)?;
            txn::judge(&text, model, &options, &mut Watch::new(&exceeded))
                .map_err(|error| unreadable().because(&error))?
        }
        Err(stop) => Judged { format: limited.format(), ..txn::nothing_read(stop) },
    };
    if args.transactions.linearizable_keys && !judged.format.has_realtime() {
        return Err(Failure::usage(format!("--linearizable-keys: {} has no real time", judged.format)));
    }
    let took = limited.took();
    judge_evidence::write(args, &judged.evidence)?;
    let text = if args.json {
        let told = serde_json::to_string(&Told::new(&judged, name, took));
        let told = told.map_err(|error| Failure::new(exit::BUG, "no JSON").because(&error))?;
        format!("{told}\n")
    } else {
        let head = format!("{}: {name}, {}", args.run.display(), judged.format);
        format!("{}\n{}", clean::line(&head), words(&judged, name, took))
    };
    let code = match judged.report.verdict {
        Verdict::Valid => exit::PASS,
        Verdict::Violated => exit::FAIL,
        Verdict::Unknown => exit::INVALID,
    };
    Ok((text, code))
}

/// What is asked; neither consistency nor anomalies given means strict serializability.
fn options(args: &TxnArgs) -> Result<Options, Failure> {
    let named: Vec<Vec<Anomaly>> = args.anomalies.iter().map(|name| anomalies(name)).collect::<Result<_, _>>()?;
    let anomalies = named.concat();
    let of = |asked: &Asked| if let Asked::Model(model) = asked { Some(*model) } else { None };
    let mut consistency: Vec<Consistency> = args.consistency.iter().filter_map(of).collect();
    if consistency.is_empty() && anomalies.is_empty() {
        consistency = Options::default().consistency;
    }
    Ok(Options {
        consistency,
        anomalies,
        linearizable_keys: args.linearizable_keys,
        sequential_keys: args.sequential_keys,
        wfr_keys: args.wfr_keys,
    })
}

fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Valid => "valid",
        Verdict::Violated => "violated",
        Verdict::Unknown => "unknown",
    }
}

/// Items with commas between them.
pub(crate) fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The verdict for a person: of each anomaly what shows it.
fn words(judged: &Judged, model: &str, took: Duration) -> String {
    let report = &judged.report;
    let mut lines = vec![match report.verdict {
        Verdict::Valid if model == "rw-register" => "valid: no anomaly in the inferred graph".to_owned(),
        Verdict::Valid => "valid: no anomaly".to_owned(),
        Verdict::Violated => format!("violated: {}", list(&report.anomalies)),
        Verdict::Unknown if report.stopped.is_some() => "unknown".to_owned(),
        Verdict::Unknown => "unknown: no transaction depends on another, so that there is nothing to check".to_owned(),
    }];
    if let Some(stop) = report.stopped {
        lines.push(format!("  {} was reached, so that not everything was looked at", limit(stop)));
    }
    if !report.violates.is_empty() {
        lines.push(format!("  not {}", list(&report.violates)));
        lines.push(format!("  so also not {}", list(&report.also_violates)));
    }
    lines.extend(judged.words().lines().map(str::to_owned));
    if report.unknown_keys > 0 {
        lines.push(format!("keys of unknown version order: {}", report.unknown_keys));
    }
    if report.garbage_reads > 0 {
        lines.push(format!("reads of values that nobody wrote: {}", report.garbage_reads));
    }
    lines.push(format!("{} transactions, in {}", report.transactions, human(took)));
    let clean: Vec<String> = lines.iter().map(|line| clean::line(line)).collect();
    format!("{}\n", clean.join("\n"))
}

/// What `--json` prints.
#[derive(Serialize, Debug)]
struct Told<'a> {
    verdict: &'static str,
    model: &'a str,
    format: String,
    /// The limit that was reached.
    limit: Option<&'static str>,
    /// Events in the file.
    events: usize,
    /// Transactions, whatever became of them.
    operations: usize,
    anomalies: Vec<&'static str>,
    violates: Vec<&'static str>,
    also_violates: Vec<&'static str>,
    witness: Vec<Shown<'a>>,
    /// Of each anomaly the smallest part of the history that shows it.
    evidence: Vec<judge_evidence::Told<'a>>,
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
    fn new(judged: &'a Judged, model: &'a str, took: Duration) -> Self {
        let report = &judged.report;
        let names = |models: &[Consistency]| models.iter().map(|model| model.name()).collect();
        let ops = |places: &'a [usize]| places.iter().filter_map(|place| judged.ops.get(place));
        let shown = report.witnesses.iter().map(|witness| Shown {
            anomaly: witness.anomaly.name(),
            lines: ops(&witness.transactions).map(|op| op.line).collect(),
            transactions: ops(&witness.transactions).map(|op| op.value.to_string()).collect(),
            reasons: &witness.reasons,
        });
        Self {
            verdict: name(report.verdict),
            model,
            format: judged.format.to_string(),
            limit: report.stopped.map(limit_name),
            events: judged.events,
            operations: report.transactions,
            anomalies: report.anomalies.iter().map(|anomaly| anomaly.name()).collect(),
            violates: names(&report.violates),
            also_violates: names(&report.also_violates),
            witness: shown.collect(),
            evidence: judged.evidence.iter().map(judge_evidence::Told::new).collect(),
            unknown_keys: report.unknown_keys,
            garbage_reads: report.garbage_reads,
            seconds: took.as_secs_f64(),
            peak_memory: memory_line("VmHWM:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SKEW: &str = "{:process 0, :type :ok, :f :txn, :value [[:append :x 1] [:r :y]]}
        {:process 1, :type :ok, :f :txn, :value [[:append :y 1] [:r :x]]}";

    fn asked(consistency: &[&str], anomalies: &[&str]) -> TxnArgs {
        TxnArgs {
            consistency: consistency.iter().map(|name| super::consistency(name).unwrap()).collect(),
            anomalies: anomalies.iter().map(|name| (*name).to_owned()).collect(),
            linearizable_keys: false,
            sequential_keys: false,
            wfr_keys: false,
        }
    }

    fn judged(args: &TxnArgs) -> Judged {
        txn::judge(SKEW, Model::ListAppend, &options(args).unwrap(), &mut Watch::unlimited()).unwrap()
    }

    #[test]
    fn the_verdict_depends_on_what_is_asked() {
        for (consistency, named, verdict) in [
            (&[][..], &[][..], Verdict::Violated),
            (&["serializable"], &[], Verdict::Violated),
            (&["snapshot-isolation"], &[], Verdict::Valid),
            (&[], &["G1"], Verdict::Valid),
            (&["snapshot-isolation"], &["G2"], Verdict::Violated),
        ] {
            let judged = judged(&asked(consistency, named));
            assert_eq!(judged.report.verdict, verdict, "{consistency:?} {named:?}");
        }
        assert!(consistency("acid").is_err());
        assert!(anomalies("G7").is_err());
    }

    #[test]
    fn a_witness_is_told_with_its_transactions() {
        let judged = judged(&asked(&[], &[]));
        let words = words(&judged, "list-append", Duration::from_millis(1));
        for expected in
            ["violated: G2-item\n", "not repeatable-read\n", "T2: line 2", "T1 -rw-> T2: T1 read key :y without 1"]
        {
            assert!(words.contains(expected), "no {expected:?} in\n{words}");
        }
        let json = serde_json::to_value(Told::new(&judged, "list-append", Duration::ZERO)).unwrap();
        assert_eq!(json["verdict"], "violated");
        assert_eq!(json["witness"][0]["lines"], serde_json::json!([1, 2]));
        let evidence = &json["evidence"][0];
        assert_eq!(evidence["transactions"][1]["operations"], serde_json::json!(["[:append :y 1]", "[:r :x []]"]));
        assert_eq!((&evidence["reasons"][0]["relation"], &evidence["reasons"][0]["to"]), (&"rw".into(), &2.into()));
    }
}
