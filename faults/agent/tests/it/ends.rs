//! Links that are cut and impaired at the nodes' own ends: what leaves a node, and what reaches it from where no agent is.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use firedrill_agent::heal::Told;
use firedrill_agent::protocol::{Ask, By, RefusalKind};
use firedrill_core::action::{Action, Endpoint, Link, Presence};
use firedrill_core::harm::{Chance, Impairment};
use firedrill_sys::clock;

use crate::agent::{Agent, LONG, refusal};
use crate::heal::{heal, job};
use crate::impair::{both, cuts_what_is_impaired, delay, each_kind, impair, percent, two_bite, wires};
use crate::world::{cut, link, node, wait, world_at_ends};

/// Where it is taken: what n1 sends to n2 at n1, and both directions between n1 and the clients at n1.
fn all_ways() -> [Link; 3] {
    let n1 = || Endpoint::Node(node(1));
    let with_clients = [(Endpoint::Clients, n1()), (n1(), Endpoint::Clients)];
    let [to, from] = with_clients.map(|(from, to)| Link { from, to });
    [link(1, 2), to, from]
}

#[test]
fn each_kind_bites_and_is_gone() {
    let Some(world) = world_at_ends() else { return };
    let mut agent = Agent::start(&world, LONG);
    for how in each_kind() {
        let undo = agent.prepare(&impair(&all_ways(), None, how));
        assert!(undo.creates[0].starts_with(&format!("nft netdev {} in /proc/", undo.tag)), "{:?}", undo.creates);
        let elsewhere = agent.prepare(&impair(&[link(1, 3), link(2, 3)], None, how));
        agent.apply(&undo, None);
        agent.sees(&undo, Presence::Full);
        agent.sees(&elsewhere, Presence::Absent);
        assert!(agent.revert(&undo).0.is_some());
        agent.sees(&undo, Presence::Absent);
        assert_eq!((agent.inventory(), world.at_ends()), (vec![], vec![]), "{how:?}");
    }
    assert!(world.passes(1, 2) && world.passes(4, 1));
}

#[test]
fn one_direction_and_one_port_leave_the_others() {
    let Some(world) = world_at_ends() else { return };
    let mut agent = Agent::start(&world, LONG);
    let one_way = agent.inject(&impair(&[link(1, 2)], None, delay(30)));
    agent.sees(&one_way, Presence::Full);
    let back = agent.prepare(&impair(&[link(2, 1)], None, delay(30)));
    agent.sees(&back, Presence::Absent);
    agent.revert(&one_way);
    let of_port = agent.inject(&impair(&all_ways(), Some(5432), Impairment::Loss { chance: percent(50) }));
    agent.sees(&of_port, Presence::Full);
    let other = agent.prepare(&impair(&all_ways(), Some(5433), Impairment::Loss { chance: percent(50) }));
    agent.sees(&other, Presence::Absent);
}

#[test]
fn two_impairments_of_a_link_both_bite() {
    let Some(world) = world_at_ends() else { return };
    two_bite(&world, &all_ways());
}

#[test]
fn cuts_are_silent_and_gone() {
    let Some(world) = world_at_ends() else { return };
    let mut agent = Agent::start(&world, LONG);
    let undo = agent.inject(&Action::Cut { links: all_ways().to_vec(), port: None });
    let silence =
        "n1→n2: 0 of 3 packets arrived; clients→n1: 0 of 3 packets arrived; n1→clients: 0 of 3 packets arrived";
    assert_eq!(agent.probe(&undo).evidence, silence, "nobody is refused what is sent");
    let back = agent.prepare(&Action::Cut { links: vec![link(2, 1)], port: None });
    agent.sees(&back, Presence::Absent);
    agent.revert(&undo);
    agent.sees(&undo, Presence::Absent);
    let of_port = agent.inject(&Action::Cut { links: all_ways().to_vec(), port: Some(8008) });
    agent.sees(&of_port, Presence::Full);
    assert!(world.passes(1, 2) && world.passes(4, 1));
    agent.revert(&of_port);
    assert_eq!((agent.inventory(), world.at_ends()), (vec![], vec![]));
}

#[test]
fn a_cut_bites_on_a_link_that_is_impaired() {
    let Some(world) = world_at_ends() else { return };
    cuts_what_is_impaired(&world);
}

/// How long a byte takes there and back.
fn round_trip([near, far]: &mut [TcpStream; 2]) -> Duration {
    let began = clock::boottime_nanos();
    near.write_all(b"x").expect("sent");
    far.read_exact(&mut [0]).expect("it comes");
    far.write_all(b"y").expect("sent");
    near.read_exact(&mut [0]).expect("it comes back");
    Duration::from_nanos(clock::boottime_nanos() - began)
}

#[test]
fn connections_go_on_when_the_wire_or_the_agent_dies() {
    let Some(world) = world_at_ends() else { return };
    let slow = Duration::from_millis(100);
    let mut connections = [world.connection(1, 2), world.connection(4, 1)];
    let mut links = all_ways().to_vec();
    links.push(link(2, 1));
    let mut agent = Agent::start(&world, LONG);
    for dies in ["the wire", "the agent"] {
        let undo = agent.inject(&impair(&links, None, delay(50)));
        for connection in &mut connections {
            let took = round_trip(connection);
            assert!(took >= slow, "{took:?}");
        }
        if dies == "the wire" {
            let [wire] = wires(&world)[..] else { panic!("one wire, not {:?}", wires(&world)) };
            let start = firedrill_sys::process::Process::read(wire).expect("it runs").start;
            assert!(firedrill_sys::process::signal(wire, start, 9).expect("signalled"));
            let (tag, by, _) = agent.notice();
            assert_eq!((tag, by), (undo.tag, By::Lost));
        } else {
            agent.kill_9();
        }
        wait("nothing is left", || world.at_ends().is_empty().then_some(()));
        for connection in &mut connections {
            // What was lost with it is sent again.
            wait(&format!("{dies} delays nothing"), || (round_trip(connection) < slow).then_some(()));
        }
    }
}

/// Large segments and checksums that are left to hardware pass whole, in both directions.
#[test]
fn what_is_delayed_arrives_whole() {
    let Some(world) = world_at_ends() else { return };
    let bytes: Vec<u8> = (0..4_000_000_u32).map(|i| u8::try_from(i * 7 % 251).expect("a byte")).collect();
    let mut agent = Agent::start(&world, LONG);
    let reorder = Impairment::Reorder { chance: percent(1), by: Duration::from_millis(3) };
    for how in [delay(3), reorder] {
        let undo = agent.inject(&impair(&all_ways(), None, how));
        for (from, to) in [(1, 2), (4, 1), (1, 4)] {
            let [mut near, mut far] = world.connection(from, to);
            far.set_read_timeout(Some(Duration::from_secs(30))).expect("an option");
            let sent = bytes.clone();
            let sends = thread::spawn(move || near.write_all(&sent));
            let mut arrived = Vec::new();
            far.read_to_end(&mut arrived).expect("it comes");
            assert!(sends.join().expect("a thread").is_ok() && arrived == bytes, "{from} to {to}: {how:?}");
        }
        agent.revert(&undo);
    }
}

#[test]
fn the_death_of_the_agent_ends_its_cuts() {
    let Some(world) = world_at_ends() else { return };
    let mut agent = Agent::start(&world, LONG);
    agent.inject(&cut(1, 2));
    assert!(world.at_ends().iter().all(|found| found.contains("flags owner")), "{:?}", world.at_ends());
    assert!(!world.passes(1, 2));
    agent.kill_9();
    wait("the tables are gone", || world.at_ends().is_empty().then_some(()));
    assert!(world.passes(1, 2));
}

#[test]
fn what_is_half_made_is_nothing() {
    let Some(world) = world_at_ends() else { return };
    let mut agent = Agent::start(&world, LONG);
    let everything = Impairment::Loss { chance: Chance::CERTAIN };
    for action in [Action::Cut { links: both().to_vec(), port: None }, impair(&both(), None, everything)] {
        let undo = agent.prepare(&action);
        // The second of the two tables cannot be made: its name is taken.
        let nft = |verb: &str| {
            let status = world.end(2).command("nft").args([verb, "table", "netdev", &undo.tag]).status();
            status.expect("nft runs").success()
        };
        assert!(nft("add"));
        let refused = refusal(agent.ask(Ask::Apply { undo: undo.clone(), hold_nanos: None }));
        assert_eq!(refused.kind, RefusalKind::System, "{refused}");
        // A cut's undo has deleted it: nobody keeps it.
        assert_eq!(nft("delete"), matches!(action, Action::Impair { .. }));
        agent.sees(&undo, Presence::Absent);
        assert!(wires(&world).is_empty() && world.at_ends().is_empty(), "{:?}", world.at_ends());
    }
}

#[test]
fn what_a_living_agent_has_at_the_ends_is_spared_and_what_nobody_has_is_removed() {
    let Some(world) = world_at_ends() else { return };
    let mut agent = Agent::start(&world, LONG);
    let (severed, late) = (agent.inject(&cut(1, 3)), agent.inject(&impair(&both(), None, delay(30))));
    let orphan = format!("{}99", world.config(LONG).tag_prefix);
    let typed = |command: &str| {
        let status = world.end(3).command("sh").args(["-c", command]).status();
        assert!(status.expect("a shell runs").success(), "{command}");
    };
    typed(&format!("nft add table netdev {orphan}"));
    typed("ip tuntap add fdtap77 mode tap");
    let (told, clean) = heal(&job(&world));
    assert!(clean, "{told:?}");
    let removed = |told: &Told| if let Told::Removed { what } = told { Some(what.clone()) } else { None };
    let removed: Vec<String> = told.iter().filter_map(removed).collect();
    // Another agent's may have gone at the same time.
    assert!(removed.contains(&format!("nft table netdev {orphan}")), "{told:?}");
    assert!(removed.contains(&"TAP device fdtap77".to_owned()), "{told:?}");
    typed("! nft list tables | grep 99$ && ! ip link show fdtap77");
    agent.sees(&severed, Presence::Full);
    agent.sees(&late, Presence::Full);
}

#[test]
fn links_without_an_agent_at_either_end_are_refused() {
    let Some(world) = world_at_ends() else { return };
    let mut agent = Agent::start(&world, LONG);
    let answer = agent.try_prepare(&impair(&[Link { from: Endpoint::Clients, to: Endpoint::Clients }], None, delay(1)));
    assert_eq!(refusal(answer).kind, RefusalKind::NoTarget);
}
