//! Misleading about names, seen by real programs that ask for one through the C library.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Stdio;
use std::time::Duration;

use firedrill_agent::names::control::{Order, Reply, ask};
use firedrill_agent::protocol::{Ask, By, RefusalKind};
use firedrill_core::action::{Action, Presence};
use firedrill_core::harm::NameAnswer;
use nix::sys::signal::Signal;

use crate::agent::{Agent, LONG, refusal};
use crate::world::{World, node, wait, world};

const NOBODY: NameAnswer = NameAnswer::Wrong { address: Ipv4Addr::new(10, 77, 0, 250) };

fn with_names() -> Option<World> {
    let mut world = world()?;
    world.with_names();
    Some(world)
}

fn mislead(asker: u8, names: &[u8], answer: NameAnswer) -> Action {
    Action::MisleadNames { askers: vec![node(asker)], names: names.iter().map(|name| node(*name)).collect(), answer }
}

fn late(millis: u64) -> NameAnswer {
    NameAnswer::Delay { delay: Duration::from_millis(millis) }
}

/// What a program on a node is told of a name; empty when it is told of no address.
fn told(world: &World, asker: u8, name: u8) -> String {
    let mounts = world.config(LONG).nodes[0].ground.mounts.clone().expect("mounts");
    let mut command = world.end(asker).command("nsenter");
    command.arg(format!("--mount={}", mounts.display())).args(["getent", "ahostsv4", node(name).as_str()]);
    let output = command.stderr(Stdio::null()).output().expect("getent runs");
    let text = String::from_utf8(output.stdout).expect("text");
    text.split_whitespace().next().unwrap_or_default().to_owned()
}

#[test]
fn every_lie_bites_and_is_taken_back() {
    let Some(world) = with_names() else { return };
    let mut agent = Agent::start(&world, LONG);
    for (answer, want) in [
        (NOBODY, "10.77.0.250"),
        (NameAnswer::OtherNode, "10.77.0.3"),
        (NameAnswer::Failure, ""),
        (NameAnswer::NoSuchName, ""),
        (late(300), "10.77.0.2"),
        (late(20_000), ""),
    ] {
        let undo = agent.prepare(&mislead(1, &[2], answer));
        assert_eq!(told(&world, 1, 2), "10.77.0.2", "prepare changes nothing");
        agent.sees(&undo, Presence::Absent);
        assert_eq!(agent.revert(&undo), (None, By::Asked), "never applied");
        agent.apply(&undo, None);
        assert_eq!(told(&world, 1, 2), want, "{answer}");
        agent.sees(&undo, Presence::Full);
        assert_eq!((told(&world, 2, 2), told(&world, 1, 3)), ("10.77.0.2".to_owned(), "10.77.0.3".to_owned()));
        assert_eq!(agent.inventory(), [format!("lie of the name server {}", undo.tag)]);
        let (held, by) = agent.revert(&undo);
        assert!(held.is_some() && by == By::Asked);
        assert_eq!(agent.revert(&undo), (held, by), "a second time");
        agent.sees(&undo, Presence::Absent);
        assert_eq!((told(&world, 1, 2), agent.inventory()), ("10.77.0.2".to_owned(), Vec::new()));
    }
}

#[test]
fn two_lies_do_not_touch_each_other() {
    let Some(world) = with_names() else { return };
    let mut agent = Agent::start(&world, LONG);
    let (all, one) =
        (agent.inject(&mislead(1, &[1, 2, 3], NameAnswer::Failure)), agent.inject(&mislead(1, &[2], NOBODY)));
    agent.sees(&one, Presence::Full);
    assert_ne!(agent.probe(&all).presence, Presence::Full, "another one hides a part of it");
    agent.revert(&one);
    agent.sees(&all, Presence::Full);
    let two = agent.inject(&mislead(2, &[3], NOBODY));
    agent.revert(&all);
    agent.sees(&two, Presence::Full);
    assert_eq!((told(&world, 1, 3), told(&world, 2, 3)), ("10.77.0.3".to_owned(), "10.77.0.250".to_owned()));
    let wider = agent.prepare(&mislead(2, &[1, 3], NOBODY));
    agent.sees(&wider, Presence::Partial);
}

#[test]
fn the_truth_is_told_at_once_when_whoever_lied_is_killed() {
    let Some(world) = with_names() else { return };
    for with_guard in [false, true] {
        let mut agent = Agent::start(&world, LONG);
        agent.inject(&mislead(1, &[2], NOBODY));
        agent.inject(&mislead(2, &[2], NameAnswer::Failure));
        assert_eq!((told(&world, 1, 2), told(&world, 2, 2)), ("10.77.0.250".to_owned(), String::new()));
        if with_guard {
            Agent::signal(agent.guard().expect("a guard"), Signal::SIGKILL);
        }
        agent.kill_9();
        for asker in [1, 2] {
            assert_eq!(told(&world, asker, 2), "10.77.0.2", "with the connection");
        }
    }
}

#[test]
fn an_agent_that_is_stopped_lies_no_longer_than_its_lease() {
    let Some(world) = with_names() else { return };
    let mut agent = Agent::start(&world, Duration::from_secs(1));
    agent.inject(&mislead(1, &[2], NOBODY));
    Agent::signal(agent.pid(), Signal::SIGSTOP);
    wait("its guard ends it", || (told(&world, 1, 2) == "10.77.0.2").then_some(()));
}

#[test]
fn a_name_server_that_dies_shortens_the_hold() {
    let Some(mut world) = world() else { return };
    let before = world.with_names();
    let mut agent = Agent::start(&world, LONG);
    let undo = agent.inject(&mislead(1, &[2], NOBODY));
    Agent::signal(before, Signal::SIGKILL);
    let (tag, by, _) = agent.notice();
    assert_eq!((tag, by), (undo.tag.clone(), By::Lost));
    world.start_names();
    assert_eq!(told(&world, 1, 2), "10.77.0.2", "another one knows nothing of it");
    agent.sees(&undo, Presence::Absent);
}

#[test]
fn what_was_held_back_goes_out_at_the_heal() {
    let Some(world) = with_names() else { return };
    let mut agent = Agent::start(&world, LONG);
    let undo = agent.inject(&mislead(1, &[3], late(60_000)));
    let socket = world.end(1).socket();
    let question = b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02n3\x00\x00\x01\x00\x01";
    socket.send_to(question, "10.77.0.202:53").expect("sent");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a limit");
    let heard = |socket: &UdpSocket| {
        let mut buffer = [0; 512];
        socket.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec())
    };
    assert_eq!(heard(&socket), None);
    agent.revert(&undo);
    let answer = wait("the answer", || heard(&socket));
    assert!(answer.starts_with(b"\x00\x07") && answer.ends_with(&[10, 77, 0, 3]), "{answer:?}");
}

#[test]
fn it_answers_by_tcp_too_and_bears_whatever_comes() {
    let Some(world) = with_names() else { return };
    let mut agent = Agent::start(&world, LONG);
    let junk = world.end(2).socket();
    for length in 0..200 {
        junk.send_to(&vec![0; length], "10.77.0.202:53").expect("sent");
    }
    let undo = agent.inject(&mislead(1, &[3], NOBODY));
    let script = "
import socket, struct
s = socket.create_connection(('10.77.0.202', 53))
q = bytes.fromhex('000701000001000000000000026e33000001''0001')
for part in (struct.pack('>H', len(q)) + q[:5], q[5:] + struct.pack('>H', len(q)) + q): s.sendall(part)
f = s.makefile('rb')
for _ in range(2): print('.'.join(str(b) for b in f.read(struct.unpack('>H', f.read(2))[0])[-4:]))
s.sendall(b'\\xff' * 5000)
print(s.recv(1))
";
    let output = world.end(1).command("python3").args(["-c", script]).output().expect("python3 runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.starts_with("10.77.0.250\n10.77.0.250\n"), "{text}{errors}");
    agent.revert(&undo);
    assert_eq!(told(&world, 1, 3), "10.77.0.3");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let Some(world) = with_names() else { return };
    let mut agent = Agent::start(&world, LONG);
    let truth = NameAnswer::Wrong { address: Ipv4Addr::new(10, 77, 0, 2) };
    for action in [mislead(1, &[9], NOBODY), mislead(9, &[1], NOBODY), mislead(1, &[], NOBODY), mislead(1, &[2], truth)]
    {
        assert_eq!(refusal(agent.try_prepare(&action)).kind, RefusalKind::NoTarget, "{action}");
    }
    let undo = agent.inject(&mislead(1, &[2], NOBODY));
    let again = Ask::Apply { undo: undo.clone(), hold_nanos: None };
    assert!(matches!(agent.ask(again), firedrill_agent::protocol::Answer::Applied { .. }));
    let socket = world.config(LONG).resolver.expect("a socket");
    let (_, reply) = ask(&socket, &Order::List).expect("an answer");
    assert_eq!(reply, Reply::Listed { held: vec![(undo.tag, agent.pid())] });
}

#[test]
fn nodes_without_names_are_refused() {
    let Some(world) = world() else { return };
    let mut agent = Agent::start(&world, LONG);
    assert_eq!(refusal(agent.try_prepare(&mislead(1, &[2], NOBODY))).kind, RefusalKind::NotOffered);
}

#[test]
fn a_deadline_ends_a_lie() {
    let Some(world) = with_names() else { return };
    let mut agent = Agent::start(&world, LONG);
    let undo = agent.prepare(&mislead(1, &[2], NOBODY));
    agent.apply(&undo, Some(Duration::from_millis(300)));
    let (tag, by, _) = agent.notice();
    assert_eq!((tag, by, told(&world, 1, 2).as_str()), (undo.tag, By::Deadline, "10.77.0.2"));
}
