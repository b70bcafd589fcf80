//! The shortest cycle that can be found with bounded work, and each of its steps in words.

use std::collections::{HashMap, VecDeque};

use super::graph::{Graph, Step};
use super::levels::{Axiom, Level};
use super::registers::Registers;
use crate::evidence::Relation;
use crate::history::Value;
use crate::intern::{NONE, at};
use crate::limits::{Stop, Watch};

/// Once a cycle is known, so many edges are looked at for a shorter one.
const SHORTENING: u64 = 4_000_000;
/// So many components are told of.
const COMPONENTS: usize = 8;

/// A cycle: each node and how it precedes the next; the last precedes the first.
pub(super) type Cycle = Vec<(u32, Step)>;

/// One cycle of each of the first components that have one; empty when there is none.
pub(super) fn cycles(graph: &Graph<'_>, watch: &mut Watch<'_>) -> Result<Vec<Cycle>, Stop> {
    let (component, sizes) = graph.components(watch)?;
    let mut of: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut order = Vec::new();
    for node in graph.all_nodes() {
        let number = component[at(node)];
        if sizes[at(number)] < 2 {
            continue;
        }
        if let Some(members) = of.get_mut(&number) {
            members.push(node);
        } else if order.len() < COMPONENTS {
            order.push(number);
            of.insert(number, vec![node]);
        }
    }
    let mut reached = vec![(NONE, NONE, Step::Session); component.len()];
    let members = |number: &u32| of.get(number).map(Vec::as_slice).unwrap_or_default();
    let mut round = 0;
    let found = |number| shortest(graph, members(number), &component, &mut reached, &mut round);
    Ok(order.iter().filter_map(found).collect())
}

/// Of each node the round in which it was reached, the node after it, and how it precedes that.
type Reached = (u32, u32, Step);

fn shortest(
    graph: &Graph<'_>,
    members: &[u32],
    component: &[u32],
    reached: &mut [Reached],
    round: &mut u32,
) -> Option<Cycle> {
    let mut best: Option<Cycle> = None;
    let mut spent = 0;
    for start in members {
        *round += 1;
        if let Some(cycle) = around(graph, *start, component, reached, *round, &mut spent)
            && best.as_ref().is_none_or(|best| cycle.len() < best.len())
        {
            best = Some(cycle);
        }
        if best.as_ref().is_some_and(|best| best.len() <= 2 || spent > SHORTENING) {
            break;
        }
    }
    best
}

/// The shortest cycle through a node, breadth first and backwards.
fn around(
    graph: &Graph<'_>,
    start: u32,
    component: &[u32],
    reached: &mut [Reached],
    round: u32,
    spent: &mut u64,
) -> Option<Cycle> {
    let mut open = VecDeque::from([start]);
    while let Some(node) = open.pop_front() {
        for (before, step) in (0..).map_while(|cursor| graph.before(node, cursor)) {
            *spent += 1;
            if component[at(before)] != component[at(start)] {
                continue;
            }
            if before == start {
                let mut cycle = vec![(start, step)];
                let mut next = node;
                while next != start {
                    let (_, after, step) = reached[at(next)];
                    cycle.push((next, step));
                    next = after;
                }
                return Some(cycle);
            }
            if reached[at(before)].0 != round {
                reached[at(before)] = (round, node, step);
                open.push_back(before);
            }
        }
    }
    None
}

/// A cycle as it is told.
pub(super) struct Told {
    /// The transactions of the cycle, with those whose reads demand an order at the end.
    pub(super) txns: Vec<u32>,
    pub(super) relations: Vec<Relation>,
    /// A sentence for each step.
    pub(super) reasons: Vec<String>,
}

/// The steps between transactions: what leads into a barrier leads to whatever that leads to. The first transaction of the
/// history comes first.
pub(super) fn steps(all: &Registers, cycle: &[(u32, Step)]) -> Vec<(u32, Step)> {
    let mut steps: Vec<(u32, Step)> = cycle.iter().copied().filter(|(node, _)| *node <= all.initial()).collect();
    let begins = |(_, step): &(usize, &(u32, Step))| all.txns.get(at(step.0)).map(|txn| txn.begins);
    let first = steps.iter().enumerate().min_by_key(begins).map_or(0, |(place, _)| place);
    steps.rotate_left(first);
    steps
}

/// A cycle in words.
pub(super) fn words(all: &Registers, level: Level, steps: &[(u32, Step)]) -> Told {
    let mut txns: Vec<u32> = steps.iter().map(|(node, _)| *node).collect();
    let length = txns.len();
    let name = |txns: &mut Vec<u32>, txn: u32| {
        let place = txns.iter().position(|known| *known == txn).unwrap_or_else(|| {
            txns.push(txn);
            txns.len() - 1
        });
        format!("T{}", place + 1)
    };
    let mut reasons = Vec::new();
    for (place, (from, step)) in steps.iter().enumerate() {
        let to = steps[(place + 1) % length].0;
        let (a, b) = (name(&mut txns, *from), name(&mut txns, to));
        reasons.push(match step {
            Step::Session if *from == all.initial() => format!("{a}, the initial values, came before {b}"),
            Step::Session => {
                let session = all.sessions[at(all.txns[at(to)].session)].0;
                format!("session {session} performed {a} before {b}")
            }
            Step::Realtime => format!("{a} ended before {b} began"),
            Step::Read => match read_from(all, *from, to) {
                Some((key, value)) => format!("{b} read {value} of key {key}, which {a} wrote"),
                None => format!("{b} read from {a}"),
            },
            Step::Commit(reader) => {
                let c = name(&mut txns, *reader);
                let seen = seen(all, level, *from, *reader, (&a, &c));
                match both(all, *from, to, *reader) {
                    Some((key, value)) => {
                        format!("{c} read {value} of key {key} from {b} and saw {a}, which also wrote {key} ({seen}), so {a} comes before {b}")
                    }
                    None => format!("{c} read from {b} and saw {a} ({seen}), so {a} comes before {b}"),
                }
            }
        });
    }
    let relation = |(from, step): &(u32, Step)| match step {
        Step::Session if *from == all.initial() => Relation::Realtime,
        Step::Session => Relation::Process,
        Step::Realtime => Relation::Realtime,
        Step::Read => Relation::WriteRead,
        Step::Commit(_) => Relation::Commit,
    };
    Told { txns, relations: steps.iter().map(relation).collect(), reasons }
}

/// Transactions through which a reader saw what it did not read: of each step of the commit order the shortest way from the
/// one that was seen, over sessions, reads and real time.
pub(super) fn between(graph: &Graph<'_>, steps: &[(u32, Step)], watch: &mut Watch<'_>) -> Result<Vec<u32>, Stop> {
    let mut found = Vec::new();
    for (seen, step) in steps {
        if let Step::Commit(reader) = step {
            found.extend(way(graph, *seen, *reader, watch)?);
        }
    }
    Ok(found)
}

/// The shortest way from one transaction to another, without both.
fn way(graph: &Graph<'_>, from: u32, to: u32, watch: &mut Watch<'_>) -> Result<Vec<u32>, Stop> {
    let mut after: HashMap<u32, u32> = HashMap::from([(to, NONE)]);
    let mut open = VecDeque::from([to]);
    while let Some(node) = open.pop_front() {
        for (before, step) in (0..).map_while(|cursor| graph.before(node, cursor)) {
            watch.spend(1)?;
            if matches!(step, Step::Commit(_)) || before == graph.all.initial() || after.contains_key(&before) {
                continue;
            }
            after.insert(before, node);
            if before == from {
                let next = |node: &u32| after.get(node).copied().filter(|next| *next != NONE);
                let all = std::iter::successors(next(&from), next);
                return Ok(all.filter(|node| *node != to && *node < graph.all.initial()).collect());
            }
            open.push_back(before);
        }
    }
    Ok(Vec::new())
}

/// How one transaction saw another.
fn seen(all: &Registers, level: Level, from: u32, reader: u32, (a, c): (&str, &str)) -> String {
    if let Some((key, value)) = read_from(all, from, reader) {
        return format!("{c} read {value} of key {key} from {a}");
    }
    let session = |txn: u32| all.txns.get(at(txn)).map(|txn| txn.session);
    if session(from) == session(reader) && from < reader && level.axiom != Axiom::ReadCommitted {
        return format!("the same session performed {a} before {c}");
    }
    let ends = all.txns.get(at(from)).map_or(NONE, |txn| txn.ends);
    if level.realtime && all.txns.get(at(reader)).is_some_and(|reader| ends < reader.begins) {
        return format!("{a} ended before {c} began");
    }
    format!("{a} came before {c} through other sessions")
}

/// Something that one transaction read from another: key and value.
fn read_from(all: &Registers, writer: u32, reader: u32) -> Option<(Value, Value)> {
    let mops = (reader != all.initial()).then(|| all.mops_of(reader))?;
    let found = mops.iter().find(|mop| !mop.is_write() && all.versions[at(mop.version)].writer == writer)?;
    Some((all.key_name(found.key()), all.value(found.version)))
}

/// A key that the reader read from `to` and that `from` wrote too, and the value that was read.
fn both(all: &Registers, from: u32, to: u32, reader: u32) -> Option<(Value, Value)> {
    let wrote = |key: u32| all.mops_of(from).iter().any(|mop| mop.is_write() && mop.key() == key);
    let is_from = |version: u32| all.versions[at(version)].writer == to;
    let mops = all.mops_of(reader).iter();
    let found = mops.filter(|mop| !mop.is_write()).find(|mop| is_from(mop.version) && wrote(mop.key()))?;
    Some((all.key_name(found.key()), all.value(found.version)))
}
