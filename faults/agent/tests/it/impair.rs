//! Impairing links: each kind bites where it should and nowhere else, and is gone with its revert or its wire.

use std::time::Duration;

use firedrill_agent::protocol::{Ask, By, RefusalKind};
use firedrill_core::action::{Action, Endpoint, Link, Presence, Undo};
use firedrill_core::harm::{Chance, Impairment};

use crate::agent::{Agent, LONG, refusal};
use crate::world::{World, link, node, wait, world};

const SEED: u64 = 7;

pub(crate) fn impair(links: &[Link], port: Option<u16>, how: Impairment) -> Action {
    Action::Impair { links: links.to_vec(), port, how, seed: SEED }
}

pub(crate) fn both() -> [Link; 2] {
    [link(1, 2), link(2, 1)]
}

pub(crate) fn delay(millis: u64) -> Impairment {
    Impairment::Delay { delay: Duration::from_millis(millis), jitter: Duration::ZERO }
}

pub(crate) fn percent(percent: u32) -> Chance {
    Chance::per_million(percent * 10_000)
}

/// One of each kind.
pub(crate) fn each_kind() -> [Impairment; 10] {
    [
        delay(20),
        Impairment::Delay { delay: Duration::from_millis(30), jitter: Duration::from_millis(30) },
        Impairment::Loss { chance: percent(10) },
        Impairment::Duplicate { chance: percent(10) },
        Impairment::Corrupt { chance: percent(10) },
        Impairment::Reorder { chance: percent(10), by: Duration::from_millis(5) },
        Impairment::Bandwidth { bytes_per_second: 200_000 },
        Impairment::Reset,
        Impairment::Refuse,
        Impairment::HalfOpen,
    ]
}

/// In force on both directions between n1 and n2, absent before and after, and never between n1 and n3.
#[track_caller]
fn bites(world: &World, how: Impairment) {
    let mut agent = Agent::start(world, LONG);
    let undo = agent.prepare(&impair(&both(), None, how));
    let elsewhere = agent.prepare(&impair(&[link(1, 3), link(3, 1)], None, how));
    assert_eq!(undo.creates, [format!("nft bridge {}", undo.tag)]);
    agent.sees(&undo, Presence::Absent);
    agent.apply(&undo, None);
    agent.sees(&undo, Presence::Full);
    agent.sees(&elsewhere, Presence::Absent);
    assert!(agent.revert(&undo).0.is_some());
    agent.sees(&undo, Presence::Absent);
    assert_eq!(agent.inventory(), [""; 0]);
    assert_eq!(world.ruleset(), "");
    assert!(world.passes(1, 2));
}

#[test]
fn each_kind_bites_and_is_gone() {
    let Some(world) = world() else { return };
    for how in each_kind() {
        bites(&world, how);
    }
}

#[test]
fn one_direction_leaves_the_other() {
    let Some(world) = world() else { return };
    let mut agent = Agent::start(&world, LONG);
    let one_way = agent.inject(&impair(&[link(1, 2)], None, delay(30)));
    agent.sees(&one_way, Presence::Full);
    let back = agent.prepare(&impair(&[link(2, 1)], None, delay(30)));
    agent.sees(&back, Presence::Absent);
}

#[test]
fn clients_can_be_impaired() {
    let Some(world) = world() else { return };
    let mut agent = Agent::start(&world, LONG);
    let to = Link { from: Endpoint::Clients, to: Endpoint::Node(node(1)) };
    let undo = agent.inject(&impair(&[to], None, delay(30)));
    agent.sees(&undo, Presence::Full);
    assert!(agent.probe(&undo).evidence.starts_with("clients→n1: 30 packets took"));
}

#[test]
fn a_port_leaves_the_others() {
    let Some(world) = world() else { return };
    let mut agent = Agent::start(&world, LONG);
    let of_port = agent.inject(&impair(&both(), Some(5432), Impairment::Loss { chance: percent(50) }));
    agent.sees(&of_port, Presence::Full);
    for port in [None, Some(5433)] {
        let other = agent.prepare(&impair(&both(), port, Impairment::Loss { chance: percent(50) }));
        agent.sees(&other, Presence::Absent);
    }
    let cut = agent.inject(&Action::Cut { links: both().to_vec(), port: Some(8008) });
    agent.sees(&cut, Presence::Full);
    assert!(world.passes(1, 2));
    agent.revert(&cut);
    agent.sees(&cut, Presence::Absent);
}

#[test]
fn two_impairments_of_a_link_both_bite() {
    let Some(world) = world() else { return };
    two_bite(&world, &both());
}

/// Together, and the second alone when the first is over.
pub(crate) fn two_bite(world: &World, links: &[Link]) {
    let mut agent = Agent::start(world, LONG);
    let late = agent.inject(&impair(links, None, delay(30)));
    let twice = agent.inject(&impair(links, None, Impairment::Duplicate { chance: percent(50) }));
    agent.sees(&late, Presence::Full);
    agent.sees(&twice, Presence::Full);
    agent.revert(&late);
    agent.sees(&late, Presence::Absent);
    agent.sees(&twice, Presence::Full);
    agent.revert(&twice);
    agent.sees(&twice, Presence::Absent);
}

#[test]
fn a_cut_bites_on_a_link_that_is_impaired() {
    let Some(world) = world() else { return };
    cuts_what_is_impaired(&world);
}

/// Whichever came first; and each alone when the other is over.
pub(crate) fn cuts_what_is_impaired(world: &World) {
    let mut agent = Agent::start(world, LONG);
    let cut = Action::Cut { links: both().to_vec(), port: None };
    let (late, first) = (agent.inject(&impair(&both(), None, delay(30))), agent.inject(&cut));
    agent.sees(&first, Presence::Full);
    assert!(!world.passes(1, 2));
    agent.revert(&first);
    agent.sees(&first, Presence::Absent);
    agent.sees(&late, Presence::Full);
    agent.revert(&late);
    let second = agent.inject(&cut);
    let late = agent.inject(&impair(&both(), None, delay(30)));
    agent.sees(&second, Presence::Full);
    agent.revert(&late);
    agent.sees(&second, Presence::Full);
    agent.revert(&second);
    agent.sees(&late, Presence::Absent);
    assert_eq!(agent.inventory(), [""; 0]);
}

/// The wires among the processes of the switch.
pub(crate) fn wires(world: &World) -> Vec<i32> {
    let command = |pid: i32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let is_wire = |pid: &i32| command(*pid).split(|byte| *byte == 0).nth(1) == Some(b"wire");
    world.switch_processes()().iter().map(|process| process.pid).filter(is_wire).collect()
}

#[test]
fn a_wire_that_dies_or_hangs_ends_the_impairment_early() {
    let Some(world) = world() else { return };
    let mut agent = Agent::start(&world, LONG);
    for signal in [9, 19] {
        let undo = agent.inject(&impair(&both(), None, delay(30)));
        let [wire] = wires(&world)[..] else { panic!("one wire, not {:?}", wires(&world)) };
        let start = firedrill_sys::process::Process::read(wire).expect("it runs").start;
        assert!(firedrill_sys::process::signal(wire, start, signal).expect("signalled"));
        let (tag, by, held) = agent.notice();
        assert_eq!((tag, by), (undo.tag.clone(), By::Lost));
        assert!(held.to >= held.from);
        agent.sees(&undo, Presence::Absent);
        assert_eq!(world.ruleset(), "");
        assert!(wires(&world).is_empty());
    }
}

#[test]
fn the_death_of_the_agent_ends_its_impairments() {
    let Some(world) = world() else { return };
    let mut agent = Agent::start(&world, LONG);
    agent.inject(&impair(&both(), None, Impairment::Loss { chance: Chance::CERTAIN }));
    assert!(world.ruleset().contains("flags owner"), "{}", world.ruleset());
    assert!(!world.passes(1, 2));
    agent.kill_9();
    wait("the table is gone", || world.ruleset().is_empty().then_some(()));
    wait("the wire is gone", || wires(&world).is_empty().then_some(()));
    assert!(world.passes(1, 2));
}

#[test]
fn a_revert_leaves_no_wire() {
    let Some(world) = world() else { return };
    let mut agent = Agent::start(&world, LONG);
    let undo = agent.inject(&impair(&both(), None, delay(10)));
    assert_eq!(wires(&world).len(), 1);
    agent.revert(&undo);
    assert!(wires(&world).is_empty());
    agent.revert(&undo);
    let never: Undo = agent.prepare(&impair(&both(), None, delay(10)));
    assert_eq!(agent.revert(&never).0, None);
}

#[test]
fn a_half_made_impairment_is_none() {
    let Some(world) = world() else { return };
    let mut agent = Agent::start(&world, LONG);
    let undo = agent.prepare(&impair(&both(), None, delay(30)));
    // The name is taken, so that the kernel refuses the table.
    let status = world.switch.command("nft").args(["add", "table", "bridge", &undo.tag]).status();
    assert!(status.expect("nft runs").success());
    let refused = refusal(agent.ask(Ask::Apply { undo: undo.clone(), hold_nanos: None }));
    assert_eq!(refused.kind, RefusalKind::System, "{refused}");
    let status = world.switch.command("nft").args(["delete", "table", "bridge", &undo.tag]).status();
    assert!(status.expect("nft runs").success());
    agent.sees(&undo, Presence::Absent);
    assert!(wires(&world).is_empty());
}
