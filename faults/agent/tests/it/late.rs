//! Orders that reach a data plane after their deadline, because whoever gave or carries them was stopped in between: none of
//! them comes into force, and one that is in time does.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use firedrill_agent::wire::{self, At, Said, Told, Way};
use firedrill_agent::{disk, names};
use firedrill_core::harm::{Chance, DiskHarm, DiskTarget, Impairment, NameAnswer};
use firedrill_sys::clock;

use crate::served::ServedDisk;
use crate::world::{node, wait, world};

/// Deadlines by `CLOCK_BOOTTIME`, in nanoseconds, and whether an order with it comes into force.
fn deadlines() -> [(u64, bool); 3] {
    let now = clock::boottime_nanos();
    [(1, false), (now, false), (now + 600_000_000_000, true)]
}

#[test]
fn a_wire_impairs_nothing_too_late() {
    let Some(world) = world() else { return };
    let mut command = world.switch.command(env!("CARGO_BIN_EXE_firedrill-agent"));
    let child = command.arg(wire::ARGUMENT).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("a wire");
    let mut said = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut orders = child.stdin.take().expect("a pipe");
    world.keep(child);
    for (deadline, comes) in deadlines() {
        let way = Way {
            name: "n1→n2".to_owned(),
            from: [10, 77, 0, 1].into(),
            to: [10, 77, 0, 2].into(),
            at: At::Switch { input: "vn1".to_owned(), output: "vn2".to_owned() },
        };
        let order = wire::Order {
            tag: "fd-late-1".to_owned(),
            ways: vec![way],
            port: None,
            how: Impairment::Loss { chance: Chance::CERTAIN },
            seed: 1,
            deadline: Some(deadline),
        };
        writeln!(orders, "{}", serde_json::to_string(&Told::Hold(order)).expect("a line")).expect("written");
        let answer = said.next().expect("an answer").expect("a line");
        let answer: Said = serde_json::from_str(&answer).expect("an answer");
        assert_eq!((answer == Said::Done, world.ruleset().is_empty()), (comes, !comes), "{answer:?}");
        assert_eq!(world.passes(1, 2), !comes);
    }
    drop(orders);
    wait("the table is gone", || world.ruleset().is_empty().then_some(()));
}

#[test]
fn a_name_server_tells_no_lie_too_late() {
    let Some(mut world) = world() else { return };
    world.with_names();
    let socket = world.config(crate::agent::LONG).resolver.expect("a socket");
    let held = || names::control::ask(&socket, &names::control::Order::List).expect("an answer").1;
    for (deadline, comes) in deadlines() {
        let order = names::control::Order::Mislead {
            tag: "fd-late-1".to_owned(),
            askers: [[10, 77, 0, 1].into()].into(),
            names: [node(2)].into(),
            answer: NameAnswer::Failure,
            deadline: Some(deadline),
        };
        let (kept, reply) = names::control::ask(&socket, &order).expect("an answer");
        let in_force = matches!(reply, names::control::Reply::InForce { .. });
        let names::control::Reply::Listed { held } = held() else { panic!("{:?}", held()) };
        assert_eq!((in_force, held.len()), (comes, usize::from(comes)), "{reply:?}");
        drop(kept);
    }
}

#[test]
fn a_disk_is_not_harmed_too_late() {
    let Some(_root) = world() else { return };
    let Some(disk) = ServedDisk::start() else { return };
    for (deadline, comes) in deadlines() {
        let order = disk::control::Order::Harm {
            tag: "fd-late-1".to_owned(),
            target: DiskTarget::default(),
            how: DiskHarm::ReadOnly,
            seed: 1,
            deadline: Some(deadline),
        };
        let (kept, reply) = disk::control::ask(&disk.socket, &order).expect("an answer");
        let in_force = matches!(reply, disk::control::Reply::InForce { .. });
        let written = std::fs::write(disk.at.join("data/file"), "x");
        assert_eq!((in_force, written.is_err()), (comes, comes), "{reply:?} {written:?}");
        drop(kept);
    }
}
