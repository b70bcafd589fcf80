//! What may befall a run on the simulation: somebody interrupts it in each phase, a part of it panics, its disk is full.
//! A simulated run is over in milliseconds of wall time, so it is interrupted from within: by an observer.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use firedrill_core::event::{Event, Phase};
use firedrill_core::record::ScenarioRecord;
use firedrill_core::verdict::Verdict;
use firedrill_engine::folder::Opened;
use firedrill_engine::interrupt::Interrupts;
use firedrill_engine::observe::{Observer, Progress};
use firedrill_engine::suite::judge_again;
use firedrill_engine::{RunOptions, run_scenario};
use firedrill_scenarios::{Overrides, Registries, load_with};

use crate::command::{firedrill_in, in_small_disk, small_disks_can_be_made};

const SCENARIO: &str = r#"
firedrill = 1
name = "A run that something happens to"

[cluster]
system   = "sim"
platform = "sim"

[workload]
kind    = "ledger"
clients = 4
rate    = "100/s"
routes  = ["router", "direct"]

[steady]
for     = "1s"
require = ["primaries == 1", "streaming == 2"]

[[fault]]
id   = "cut"
kind = "net.partition"
shape = "isolate-from-peers"
on   = "primary"
at   = "1s"
for  = "5s"

[[fault]]
id   = "pause"
kind = "process.pause"
on   = "replicas"
at   = "2s"
for  = "5s"

[[invariant]]
check = "no-acked-loss"

[[invariant]]
check = "single-writer"

[[invariant]]
check = "replicas-converge"

[safety]
max-impaired = 3
"#;

/// When something is to happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Moment {
    /// A phase begins.
    Begin(Phase),
    /// The last fault is in force.
    InForce,
    /// The first action has been undone.
    Undone,
}

impl Moment {
    #[expect(clippy::wildcard_enum_match_arm, reason = "three kinds of event out of many")]
    fn is(self, event: &Event) -> bool {
        match event {
            Event::Phase { phase, .. } => self == Self::Begin(*phase),
            Event::StepApplied { fault, .. } => self == Self::InForce && fault == "pause",
            Event::StepReverted { .. } => self == Self::Undone,
            _ => false,
        }
    }
}

/// Does something at moments.
struct Doing<F> {
    at: Vec<Moment>,
    what: F,
}

impl<F: Fn() + Send + Sync> Observer for Doing<F> {
    fn show(&self, progress: &Progress) {
        let Progress::Event(stamped) = progress else { return };
        for _ in self.at.iter().filter(|moment| moment.is(&stamped.event)) {
            (self.what)();
        }
    }
}

/// A run, and what it left.
struct Ran {
    record: ScenarioRecord,
    events: String,
    journals: usize,
    interrupts: u32,
}

fn registries() -> Registries {
    Registries {
        faults: firedrill_faults::FAULTS,
        systems: firedrill_systems::SYSTEMS,
        platforms: firedrill_platforms::PLATFORMS,
        workloads: firedrill_workloads::WORKLOADS,
        checks: firedrill_check::CHECKS,
    }
}

fn plainly(path: &Path) -> io::Result<Opened> {
    fs::read(path).map(|bytes| -> Opened { Box::new(bytes) })
}

/// Runs the scenario `repeat` times; `happening` is what its observer does with the interrupts. Whatever verdict comes
/// of it, judging the folder again must come to the same.
fn run(repeat: u32, happening: impl Fn(Interrupts) -> Arc<dyn Observer>) -> Ran {
    let overrides = Overrides { repeat: Some(repeat), ..Overrides::default() };
    let scenario = Arc::new(load_with("mishap.toml", SCENARIO, &registries(), &overrides).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let interrupts = Interrupts::default();
    let options = RunOptions {
        out: folder.path().join("runs"),
        state: folder.path().join("state"),
        seed: None,
        use_template: true,
        flags: String::new(),
        observer: happening(interrupts.clone()),
        against: None,
        interrupts: interrupts.clone(),
        files: plainly,
    };
    let finished = run_scenario(&scenario, &options).unwrap();
    let again = judge_again(&scenario, &finished.folder, plainly).unwrap();
    assert_eq!(again.verdict, finished.record.verdict, "the folder tells another story than the run");
    let events = fs::read_to_string(finished.folder.join("1/events.jsonl")).unwrap();
    let journals = fs::read_dir(options.state.join("journal")).unwrap().count();
    Ran { record: finished.record, events, journals, interrupts: interrupts.count() }
}

fn interrupted(at: &[Moment]) -> Ran {
    run(1, |interrupts| Arc::new(Doing { at: at.to_vec(), what: move || interrupts.raise() }))
}

/// What was injected is undone, nothing is left, and nobody claims more than was seen.
fn assert_healed(ran: &Ran, why: &str) {
    let run = &ran.record.runs[0];
    let count = |kind: &str| ran.events.matches(&format!("\"type\":\"{kind}\"")).count();
    assert_eq!(count("step-applied"), count("step-reverted"), "{why}: {}", ran.events);
    assert_eq!(count("heal-failed"), 0, "{why}");
    assert_eq!(count("swept"), 1, "{why}");
    assert_eq!(run.clean.verdict, Verdict::Pass, "{why}: {:?}", run.clean);
    assert_eq!(ran.journals, 0, "{why}: the journal is still there");
    let broken: Vec<_> = run.findings.iter().filter(|finding| finding.verdict == Verdict::Fail).collect();
    assert!(broken.is_empty(), "{why}: {broken:?}");
}

#[test]
fn interrupt_in_each_phase_heals_and_aborts() {
    for (moment, phase) in [
        (Moment::Begin(Phase::Start), "start"),
        (Moment::Begin(Phase::Steady), "steady"),
        (Moment::Begin(Phase::Storm), "storm"),
        (Moment::InForce, "storm"),
        (Moment::Undone, "storm"),
        (Moment::Begin(Phase::Heal), "heal"),
        (Moment::Begin(Phase::Settle), "settle"),
        (Moment::Begin(Phase::FinalReads), "final reads"),
    ] {
        let ran = interrupted(&[moment]);
        let why = format!("{moment:?}");
        let run = &ran.record.runs[0];
        assert!(ran.interrupts > 0, "{why}: the moment never came");
        assert_eq!((ran.record.verdict, run.run.verdict), (Verdict::Aborted, Verdict::Aborted), "{why}: {:?}", run.run);
        let words = format!("in the phase {phase}");
        assert!(run.run.summary.contains(&words), "{why}: {}", run.run.summary);
        assert_healed(&ran, &why);
    }
}

#[test]
fn fault_in_force_is_healed_at_once_when_interrupted() {
    let ran = interrupted(&[Moment::InForce]);
    let held = |id: &str| {
        let fault = ran.record.runs[0].faults.iter().find(|fault| fault.id == id).unwrap();
        fault.healed.unwrap() - fault.onset.unwrap()
    };
    assert!(held("cut") < 2.0 && held("pause") < 1.0, "{} {}", held("cut"), held("pause"));
}

#[test]
fn second_interrupt_heals_as_well() {
    for then in [Moment::InForce, Moment::Begin(Phase::Heal), Moment::Undone, Moment::Begin(Phase::Stop)] {
        let ran = interrupted(&[Moment::InForce, then]);
        assert!(ran.interrupts >= 2, "{then:?}");
        assert_eq!(ran.record.verdict, Verdict::Aborted, "{then:?}");
        assert_healed(&ran, &format!("{then:?}"));
    }
}

#[test]
fn interrupt_after_the_final_reads_leaves_the_verdict() {
    let calm = interrupted(&[]);
    assert_eq!(calm.record.verdict, Verdict::Pass, "{:?}", calm.record.runs[0]);
    for phase in [Phase::Stop, Phase::Judge] {
        let ran = interrupted(&[Moment::Begin(phase)]);
        assert_eq!((ran.record.verdict, ran.interrupts), (Verdict::Pass, 1), "{phase:?}");
        assert_healed(&ran, &format!("{phase:?}"));
    }
}

#[test]
fn repeats_that_were_not_run_are_not_forgotten() {
    let during = |at: Moment| run(3, |interrupts| Arc::new(Doing { at: vec![at], what: move || interrupts.raise() }));
    let ran = during(Moment::Begin(Phase::Stop));
    assert_eq!(ran.record.runs.len(), 1);
    assert_eq!((ran.record.runs[0].verdict, ran.record.verdict), (Verdict::Pass, Verdict::Aborted));
}

#[test]
fn part_that_panics_makes_the_run_prove_nothing_and_is_healed() {
    let ran = run(1, |_| {
        let before = AtomicBool::new(false);
        let what = move || assert!(before.swap(true, Ordering::SeqCst), "planted: the task of a fault panics");
        Arc::new(Doing { at: vec![Moment::InForce], what })
    });
    let run = &ran.record.runs[0];
    assert_eq!(run.run.verdict, Verdict::Invalid, "{:?}", run.run);
    assert!(run.run.summary.contains("panicked"), "{}", run.run.summary);
    assert_eq!(run.clean.verdict, Verdict::Pass, "{:?}", run.clean);
    assert_eq!(ran.journals, 0, "what the task held was not undone");
    assert!(ran.events.contains("\"type\":\"step-reverted\",\"fault\":\"pause\""), "{}", ran.events);
}

#[test]
fn full_disk_is_said_and_proves_nothing() {
    if let Err(why) = small_disks_can_be_made() {
        eprintln!("SKIPPED: no small disk can be made here: {why}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (disk, junit) = (path("disk"), path("all.xml"));
    fs::create_dir(&disk).unwrap();
    // Room for the scenario and the manifest, not for what a run of half a minute records.
    let args = ["run", "scenarios/smoke/healthy.toml", "--out", &disk, "--junit", &junit];
    let ended = in_small_disk("64k", &disk, &folder.path().join("state"), &args);
    assert_eq!(ended.code, 4, "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("No space left on device"), "{}", ended.stdout);
    assert!(ended.stdout.contains("INVALID  run: part of the record is lost"), "{}", ended.stdout);
    assert!(ended.stderr.contains("free some space"), "{}", ended.stderr);
    assert!(fs::read_to_string(&junit).unwrap().contains("<error "), "CI is not told");
    assert_eq!(fs::read_dir(folder.path().join("state/journal")).unwrap().count(), 0);
}

#[test]
fn folder_that_cannot_be_written_stops_before_the_run() {
    let state = tempfile::tempdir().unwrap();
    let junit = state.path().join("all.xml");
    let args = ["run", "scenarios/smoke/healthy.toml", "--out", "/proc/nowhere", "--junit", junit.to_str().unwrap()];
    let ended = firedrill_in(&state.path().join("state"), &args);
    assert_eq!(ended.code, 2, "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains("nothing was run") && ended.stderr.contains("--out"), "{}", ended.stderr);
    assert!(!state.path().join("state").exists());
    let written = fs::read_to_string(junit).unwrap();
    assert!(written.contains("<error type=\"NOT RUN\"") && written.contains("name=\"run\""), "{written}");
}

#[test]
fn two_runs_at_once_do_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("runs");
    let state = folder.path().join("state");
    let args = ["run", "scenarios/smoke/healthy.toml", "--seed", "1", "--out", out.to_str().unwrap()];
    std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| firedrill_in(&state, &args)));
        for ended in both.map(|run| run.join().unwrap()) {
            assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
        }
    });
    assert_eq!(fs::read_dir(&out).unwrap().count(), 2, "each has a folder of its own");
    assert_eq!(fs::read_dir(state.join("journal")).unwrap().count(), 0);
}
