//! `firedrill-agent heal`: what agents leave that died together with their guard is undone, out of their journals and by its
//! tag, and nothing else is touched.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;

use firedrill_agent::heal::{ARGUMENT, Job, Told};
use firedrill_agent::journal::{Entry, Journal};
use firedrill_agent::protocol::{Ask, Request};
use firedrill_core::action::{Action, Undo};
use firedrill_core::harm::{ClockChange, DiskHarm, DiskTarget, Occurrence, Pressure};
use firedrill_sys::press;
use firedrill_sys::process::{OwnProcess, State, own_processes};
use nix::sys::signal::Signal;

use std::time::Duration;

use firedrill_sys::clock;

use crate::agent::{Agent, LONG};
use crate::served::ServedDisk;
use crate::world::{World, cut, node, pause, wait, world};

/// To heal after the agents of a world.
pub(crate) fn job(world: &World) -> Job {
    let config = world.config(LONG);
    Job {
        tag: config.tag_prefix.clone(),
        journals: config.journal.into_iter().collect(),
        folders: vec![world.folder().to_owned()],
        everywhere: true,
        prefix: String::new(),
    }
}

/// Heals from outside of the switch, as `firedrill heal` does: what was told, and whether nothing is left.
pub(crate) fn heal(job: &Job) -> (Vec<Told>, bool) {
    heal_failing(job, "")
}

/// The same, and what comes by that point fails; see `failpoint.rs`.
#[expect(clippy::disallowed_methods, reason = "the program is what is tested")]
fn heal_failing(job: &Job, point: &str) -> (Vec<Told>, bool) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_firedrill-agent"));
    command.env("FIREDRILL_FAILPOINT", point);
    command.arg(ARGUMENT).arg(serde_json::to_string(job).expect("a job")).stderr(Stdio::inherit());
    let output = command.output().expect("it runs");
    let lines = String::from_utf8(output.stdout).expect("text");
    (lines.lines().map(|line| serde_json::from_str(line).expect("a line")).collect(), output.status.success())
}

/// Writes the journal of an agent that is gone: what it may have done.
fn planted(world: &World, undos: &[Undo]) {
    let config = world.config(LONG);
    let mut journal = Journal::create(config.journal.as_ref().expect("a folder"), &config).expect("a journal");
    for undo in undos {
        journal.write(&Entry::Intent { undo: undo.clone() }).expect("written");
    }
    journal.close().expect("left");
}

fn state(world: &World, number: u8) -> State {
    world.processes(number)[0].state
}

fn nft(world: &World, arguments: &str) {
    let status = world.switch.command("nft").args(arguments.split(' ')).status().expect("nft runs");
    assert!(status.success(), "nft {arguments}");
}

#[test]
fn what_is_left_in_force_is_undone_and_what_is_not_ours_stays() {
    let Some(world) = world() else { return };
    world.start(1, "sleep", &["600"]);
    world.start(2, "sleep", &["600"]);
    for number in [1, 2] {
        Agent::signal(world.processes(number)[0].pid, Signal::SIGSTOP);
        wait("it is stopped", || (state(&world, number) == State::Stopped).then_some(()));
    }
    let prefix = world.config(LONG).tag_prefix;
    let table = format!("{prefix}1");
    nft(&world, &format!("add table bridge {table}"));
    for theirs in ["theirs", "fd-theirs", &format!("{prefix}filter")] {
        nft(&world, &format!("add table bridge {theirs}"));
    }
    // A clock whose teller is gone, and one that is somebody else's.
    let (ours, theirs) = (world.clocks(1).join("sleep"), world.clocks(2).join("sleep"));
    for (folder, tag) in [(&ours, format!("{prefix}2")), (&theirs, "fd-2x-2".to_owned())] {
        std::fs::create_dir_all(folder).expect("a folder");
        std::os::unix::fs::symlink("/proc/0/comm", folder.join(&tag)).expect("a link");
        std::os::unix::fs::symlink(&tag, folder.join("offset")).expect("a link");
    }
    let process = |number: u8| firedrill_agent::world::reference(&world.processes(number)[0]);
    let stopped = Undo { processes: vec![process(1)], ..Undo::new(format!("{prefix}3"), pause(1, None)) };
    let change = ClockChange::Offset { nanos: 1 };
    let clock = Action::ShiftClock { node: node(1), process: None, change };
    let mut shifted = Undo::new(format!("{prefix}2"), clock);
    shifted.creates = vec![format!("clock {}", ours.join(&shifted.tag).display())];
    planted(&world, &[stopped, shifted]);
    let (told, clean) = heal(&job(&world));
    assert!(clean, "{told:?}");
    let undone = told.iter().filter(|told| matches!(told, Told::Undone { .. })).count();
    assert_eq!(undone, 2, "{told:?}");
    assert!(told.contains(&Told::Removed { what: format!("nft table bridge {table}") }), "{told:?}");
    assert_eq!((state(&world, 1), state(&world, 2)), (State::Alive, State::Stopped));
    let rules = world.ruleset();
    assert!(!rules.contains(&format!("{table} ")), "{rules}");
    assert_eq!(rules.matches("table bridge").count(), 3, "{rules}");
    assert_eq!(std::fs::read_dir(&ours).expect("read").count(), 0);
    assert_eq!(std::fs::read_dir(&theirs).expect("read").count(), 2);
    assert_eq!(heal(&job(&world)), (Vec::new(), true), "once more");
}

#[test]
fn one_failing_undo_keeps_none_of_the_others_from_being_tried_and_its_command_is_said() {
    let Some(world) = world() else { return };
    world.start(1, "sleep", &["600"]);
    Agent::signal(world.processes(1)[0].pid, Signal::SIGSTOP);
    let prefix = world.config(LONG).tag_prefix;
    let process = firedrill_agent::world::reference(&world.processes(1)[0]);
    // There is no volume in this world, so that this one cannot be undone.
    let lost = Undo::new(format!("{prefix}9"), Action::LosePower { nodes: vec![node(2)] });
    let stopped = Undo { processes: vec![process], ..Undo::new(format!("{prefix}8"), pause(1, None)) };
    planted(&world, &[stopped, lost]);
    for _ in 0..2 {
        let (told, clean) = heal(&job(&world));
        assert!(!clean, "{told:?}");
        let left: Vec<&Told> = told.iter().filter(|told| matches!(told, Told::Left { .. })).collect();
        let [Told::Left { what, why, remedy }] = left[..] else { panic!("{told:?}") };
        assert!(what.contains("power loss of n2") && why.contains("no volume") && !remedy.is_empty(), "{what} {why}");
        assert_eq!(state(&world, 1), State::Alive);
    }
}

/// Has agent, guard and hog killed that have lowered the limits of node 1.
fn lower_limits_and_die(world: &World) {
    let mut agent = Agent::start(world, LONG);
    agent.inject(&Action::Press { node: node(1), pressure: Pressure::Fds { spare: 0 } });
    for pid in [hogs(world)[0], agent.guard().expect("a guard")] {
        Agent::signal(pid, Signal::SIGKILL);
    }
    agent.kill_9();
}

#[test]
fn limits_are_put_back_although_agent_guard_and_hog_are_killed() {
    let Some(world) = world() else { return };
    world.start(1, "sleep", &["600"]);
    let pid = world.processes(1)[0].pid;
    let limit = || press::file_limit(pid).expect("a limit").soft;
    let before = limit();
    lower_limits_and_die(&world);
    assert!(limit() < before, "it stays");
    let (told, clean) = heal(&job(&world));
    assert!(clean, "{told:?}");
    assert_eq!(limit(), before);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what a person would type")]
fn the_command_that_puts_limits_back_works_as_it_is_told() {
    let Some(world) = world() else { return };
    // As servers of a lab are: somebody else's than root's, who may not change their limits everywhere.
    world.start_as(65_534, 1, "sleep", &["600"]);
    let pid = world.processes(1)[0].pid;
    let limit = || press::file_limit(pid).expect("a limit").soft;
    let before = limit();
    lower_limits_and_die(&world);
    let (told, _) = heal_failing(&job(&world), "press-mid-revert,refuse");
    let left = told.iter().find_map(|told| if let Told::Left { remedy, .. } = told { Some(remedy) } else { None });
    let remedy = left.unwrap_or_else(|| panic!("{told:?}"));
    assert!(limit() < before, "it stays");
    let without = ["--bounding-set=-sys_resource", "--inh-caps=-sys_resource", "sh", "-c", remedy];
    let typed = std::process::Command::new("setpriv").args(without).status().expect("setpriv runs");
    assert!(typed.success(), "{remedy}");
    assert_eq!(limit(), before, "{remedy}");
    assert!(heal(&job(&world)).1, "once more");
}

/// The hogs of this world's agents.
fn hogs(world: &World) -> Vec<i32> {
    let prefix = world.config(LONG).tag_prefix;
    let ours = |one: &OwnProcess| one.role.as_deref() == Some("hog") && one.tag.as_ref() == Some(&prefix);
    own_processes().expect("read").into_iter().filter(ours).map(|one| one.process.pid).collect()
}

#[test]
fn what_hangs_without_an_agent_is_ended() {
    let Some(world) = world() else { return };
    let program = env!("CARGO_BIN_EXE_firedrill-agent");
    let tag = world.config(LONG).tag_prefix;
    let orphaned = format!("sleep 600 | FIREDRILL_TAG={tag} {program} hog > /dev/null &");
    let started = world.end(1).command("sh").args(["-c", &orphaned]).status().expect("sh runs");
    assert!(started.success());
    wait("an orphan", || (hogs(&world).len() == 1).then_some(()));
    let (told, clean) = heal(&job(&world));
    assert!(clean && matches!(&told[..], [Told::Removed { what }] if what.contains("(hog)")), "{told:?}");
    assert!(hogs(&world).is_empty());
}

#[test]
fn a_living_agent_is_spared() {
    let Some(world) = world() else { return };
    world.start(1, "sleep", &["600"]);
    let mut agent = Agent::start(&world, LONG);
    let (cut, paused) = (agent.inject(&cut(1, 2)), agent.inject(&pause(1, None)));
    let everything =
        Job { tag: world.config(LONG).tag_prefix, folders: vec![PathBuf::from("/nonexistent")], ..job(&world) };
    let (told, clean) = heal(&everything);
    assert!(clean, "{told:?}");
    assert_eq!(told, [Told::Live { tag: world.config(LONG).tag_prefix }]);
    agent.sees(&cut, firedrill_core::action::Presence::Full);
    agent.sees(&paused, firedrill_core::action::Presence::Full);
}

#[test]
fn an_agent_that_is_killed_while_it_waits_for_the_disk_it_has_stalled_ends_and_the_stall_with_it() {
    let Some(mut world) = world() else { return };
    world.disk = ServedDisk::start();
    let Some(at) = world.disk.as_ref().map(|disk| disk.at.clone()) else { return };
    world.with_starter(None);
    world.start(3, "sleep", &["600"]);
    let mut agent = Agent::start(&world, LONG);
    let target = DiskTarget { path: None, ops: BTreeSet::new(), when: Occurrence::Always };
    agent.inject(&Action::HarmDisk { node: node(3), target, how: DiskHarm::Stall, seed: 1 });
    // It writes its marks to the disk first, and waits there, in the kernel.
    let undo = agent.prepare(&Action::LosePower { nodes: vec![node(3)] });
    let line = serde_json::to_string(&Request { id: 900, ask: Ask::Apply { undo, hold_nanos: None } });
    agent.say(&line.expect("a line"));
    // Soon it waits in the kernel, where a kill does not end it. Should it not yet, the test says less.
    clock::until(Duration::from_millis(700), Duration::from_millis(10), || None::<()>);
    agent.kill_9();
    let tried = std::thread::spawn(move || std::fs::write(at.join("data/tried"), "x"));
    wait("the disk goes on", || tried.is_finished().then_some(()));
}
