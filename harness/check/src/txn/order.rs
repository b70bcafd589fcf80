//! Edges of order: by process, and in real time.

use super::anomaly::Order;
use super::graph::{Edges, ORDER, PASS};
use super::ops::{NONE, Transactions};

/// Adds this order of the transactions that took effect, over hubs: linear in their number.
pub(super) fn add(edges: &mut Edges, all: &Transactions, effective: &[bool], order: Order) {
    match order {
        Order::Process => process(edges, all, effective),
        Order::Realtime => realtime(edges, all, effective),
    }
}

fn nodes<'a>(all: &'a Transactions, effective: &'a [bool]) -> impl Iterator<Item = (u32, &'a super::ops::Txn)> {
    (0..).zip(&all.txns).zip(effective).filter(|(_, effective)| **effective).map(|(txn, _)| txn)
}

/// A chain of hubs for each process. A process performs one transaction after the other.
fn process(edges: &mut Edges, all: &Transactions, effective: &[bool]) {
    let mut by_process: Vec<(i64, u32, u32)> =
        nodes(all, effective).map(|(node, txn)| (txn.process, txn.begins, node)).collect();
    by_process.sort_unstable();
    let mut hub = None;
    for pair in by_process.windows(2) {
        let [(process, _, before), (next_process, _, after)] = pair else { continue };
        if process != next_process {
            hub = None;
            continue;
        }
        let next = edges.hub();
        edges.add(*before, next, ORDER);
        if let Some(hub) = hub {
            edges.add(hub, next, PASS);
        }
        edges.add(next, *after, PASS);
        hub = Some(next);
    }
}

/// A chain of hubs: one wherever a transaction begins after others ended.
fn realtime(edges: &mut Edges, all: &Transactions, effective: &[bool]) {
    let mut begins: Vec<(u32, u32)> = nodes(all, effective).map(|(node, txn)| (txn.begins, node)).collect();
    let mut ends: Vec<(u32, u32)> =
        nodes(all, effective).filter(|(_, txn)| txn.ends != NONE).map(|(node, txn)| (txn.ends, node)).collect();
    begins.sort_unstable();
    ends.sort_unstable();
    let mut ended = ends.into_iter().peekable();
    let mut hub = None;
    for (begin, node) in begins {
        if ended.peek().is_some_and(|(end, _)| *end < begin) {
            let next = edges.hub();
            while let Some((_, before)) = ended.next_if(|(end, _)| *end < begin) {
                edges.add(before, next, ORDER);
            }
            if let Some(hub) = hub {
                edges.add(hub, next, PASS);
            }
            hub = Some(next);
        }
        if let Some(hub) = hub {
            edges.add(hub, node, PASS);
        }
    }
}
