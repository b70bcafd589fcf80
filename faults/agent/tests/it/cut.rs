//! Cutting links.

use firedrill_agent::protocol::{Answer, Ask, By, RefusalKind};
use firedrill_core::action::{Action, Endpoint, Link, Presence};

use crate::agent::{Agent, LONG, refusal};
use crate::world::{cut, link, node, wait, world};

#[test]
fn a_cut_bites_and_is_gone() {
    let Some(world) = world() else { return };
    let mut agent = Agent::start(&world, LONG);
    let undo = agent.prepare(&cut(1, 2));
    assert_eq!(undo.creates, [format!("nft bridge {}", undo.tag)]);
    agent.sees(&undo, Presence::Absent);
    let from = agent.apply(&undo, None);
    agent.sees(&undo, Presence::Full);
    assert_eq!(agent.probe(&undo).evidence, "n1→n2: 0 of 3 packets arrived; n2→n1: 0 of 3 packets arrived");
    assert!(!world.passes(1, 2));
    assert!(world.passes(1, 3) && world.passes(2, 3));
    let (held, by) = agent.revert(&undo);
    let held = held.expect("it was in force");
    assert!(held.from == from && held.to > from && by == By::Asked);
    agent.sees(&undo, Presence::Absent);
    assert!(world.passes(1, 2));
    assert_eq!(agent.inventory(), [""; 0]);
    assert_eq!(world.ruleset(), "");
}

#[test]
fn one_direction_leaves_the_other() {
    let Some(world) = world() else { return };
    let mut agent = Agent::start(&world, LONG);
    let one_way = agent.inject(&Action::Cut { links: vec![link(1, 2)], port: None });
    let both = agent.prepare(&cut(1, 2));
    agent.sees(&one_way, Presence::Full);
    agent.sees(&both, Presence::Partial);
    assert_eq!(agent.probe(&both).evidence, "n1→n2: 0 of 3 packets arrived; n2→n1: 3 of 3 packets arrived");
}

#[test]
fn clients_can_be_cut() {
    let Some(world) = world() else { return };
    let mut agent = Agent::start(&world, LONG);
    let to = Link { from: Endpoint::Clients, to: Endpoint::Node(node(1)) };
    let undo = agent.inject(&Action::Cut { links: vec![to], port: None });
    assert_eq!(agent.probe(&undo).evidence, "clients→n1: 0 of 3 packets arrived");
    assert!(!world.passes(4, 1) && world.passes(4, 2));
}

#[test]
fn reverting_twice_or_without_apply_is_fine() {
    let Some(world) = world() else { return };
    let mut agent = Agent::start(&world, LONG);
    let never = agent.prepare(&cut(1, 2));
    assert_eq!(agent.revert(&never), (None, By::Asked));
    let undo = agent.inject(&cut(1, 2));
    let first = agent.revert(&undo);
    assert_eq!(agent.revert(&undo), first);
    let again = agent.ask(Ask::Apply { undo, hold_nanos: None });
    assert_eq!(refusal(again).kind, RefusalKind::Order);
}

#[test]
fn two_cuts_do_not_touch_each_other() {
    let Some(world) = world() else { return };
    let mut agent = Agent::start(&world, LONG);
    let (first, second) = (agent.inject(&cut(1, 2)), agent.inject(&cut(1, 2)));
    agent.revert(&first);
    agent.sees(&second, Presence::Full);
    assert_eq!(agent.inventory(), [format!("nft table bridge {} of the switch", second.tag)]);
    agent.revert(&second);
    agent.sees(&second, Presence::Absent);
}

#[test]
fn tables_of_others_stay() {
    let Some(world) = world() else { return };
    let status = world.switch.command("nft").args(["add", "table", "bridge", "filter"]).status();
    assert!(status.expect("nft runs").success());
    let mut agent = Agent::start(&world, LONG);
    let mut undo = agent.inject(&cut(1, 2));
    let theirs = "nft table bridge filter of the switch".to_owned();
    assert_eq!(agent.inventory(), [format!("nft table bridge {} of the switch", undo.tag), theirs.clone()]);
    agent.revert(&undo);
    assert_eq!(agent.inventory(), [theirs]);
    undo.tag = "filter".to_owned();
    assert_eq!(refusal(agent.ask(Ask::Revert { undo })).kind, RefusalKind::Order);
    assert_eq!(world.ruleset().trim(), "table bridge filter {\n}");
}

#[test]
fn a_half_made_cut_is_no_cut() {
    let Some(world) = world() else { return };
    let mut agent = Agent::start(&world, LONG);
    let undo = agent.prepare(&cut(1, 2));
    // The name is taken, so that the kernel refuses the batch.
    let status = world.switch.command("nft").args(["add", "table", "bridge", &undo.tag]).status();
    assert!(status.expect("nft runs").success());
    let refused = refusal(agent.ask(Ask::Apply { undo: undo.clone(), hold_nanos: None }));
    assert_eq!((refused.kind, refused.errno), (RefusalKind::System, Some(17)), "{refused}");
    agent.sees(&undo, Presence::Absent);
    assert_eq!(agent.revert(&undo), (None, By::Asked));
    assert_eq!(world.ruleset(), "");
}

#[test]
fn the_death_of_the_agent_ends_its_cuts() {
    let Some(world) = world() else { return };
    let mut agent = Agent::start(&world, LONG);
    agent.inject(&cut(1, 2));
    assert!(world.ruleset().contains("flags owner"), "{}", world.ruleset());
    agent.kill_9();
    wait("the table is gone", || world.ruleset().is_empty().then_some(()));
    assert!(world.passes(1, 2));
}

#[test]
fn what_is_not_there_cannot_be_cut() {
    let Some(world) = world() else { return };
    let mut agent = Agent::start(&world, LONG);
    for links in [vec![], vec![link(1, 9)], vec![link(1, 1)]] {
        let answer = agent.try_prepare(&Action::Cut { links: links.clone(), port: None });
        assert!(!matches!(answer, Answer::Prepared(_)), "{links:?}");
        assert_eq!(refusal(answer).kind, RefusalKind::NoTarget);
    }
}
