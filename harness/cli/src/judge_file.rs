//! `firedrill judge FILE --model M`: whether somebody's history is linearizable; transactions are in `judge_txn`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use firedrill_check::history::{self, Form, Loaded, Packed, Value};
use firedrill_check::linear::{self, Limits, Model, Report, Stop, Verdict};
use firedrill_core::history::FinalRead;
use firedrill_core::units::human;
use firedrill_core::verdict::exit;
use firedrill_engine::folder;
use firedrill_reports::clean;
use firedrill_sys::clock::processor_time;
use serde::Serialize;

use crate::args::JudgeArgs;
use crate::failure::Failure;
use crate::judge_evidence::draw;
use crate::limited::{Limited, limit, limit_name, memory_line};
use crate::{judge_durable, judge_txn, limited, output};

/// Reads the file, decides it, prints the verdict and gives its exit code.
pub(crate) fn judge_file(args: &JudgeArgs, model: &str) -> Result<ExitCode, Failure> {
    let limited = Limited::new(args);
    if let Some(path) = &args.export {
        export(args, model, path, &limited)?;
    }
    let judged = judged(args, model, &limited);
    limited.unchanged()?;
    let (text, code) = judged?;
    output::print(&text);
    Ok(ExitCode::from(code))
}

pub(crate) fn unreadable(args: &JudgeArgs) -> Failure {
    Failure::usage(format!("{} cannot be judged", args.run.display()))
}

/// Writes the history as Jepsen would, as the name of the file says.
fn export(args: &JudgeArgs, model: &str, path: &Path, limited: &Limited<'_>) -> Result<(), Failure> {
    let write = match path.extension().and_then(OsStr::to_str) {
        Some("edn") => history::edn_line,
        Some("json" | "jsonl") => history::json_line,
        Some(_) | None => {
            let help = "end its name with .edn or .jsonl";
            return Err(Failure::usage(format!("{} is no history", path.display())).help(help));
        }
    };
    let stopped = |stop| {
        let help = "give it more with --limit-time and --limit-memory, or judge without --export";
        Failure::new(exit::INVALID, format!("{} was reached before {} was written", limit(stop), path.display()))
            .help(help)
    };
    let history = if !args.run.is_dir() {
        limited.load(history::load_text_within)?.map_err(stopped)?
    } else if let Some(durable) = judge_durable::model(model) {
        judge_durable::recorded(args, durable)?
    } else if judge_txn::MODELS.iter().any(|(name, _)| *name == model) {
        recorded(args, Form::Transactions)?
    } else {
        recorded(args, if model == Model::Set.name() { Form::Ledger } else { Form::Objects })?
    };
    let failed = |error: io::Error| Failure::usage(format!("{} cannot be written", path.display())).because(&error);
    let mut out = BufWriter::new(File::create(path).map_err(failed)?);
    let mut line = String::new();
    for (place, op) in history.ops.iter().enumerate() {
        if place % LINES == 0
            && let Some(stop) = limited.exceeded(0)
        {
            // Half a history would have another verdict.
            drop(fs::remove_file(path));
            return Err(stopped(stop));
        }
        line.clear();
        write(op, place, &mut line);
        out.write_all(line.as_bytes()).map_err(failed)?;
    }
    out.flush().map_err(failed)
}

/// So many lines are written between two questions for a limit.
const LINES: usize = 1 << 10;

fn read(limited: &Limited<'_>, args: &JudgeArgs, model: Model) -> Result<Result<Packed, Stop>, Failure> {
    if args.run.is_dir() {
        let form = if model == Model::Set { Form::Ledger } else { Form::Objects };
        return recorded(args, form).map(|history| Ok(Packed::from(&history)));
    }
    limited.load(history::load_packed_text_within)
}

/// The history of a run.
pub(crate) fn recorded(args: &JudgeArgs, form: Form) -> Result<Loaded, Failure> {
    let folder = repeat(args)?;
    let (recorded, ..) =
        folder::recorded(&folder, limited::opened).map_err(|error| unreadable(args).because(&error))?;
    let history = history::from_calls(&recorded.calls, form);
    if history.is_empty() && !recorded.calls.is_empty() {
        let help = "its workload has other operations: a ledger is a set; the other models are for registers, lists and accounts";
        return Err(unreadable(args).help(help));
    }
    Ok(history)
}

/// What each node held at the end of a run.
pub(crate) fn final_reads(args: &JudgeArgs) -> Result<Vec<FinalRead>, Failure> {
    let (recorded, ..) =
        folder::recorded(&repeat(args)?, limited::opened).map_err(|error| unreadable(args).because(&error))?;
    Ok(recorded.finals)
}

/// The folder of the one repeat that is meant.
fn repeat(args: &JudgeArgs) -> Result<PathBuf, Failure> {
    let repeats = folder::repeats(&args.run).map_err(|error| unreadable(args).because(&error))?;
    match repeats.as_slice() {
        [one] => Ok(one.clone()),
        several => {
            let help = format!("it has {} repeats; name one of them: {}", several.len(), args.run.join("1").display());
            Err(unreadable(args).help(help))
        }
    }
}

/// What is to be printed, and the exit code.
fn judged(args: &JudgeArgs, model: &str, limited: &Limited<'_>) -> Result<(String, u8), Failure> {
    if let Some(transactions) = judge_txn::model(args, model)? {
        return judge_txn::judge(args, (model, transactions), limited);
    }
    if let Some(durable) = judge_durable::model(model) {
        return judge_durable::judge(args, durable, limited);
    }
    if args.staleness.is_some() {
        return Err(Failure::usage("--staleness is for bounded-staleness"));
    }
    let model = Model::ALL.iter().find(|known| known.name() == model).copied();
    let model = model.ok_or_else(|| Failure::usage("no such model"))?;
    let initial = history::parse_json(&args.initial)
        .map_err(|error| Failure::usage("--initial is not a value of JSON").because(&error))?;
    let history = read(limited, args, model)?;
    let parsed = (limited.took(), processor_seconds());
    let (history, report) = match history {
        Ok(history) => {
            let exceeded = |more| limited.exceeded(more);
            let limits = Limits { exceeded: &exceeded, memory: limited.room() };
            let report = linear::explain(&history, model, &initial, &limits)
                .map_err(|error| unreadable(args).because(&error))?;
            (history, report)
        }
        Err(stop) => (Packed::from(&Loaded { format: limited.format(), ops: Vec::new() }), linear::nothing_read(stop)),
    };
    let seconds = limited.took();
    if let (Some(path), Verdict::Violated(found)) = (&args.picture, &report.verdict) {
        draw(path, || linear::svg(&history, found), || linear::html(&history, found))?;
    }
    let text = if args.json {
        let told = Told::new(&history, &report, model, (seconds.as_secs_f64(), parsed));
        let text = serde_json::to_string(&told).map_err(|error| Failure::new(exit::BUG, "no JSON").because(&error))?;
        format!("{text}\n")
    } else {
        let title = format!("{}: {}, {}", args.run.display(), model.name(), history.format);
        let words = words(&history, &report);
        let effort = format!("{} calls on {}, in {}", report.calls, objects(&report), human(seconds));
        format!("{}\n{words}{effort}\n", clean::line(&title))
    };
    Ok((text, code(&report.verdict)))
}

fn code(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Valid => exit::PASS,
        Verdict::Violated(_) => exit::FAIL,
        Verdict::Unknown { .. } | Verdict::Nothing => exit::INVALID,
    }
}

fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Valid => "valid",
        Verdict::Violated(_) => "violated",
        Verdict::Unknown { .. } => "unknown",
        Verdict::Nothing => "nothing",
    }
}

fn objects(report: &Report) -> String {
    if report.objects == 1 { "1 object".to_owned() } else { format!("{} objects", report.objects) }
}

/// The verdict for a person, in lines.
fn words(history: &Packed, report: &Report) -> String {
    match &report.verdict {
        Verdict::Valid => "valid: linearizable\n".to_owned(),
        Verdict::Violated(found) => {
            let lines = linear::describe(history, found);
            let clean: Vec<String> = lines.lines().map(clean::line).collect();
            format!("violated: not linearizable\n{}\n", clean.join("\n"))
        }
        Verdict::Unknown { why, .. } if report.objects == 0 => {
            format!("unknown: {} was reached while the history was read, so that no call was verified\n", limit(*why))
        }
        Verdict::Unknown { why, verified, of, key } => {
            let key = key.as_ref().map(|key| format!(" of key {key}")).unwrap_or_default();
            let text =
                format!("unknown: {} was reached; {verified} of {of} completed calls{key} were verified", limit(*why));
            format!("{}\n", clean::line(&text))
        }
        Verdict::Nothing => "nothing: no client made a call\n".to_owned(),
    }
}

/// What `--json` prints.
#[derive(Serialize, Debug)]
struct Told {
    verdict: &'static str,
    model: &'static str,
    format: String,
    /// Events in the file.
    events: usize,
    /// Calls that bear on the verdict.
    operations: usize,
    objects: usize,
    /// The limit that was reached.
    limit: Option<&'static str>,
    /// Completed calls of the object in question that have their place, from the beginning.
    verified: Option<usize>,
    /// The key of the object in question, as EDN.
    key: Option<String>,
    witness: Option<Witness>,
    seconds: f64,
    /// Of these, until the file was read and parsed.
    parse_seconds: f64,
    /// Seconds that all threads of this process spent on a processor.
    cpu_seconds: f64,
    /// Of these, until the file was read and parsed.
    parse_cpu_seconds: f64,
    /// Bytes, as the kernel counted them for this process.
    peak_memory: Option<u64>,
}

/// Why there is no order.
#[derive(Serialize, Debug)]
struct Witness {
    /// Lines of the file in which the call begins and ends that fits nowhere.
    lines: [usize; 2],
    states: Vec<String>,
    /// Lines of calls that have no order whatever became of all others.
    contradicting: Vec<[usize; 2]>,
    text: String,
}

impl Told {
    fn new(history: &Packed, report: &Report, model: Model, (seconds, parsed): (f64, (Duration, f64))) -> Self {
        let line = |place: usize| history.op(place).map_or(0, |op| op.line);
        let (limit, verified, key, witness) = match &report.verdict {
            Verdict::Valid | Verdict::Nothing => (None, None, None, None),
            Verdict::Violated(found) => {
                let witness = Witness {
                    lines: [line(found.begins), line(found.ends)],
                    states: found.states.clone(),
                    contradicting: found.core.iter().map(|(begins, ends)| [line(*begins), line(*ends)]).collect(),
                    text: linear::describe(history, found),
                };
                (None, Some(found.verified), found.key.as_ref(), Some(witness))
            }
            Verdict::Unknown { why, verified, key, .. } => {
                (Some(limit_name(*why)), Some(*verified), key.as_ref(), None)
            }
        };
        Self {
            verdict: name(&report.verdict),
            model: model.name(),
            format: history.format.to_string(),
            events: history.len(),
            operations: report.calls,
            objects: report.objects,
            limit,
            verified,
            key: key.map(Value::to_string),
            witness,
            seconds,
            parse_seconds: parsed.0.as_secs_f64(),
            cpu_seconds: processor_seconds(),
            parse_cpu_seconds: parsed.1,
            peak_memory: memory_line("VmHWM:"),
        }
    }
}

fn processor_seconds() -> f64 {
    processor_time().as_secs_f64()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::args::{Cli, Verb};
    use clap::Parser as _;

    /// Judges a history that is in a file.
    pub(crate) fn judge(history: &str, options: &[&str]) -> Result<(String, u8), Failure> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history.edn");
        fs::write(&file, history).unwrap();
        let words = ["firedrill", "judge", file.to_str().unwrap()];
        let Verb::Judge(args) = Cli::try_parse_from(words.iter().chain(options)).unwrap().verb else {
            panic!("another verb")
        };
        judged(&args, args.model.as_deref().unwrap(), &Limited::new(&args))
    }

    const WRITE: &str = "{:process 0 :type :invoke :f :write :value 1} {:process 0 :type :ok :f :write :value 1}";

    #[test]
    fn verdicts_have_their_exit_codes_and_words() {
        let model = ["--model", "register"];
        let read = |value: &str| format!("{WRITE} {{:process 1 :type :ok :f :read :value {value}}}");
        let (text, code) = judge(&read("1"), &model).unwrap();
        assert_eq!(code, exit::PASS);
        assert!(text.contains("history.edn: register, Jepsen EDN\nvalid: linearizable\n2 calls on 1 object"), "{text}");
        let (text, code) = judge(&read("2"), &model).unwrap();
        assert_eq!(code, exit::FAIL);
        assert!(text.contains("violated: not linearizable\nno order: process 1 read 2"), "{text}");
        let (text, code) = judge("[]", &model).unwrap();
        assert_eq!((code, text.contains("nothing: no client made a call")), (exit::INVALID, true), "{text}");
        // Sums of thirty numbers, each of which may or may not have been added: none is 1.
        let add = |kind: &str| -> String {
            let one = |p: u32| format!("{{:process {p} :type :{kind} :f :add :value {}}} ", (1_u64 << p) * 2);
            (0..30).map(one).collect()
        };
        let hard = format!("{}{{:process 99 :type :ok :f :read :value 1}} {}", add("invoke"), add("ok"));
        let options = ["--model", "counter", "--initial", "0", "--limit-time", "50ms"];
        let (text, code) = judge(&hard, &options).unwrap();
        assert_eq!(
            (code, text.contains("unknown: the limit of time was reached; 0 of 31")),
            (exit::INVALID, true),
            "{text}"
        );
    }

    #[test]
    fn a_violation_is_drawn_as_the_name_of_the_file_says() {
        let folder = tempfile::tempdir().unwrap();
        let stale =
            format!("{WRITE} {{:process 1 :type :ok :f :write :value 2}} {{:process 2 :type :ok :f :read :value 1}}");
        for (name, start) in [("a.svg", "<svg"), ("a.html", "<!doctype html>")] {
            let path = folder.path().join(name);
            let (text, code) = judge(&stale, &["--model", "register", "--picture", path.to_str().unwrap()]).unwrap();
            assert_eq!((code, text.contains("contradict each other")), (exit::FAIL, true), "{text}");
            let drawn = fs::read_to_string(path).unwrap();
            assert!(
                drawn.starts_with(start) && drawn.contains("process 2") && drawn.matches("<rect class").count() == 3,
                "{drawn}"
            );
        }
        let failure = judge(&stale, &["--model", "register", "--picture", "a.png"]).unwrap_err();
        assert_eq!(failure.code, exit::USAGE);
        assert!(judge(WRITE, &["--model", "register", "--picture", "/nowhere/a.svg"]).is_ok(), "nothing to draw");
    }

    #[test]
    fn json_tells_the_same() {
        let text = format!("{WRITE} {{:process 1 :type :ok :f :read :value 2}}");
        let (json, code) = judge(&text, &["--model", "register", "--json"]).unwrap();
        let told: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(code, exit::FAIL);
        assert_eq!(
            (&told["verdict"], &told["operations"], &told["verified"]),
            (&"violated".into(), &2.into(), &1.into())
        );
        assert_eq!((&told["witness"]["states"][0], &told["witness"]["lines"][0]), (&"1".into(), &1.into()));
        assert!(told["peak_memory"].as_u64().unwrap() > 0);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (history, options, want) in [
            ("[{:process 1}]", &["--model", "register"][..], "line 1, column 2: expected :type"),
            (WRITE, &["--model", "lock"][..], "is none of the model lock"),
            (WRITE, &["--model", "register", "--initial", "{"][..], "line 1, column 1: expected a closing `}`"),
            (WRITE, &["--model", "counter", "--initial", "[]"][..], "the initial value of the model counter"),
        ] {
            let failure = judge(history, options).unwrap_err();
            assert_eq!(failure.code, exit::USAGE);
            assert!(failure.details.iter().any(|detail| detail.contains(want)), "{failure:?}");
        }
    }
}
