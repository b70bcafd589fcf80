//! The kill storm of whole runs, against servers that outlive harness and agent: a cluster that `up` left running, one
//! `firedrill run --against` after the other with every family of faults in force, and a `kill -9` in the middle of it, at a
//! random instant or between any two steps of the harness. An inventory that none of our code takes says what is left.
//!
//! `FIREDRILL_STORM_KILLS` is how many kills (a few without it), `FIREDRILL_STORM_SYSTEM` which cluster; `ci/bench storm` runs
//! hundreds.

#[path = "../../../../faults/agent/tests/it/storm/inventory.rs"]
mod inventory;
mod living;
#[path = "../../../../faults/agent/tests/it/storm/tally.rs"]
mod tally;

use std::time::Duration;

use firedrill_engine::failpoint::OF_HARNESS;
use firedrill_sys::clock;

use self::living::{Living, Victim};
use self::tally::number;

/// Kills at random instants without `FIREDRILL_STORM_KILLS`.
const FEW: u64 = 3;
/// A point is tried so often before it counts as one that nothing comes by.
const TRIES: usize = 3;

const AT_RANDOM: [Victim; 9] = [
    Victim::Harness,
    Victim::Everything,
    Victim::AgentAndGuard,
    Victim::Agent,
    Victim::Guard,
    Victim::HarnessAndAgent,
    Victim::HarnessAndGuard,
    Victim::StoppedHarness,
    Victim::StoppedAgent,
];

const ON_VOLUMES: &str = "runs on etcd with volumes";
/// A node that was frozen has lost its power; a volume is frozen; either is about to happen.
const WHILE: [&str; 3] = ["power", "freeze", ""];

#[test]
fn kills_of_runs_leave_nothing_on_servers_that_live_on() {
    let system = std::env::var("FIREDRILL_STORM_SYSTEM").unwrap_or_else(|_| "etcd".to_owned());
    match system.as_str() {
        "etcd" => kills("runs on etcd at random instants", &system, &[""]),
        "volumes" => kills(ON_VOLUMES, &system, &WHILE),
        _ => kills("runs on PostgreSQL at random instants", &system, &[""]),
    }
}

#[test]
fn kills_while_volumes_are_frozen_or_without_power_leave_nothing() {
    kills(ON_VOLUMES, "volumes", &WHILE);
}

/// Kills at random instants, each of a span that begins when one of these faults is in force, or with the storm.
fn kills(name: &'static str, system: &str, faults: &[&str]) {
    let seed = number("FIREDRILL_STORM_SEED").unwrap_or_else(clock::boottime_nanos);
    let kills = number("FIREDRILL_STORM_KILLS").unwrap_or(FEW);
    let Some(mut storm) = Living::start(name, system, seed) else { return };
    let window = Duration::from_secs(if kills == FEW { 2 } else { 5 });
    for (number, victim) in AT_RANDOM.into_iter().cycle().enumerate().take(usize::try_from(kills).unwrap()) {
        // Every victim with every fault, in the end.
        let fault = faults[(number + number / AT_RANDOM.len()) % faults.len()];
        storm.cycle(victim, "", fault, window);
    }
    storm.end();
}

#[test]
fn deaths_of_the_harness_between_any_two_steps_leave_nothing_on_servers_that_live_on() {
    let seed = number("FIREDRILL_STORM_SEED").unwrap_or_else(clock::boottime_nanos);
    let rounds = number("FIREDRILL_STORM_ROUNDS").unwrap_or(1);
    let Some(mut storm) = Living::start("the harness between two steps", "steps", seed) else { return };
    let all = OF_HARNESS.map(ToOwned::to_owned);
    for round in 0..rounds {
        for point in OF_HARNESS {
            // The first time that it is passed, and later ones, when more is in force; a run has one journal only.
            let once =
                ["harness-journal", "harness-before-close", "harness-closed"].iter().any(|of| point.starts_with(of));
            let asked = if round == 0 || once { point.to_owned() } else { format!("{point}@{}", round % 4 + 1) };
            storm.cycle(Victim::Point, &asked, "", Duration::ZERO);
        }
    }
    for _ in 1..TRIES {
        for point in storm.tally.unpassed(&all) {
            storm.cycle(Victim::Point, &point, "", Duration::ZERO);
        }
    }
    assert_eq!(storm.tally.unpassed(&all), Vec::<String>::new());
    storm.end();
}
