//! `firedrill judge FILE --model M`: whether somebody's history is linearizable.

use std::time::Duration;

use firedrill_check::history::{self, Form, Loaded, Packed, Value};
use firedrill_check::limits::Watch;
use firedrill_check::linear::{self, Limits, Model, Refusal, Report, Stop, Verdict};
use firedrill_core::units::human;
use firedrill_core::verdict::exit;
use firedrill_reports::clean;
use firedrill_sys::clock::processor_time;
use serde::Serialize;

use crate::args::JudgeArgs;
use crate::failure::Failure;
use crate::judge_evidence::draw;
use crate::judge_file::{recorded, unreadable};
use crate::limited::{Limited, limit, limit_name, memory_line};

/// What is to be printed, and the exit code.
pub(crate) fn judge(args: &JudgeArgs, model: Model, limited: &Limited<'_>) -> Result<(String, u8), Failure> {
    let initial = history::parse_json(&args.initial)
        .map_err(|error| Failure::usage("--initial is not a value of JSON").because(&error))?;
    let mut read = read(limited, args, model)?;
    let parsed = (limited.took(), processor_seconds());
    let report = decide(&mut read, (model, &initial), limited).map_err(|error| unreadable(args).because(&error))?;
    let (history, _) = read;
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

/// What was read, and the limit that was reached before all was.
fn read(limited: &Limited<'_>, args: &JudgeArgs, model: Model) -> Result<(Packed, Option<Stop>), Failure> {
    if args.run.is_dir() {
        let form = if model == Model::Set { Form::Ledger } else { Form::Objects };
        return recorded(args, form).map(|history| (Packed::from(&history), None));
    }
    let text = match limited.text()? {
        Ok(text) => text,
        Err(stop) => {
            return Ok((Packed::from(&Loaded { format: limited.format(), ops: Vec::new() }), Some(stop)));
        }
    };
    history::load_packed_text_until(&text, &mut Watch::new(&|more| limited.exceeded(more)))
        .map_err(|error| unreadable(args).because(&error))
}

/// Decides what was read. Of a history that was not read to its end, as much is verified as a little more time allows, or as
/// fits into the memory beside half of it.
fn decide(
    (history, stop): &mut (Packed, Option<Stop>),
    asked: (Model, &Value),
    limited: &Limited<'_>,
) -> Result<Report, Refusal> {
    let why = if let Some(why) = *stop {
        why
    } else {
        let exceeded = |more| limited.exceeded(more);
        let limits = Limits { exceeded: &exceeded, memory: limited.room() };
        let report = linear::explain(history, asked.0, asked.1, &limits)?;
        match &report.verdict {
            // Its operations were not all read.
            Verdict::Unknown { why, .. } if report.only_first.is_some() => *why,
            Verdict::Valid | Verdict::Violated(_) | Verdict::Unknown { .. } | Verdict::Nothing => return Ok(report),
        }
    };
    if why == Stop::Memory {
        history.truncate(history.len() / 2);
    }
    let extra = if why == Stop::Time { limited.grace() } else { Duration::ZERO };
    let exceeded = |more| limited.exceeded_after(extra, more);
    linear::explain_beginning(history, asked, why, &Limits { exceeded: &exceeded, memory: limited.room() })
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
            let part = report.only_first.map(|events| format!(", as its first {events} events show"));
            format!("violated: not linearizable{}\n{}\n", part.unwrap_or_default(), clean.join("\n"))
        }
        Verdict::Unknown { why, verified: 0, .. } if report.only_first.is_some() => {
            format!("unknown: {} was reached while the history was read, so that no call was verified\n", limit(*why))
        }
        Verdict::Unknown { why, verified, of, key } => {
            let key = key.as_ref().map(|key| format!(" of key {key}")).unwrap_or_default();
            let (when, among) = match report.only_first {
                Some(events) => (" while the history was read", format!(" among its first {events} events")),
                None => ("", String::new()),
            };
            let counted = format!("{verified} of {of} completed calls{key}{among} were verified");
            format!("{}\n", clean::line(&format!("unknown: {} was reached{when}; {counted}", limit(*why))))
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
    /// The first events that this is about, when a limit was reached before the others were read.
    only_first: Option<usize>,
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
            only_first: report.only_first,
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
mod tests {
    use std::fs;

    use super::*;
    use crate::judge_file::tests::judge;

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

    #[test]
    fn how_far_a_history_was_verified_is_told() {
        let history = Packed::from(&history::load(WRITE.as_bytes()).unwrap());
        let told = |verified, only_first| {
            let verdict = Verdict::Unknown { why: Stop::Time, verified, of: 9, key: None };
            words(&history, &Report { verdict, calls: 9, objects: 1, only_first })
        };
        let reached = "unknown: the limit of time was reached";
        assert_eq!(told(7, None), format!("{reached}; 7 of 9 completed calls were verified\n"));
        let while_read = format!("{reached} while the history was read");
        assert_eq!(told(0, Some(0)), format!("{while_read}, so that no call was verified\n"));
        assert_eq!(
            told(7, Some(18)),
            format!("{while_read}; 7 of 9 completed calls among its first 18 events were verified\n")
        );
    }

    #[test]
    fn a_history_that_was_not_read_to_its_end_is_verified_as_far_as_it_was() {
        let args = crate::judge_file::tests::args("--model register --limit-time 100s");
        let limited = Limited::new(&args);
        let history = Packed::from(&history::load(WRITE.as_bytes()).unwrap());
        let decided = |stop| decide(&mut (history.clone(), Some(stop)), (Model::Register, &Value::Nil), &limited);
        let report = decided(Stop::Time).unwrap();
        assert_eq!(report.verdict, Verdict::Unknown { why: Stop::Time, verified: 1, of: 1, key: None });
        assert_eq!(report.only_first, Some(2));
        // Half of it was forgotten, to make room: a call in flight.
        let report = decided(Stop::Memory).unwrap();
        assert_eq!(report.verdict, Verdict::Unknown { why: Stop::Memory, verified: 0, of: 0, key: None });
    }
}
