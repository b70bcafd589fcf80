//! The lab on this machine, with a small server of Python's as the system. A program of its own, without libtest,
//! because the lab starts its own program again.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a test, though not libtest's")]

use std::ffi::OsString;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::ExitCode;

use firedrill_platforms::lab;

use crate::ending::{
    an_unwound_panic_ends_the_lab, kill_9_of_the_harness_ends_the_lab, kill_9_of_the_holder_leaves_what_sweep_removes,
    up_lives_on_until_down,
};
use crate::healing::{
    power_is_back_before_servers_start_although_the_agent_died, what_bears_the_mark_of_no_lab_is_removed,
    what_is_left_in_a_lab_that_lives_on_is_healed_inside,
};
use crate::rig::PYTHON;
use crate::starting::{
    a_failed_start_leaves_nothing, a_template_is_cloned, ends_are_reported_and_units_return_when_asked,
    nodes_are_reached_and_have_their_own_home, preflight_finds_what_is_missing, two_labs_do_not_meet,
};

#[path = "../contract/mod.rs"]
mod contract;
mod ending;
mod healing;
mod keeping;
mod names;
mod residue;
mod rig;
mod starting;
mod user;
mod volumes;

/// A case and its name.
type Case = (&'static str, fn(&Path));

const CASES: &[Case] = &[
    ("preflight_finds_what_is_missing", preflight_finds_what_is_missing),
    ("nodes_are_reached_and_have_their_own_home", nodes_are_reached_and_have_their_own_home),
    ("nodes_with_names_ask_the_labs_name_server", names::nodes_with_names_ask_the_labs_name_server),
    (
        "whatever_is_left_is_told_with_the_command_that_undoes_it",
        residue::whatever_is_left_is_told_with_the_command_that_undoes_it,
    ),
    ("a_mount_of_the_hosts_comes_and_goes_as_it_likes", residue::a_mount_of_the_hosts_comes_and_goes_as_it_likes),
    ("a_harm_of_a_disk_that_is_left_is_told", residue::a_harm_of_a_disk_that_is_left_is_told),
    ("ends_are_reported_and_units_return_when_asked", ends_are_reported_and_units_return_when_asked),
    ("a_unit_that_is_asked_for_while_it_dies_comes_back", starting::a_unit_that_is_asked_for_while_it_dies_comes_back),
    ("a_loss_of_power_takes_a_frozen_volume_along", volumes::a_loss_of_power_takes_a_frozen_volume_along),
    ("the_lab_keeps_the_contract", keeping::the_lab_keeps_the_contract),
    ("a_failed_start_leaves_nothing", a_failed_start_leaves_nothing),
    ("a_template_is_cloned", a_template_is_cloned),
    ("two_labs_do_not_meet", two_labs_do_not_meet),
    ("kill_9_of_the_harness_ends_the_lab", kill_9_of_the_harness_ends_the_lab),
    ("kill_9_of_the_holder_leaves_what_sweep_removes", kill_9_of_the_holder_leaves_what_sweep_removes),
    ("up_lives_on_until_down", up_lives_on_until_down),
    ("what_is_left_in_a_lab_that_lives_on_is_healed_inside", what_is_left_in_a_lab_that_lives_on_is_healed_inside),
    ("what_bears_the_mark_of_no_lab_is_removed", what_bears_the_mark_of_no_lab_is_removed),
    (
        "power_is_back_before_servers_start_although_the_agent_died",
        power_is_back_before_servers_start_although_the_agent_died,
    ),
    ("an_unwound_panic_ends_the_lab", an_unwound_panic_ends_the_lab),
    ("an_ordinary_user_can_do_all_this", user::an_ordinary_user_can_do_all_this),
];

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let first = arguments.get(1).map(|argument| argument.to_string_lossy().into_owned()).unwrap_or_default();
    match (first.as_str(), arguments.get(2), arguments.get(3)) {
        (lab::init::ARGUMENT, _, _) => lab::init::main(),
        (lab::heal::INSIDE, _, _) => healing::heal_inside(),
        ("power", Some(work), Some(run)) => healing::power(Path::new(work), &run.to_string_lossy()),
        ("hold", Some(work), Some(run)) => rig::hold(Path::new(work), &run.to_string_lossy()),
        ("up", Some(work), Some(run)) => rig::up(Path::new(work), &run.to_string_lossy()),
        ("keep", Some(work), Some(group)) => keeping::keep(Path::new(work), &group.to_string_lossy()),
        ("--list", _, _) => ExitCode::SUCCESS,
        _ => run_cases(&first),
    }
}

fn run_cases(filter: &str) -> ExitCode {
    let filter = if filter.starts_with("--") { "" } else { filter };
    if !Path::new(PYTHON).exists() {
        eprintln!("SKIPPED: lab: {PYTHON} is not installed");
        return ExitCode::SUCCESS;
    }
    let (mut passed, mut failed) = (0, 0);
    for (name, case) in CASES.iter().filter(|(name, _)| name.contains(filter)) {
        let work = tempfile::tempdir().expect("a folder");
        let fine = std::panic::catch_unwind(AssertUnwindSafe(|| case(work.path()))).is_ok();
        (passed, failed) = if fine { (passed + 1, failed) } else { (passed, failed + 1) };
        println!("test {name} ... {}", if fine { "ok" } else { "FAILED" });
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
