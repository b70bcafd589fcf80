//! Whole runs on the simulated platform: what is printed, what is written, and the exit code.

use std::fs;
use std::path::{Path, PathBuf};

use expect_test::expect_file;
use firedrill_core::action::{Action, Undo};
use firedrill_core::cluster::NodeName;
use firedrill_engine::journal::{Entry, Journal};

use crate::command::{Ended, firedrill_in};

/// Runs scenarios into a folder of their own.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn firedrill(&self, args: &[&str]) -> Ended {
        firedrill_in(&self.folder.path().join("state"), args)
    }

    fn run(&self, args: &[&str]) -> Ended {
        let out = self.path("runs");
        self.firedrill(&[&["run", "--out", &out][..], args].concat())
    }

    /// Folders of the runs so far.
    fn runs(&self) -> Vec<PathBuf> {
        let mut runs: Vec<PathBuf> =
            fs::read_dir(self.path("runs")).unwrap().map(|entry| entry.unwrap().path()).collect();
        runs.sort();
        runs
    }
}

fn words_of(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn passing_run_prints_the_seed_first_and_writes_every_report() {
    let bench = Bench::new();
    let junit = bench.path("all.xml");
    let ended = bench.run(&["scenarios/smoke/healthy.toml", "--seed", "3", "--junit", &junit]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{}", ended.stdout);
    let first = ended.stdout.lines().next().unwrap();
    assert!(first.starts_with("seed 3 · firedrill "), "{first}");
    assert!(first.ends_with("firedrill run scenarios/smoke/healthy.toml --seed 3 --repeat 1"), "{first}");
    assert!(!ended.stdout.contains(|c: char| c.is_control() && c != '\n'), "control characters in a pipe");
    assert!(ended.stdout.trim_end().lines().last().unwrap().starts_with("PASS "));
    let runs = bench.runs();
    for file in ["run.json", "junit.xml", "run.txt", "scenario.toml", "1/history.fdh", "1/events.jsonl"] {
        assert!(runs[0].join(file).exists(), "{file}");
    }
    assert_eq!(fs::read(runs[0].join("junit.xml")).unwrap(), fs::read(junit).unwrap());
}

#[test]
fn known_bad_store_passes_with_its_expectation_and_fails_without() {
    let bench = Bench::new();
    let with = bench.run(&["scenarios/smoke/ack-before-replicating.toml", "--seed", "1"]);
    assert_eq!(with.code, 0, "{}{}", with.stdout, with.stderr);
    let text = fs::read_to_string(crate::command::repository().join("scenarios/smoke/ack-before-replicating.toml"));
    let text = text.unwrap();
    let (without, _) = text.split_once("[expect]").unwrap();
    let file = bench.path("without.toml");
    fs::write(&file, without).unwrap();
    let ended = bench.run(&[&file, "--seed", "1"]);
    assert_eq!(ended.code, 1, "{}{}", ended.stdout, ended.stderr);
    let last_screen: Vec<&str> = ended.stdout.lines().rev().take_while(|line| !line.is_empty()).collect();
    for wanted in ["FAIL ", "evidence", "faults then active", "cluster", "repeat it with"] {
        assert!(ended.stdout.lines().any(|line| line.starts_with(wanted)), "no {wanted:?} in {last_screen:?}");
    }
}

#[test]
fn judge_and_report_say_again_what_the_run_said() {
    let bench = Bench::new();
    let ran = bench.run(&["scenarios/smoke/healthy.toml", "--seed", "5"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    let run = bench.runs().remove(0);
    let written = fs::read_to_string(run.join("junit.xml")).unwrap();
    let junit = bench.firedrill(&["report", words_of(&run), "--format", "junit"]);
    assert_eq!((junit.code, junit.stdout.as_str()), (0, written.as_str()));
    let json = bench.firedrill(&["report", words_of(&run), "--format", "json"]);
    assert_eq!(json.stdout, fs::read_to_string(run.join("run.json")).unwrap());
    let text = bench.firedrill(&["report", words_of(&run)]);
    assert_eq!(text.stdout, fs::read_to_string(run.join("run.txt")).unwrap());
    fs::remove_file(run.join("run.json")).unwrap();
    let judged = bench.firedrill(&["judge", words_of(&run)]);
    assert_eq!(judged.code, 0, "{}{}", judged.stdout, judged.stderr);
    let verdicts = |text: &str| -> Vec<String> {
        let screen = text.lines().filter(|line| line.starts_with("PASS ") || line.starts_with("FAIL "));
        screen.map(ToOwned::to_owned).collect()
    };
    assert_eq!(verdicts(&judged.stdout), verdicts(&text.stdout));
    assert!(run.join("run.json").exists());
}

/// What `--json` says of a history, beside what the way it was written changes.
fn judged(bench: &Bench, of: &str, model: &str, more: &[&str]) -> (i32, serde_json::Value) {
    let ended = bench.firedrill(&[&["judge", of, "--model", model, "--json"], more].concat());
    let mut said: serde_json::Value = serde_json::from_str(&ended.stdout).expect(&ended.stderr);
    let fields = said.as_object_mut().expect("an object");
    for field in ["format", "seconds", "parse_seconds", "cpu_seconds", "parse_cpu_seconds", "peak_memory"] {
        fields.remove(field);
    }
    (ended.code, said)
}

#[test]
fn the_exported_history_of_a_run_has_the_verdict_of_the_run() {
    for (scenario, codes) in [("healthy", [0, 0, 0, 4]), ("ack-before-replicating", [0, 1, 1, 4])] {
        let bench = Bench::new();
        bench.run(&[&format!("scenarios/smoke/{scenario}.toml"), "--seed", "1"]);
        let run = bench.runs().remove(0);
        for (model, code) in ["set", "set-full", "ledger", "monotonic"].into_iter().zip(codes) {
            for form in ["edn", "jsonl"] {
                let file = bench.path(&format!("{scenario}-{model}.{form}"));
                let of_run = judged(&bench, words_of(&run), model, &["--export", &file]);
                assert_eq!(
                    (of_run.0, &of_run),
                    (code, &judged(&bench, &file, model, &[])),
                    "{scenario} {model} {form}"
                );
            }
        }
    }
}

#[test]
fn newer_record_is_refused() {
    let bench = Bench::new();
    let file = bench.path("run.json");
    fs::write(&file, "{\"schema\": 99, \"version\": \"9.1.0\"}").unwrap();
    let ended = bench.firedrill(&["report", &file]);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("schema 99") && ended.stderr.contains("9.1.0"), "{}", ended.stderr);
}

#[test]
fn several_scenarios_are_tallied_and_the_worst_decides() {
    let bench = Bench::new();
    let junit = bench.path("all.xml");
    let bad = bench.path("bad.toml");
    let text = fs::read_to_string(crate::command::repository().join("scenarios/smoke/two-primaries.toml")).unwrap();
    fs::write(&bad, text.split("[expect]").next().unwrap()).unwrap();
    let ended = bench.run(&["scenarios/smoke/lost-on-crash.toml", &bad, "--junit", &junit, "--seed", "2"]);
    assert_eq!(ended.code, 1, "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("\nall scenarios\n"), "{}{}", ended.stdout, ended.stderr);
    let written = fs::read_to_string(&junit).unwrap();
    assert_eq!(written.matches("<testsuite ").count(), 2);
    assert_eq!(written.matches("<failure ").count(), 1, "only the invariant of the second is broken: {written}");
}

#[test]
fn what_cannot_be_written_stops_before_the_run() {
    let bench = Bench::new();
    let ended = bench.run(&["scenarios/smoke/healthy.toml", "--junit", "/proc/nowhere/all.xml"]);
    assert_eq!(ended.code, 2, "{}", ended.stdout);
    assert!(ended.stderr.contains("nothing was run"), "{}", ended.stderr);
    assert!(!Path::new(&bench.path("runs")).exists());
}

#[test]
fn plan_tells_targets_in_words_and_touches_nothing() {
    let bench = Bench::new();
    let plan = bench.firedrill(&["plan", "scenarios/smoke/healthy.toml", "--seed", "3"]);
    assert_eq!(plan.code, 0, "{}", plan.stderr);
    expect_file!["snapshots/plan.txt"].assert_eq(&plan.stdout);
    assert!(!bench.folder.path().join("state").exists());
}

#[test]
fn heal_finds_nothing_where_nothing_is() {
    let bench = Bench::new();
    let ended = bench.firedrill(&["heal", "--all"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "nothing to heal\n"), "{}", ended.stderr);
    let down = bench.firedrill(&["down", "up123"]);
    assert_eq!(down.code, 2);
}

#[test]
fn journal_of_a_dead_run_is_healed_and_of_a_live_one_spared() {
    let bench = Bench::new();
    let state = bench.folder.path().join("state");
    let journal_of = |id: &str| {
        let mut journal = Journal::create(&state, "sim", id, bench.folder.path(), None).unwrap();
        let action = Action::Pause { node: NodeName::new("n1"), process: None };
        let undo = Undo::new(format!("fd-{id}-0"), action);
        journal.write(&Entry::Intent { undo }).unwrap();
        journal
    };
    drop(journal_of("dead"));
    let live = journal_of("alive");
    let ended = bench.firedrill(&["heal", "--all"]);
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("healed  dead: 1 action is undone"), "{}", ended.stdout);
    assert!(ended.stdout.contains("alive is alive, and spared"), "{}", ended.stdout);
    let one = bench.firedrill(&["heal", "alive"]);
    assert_eq!(one.code, 5, "a run that was named and cannot be healed is not clean: {}", one.stdout);
    drop(live);
    let again = bench.firedrill(&["heal", "--all"]);
    assert!(again.stdout.contains("healed  alive"), "{}", again.stdout);
    assert_eq!(bench.firedrill(&["heal", "--all"]).stdout, "nothing to heal\n");
}
