//! A graph of transactions: nodes are u32, edges are in rows, each with one byte that says what kind it is.
//!
//! Nodes from [`Graph::first_hub`] on are hubs: a path through them costs nothing. They keep orders of many before many
//! (real time, one process, every reader of a version before everyone who replaced it) linear in the history.

pub(super) use crate::intern::{at, id};
use crate::limits::{Stop, Watch};

/// The write of the second replaced that of the first.
pub(super) const WW: u8 = 1;
/// The second read what the first wrote.
pub(super) const WR: u8 = 2;
/// The second replaced what the first read.
pub(super) const RW: u8 = 4;
/// The first was before the second, by process or in real time.
pub(super) const ORDER: u8 = 8;
/// Out of a hub: goes on as whatever led into it.
pub(super) const PASS: u8 = 16;

/// Edges in any order, before they are put in rows.
#[derive(Debug)]
pub(super) struct Edges {
    list: Vec<(u32, u32, u8)>,
    transactions: usize,
    nodes: usize,
}

impl Edges {
    pub(super) fn new(transactions: usize) -> Self {
        Self { list: Vec::new(), transactions, nodes: transactions }
    }

    /// Adds an edge. Nothing precedes itself.
    pub(super) fn add(&mut self, from: u32, to: u32, relation: u8) {
        if from != to {
            self.list.push((from, to, relation));
        }
    }

    pub(super) fn hub(&mut self) -> u32 {
        self.nodes += 1;
        id(self.nodes - 1)
    }

    /// Each of `sources` before each of `targets` but itself. Both are without repetition.
    pub(super) fn fan(&mut self, sources: &[u32], targets: &[u32], relation: u8) {
        if sources.len().saturating_mul(targets.len()) <= 4 * (sources.len() + targets.len()) {
            for source in sources {
                for target in targets {
                    self.add(*source, *target, relation);
                }
            }
            return;
        }
        let up: Vec<u32> = targets.iter().map(|_| self.hub()).collect();
        let down: Vec<u32> = targets.iter().map(|_| self.hub()).collect();
        for (place, target) in targets.iter().enumerate() {
            self.add(up[place], *target, PASS);
            self.add(down[place], *target, PASS);
            if place > 0 {
                self.add(up[place - 1], up[place], PASS);
                self.add(down[place], down[place - 1], PASS);
            }
        }
        let mut places: Vec<(u32, usize)> = targets.iter().copied().zip(0..).collect();
        places.sort_unstable();
        for source in sources {
            match places.binary_search_by_key(source, |(target, _)| *target) {
                Ok(found) => {
                    let place = places[found].1;
                    if place > 0 {
                        self.add(*source, down[place - 1], relation);
                    }
                    if place + 1 < targets.len() {
                        self.add(*source, up[place + 1], relation);
                    }
                }
                Err(_) => self.add(*source, up[0], relation),
            }
        }
    }

    pub(super) fn build(self) -> Graph {
        let mut rows = vec![0_u32; self.nodes + 2];
        for (from, _, _) in &self.list {
            rows[at(*from) + 2] += 1;
        }
        for node in 2..rows.len() {
            rows[node] += rows[node - 1];
        }
        let mut targets = vec![0_u32; self.list.len()];
        let mut relations = vec![0_u8; self.list.len()];
        for (from, to, relation) in &self.list {
            let next = &mut rows[at(*from) + 1];
            targets[at(*next)] = *to;
            relations[at(*next)] = *relation;
            *next += 1;
        }
        rows.pop();
        Graph { rows, targets, relations, first_hub: id(self.transactions) }
    }
}

/// Edges in rows.
#[derive(Debug)]
pub(super) struct Graph {
    rows: Vec<u32>,
    targets: Vec<u32>,
    relations: Vec<u8>,
    /// Nodes before this one are transactions.
    pub(super) first_hub: u32,
}

impl Graph {
    pub(super) fn nodes(&self) -> usize {
        self.rows.len() - 1
    }

    pub(super) fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// The edge of a node after `cursor` others.
    fn edge(&self, node: u32, cursor: u32) -> Option<(u32, u8)> {
        let place = self.rows[at(node)] + cursor;
        (place < self.rows[at(node) + 1]).then(|| (self.targets[at(place)], self.relations[at(place)]))
    }

    pub(super) fn edges(&self, node: u32) -> impl Iterator<Item = (u32, u8)> + '_ {
        (0..).map_while(move |cursor| self.edge(node, cursor))
    }

    /// All nodes: what a transaction leads to is mostly before it here. Hubs last: they are where transactions lead to.
    fn latest_first(&self) -> impl Iterator<Item = u32> + use<> {
        (0..self.first_hub).rev().chain(self.first_hub..id(self.nodes()))
    }

    /// Strongly connected components over these relations: a number for each node; an edge never leads to a higher one.
    /// Where relations lead from earlier transactions to later ones, the numbers fall with time, so that few lie between
    /// those of two transactions that were near each other, whatever else happened.
    pub(super) fn components(&self, relations: u8, watch: &mut Watch<'_>) -> Result<Vec<u32>, Stop> {
        components_from(self.latest_first(), self.nodes(), watch, |node, cursor| {
            loop {
                let (to, relation) = self.edge(node, *cursor)?;
                *cursor += 1;
                if relation & (relations | PASS) != 0 {
                    return Some(to);
                }
            }
        })
    }

    /// The same for walks in which no two [`RW`] edges follow each other. Node and whether the last edge was such a one:
    /// `2 * node + 1` when it was.
    pub(super) fn components_nonadjacent(&self, relations: u8, watch: &mut Watch<'_>) -> Result<Vec<u32>, Stop> {
        let states = self.latest_first().flat_map(|node| [node * 2, node * 2 + 1]);
        components_from(states, self.nodes() * 2, watch, |state, cursor| {
            loop {
                let (to, relation) = self.edge(state / 2, *cursor)?;
                *cursor += 1;
                if relation & (relations | PASS) == 0 {
                    continue;
                }
                if let Some(last) = nonadjacent(state % 2 == 1, relation) {
                    return Some(to * 2 + u32::from(last));
                }
            }
        })
    }
}

/// Whether the last edge is an [`RW`] one after an edge of this kind; none when it may not be taken.
pub(super) fn nonadjacent(last: bool, relation: u8) -> Option<bool> {
    match relation {
        PASS => Some(last),
        RW => (!last).then_some(true),
        _ => Some(false),
    }
}

/// Strongly connected components: a number for each node; an edge never leads to a higher one. `next` gives a node's successor
/// and moves the cursor, which starts at 0.
pub(crate) fn components(
    nodes: usize,
    watch: &mut Watch<'_>,
    next: impl Fn(u32, &mut u32) -> Option<u32>,
) -> Result<Vec<u32>, Stop> {
    components_from(0..id(nodes), nodes, watch, next)
}

/// Tarjan's algorithm without recursion, which begins at these roots, one after the other; all nodes are among them.
fn components_from(
    roots: impl Iterator<Item = u32>,
    nodes: usize,
    watch: &mut Watch<'_>,
    next: impl Fn(u32, &mut u32) -> Option<u32>,
) -> Result<Vec<u32>, Stop> {
    const NONE: u32 = u32::MAX;
    let mut component = vec![NONE; nodes];
    let mut low = vec![NONE; nodes];
    let mut open: Vec<u32> = Vec::new();
    let mut path: Vec<(u32, u32, u32)> = Vec::new();
    let (mut visited, mut found) = (0_u32, 0_u32);
    for root in roots {
        if low[at(root)] != NONE {
            continue;
        }
        low[at(root)] = visited;
        open.push(root);
        path.push((root, visited, 0));
        visited += 1;
        while let Some((node, number, cursor)) = path.last_mut() {
            if let Some(to) = next(*node, cursor) {
                if low[at(to)] == NONE {
                    low[at(to)] = visited;
                    open.push(to);
                    path.push((to, visited, 0));
                    visited += 1;
                } else if component[at(to)] == NONE {
                    low[at(*node)] = low[at(*node)].min(low[at(to)]);
                }
                continue;
            }
            let (node, number) = (*node, *number);
            watch.spend(8)?;
            path.pop();
            let lowest = low[at(node)];
            if let Some((parent, _, _)) = path.last() {
                low[at(*parent)] = low[at(*parent)].min(lowest);
            }
            if lowest == number {
                while let Some(member) = open.pop() {
                    component[at(member)] = found;
                    if member == node {
                        break;
                    }
                }
                found += 1;
            }
        }
    }
    Ok(component)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_in_reverse_topological_order() {
        let mut edges = Edges::new(5);
        for (from, to) in [(0, 1), (1, 2), (2, 1), (2, 3), (4, 0)] {
            edges.add(from, to, WW);
        }
        let graph = edges.build();
        let component = graph.components(WW, &mut Watch::unlimited()).unwrap();
        assert_eq!(component[1], component[2]);
        assert!(component[4] > component[0] && component[0] > component[1] && component[1] > component[3]);
        let component = graph.components(WR, &mut Watch::unlimited()).unwrap();
        assert_ne!(component[1], component[2]);
    }

    #[test]
    fn components_fall_with_time() {
        // Each before the next but one, and every reader of a version before every writer of the next: two strands, and hubs.
        let mut edges = Edges::new(400);
        for node in 0..398 {
            edges.add(node, node + 2, WW);
        }
        for first in [300, 100, 200] {
            let (readers, writers): (Vec<u32>, Vec<u32>) =
                ((first..first + 20).collect(), (first + 20..first + 40).collect());
            edges.fan(&readers, &writers, WR);
        }
        let graph = edges.build();
        assert!(graph.nodes() > 400, "with hubs");
        let alone = graph.components(WW | WR, &mut Watch::unlimited()).unwrap();
        let states = graph.components_nonadjacent(WW | WR, &mut Watch::unlimited()).unwrap();
        for node in 1..400 {
            assert!(alone[node] < alone[node - 1], "{node}");
            assert!(states[2 * node] < states[2 * node - 2], "{node}");
        }
    }

    #[test]
    fn a_fan_leads_from_all_to_all_but_itself() {
        let sources: Vec<u32> = (0..30).collect();
        let targets: Vec<u32> = (20..60).collect();
        let mut edges = Edges::new(60);
        edges.fan(&sources, &targets, RW);
        let graph = edges.build();
        for source in &sources {
            let mut reached = vec![false; graph.nodes()];
            let mut open = vec![*source];
            while let Some(node) = open.pop() {
                for (to, _) in graph.edges(node).filter(|_| node == *source || node >= graph.first_hub) {
                    if !std::mem::replace(&mut reached[at(to)], true) {
                        open.push(to);
                    }
                }
            }
            for node in 0..60 {
                assert_eq!(reached[at(node)], targets.contains(&node) && node != *source, "{source} {node}");
            }
        }
    }
}
