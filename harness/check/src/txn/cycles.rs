//! Cycles of dependencies: which kinds there are, and the shortest of each.
//!
//! A kind begins with an edge of one relation and goes on over others. Components of the relations it goes on over say
//! in linear time where it can close; a breadth-first search then finds the shortest closing path.

use std::collections::VecDeque;

use super::anomaly::{Anomaly, CycleKind, Order};
use crate::limits::{Stop, Watch};

use super::graph::{Graph, ORDER, PASS, RW, WR, WW, at, id, nonadjacent};

/// A cycle: each transaction, and how it precedes the next. The last one precedes the first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cycle {
    pub(super) anomaly: Anomaly,
    pub(super) steps: Vec<(u32, u8)>,
}

/// Once a cycle is known, so many steps are spent on a shorter one, for each component and kind.
const SHORTENING: u64 = 4_000_000;

/// One cycle for each component and kind that is asked for. A component with a cycle of data alone is not searched for
/// cycles that also need an order; a cycle of several anti-dependencies is sought where none has only one.
pub(super) fn cycles(
    graph: &Graph,
    order: Option<Order>,
    wanted: &dyn Fn(Anomaly) -> bool,
    watch: &mut Watch<'_>,
) -> Result<Vec<Cycle>, Stop> {
    let mut found = Vec::new();
    if order.is_some() {
        // Where there is no cycle with the order, there is none without it.
        let all = graph.components(WW | WR | RW | ORDER, watch)?;
        let ordered = members(graph, &all, &[]);
        if ordered.is_empty() {
            return Ok(found);
        }
        drop((all, ordered));
    }
    level(graph, None, &[], wanted, watch, &mut found)?;
    if order.is_some() {
        let of_data: Vec<u32> = found.iter().flat_map(|cycle| cycle.steps.iter().map(|(node, _)| *node)).collect();
        level(graph, order, &of_data, wanted, watch, &mut found)?;
    }
    found.sort_by_key(|cycle| (cycle.anomaly, cycle.steps.len()));
    Ok(found)
}

fn level(
    graph: &Graph,
    order: Option<Order>,
    skip: &[u32],
    wanted: &dyn Fn(Anomaly) -> bool,
    watch: &mut Watch<'_>,
    found: &mut Vec<Cycle>,
) -> Result<(), Stop> {
    let ordered = if order.is_some() { ORDER } else { 0 };
    let all = graph.components(WW | WR | RW | ordered, watch)?;
    let members = members(graph, &all, skip);
    if members.is_empty() {
        return Ok(());
    }
    let mut settled = vec![false; members.len()];
    let kinds = [
        (CycleKind::G0, WW, WW),
        (CycleKind::G1c, WR, WW | WR),
        (CycleKind::GSingle, RW, WW | WR),
        (CycleKind::GNonadjacent, RW, WW | WR | RW),
        (CycleKind::G2, RW, WW | WR | RW),
    ];
    for (kind, first, rest) in kinds {
        let anomaly = Anomaly::Cycle(kind, order);
        let has_antidependency = first == RW;
        if !wanted(anomaly) || (has_antidependency && settled.iter().all(|settled| *settled)) {
            continue;
        }
        let mut search = Search::new((graph, &all), kind, (first, rest | ordered), order.is_some(), watch)?;
        for (place, nodes) in members.iter().enumerate() {
            if has_antidependency && settled[place] {
                continue;
            }
            if let Some(steps) = search.shortest(nodes, watch)? {
                settled[place] |= has_antidependency;
                found.push(Cycle { anomaly, steps });
            }
        }
    }
    Ok(())
}

/// The transactions of each component that has several nodes and none to skip.
fn members(graph: &Graph, component: &[u32], skip: &[u32]) -> Vec<Vec<u32>> {
    let mut sizes = vec![0_u32; component.len()];
    for of in component {
        sizes[at(*of)] += 1;
    }
    for node in skip {
        sizes[at(component[at(*node)])] = 0;
    }
    let mut place = vec![usize::MAX; component.len()];
    let mut members: Vec<Vec<u32>> = Vec::new();
    for node in 0..graph.first_hub {
        let of = at(component[at(node)]);
        if sizes[of] < 2 {
            continue;
        }
        if place[of] == usize::MAX {
            place[of] = members.len();
            members.push(Vec::new());
        }
        members[place[of]].push(node);
    }
    members
}

/// The state of a walk: node, whether its last edge was [`RW`] (when that matters), whether it has used the order.
type State = usize;

/// What one kind of cycle is sought with. The tables are used again for every start.
struct Search<'a> {
    graph: &'a Graph,
    /// The components of all relations: a cycle stays in one, and most of what a walk could reach is in others.
    whole: &'a [u32],
    first: u8,
    rest: u8,
    nonadjacent: bool,
    needs_order: bool,
    /// Of the walk after the first edge: it cannot lead to a higher component.
    component: Vec<u32>,
    reached: Vec<Reached>,
    round: u32,
    spent: u64,
}

impl<'a> Search<'a> {
    fn new(
        (graph, whole): (&'a Graph, &'a [u32]),
        kind: CycleKind,
        (first, rest): (u8, u8),
        needs_order: bool,
        watch: &mut Watch<'_>,
    ) -> Result<Self, Stop> {
        let nonadjacent = kind == CycleKind::GNonadjacent;
        let component =
            if nonadjacent { graph.components_nonadjacent(rest, watch)? } else { graph.components(rest, watch)? };
        let states = graph.nodes() * 4;
        Ok(Self {
            graph,
            whole,
            first,
            rest,
            nonadjacent,
            needs_order,
            component,
            reached: vec![Reached::default(); states],
            round: 0,
            spent: 0,
        })
    }

    fn component(&self, node: u32, last_antidependency: bool) -> u32 {
        let place = if self.nonadjacent { at(node) * 2 + usize::from(last_antidependency) } else { at(node) };
        self.component[place]
    }

    /// Whether some cycle may have both nodes.
    fn is_beside(&self, one: u32, other: u32) -> bool {
        self.whole[at(one)] == self.whole[at(other)]
    }

    /// The shortest cycle through any of these transactions.
    fn shortest(&mut self, nodes: &[u32], watch: &mut Watch<'_>) -> Result<Option<Vec<(u32, u8)>>, Stop> {
        let mut best: Option<Vec<(u32, u8)>> = None;
        let mut limit = usize::MAX;
        self.spent = 0;
        for source in nodes {
            for (target, relation) in self.graph.edges(*source) {
                let closes = self.component(target, true) >= self.component(*source, false);
                if relation != self.first || !closes || !self.is_beside(*source, target) {
                    continue;
                }
                if let Some(cycle) = self.close(*source, target, limit, watch)? {
                    limit = cycle.len();
                    best = Some(cycle);
                }
                if limit <= 2 || (best.is_some() && self.spent > SHORTENING) {
                    return Ok(best);
                }
            }
        }
        Ok(best)
    }

    /// The shortest walk that begins with this edge and ends at its source, in fewer than `limit` steps.
    fn close(
        &mut self,
        source: u32,
        target: u32,
        limit: usize,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Vec<(u32, u8)>>, Stop> {
        self.round += 1;
        let lowest = self.component(source, false);
        let start: State = at(target) * 4 + usize::from(self.nonadjacent);
        let mut open: VecDeque<(State, u32)> = VecDeque::from([(start, 1)]);
        self.reach(start, (source, self.first), 1);
        let mut limit = id(limit);
        let mut best = None;
        while let Some((state, length)) = open.pop_front() {
            if length >= limit {
                break;
            }
            watch.spend(1)?;
            let (node, last, ordered) = (id(state / 4), state % 2 == 1, state & 2 != 0);
            for (to, relation) in self.graph.edges(node) {
                self.spent += 1;
                if relation & (self.rest | PASS) == 0 {
                    continue;
                }
                let last = match self.nonadjacent.then(|| nonadjacent(last, relation)) {
                    Some(None) => continue,
                    Some(Some(last)) => last,
                    None => false,
                };
                let ordered = self.needs_order && (ordered || relation == ORDER);
                let length = length + u32::from(relation != PASS);
                if length > limit || self.component(to, last) < lowest || !self.is_beside(source, to) {
                    continue;
                }
                if to == source {
                    if !last && ordered == self.needs_order && length < limit {
                        let steps = self.walk(source, start, state, relation);
                        if self.nonadjacent || is_simple(&steps) {
                            limit = length;
                            best = Some(steps);
                        }
                    }
                    continue;
                }
                let next: State = at(to) * 4 + usize::from(last) + 2 * usize::from(ordered);
                if self.reach(next, (id(state), relation), length) {
                    if relation == PASS {
                        open.push_front((next, length));
                    } else {
                        open.push_back((next, length));
                    }
                }
            }
        }
        Ok(best)
    }

    /// Notes a way to a state; whether it is the shortest so far.
    fn reach(&mut self, state: State, (from, relation): (u32, u8), length: u32) -> bool {
        let reached = &mut self.reached[state];
        let is_shorter = reached.round != self.round || length < reached.length;
        if is_shorter {
            *reached = Reached { round: self.round, length, from, relation };
        }
        is_shorter
    }

    /// The transactions of the walk that was found, without hubs, each with the relation it leaves by.
    fn walk(&self, source: u32, start: State, end: State, closing: u8) -> Vec<(u32, u8)> {
        let mut backwards = Vec::new();
        let (mut state, mut leaving) = (end, closing);
        loop {
            let node = id(state / 4);
            if node < self.graph.first_hub {
                backwards.push((node, leaving));
            }
            leaving = self.reached[state].relation;
            if state == start {
                break;
            }
            state = at(self.reached[state].from);
        }
        backwards.push((source, leaving));
        backwards.reverse();
        backwards
    }
}

/// How a state was reached, in which round of the search.
#[derive(Clone, Copy, Default, Debug)]
struct Reached {
    round: u32,
    length: u32,
    from: u32,
    relation: u8,
}

fn is_simple(steps: &[(u32, u8)]) -> bool {
    let mut nodes: Vec<u32> = steps.iter().map(|(node, _)| *node).collect();
    nodes.sort_unstable();
    nodes.windows(2).all(|pair| pair[0] != pair[1])
}
