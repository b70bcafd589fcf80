//! `firedrill judge FILE --model M`: whether somebody's history is linearizable; transactions are in `judge_txn`.

use std::fs;
use std::process::ExitCode;

use firedrill_check::history::{self, Loaded, Value};
use firedrill_check::linear::{self, Limits, Model, Report, Stop, Verdict};
use firedrill_core::time::{Clock, RunTime};
use firedrill_core::units::human;
use firedrill_core::verdict::exit;
use firedrill_reports::clean;
use serde::Serialize;

use crate::args::JudgeArgs;
use crate::failure::Failure;
use crate::judge_txn::{self, Judged};
use crate::output;

/// Reads the file, decides it, prints the verdict and gives its exit code.
pub(crate) fn judge_file(args: &JudgeArgs, model: &str) -> Result<ExitCode, Failure> {
    let clock = Clock::start();
    let transactions = judge_txn::model(model);
    if transactions.is_none() && judge_txn::is_asked(&args.transactions) {
        let help = "--consistency, --anomalies and the options of keys are for list-append and rw-register";
        return Err(Failure::usage(format!("{model} is not a model of transactions")).help(help));
    }
    if transactions.is_some() {
        return judge_transactions(args, model, &clock);
    }
    let model = Model::ALL.iter().find(|known| known.name() == model).copied();
    let model = model.ok_or_else(|| Failure::usage("no such model"))?;
    let unreadable = || Failure::usage(format!("{} cannot be judged", args.run.display()));
    if args.run.is_dir() {
        let help = "--model is for files with a history; without it a run is judged by its scenario";
        return Err(unreadable().help(help));
    }
    let initial = history::parse_json(&args.initial)
        .map_err(|error| Failure::usage("--initial is not a value of JSON").because(&error))?;
    let bytes = fs::read(&args.run).map_err(|error| unreadable().because(&error))?;
    let history = history::load(&bytes).map_err(|error| unreadable().because(&error))?;
    drop(bytes);
    let end = args.limit_time.map(|limit| RunTime::ZERO.plus(limit));
    let expired = || end.is_some_and(|end| clock.now() >= end);
    let memory = usize::try_from(args.limit_memory.0).unwrap_or(usize::MAX);
    let held = memory_line("VmRSS:").and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default();
    let limits = Limits { expired: &expired, memory: memory.saturating_sub(held) };
    let report = linear::check(&history, model, &initial, &limits).map_err(|error| unreadable().because(&error))?;
    let seconds = clock.now().since(RunTime::ZERO);
    if args.json {
        let told = Told::new(&history, &report, model, seconds.as_secs_f64());
        let text = serde_json::to_string(&told).map_err(|error| Failure::new(exit::BUG, "no JSON").because(&error))?;
        output::print(&format!("{text}\n"));
    } else {
        let words = words(&history, &report);
        let title = format!("{}: {model}, {}", args.run.display(), history.format, model = model.name());
        let tail = format!("{} calls on {}, in {}", report.calls, objects(&report), human(seconds));
        output::print(&format!("{}\n{words}{tail}\n", clean::line(&title)));
    }
    Ok(ExitCode::from(code(&report.verdict)))
}

/// The same for a model of transactions, whose initial value is fixed and which needs no limits.
fn judge_transactions(args: &JudgeArgs, name: &str, clock: &Clock) -> Result<ExitCode, Failure> {
    let unreadable = || Failure::usage(format!("{} cannot be judged", args.run.display()));
    let model = judge_txn::model(name).ok_or_else(|| Failure::usage("no such model"))?;
    if args.initial != "null" {
        return Err(Failure::usage(format!("--initial is not for {name}: its keys begin empty")));
    }
    let bytes = fs::read(&args.run).map_err(|error| unreadable().because(&error))?;
    let history = history::load(&bytes).map_err(|error| unreadable().because(&error))?;
    drop(bytes);
    let report = judge_txn::check(&args.transactions, &history, model).map_err(|error| unreadable().because(&error))?;
    let took = clock.now().since(RunTime::ZERO);
    let peak_memory = memory_line("VmHWM:");
    judge_txn::tell(args, &Judged { history: &history, model: name, report: &report, took, peak_memory })
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

fn limit(why: Stop) -> &'static str {
    match why {
        Stop::Time => "the limit of time",
        Stop::Memory => "the limit of memory",
    }
}

/// The verdict for a person, in lines.
fn words(history: &Loaded, report: &Report) -> String {
    match &report.verdict {
        Verdict::Valid => "valid: linearizable\n".to_owned(),
        Verdict::Violated(found) => {
            let lines = linear::describe(history, found);
            let clean: Vec<String> = lines.lines().map(clean::line).collect();
            format!("violated: not linearizable\n{}\n", clean.join("\n"))
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
    /// Bytes, as the kernel counted them for this process.
    peak_memory: Option<u64>,
}

/// Why there is no order.
#[derive(Serialize, Debug)]
struct Witness {
    /// Lines of the file in which the call begins and ends that fits nowhere.
    lines: [usize; 2],
    states: Vec<String>,
    text: String,
}

impl Told {
    fn new(history: &Loaded, report: &Report, model: Model, seconds: f64) -> Self {
        let line = |place: usize| history.ops.get(place).map_or(0, |op| op.line);
        let (limit, verified, key, witness) = match &report.verdict {
            Verdict::Valid | Verdict::Nothing => (None, None, None, None),
            Verdict::Violated(found) => {
                let witness = Witness {
                    lines: [line(found.begins), line(found.ends)],
                    states: found.states.clone(),
                    text: linear::describe(history, found),
                };
                (None, Some(found.verified), found.key.as_ref(), Some(witness))
            }
            Verdict::Unknown { why, verified, key, .. } => {
                let limit = match why {
                    Stop::Time => "time",
                    Stop::Memory => "memory",
                };
                (Some(limit), Some(*verified), key.as_ref(), None)
            }
        };
        Self {
            verdict: name(&report.verdict),
            model: model.name(),
            format: history.format.to_string(),
            events: history.ops.len(),
            operations: report.calls,
            objects: report.objects,
            limit,
            verified,
            key: key.map(Value::to_string),
            witness,
            seconds,
            peak_memory: memory_line("VmHWM:"),
        }
    }
}

/// A line of this process's status, in bytes (proc(5)). Only measured with: what is unknown is left out.
fn memory_line(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
