//! What may befall a run on real servers: Ctrl-C, `kill -9`, a full disk, a server that does not start, another run.
//! Skipped loudly where the lab cannot run. One at a time: each wants the machine for itself.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use firedrill_core::verdict::Verdict;

use crate::bench::{Bench, on_etcd};
use crate::command::{Ended, FIREDRILL, firedrill_in, is_root, program, small_disk, small_disks_can_be_made};
use crate::scan::{Running, loops_below, wait_until};

/// As the shipped scenarios, so that they share a template: starting from nothing takes half a minute.
const SCENARIO: &str = r#"
firedrill = 1
name = "A run that something happens to"

[cluster]
system = "patroni"
START

[cluster.patroni]
synchronous-mode = "strict"
ttl           = "20s"
loop-wait     = "1s"
retry-timeout = "5s"
PARAMETERS

[workload]
kind    = "ledger"
clients = 4
rate    = "50/s"

[steady]
for     = "1s"
within  = "30s"
require = ["primaries == 1", "streaming == 2"]

[[fault]]
id   = "pause"
kind = "process.pause"
on   = "sync-standby"
at   = "1s"
for  = "HOLD"

[[invariant]]
check = "no-acked-loss"

[[invariant]]
check = "single-writer"
"#;

/// A disk that is stalled.
const STALL: &str = r#"
id   = "stall"
kind = "disk.stall"
on   = "n2"
ops  = ["write", "fsync"]
at   = "1s"
for  = "2m"
"#;

/// `None`, loudly, where the lab cannot run.
fn bench() -> Option<Bench> {
    let bench = Bench::new();
    let scenario = scenario(&bench, "2s", "", "");
    bench.can_run(&scenario).then_some(bench)
}

/// Writes the scenario, with its fault held for so long and lines added to `[cluster]` and its parameters.
fn scenario(bench: &Bench, hold: &str, cluster: &str, parameters: &str) -> String {
    let text = SCENARIO.replace("HOLD", hold).replace("START", cluster).replace("PARAMETERS", parameters);
    bench.write("mishap.toml", &text)
}

#[test]
fn ctrl_c_twice_during_a_fault_heals_and_aborts() {
    let Some(bench) = bench() else { return };
    let mut run = bench.start(&[&scenario(&bench, "2m", "", "")]);
    run.read_until("pause: at onset: effect proven");
    let lab = bench.lab();
    run.interrupt();
    run.read_until("interrupted in storm");
    run.interrupt();
    let ended = run.end();
    assert_eq!(ended.code, 6, "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("pause: undone (asked)"), "{}", ended.stdout);
    assert!(ended.stdout.contains("pause: after the heal: no effect"), "{}", ended.stdout);
    assert!(ended.stdout.contains("ABORTED  run: interrupted at"), "{}", ended.stdout);
    let record = bench.record();
    assert_eq!((record.verdict, record.runs[0].clean.verdict), (Verdict::Aborted, Verdict::Pass));
    assert!(record.runs[0].load.router.ok > 0, "what there is was not judged: {:?}", record.runs[0].load);
    let junit = fs::read_to_string(bench.run_folder().join("junit.xml")).unwrap();
    assert!(junit.contains("<error type=\"ABORTED\""), "{junit}");
    bench.assert_nothing_left(&lab);
}

#[test]
fn ctrl_c_during_the_start_removes_what_was_started() {
    let Some(bench) = bench() else { return };
    let mut run = bench.start(&[&scenario(&bench, "2m", "", "")]);
    run.read_until("  start");
    let lab = bench.lab_when_held();
    run.interrupt();
    let ended = run.end();
    assert_eq!(ended.code, 6, "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("in the phase start"), "{}", ended.stdout);
    assert_eq!(bench.record().verdict, Verdict::Aborted);
    assert!(bench.run_folder().join("junit.xml").exists());
    bench.assert_nothing_left(&lab);
}

#[test]
fn server_that_dies_at_the_start_shows_its_last_log_lines() {
    let Some(bench) = bench() else { return };
    // PostgreSQL takes no memory that the machine does not have, Patroni gives up, and nothing waits for the deadline.
    let parameters = "[cluster.patroni.parameters]\nshared_buffers = \"1000TB\"";
    let ended = bench.run(&[&scenario(&bench, "2s", "start = \"10m\"", parameters)]);
    assert_eq!(ended.code, 4, "{}{}", ended.stdout, ended.stderr);
    let last_screen = &ended.stdout[ended.stdout.rfind("\nINVALID  run: ").unwrap()..];
    assert!(last_screen.contains("ended at the start: exit code 1\n"), "{last_screen}");
    assert!(last_screen.contains("FATAL:"), "PostgreSQL's own words are missing: {last_screen}");
    assert_eq!(bench.record().runs[0].clean.verdict, Verdict::Pass);
    assert_eq!(fs::read_dir(bench.state().join("labs")).unwrap().count(), 0);
}

#[test]
fn cluster_that_does_not_become_whole_shows_the_logs() {
    let Some(bench) = bench() else { return };
    // Without the template: a template that does not start is thrown away.
    let ended = bench.run(&["--no-template", &scenario(&bench, "2s", "start = \"3s\"", "")]);
    assert_eq!(ended.code, 4, "{}{}", ended.stdout, ended.stderr);
    let last_screen = &ended.stdout[ended.stdout.rfind("\nINVALID  run: ").unwrap()..];
    assert!(last_screen.contains("a whole cluster did not happen within"), "{last_screen}");
    // Which nodes are still down then is a matter of luck; at least one is.
    let logs = ["n1", "n2", "n3"].map(|node| format!("\n         {node} etcd: "));
    assert!(logs.iter().any(|log| last_screen.contains(log)), "{last_screen}");
}

#[test]
fn disk_that_fills_up_during_a_fault_does_not_keep_it_from_being_healed() {
    let Some(bench) = bench() else { return };
    // In a user namespace, which an ordinary user would need for it, the lab cannot make its own.
    let root = if is_root() { Ok(()) } else { Err("only root can".to_owned()) };
    if let Err(why) = root.and_then(|()| small_disks_can_be_made()) {
        eprintln!("SKIPPED: no small disk can be made here: {why}");
        return;
    }
    let (disk, junit) = (bench.path("disk"), bench.path("all.xml"));
    fs::create_dir(&disk).unwrap();
    let scenario = scenario(&bench, "2m", "", "");
    let mut command = small_disk("16m", &disk, &bench.state());
    command.arg(FIREDRILL).args(["run", "--out", &disk, "--junit", &junit, &scenario]).process_group(0);
    let mut run = Running::start(command);
    run.read_until("pause: at onset: effect proven");
    let lab = bench.lab();
    run.fill(Path::new(&disk));
    let ended = run.end();
    assert_eq!(ended.code, 4, "{}{}", ended.stdout, ended.stderr);
    assert!(
        ended.stdout.contains("broken in storm: the run's folder cannot be written: No space left"),
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.contains("pause: undone (asked)"), "{}", ended.stdout);
    assert!(ended.stdout.contains("INVALID  run: part of the record is lost"), "{}", ended.stdout);
    assert!(fs::read_to_string(&junit).unwrap().contains("<error "), "CI is not told");
    bench.assert_nothing_left(&lab);
}

#[test]
fn disk_that_is_killed_during_its_fault_ends_the_run() {
    let Some(bench) = bench() else { return };
    let file = bench.write("stalled.toml", &on_etcd(STALL));
    if !bench.can_run(&file) {
        return;
    }
    let mut run = bench.start(&[&file]);
    run.read_until("stall: at onset: effect proven");
    let lab = bench.lab();
    lab.kill("/disks/n2/socket");
    let ended = run.end();
    assert_eq!(ended.code, 4, "{}{}", ended.stdout, ended.stderr);
    let why = "its process that serves the disk of n2 ended: signal 9 (SIGKILL)";
    let last_screen = &ended.stdout[ended.stdout.rfind("\nINVALID  run: ").unwrap()..];
    assert!(last_screen.contains(why), "{last_screen}");
    assert_eq!(bench.record().runs[0].clean.verdict, Verdict::Pass);
    bench.assert_nothing_left(&lab);
}

/// Whoever waits for a frozen file system cannot be killed, and without a mount it stays frozen.
#[test]
fn frozen_file_system_outlives_nobody_who_could_thaw_it() {
    let Some(bench) = bench() else { return };
    let freeze = STALL.replace("ops  = [\"write\", \"fsync\"]\n", "").replace("disk.stall", "disk.freeze");
    let file = bench.write("frozen.toml", &on_etcd(&freeze));
    if !bench.can_run(&file) {
        return;
    }
    let mut run = bench.start(&[&file]);
    run.read_until("stall: at onset: effect proven");
    let lab = bench.lab();
    // The holder and init, so that nobody of the lab has the time to thaw it.
    assert_eq!(lab.kill_all("__lab-init"), 2);
    run.kill();
    let heal = firedrill_in(&bench.state(), &["heal", "--all"]);
    assert_eq!(heal.code, 0, "{}{}", heal.stdout, heal.stderr);
    bench.assert_nothing_left(&lab);
    assert_eq!(loops_below(&bench.state()), Vec::<String>::new());
}

#[test]
fn kill_9_during_a_fault_leaves_nothing_and_the_next_run_works() {
    let Some(bench) = bench() else { return };
    let mut run = bench.start(&[&scenario(&bench, "2m", "", "")]);
    run.read_until("pause: at onset: effect proven");
    let lab = bench.lab();
    assert!(lab.processes() > 20, "the scan sees {} processes only", lab.processes());
    let folder = bench.run_folder();
    wait_until("a record of the fault", || {
        let events = fs::read_to_string(folder.join("1/events.jsonl")).map_err(|error| error.to_string())?;
        if events.contains("\"moment\":\"onset\"") { Ok(()) } else { Err(events) }
    });
    run.kill();
    lab.wait_until_gone();
    let heal = firedrill_in(&bench.state(), &["heal", "--all"]);
    assert_eq!(heal.code, 0, "{}{}", heal.stdout, heal.stderr);
    assert!(heal.stdout.contains("1 action is undone, nothing is left\n"), "{}", heal.stdout);
    bench.assert_nothing_left(&lab);
    let judge = firedrill_in(&bench.state(), &["judge", folder.to_str().unwrap()]);
    assert_eq!(judge.code, 4, "{}{}", judge.stdout, judge.stderr);
    for evidence in ["its heal was not recorded", "nobody looked for residue"] {
        assert!(judge.stdout.contains(evidence), "no {evidence:?} in {}", judge.stdout);
    }
    let next = bench.run(&[&scenario(&bench, "2s", "", "")]);
    assert_eq!(next.code, 0, "{}{}", next.stdout, next.stderr);
}

#[test]
fn two_labs_at_once_do_not_meet() {
    let Some(bench) = bench() else { return };
    let scenario = scenario(&bench, "2s", "", "");
    std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| bench.run(&[&scenario])));
        for ended in both.map(|run| run.join().unwrap()) {
            assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
        }
    });
    assert_eq!(fs::read_dir(bench.path("runs")).unwrap().count(), 2);
    assert_eq!(fs::read_dir(bench.state().join("labs")).unwrap().count(), 0);
}

#[test]
fn a_cluster_that_is_not_there_is_not_run_against() {
    let folder = tempfile::tempdir().unwrap();
    let run = |file: &str| firedrill_in(folder.path(), &["run", file, "--against", "up0"]);
    let nobody = run("scenarios/etcd/leader-kill.toml");
    assert_eq!((nobody.code, nobody.stdout.as_str()), (2, ""), "{}", nobody.stderr);
    assert!(nobody.stderr.contains("no cluster up0 is left running"), "{}", nobody.stderr);
    let elsewhere = run("scenarios/smoke/healthy.toml");
    assert_eq!((elsewhere.code, elsewhere.stdout.as_str()), (2, ""), "{}", elsewhere.stderr);
    assert!(elsewhere.stderr.contains("runs on `sim`, where no cluster is left running"), "{}", elsewhere.stderr);
}

#[test]
fn missing_packages_are_all_named_and_nothing_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (out, junit) = (path("runs"), path("all.xml"));
    let args = ["run", "scenarios/postgres/primary-kill.toml", "--out", &out, "--junit", &junit];
    let mut command = program(FIREDRILL, &folder.path().join("state"));
    let ended = Ended::of(command.env("PATH", "/nonexistent").args(args).output().unwrap());
    assert_eq!((ended.code, ended.stdout.as_str()), (7, ""), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("error: ").count(), 1, "{}", ended.stderr);
    for wanted in
        ["nothing was touched", "program Patroni is not installed", "program etcd is not installed", "apt-get install"]
    {
        assert!(ended.stderr.contains(wanted), "no {wanted:?} in {}", ended.stderr);
    }
    assert!(!Path::new(&out).exists() && !folder.path().join("state").exists());
    let written = fs::read_to_string(&junit).unwrap();
    assert!(written.contains("<error type=\"NOT RUN\"") && written.contains("apt-get install"), "{written}");
}
