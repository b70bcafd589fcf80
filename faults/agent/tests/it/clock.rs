//! Changing clocks, seen by real programs that read one through the library.

use std::path::{Path, PathBuf};
use std::time::Duration;

use firedrill_agent::deeds::clock::{NO_OFFSET, OFFSET};
use firedrill_agent::protocol::{By, RefusalKind};
use firedrill_core::action::Action;
use firedrill_core::cluster::ProcessName;
use firedrill_core::harm::ClockChange;
use firedrill_core::time::Wall;

use crate::agent::{Agent, LONG, refusal};
use crate::world::{World, node, wait, world};

const SECOND: i64 = 1_000_000_000;

/// The library, or `None`, said loudly.
#[expect(clippy::print_stderr, reason = "what is skipped is said")]
fn library() -> Option<PathBuf> {
    let path = format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH);
    let found = Some(PathBuf::from(path)).filter(|path| path.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: libfaketime is not installed");
    }
    found
}

/// A world where clocks of node 1 can be changed, as the lab makes it.
fn with_clocks() -> Option<(World, PathBuf)> {
    let (world, library) = (world()?, library()?);
    for process in ["a", "b"] {
        let folder = world.clocks(1).join(process);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(NO_OFFSET), "+0\n").expect("a file");
    }
    Some((world, library))
}

/// How far ahead of the true time a program is that reads its clock now, in whole seconds.
fn ahead(world: &World, library: &Path, process: &str) -> i64 {
    let home = world.clocks(1).join(process);
    let mut command = world.end(1).command("env");
    command.arg(format!("LD_PRELOAD={}", library.display())).arg(format!("HOME={}", home.display()));
    command.arg(format!("FAKETIME_TIMESTAMP_FILE={}", home.join(OFFSET).display()));
    command.args(["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_DISABLE_SHM=1"]);
    let before = Wall::now();
    let output = command.args(["date", "+%s%N"]).output().expect("date runs");
    let read: i64 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a time");
    let offset = read - i64::try_from(before.unix_nanos).expect("a time");
    // Starting the program takes its time, which is not the clock's fault.
    offset.div_euclid(SECOND)
}

fn shift(process: Option<&str>, change: ClockChange) -> Action {
    Action::ShiftClock { node: node(1), process: process.map(|name| ProcessName(name.to_owned())), change }
}

#[test]
fn a_clock_leaps_and_leaps_back() {
    let Some((world, library)) = with_clocks() else { return };
    let mut agent = Agent::start(&world, LONG);
    let undo = agent.prepare(&shift(Some("a"), ClockChange::Offset { nanos: -7000 * SECOND }));
    assert_eq!(ahead(&world, &library, "a"), 0);
    agent.apply(&undo, None);
    wait("it is back", || (ahead(&world, &library, "a") == -7000).then_some(()));
    wait("the other is true", || (ahead(&world, &library, "b") == 0).then_some(()));
    assert_eq!(agent.inventory(), ["clock of a of n1"]);
    let other = agent.prepare(&shift(None, ClockChange::Offset { nanos: SECOND }));
    let answer = agent.ask(firedrill_agent::protocol::Ask::Apply { undo: other.clone(), hold_nanos: None });
    assert_eq!(refusal(answer).kind, RefusalKind::Order, "one change at a time");
    assert_eq!(ahead(&world, &library, "a"), -7000, "and the half of the other was taken back");
    agent.revert(&undo);
    wait("it is true", || (ahead(&world, &library, "a") == 0).then_some(()));
    assert_eq!(agent.inventory(), [""; 0]);
    assert_eq!(agent.revert(&other), (None, By::Asked));
}

#[test]
fn a_strobe_is_seen_both_ways_and_a_drift_grows() {
    let Some((world, library)) = with_clocks() else { return };
    let mut agent = Agent::start(&world, LONG);
    let every = Duration::from_millis(100);
    let strobe = agent.inject(&shift(Some("a"), ClockChange::Strobe { nanos: 1000 * SECOND, every }));
    for want in [1000, 0, 1000] {
        wait("its turn", || (ahead(&world, &library, "a") == want).then_some(()));
    }
    agent.inject(&shift(Some("b"), ClockChange::Drift { parts_per_million: 100_000_000 }));
    wait("it has grown", || (ahead(&world, &library, "b") >= 100).then_some(()));
    agent.revert(&strobe);
    wait("it is true", || (ahead(&world, &library, "a") == 0).then_some(()));
}

#[test]
fn a_killed_agent_leaves_a_true_clock() {
    let Some((world, library)) = with_clocks() else { return };
    let mut agent = Agent::start(&world, LONG);
    agent.inject(&shift(None, ClockChange::Offset { nanos: 900 * SECOND }));
    wait("it leaps", || (ahead(&world, &library, "b") == 900).then_some(()));
    agent.kill_9();
    assert_eq!([ahead(&world, &library, "a"), ahead(&world, &library, "b")], [0, 0], "at once, with the thread");
    let links = || world.clocks(1).join("a").join(OFFSET).symlink_metadata();
    wait("its guard tidies up", || links().is_err().then_some(()));
}

#[test]
fn servers_that_were_started_without_are_refused() {
    let Some(world) = world() else { return };
    let mut agent = Agent::start(&world, LONG);
    let answer = agent.try_prepare(&shift(None, ClockChange::Offset { nanos: SECOND }));
    assert_eq!(refusal(answer).kind, RefusalKind::NotOffered);
}
