//! `firedrill judge FILE --model set-full|ledger|log|…`: durability and replication.

use std::time::Duration;

use firedrill_check::durable::{self, Anomaly, Found, Model, Options, Report, Verdict};
use firedrill_check::history::{self, Form, Loaded};
use firedrill_check::limits::Watch;
use firedrill_core::units::human;
use firedrill_core::verdict::exit;
use firedrill_reports::clean;
use serde::Serialize;

use crate::args::JudgeArgs;
use crate::failure::Failure;
use crate::judge_file;
use crate::limited::{Limited, limit, limit_name, memory_line};

/// The model of this name.
pub(crate) fn model(name: &str) -> Option<Model> {
    Model::ALL.iter().copied().find(|model| model.name() == name)
}

/// The history of a run, in the form that the model knows; of a ledger with what each node held at the end.
pub(crate) fn recorded(args: &JudgeArgs, model: Model) -> Result<Loaded, Failure> {
    let forms = if model.is_of_sets() { &[Form::Ledger][..] } else { &[Form::Objects, Form::Ledger] };
    let mut last = None;
    for form in forms {
        match judge_file::recorded(args, *form) {
            Ok(mut history) => {
                if model.is_of_sets() {
                    history::add_final_reads(&mut history, &judge_file::final_reads(args)?);
                }
                return Ok(history);
            }
            Err(failure) => last = Some(failure),
        }
    }
    Err(last.unwrap_or_else(|| judge_file::unreadable(args)))
}

fn options(args: &JudgeArgs) -> Result<Options, Failure> {
    let initial = history::parse_json(&args.initial)
        .map_err(|error| Failure::usage("--initial is not a value of JSON").because(&error))?;
    let named = |name: &String| {
        Anomaly::named(name).ok_or_else(|| {
            let known: Vec<&str> = Anomaly::ALL.iter().map(|anomaly| anomaly.name()).collect();
            Failure::usage(format!("no such anomaly: {name}")).help(format!("there are {}", known.join(", ")))
        })
    };
    let asked = &args.transactions.anomalies;
    let anomalies = if asked.is_empty() { None } else { Some(asked.iter().map(named).collect::<Result<_, _>>()?) };
    Ok(Options { initial, staleness: args.staleness.unwrap_or_default(), anomalies })
}

/// What is to be printed, and the exit code.
pub(crate) fn judge(args: &JudgeArgs, model: Model, limited: &Limited<'_>) -> Result<(String, u8), Failure> {
    let options = options(args)?;
    if args.staleness.is_some() && model != Model::BoundedStaleness {
        return Err(Failure::usage("--staleness is for bounded-staleness"));
    }
    if args.picture.is_some() {
        let help = "it draws what contradicts in an order of calls or of transactions";
        return Err(Failure::usage(format!("--picture is not for {}", model.name())).help(help));
    }
    let exceeded = |more| limited.exceeded(more);
    let mut watch = Watch::new(&exceeded);
    let read = if args.run.is_dir() { Ok(recorded(args, model)?) } else { limited.load(history::load_text_within)? };
    let (report, events) = match read {
        Ok(history) => {
            let report = durable::check(&history, model, &options, &mut watch)
                .map_err(|error| judge_file::unreadable(args).because(&error))?;
            (report, history)
        }
        Err(stop) => (durable::nothing_read(stop), Loaded { format: limited.format(), ops: Vec::new() }),
    };
    let took = limited.took();
    let format = events.format.to_string();
    let text = if args.json {
        let told = Told::new(&report, &events, (model, format), took);
        let text = serde_json::to_string(&told).map_err(|error| Failure::new(exit::BUG, "no JSON").because(&error))?;
        format!("{text}\n")
    } else {
        let head = format!("{}: {}, {format}", args.run.display(), model.name());
        format!("{}\n{}", clean::line(&head), words(&report, &events, took))
    };
    let code = match report.verdict {
        Verdict::Valid => exit::PASS,
        Verdict::Violated => exit::FAIL,
        Verdict::Unknown(_) | Verdict::Nothing => exit::INVALID,
    };
    Ok((text, code))
}

fn names(found: &[Found]) -> Vec<&'static str> {
    found.iter().map(|found| found.anomaly.name()).collect()
}

/// The verdict for a person: of each anomaly how often, and the first time with its operations.
fn words(report: &Report, history: &Loaded, took: Duration) -> String {
    let mut lines = vec![match report.verdict {
        Verdict::Valid => "valid: no anomaly".to_owned(),
        Verdict::Violated => format!("violated: {}", names(&report.violated).join(", ")),
        Verdict::Unknown(stop) => format!("unknown: {} was reached", limit(stop)),
        Verdict::Nothing => "nothing: no call answered what could be checked".to_owned(),
    }];
    for (found, counts) in
        report.violated.iter().map(|found| (found, true)).chain(report.noted.iter().map(|found| (found, false)))
    {
        let note = if counts { "" } else { ", which is no violation" };
        lines.push(format!("{}: {}{note}", found.anomaly, found.count));
        for example in found.examples.iter().take(1) {
            lines.push(format!("  {}", example.why));
            lines.extend(example.ops.iter().filter_map(|place| history.ops.get(*place)).map(|op| format!("    {op}")));
        }
    }
    for figure in &report.figures {
        lines.push(match figure.name.strip_suffix("-ns") {
            Some(name) => format!("{name}: {}", human(Duration::from_nanos(figure.value.unsigned_abs()))),
            None => format!("{}: {}", figure.name, figure.value),
        });
    }
    lines.push(format!("{} calls, in {}", report.operations, human(took)));
    let clean: Vec<String> = lines.iter().map(|line| clean::line(line)).collect();
    format!("{}\n", clean.join("\n"))
}

/// What `--json` prints.
#[derive(Serialize, Debug)]
struct Told {
    verdict: &'static str,
    model: &'static str,
    format: String,
    /// The limit that was reached.
    limit: Option<&'static str>,
    /// Events in the file.
    events: usize,
    /// Calls of clients.
    operations: usize,
    anomalies: Vec<&'static str>,
    witness: Vec<Shown>,
    /// What was seen beside it and does not count.
    noted: Vec<Shown>,
    /// Counts, and durations in nanoseconds where the name says `ns`.
    figures: serde_json::Map<String, serde_json::Value>,
    seconds: f64,
    /// Bytes, as the kernel counted them for this process.
    peak_memory: Option<u64>,
}

/// One anomaly.
#[derive(Serialize, Debug)]
struct Shown {
    anomaly: &'static str,
    count: usize,
    examples: Vec<Example>,
}

/// One time it was seen.
#[derive(Serialize, Debug)]
struct Example {
    why: String,
    /// Lines of the file.
    lines: Vec<usize>,
    operations: Vec<String>,
}

impl Told {
    fn new(report: &Report, history: &Loaded, (model, format): (Model, String), took: Duration) -> Self {
        let shown = |found: &Found| {
            let examples = found.examples.iter().map(|example| {
                let ops = || example.ops.iter().filter_map(|place| history.ops.get(*place));
                let lines = ops().map(|op| op.line).collect();
                Example { why: example.why.clone(), lines, operations: ops().map(ToString::to_string).collect() }
            });
            Shown { anomaly: found.anomaly.name(), count: found.count, examples: examples.collect() }
        };
        let (verdict, limit) = match report.verdict {
            Verdict::Valid => ("valid", None),
            Verdict::Violated => ("violated", None),
            Verdict::Unknown(stop) => ("unknown", Some(limit_name(stop))),
            Verdict::Nothing => ("nothing", None),
        };
        Self {
            verdict,
            model: model.name(),
            format,
            limit,
            events: history.ops.len(),
            operations: report.operations,
            anomalies: names(&report.violated),
            witness: report.violated.iter().map(shown).collect(),
            noted: report.noted.iter().map(shown).collect(),
            figures: report.figures.iter().map(|figure| (figure.name.to_owned(), figure.value.into())).collect(),
            seconds: took.as_secs_f64(),
            peak_memory: memory_line("VmHWM:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Verb};
    use clap::Parser as _;

    const LOST: &str = "{:process 0 :type :ok :f :add :value 1}
        {:process 1 :type :ok :f :read :value [1]}
        {:process 1 :type :ok :f :read :value []}";

    fn judged(history: &str, options: &[&str]) -> Result<(String, u8), Failure> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history.edn");
        std::fs::write(&file, history).unwrap();
        let words = ["firedrill", "judge", file.to_str().unwrap(), "--model"];
        let Verb::Judge(args) = Cli::try_parse_from(words.iter().chain(options)).unwrap().verb else {
            panic!("another verb")
        };
        judge(&args, model(args.model.as_deref().unwrap()).unwrap(), &Limited::new(&args))
    }

    #[test]
    fn a_loss_is_told_with_the_operations_that_show_it() {
        let (text, code) = judged(LOST, &["set-full"]).unwrap();
        assert_eq!(code, exit::FAIL);
        for expected in
            ["violated: lost\n", "lost: 1\n  1 was read, and then missing for good\n    line 1: ", "3 calls, in"]
        {
            assert!(text.contains(expected), "no {expected:?} in\n{text}");
        }
        let (json, _) = judged(LOST, &["set-full", "--json"]).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["verdict"], &json["anomalies"][0]), (&"violated".into(), &"lost".into()));
        assert_eq!(json["witness"][0]["examples"][0]["lines"], serde_json::json!([1, 2, 3]));
    }

    #[test]
    fn verdicts_have_their_exit_codes() {
        assert_eq!(judged(LOST, &["set-full", "--anomalies", "stale,never-read"]).unwrap().1, exit::PASS);
        assert_eq!(judged("[]", &["unique-ids"]).unwrap().1, exit::INVALID);
        let (text, code) = judged(LOST, &["ledger", "--limit-time", "0ms"]).unwrap();
        assert_eq!((code, text.contains("unknown: the limit of time was reached")), (exit::INVALID, true), "{text}");
        for wrong in [&["ledger", "--anomalies", "G0"][..], &["ledger", "--staleness", "1s"], &["log"]] {
            assert!(judged(LOST, wrong).is_err(), "{wrong:?}");
        }
    }
}
