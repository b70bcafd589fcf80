//! Impairing links: each kind bites where it should and nowhere else, and is gone with its revert or its wire.

use std::time::Duration;

use firedrill_agent::protocol::By;
use firedrill_core::action::{Action, Endpoint, Link, Presence, Undo};
use firedrill_core::harm::{Chance, Impairment};

use crate::agent::{Agent, LONG};
use crate::world::{World, link, node, wait, world};

const SEED: u64 = 7;

fn impair(links: &[Link], port: Option<u16>, how: Impairment) -> Action {
    Action::Impair { links: links.to_vec(), port, how, seed: SEED }
}

fn both() -> [Link; 2] {
    [link(1, 2), link(2, 1)]
}

fn delay(millis: u64) -> Impairment {
    Impairment::Delay { delay: Duration::from_millis(millis), jitter: Duration::ZERO }
}

fn percent(percent: u32) -> Chance {
    Chance::per_million(percent * 10_000)
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
    for how in [
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
    ] {
        bites(&world, how);
    }
}
