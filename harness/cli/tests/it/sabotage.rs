//! Proofs are proven: every kind of fault runs on a real cluster with a mechanism that does nothing, one on the wrong node,
//! and one that stops half-way through. Each must come out INVALID, and PASS without. Skipped loudly where the lab cannot
//! run. Every kind of the registry is in it by itself, but those told apart.

mod disk;

use std::fs;
use std::thread;

use firedrill_core::action::Deed;
use firedrill_core::fault::FaultEntry;
use firedrill_core::record::{FaultRecord, ScenarioRecord};
use firedrill_core::verdict::{Verdict, exit};
use firedrill_faults::FAULTS;
use toml::{Table, Value};

use crate::command::{Ended, FIREDRILL, machine, program};

/// Everything but the faults. The parameters are those of the scenarios with names, so that they share a template. Little
/// load: a commit that waits for a standby keeps its connection, whoever gave it up, until the server has no more.
const HEAD: &str = r#"
firedrill = 1
name = "One fault after another"

[cluster]
system = "patroni"

[cluster.patroni]
synchronous-mode = "strict"
ttl           = "20s"
loop-wait     = "1s"
retry-timeout = "5s"
names         = true

[workload]
kind    = "ledger"
clients = 1
rate    = "2/s"

[steady]
for     = "1s"
within  = "30s"
require = ["primaries == 1", "streaming == 2"]

[safety]
max-impaired = 100

[[invariant]]
check = "single-writer"
"#;

/// How long each fault is held: a probe at the onset, in the middle and before the heal must have the time.
const HOLD: &str = "4s";
/// From the heal of one fault to the next, and from the heal of one that ended processes: some must be back.
const GAPS: [&str; 2] = ["1s", "8s"];
/// Deeds that end processes. A server may be long in coming back, so these come last, and none aims at one process.
const ENDING: [Deed; 3] = [Deed::KillProcess, Deed::LosePower, Deed::OomProcess];

/// Options in place of those of a kind's example, or several faults of a kind.
const VARIANTS: &[(&str, &[&str])] = &[
    // What is seen only over a while takes its probe two seconds, three times.
    ("clock.drift", &["for = '12s'"]),
    ("clock.skew", &["over = '2s'\nfor = '12s'"]),
    ("net.dns", &["", "answer = 'nobody'\nwhose = 'others'", "answer = 'late'\ndelay = '300ms'"]),
    // Of one node, the half would be the whole.
    ("node.rolling-restart", &["on = 'all'\nevery = '4s'\ndown = '1s'\ngrace = '2s'\nfor = '13s'"]),
    ("node.stop", &["grace = '2s'\nfor = '6s'"]),
    ("process.restart-loop", &["every = '1s'\nfor = '6s'"]),
    (
        "net.partition",
        &[
            "shape = 'isolate'",
            "shape = 'isolate-from-peers'",
            "shape = 'halves'",
            "shape = 'one-way'\ndirection = 'in'",
            "shape = 'one-way'\ndirection = 'out'",
            "shape = 'bridge'",
            "shape = 'clients'",
        ],
    ),
];

/// The deed of faults that are tried on a cluster of their own: see [`disk`].
const APART: Deed = Deed::HarmDisk;

/// What cannot be told from the real thing, and why: kind, sabotage, reason.
const EXCEPT: &[(&str, &str, &str)] = &[];

/// The faults of the registry, one after another, all aimed at `n2`; where nothing is done they need not wait for each other.
fn faults(sabotage: &str) -> Vec<Table> {
    let mut all: Vec<Table> = Vec::new();
    let mut gap = "";
    let ends = |entry: &FaultEntry| entry.deeds.iter().any(|deed| ENDING.contains(deed));
    let told_here = FAULTS.iter().filter(|entry| !entry.deeds.contains(&APART));
    let (enders, others): (Vec<&FaultEntry>, Vec<&FaultEntry>) = told_here.partition(|entry| ends(entry));
    for entry in others.into_iter().chain(enders) {
        let variants =
            VARIANTS.iter().find(|(kind, _)| *kind == entry.kind).map_or(&[""][..], |(_, variants)| variants);
        for (number, options) in variants.iter().enumerate() {
            let file: Table = entry.example.parse().unwrap();
            let mut fault = file["fault"][0].as_table().unwrap().clone();
            let id = format!("{}-{number}", entry.kind.replace('.', "-"));
            let previous = all.last().map(|previous| previous["id"].as_str().unwrap().to_owned());
            let (start, when) = match previous {
                _ if sabotage == "nothing" => ("at", format!("{}ms", 250 * all.len())),
                None => ("at", "1s".to_owned()),
                Some(previous) => ("after", format!("{previous}.healed + {gap}")),
            };
            for key in ["at", "process"] {
                fault.remove(key);
            }
            fault.extend(
                [("id", id.as_str()), ("on", "n2"), (start, when.as_str()), ("for", HOLD)]
                    .map(|(key, value)| (key.to_owned(), Value::String(value.to_owned()))),
            );
            fault.extend(options.parse::<Table>().unwrap());
            all.push(fault);
            gap = GAPS[usize::from(ends(entry))];
        }
    }
    all
}

fn scenario(sabotage: &str) -> String {
    let all = faults(sabotage).into_iter().map(Value::Table).collect();
    let table = Table::from_iter([("fault".to_owned(), Value::Array(all))]);
    format!("{HEAD}\n{table}")
}

/// Runs them; `None`, loudly, where the lab cannot run.
#[expect(clippy::print_stderr, reason = "a skip must be loud")]
fn run(scenario: &str, sabotage: &str) -> Option<(Ended, ScenarioRecord)> {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("all.toml"), folder.path().join("runs"));
    fs::write(&file, scenario).unwrap();
    let firedrill = |verb: &str, args: &[&str]| {
        let mut command = program(FIREDRILL, &folder.path().join("state"));
        command.arg(verb).arg(&file).args(args).env("FIREDRILL_SABOTAGE", sabotage);
        Ended::of(command.output().unwrap())
    };
    let plan = firedrill("plan", &[]);
    assert_eq!(plan.code, 0, "{}", plan.stderr);
    if let Some((_, missing)) = plan.stdout.split_once("a run would exit with 7") {
        eprintln!("SKIPPED: the lab cannot run here{missing}");
        return None;
    }
    let ended = firedrill("run", &["--out", out.to_str().unwrap()]);
    let run = fs::read_dir(&out).unwrap_or_else(|_| panic!("{}{}", ended.stdout, ended.stderr)).next().unwrap();
    let record = fs::read(run.unwrap().path().join("run.json")).unwrap();
    Some((ended, serde_json::from_slice(&record).unwrap()))
}

fn all_are_found(scenario: fn(&str) -> String, sabotage: &str) {
    let Some((ended, record)) = run(&scenario(sabotage), sabotage) else { return };
    let excepted =
        |fault: &FaultRecord| EXCEPT.iter().any(|(kind, except, _)| *kind == fault.kind && *except == sabotage);
    let not_found = |fault: &&FaultRecord| {
        let said = format!("{} {}", fault.finding.summary, fault.finding.evidence.join(" "));
        let found = fault.finding.verdict == Verdict::Invalid && fault.onset.is_some() && said.contains("did not bite");
        found == excepted(fault)
    };
    let wrong: Vec<&FaultRecord> = record.runs[0].faults.iter().filter(not_found).collect();
    assert!(wrong.is_empty(), "{sabotage}: {wrong:#?}");
    assert_eq!(record.runs[0].faults.len(), count(scenario));
    assert_eq!(ended.code, i32::from(exit::INVALID), "{}{}", ended.stdout, ended.stderr);
}

/// The control: the same faults with the mechanisms as they are.
fn all_are_proven(scenario: fn(&str) -> String) {
    let Some((ended, record)) = run(&scenario(""), "") else { return };
    let wrong: Vec<&FaultRecord> =
        record.runs[0].faults.iter().filter(|fault| fault.finding.verdict != Verdict::Pass).collect();
    assert!(wrong.is_empty(), "{wrong:#?}{}", ended.stdout);
    assert_eq!(record.runs[0].faults.len(), count(scenario));
}

fn count(scenario: fn(&str) -> String) -> usize {
    scenario("").parse::<Table>().unwrap()["fault"].as_array().unwrap().len()
}

/// The runs mostly wait, so that they can be had at once.
#[test]
fn mechanisms_that_do_not_do_their_work_are_found_out() {
    let _machine = machine();
    thread::scope(|scope| {
        for scenario in [scenario, disk::scenario] {
            scope.spawn(move || all_are_proven(scenario));
            for sabotage in ["nothing", "wrong-node", "half-way"] {
                scope.spawn(move || all_are_found(scenario, sabotage));
            }
        }
    });
}

#[test]
fn exceptions_are_of_kinds_that_there_are() {
    for (kind, _, reason) in EXCEPT {
        assert!(FAULTS.iter().any(|entry| entry.kind == *kind) && !reason.is_empty(), "{kind}");
    }
}
