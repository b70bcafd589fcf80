use std::collections::BTreeSet;

use firedrill_check::losses;
use firedrill_core::cluster::NodeName;
use firedrill_core::event::Event;
use firedrill_core::history::{Outcome, ProcessId, Route};
use firedrill_core::record::Recorded;
use firedrill_core::verdict::Verdict;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::build::{Build, ask, node};

const CHECKS: [&str; 3] = ["no-acked-loss", "replicas-converge", "single-writer"];

/// How one write of a serial ledger ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Acked,
    Failed,
    Doubtful { happened: bool },
    Open { happened: bool },
}

#[derive(Clone, Copy, Debug)]
struct Step {
    ending: Ending,
    pause: u64,
    takes: u64,
    failover: bool,
    direct: bool,
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        6 => Just(Ending::Acked),
        1 => Just(Ending::Failed),
        1 => any::<bool>().prop_map(|happened| Ending::Doubtful { happened }),
        1 => any::<bool>().prop_map(|happened| Ending::Open { happened }),
    ]
}

prop_compose! {
    fn step()(
        ending in ending(), pause in 1..50_u64, takes in 0..30_u64, failover in prop::bool::weighted(0.1),
        direct in any::<bool>(),
    ) -> Step {
        Step { ending, pause, takes, failover, direct }
    }
}

/// One writer after another on a cluster that loses nothing, what it then holds, and its last epoch. The first and the
/// last write are always acknowledged.
fn ledger(steps: &[Step]) -> (Build, Vec<u64>, u64) {
    let mut build = Build::new();
    let (mut now, mut epoch, mut present) = (1001, 1, vec![0]);
    build.ack(0, 1000, 1001, "n1", 1);
    for (row, step) in (1_u64..).zip(steps) {
        if step.failover {
            build.switch(epoch, epoch + 1, row * 10);
            epoch += 1;
        }
        let server = format!("n{}", epoch % 3 + 1);
        now += step.pause;
        let done = now + step.takes;
        let (completed, happened) = match step.ending {
            Ending::Acked => (None, true),
            Ending::Failed => (Some((done, Outcome::fail("refused"))), false),
            Ending::Doubtful { happened } => (Some((done, Outcome::info("timed out"))), happened),
            Ending::Open { happened } => (None, happened),
        };
        let call = match step.ending {
            Ending::Acked => build.ack(row, now, done, &server, epoch),
            Ending::Failed | Ending::Doubtful { .. } | Ending::Open { .. } => build.insert(row, now, completed),
        };
        if step.direct {
            call.route = Route::Direct(node(&server));
        }
        if happened {
            present.push(row);
        }
        now = done;
    }
    let last = u64::try_from(steps.len()).unwrap_or_default() + 1;
    build.ack(last, now + 1, now + 2, &format!("n{}", epoch % 3 + 1), epoch);
    present.push(last);
    (build, present, epoch)
}

fn verdicts(run: &Recorded) -> Vec<Verdict> {
    CHECKS.iter().map(|check| ask(check, run).verdict).collect()
}

proptest! {
    #[test]
    fn a_ledger_that_loses_nothing_passes(steps in vec(step(), 0..60)) {
        let (mut build, present, last) = ledger(&steps);
        let run = build.end_with(last, &present);
        prop_assert_eq!(verdicts(&run), vec![Verdict::Pass; 3]);
    }

    #[test]
    fn every_dropped_row_is_found_and_counted(steps in vec(step(), 1..60), drops in vec(any::<Index>(), 1..10)) {
        let (mut build, present, last) = ledger(&steps);
        let acked = build.acked_rows();
        let dropped: BTreeSet<u64> = drops.iter().map(|drop| *drop.get(&acked)).collect();
        let left: Vec<u64> = present.into_iter().filter(|row| !dropped.contains(row)).collect();
        let run = build.end_with(last, &left);
        let found: BTreeSet<u64> = losses(&run).lost.iter().map(|lost| lost.row).collect();
        prop_assert_eq!(&found, &dropped);
        let finding = ask("no-acked-loss", &run);
        prop_assert_eq!(finding.verdict, Verdict::Fail);
        let lost = f64::from(u32::try_from(dropped.len()).unwrap());
        prop_assert!((finding.figures["lost-acknowledged"] - lost).abs() < 1e-9);
    }

    #[test]
    fn every_row_that_must_not_be_there_is_found(steps in vec(step(), 0..60), strangers in btree_set(1000..2000_u64, 1..5)) {
        let (mut build, mut present, last) = ledger(&steps);
        let failed = steps.iter().zip(1_u64..).filter(|(step, _)| matches!(step.ending, Ending::Failed));
        let mut planted = strangers;
        planted.extend(failed.map(|(_, row)| row));
        present.extend(&planted);
        let run = build.end_with(last, &present);
        let found: BTreeSet<u64> = losses(&run).phantoms.iter().map(|phantom| phantom.row).collect();
        prop_assert_eq!(found, planted);
    }

    #[test]
    fn a_second_writer_is_found_wherever_it_is(steps in vec(step(), 0..60), place in any::<Index>()) {
        let (mut build, mut present, last) = ledger(&steps);
        // Some acknowledged write, and one of a node on a lower epoch that began just after it.
        let acked: Vec<_> = build.run.calls.iter().filter_map(|call| Some((call.acked()?, call.epoch?.0))).collect();
        let (after, epoch) = *place.get(&acked);
        let at = after.as_millis() + 1;
        build.ack(5000, at, at + 1, "old", epoch - 1);
        present.push(5000);
        let run = build.end_with(last, &present);
        prop_assert_eq!(ask("single-writer", &run).verdict, Verdict::Fail);
    }

    #[test]
    fn names_do_not_matter(steps in vec(step(), 0..40), drop in any::<bool>(), twice in any::<bool>()) {
        let (mut build, mut present, last) = ledger(&steps);
        if drop {
            present.remove(0);
        }
        if twice {
            let late = build.run.calls.iter().filter_map(firedrill_core::history::Call::acked).max().unwrap();
            build.ack(5000, late.as_millis() + 1, late.as_millis() + 2, "n9", 0);
            present.push(5000);
        }
        let run = build.end_with(last, &present);
        prop_assert_eq!(verdicts(&run), verdicts(&renamed(&run)));
        prop_assert_eq!(losses(&run).lost.len(), losses(&renamed(&run)).lost.len());
    }
}

/// The same run with other names of nodes, in another order, and other numbers of processes.
fn renamed(run: &Recorded) -> Recorded {
    let name = |old: &NodeName| match old.as_str() {
        "n1" => node("zebra"),
        "n2" => node("ant"),
        "n3" => node("newt"),
        other => node(&format!("was-{other}")),
    };
    let mut run = run.clone();
    run.nodes = run.nodes.iter().map(name).collect();
    run.nodes.sort();
    for call in &mut run.calls {
        call.process = ProcessId(1000 - call.process.0);
        call.served_by = call.served_by.as_ref().map(name);
        if let Route::Direct(to) = &call.route {
            call.route = Route::Direct(name(to));
        }
    }
    for read in &mut run.finals {
        read.node = name(&read.node);
    }
    for stamped in &mut run.events {
        if let Event::View { view } = &mut stamped.event {
            view.nodes.iter_mut().for_each(|node| node.name = name(&node.name));
        }
    }
    run
}
