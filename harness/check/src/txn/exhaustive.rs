//! Every history of three transactions side by side, of two micro-operations on two keys with at most one read each and with
//! every result that a read could have but what its own transaction writes later, decided a second time by trying every serial order.

use super::differential::{Done, Plan, Small, asked, is_serializable, names, slowly, text};
use super::*;

/// Key, and whether it is written, of each micro-operation of a transaction.
const SHAPES: [[(usize, bool); 2]; 5] = [
    [(0, true), (1, false)],
    [(1, true), (0, false)],
    [(0, false), (0, true)],
    [(0, true), (0, false)],
    [(0, true), (1, true)],
];

/// Every list of some of these values.
fn lists(values: &[usize]) -> Vec<Vec<usize>> {
    let mut all: Vec<Vec<usize>> = vec![Vec::new()];
    let mut place = 0;
    while let Some(list) = all.get(place).cloned() {
        let more = values.iter().filter(|value| !list.contains(value));
        all.extend(more.map(|value| list.iter().copied().chain([*value]).collect()));
        place += 1;
    }
    all
}

/// Every result of the reads of a plan.
fn results(plan: &Plan, of_read: &dyn Fn(&[usize]) -> Vec<Vec<usize>>) -> Vec<Vec<Vec<Done>>> {
    let mut written: [Vec<usize>; 2] = [Vec::new(), Vec::new()];
    let mut next = 0;
    for (key, is_write) in plan.iter().flatten() {
        if *is_write {
            next += 1;
            written[*key].push(next);
        }
    }
    let mut all: Vec<Vec<Vec<Done>>> = vec![Vec::new()];
    let mut next = 0;
    for txn in plan {
        let mut of_txn: Vec<Vec<Done>> = vec![Vec::new()];
        for (key, is_write) in txn {
            let choices: Vec<Done> = if *is_write {
                next += 1;
                vec![Done::Append(*key, next)]
            } else {
                of_read(&written[*key]).into_iter().map(|list| Done::Read(*key, list)).collect()
            };
            let extend = |before: &Vec<Done>| -> Vec<Vec<Done>> {
                choices.iter().map(|mop| before.iter().cloned().chain([mop.clone()]).collect()).collect()
            };
            of_txn = of_txn.iter().flat_map(extend).collect();
        }
        let extend = |before: &Vec<Vec<Done>>| -> Vec<Vec<Vec<Done>>> {
            of_txn.iter().map(|txn| before.iter().cloned().chain([txn.clone()]).collect()).collect()
        };
        all = all.iter().flat_map(extend).collect();
    }
    all
}

fn each(of_read: &dyn Fn(&[usize]) -> Vec<Vec<usize>>, mut look: impl FnMut(&Small, &[Vec<Done>])) {
    for first in 0..SHAPES.len() {
        for second in first..SHAPES.len() {
            for third in second..SHAPES.len() {
                let plan: Plan = [first, second, third].iter().map(|shape| SHAPES[*shape].to_vec()).collect();
                for done in results(&plan, of_read) {
                    look(&Small { plan: plan.clone(), stale: vec![0; 3], kinds: vec!["ok"; 3], overlap: 3 }, &done);
                }
            }
        }
    }
}

#[test]
fn every_small_history_of_lists_is_decided_as_brute_force_does() {
    let (mut valid, mut violated) = (0_u32, 0_u32);
    each(&lists, |small, done| {
        let text = text(small, done, Model::ListAppend, false);
        let report = slowly(&text, Model::ListAppend, &asked(Consistency::Serializable));
        let expected = is_serializable(small, done, false);
        assert_eq!(report.verdict != Verdict::Violated, expected, "{:?} of\n{text}", names(&report));
        *(if expected { &mut valid } else { &mut violated }) += 1;
    });
    assert!(valid > 100 && violated > 5000, "{valid} valid, {violated} violated");
}

/// Whether some order of the transactions gives each read the last value that was written before it.
fn has_order(done: &[Vec<Done>]) -> bool {
    const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    ORDERS.iter().any(|order| {
        let mut held = [None, None];
        order.iter().flat_map(|txn| &done[*txn]).all(|mop| match mop {
            Done::Append(key, value) => {
                held[*key] = Some(*value);
                true
            }
            Done::Read(key, seen) => held[*key] == seen.last().copied(),
        })
    })
}

#[test]
fn small_histories_of_registers_with_a_serial_order_show_no_anomaly() {
    let one = |values: &[usize]| {
        let each = values.iter().map(|value| vec![*value]);
        [Vec::new()].into_iter().chain(each).collect::<Vec<Vec<usize>>>()
    };
    let (mut valid, mut found) = (0_u32, 0_u32);
    each(&one, |small, done| {
        let text = text(small, done, Model::RwRegister, false);
        let report = slowly(&text, Model::RwRegister, &asked(Consistency::Serializable));
        if has_order(done) {
            valid += 1;
            assert_ne!(report.verdict, Verdict::Violated, "{:?} of\n{text}", names(&report));
        } else {
            found += u32::from(report.verdict == Verdict::Violated);
        }
    });
    assert!(valid > 100 && found > 200, "{valid} valid, {found} found");
}
