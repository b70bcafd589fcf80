//! What precedes what: sessions, reads and real time, and the commit order that follows from them. Edges are kept
//! backwards, because the reads of a transaction are its predecessors.

use super::reads::Access;
use super::realtime::Realtime;
use super::registers::Registers;
use crate::intern::{NONE, at, id};
use crate::limits::{Stop, Watch};

/// Edges of the commit order: the first must commit before the second, because of what the third read.
#[derive(Default, Debug)]
pub(super) struct Inferred {
    pub(super) list: Vec<(u32, u32, u32)>,
}

impl Inferred {
    pub(super) fn add(&mut self, before: u32, after: u32, reader: u32) {
        if before != after && self.list.last().is_none_or(|last| (last.0, last.1) != (before, after)) {
            self.list.push((before, after, reader));
        }
    }
}

/// How one node precedes another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Session,
    /// The second read from the first.
    Read,
    /// Into or out of a barrier of real time.
    Realtime,
    /// Because of what this transaction read.
    Commit(u32),
}

/// The graph of one level. Nodes are transactions, the initial one, and barriers of real time.
pub(super) struct Graph<'a> {
    pub(super) all: &'a Registers,
    access: &'a Access,
    realtime: Option<&'a Realtime>,
    /// Predecessors in the commit order, in rows by successor, and whose read says so.
    rows: Vec<u32>,
    before: Vec<(u32, u32)>,
}

impl<'a> Graph<'a> {
    pub(super) fn new(
        all: &'a Registers,
        access: &'a Access,
        realtime: Option<&'a Realtime>,
        inferred: &Inferred,
    ) -> Self {
        let mut rows = Vec::new();
        let mut before = Vec::new();
        if !inferred.list.is_empty() {
            rows = vec![0_u32; at(all.initial()) + 3];
            before = vec![(NONE, NONE); inferred.list.len()];
            for (_, after, _) in &inferred.list {
                rows[at(*after) + 2] += 1;
            }
            for node in 2..rows.len() {
                rows[node] += rows[node - 1];
            }
            for (from, after, reader) in &inferred.list {
                let next = &mut rows[at(*after) + 1];
                before[at(*next)] = (*from, *reader);
                *next += 1;
            }
            rows.pop();
        }
        Self { all, access, realtime, rows, before }
    }

    pub(super) fn nodes(&self) -> u32 {
        self.all.initial() + 1 + self.realtime.map_or(0, Realtime::barriers)
    }

    /// The predecessor of a node after `cursor` others.
    pub(super) fn before(&self, node: u32, cursor: u32) -> Option<(u32, Step)> {
        let initial = self.all.initial();
        if node > initial {
            return self.realtime?.before_barrier(node, cursor).map(|before| (before, Step::Realtime));
        }
        let mut place = at(cursor);
        if node < initial {
            if place == 0 {
                return Some((self.all.before_in_session(node), Step::Session));
            }
            place -= 1;
            if let Some(barrier) = self.realtime.and_then(|realtime| realtime.barrier_before(node)) {
                if place == 0 {
                    return Some((barrier, Step::Realtime));
                }
                place -= 1;
            }
            let reads = self.access.reads(node);
            if let Some(read) = reads.get(place) {
                return Some((read.writer, Step::Read));
            }
            place -= reads.len();
        }
        let start = at(*self.rows.get(at(node))?);
        let end = at(*self.rows.get(at(node) + 1)?);
        self.before.get(start..end)?.get(place).map(|(before, reader)| (*before, Step::Commit(*reader)))
    }

    /// An order in which every node comes after its predecessors, as near to that of the file as can be; nothing when
    /// there is a cycle.
    pub(super) fn order(&self, watch: &mut Watch<'_>) -> Result<Option<Vec<u32>>, Stop> {
        const NEW: u8 = 0;
        const OPEN: u8 = 1;
        const DONE: u8 = 2;
        let mut state = vec![NEW; at(self.nodes())];
        let mut order = Vec::with_capacity(state.len());
        let mut path: Vec<(u32, u32)> = Vec::new();
        let rest = self.all.initial()..self.nodes();
        for root in self.all.in_file_order.iter().copied().chain(rest) {
            if state[at(root)] != NEW {
                continue;
            }
            state[at(root)] = OPEN;
            path.push((root, 0));
            while let Some((node, cursor)) = path.last_mut() {
                let (node, place) = (*node, *cursor);
                *cursor += 1;
                if let Some((before, _)) = self.before(node, place) {
                    match state[at(before)] {
                        NEW => {
                            state[at(before)] = OPEN;
                            path.push((before, 0));
                        }
                        OPEN => return Ok(None),
                        _ => {}
                    }
                    continue;
                }
                watch.spend(at(place) + 1)?;
                state[at(node)] = DONE;
                order.push(node);
                path.pop();
            }
        }
        Ok(Some(order))
    }

    /// Strongly connected components of several nodes: a number for each node, and how many nodes have it.
    pub(super) fn components(&self, watch: &mut Watch<'_>) -> Result<(Vec<u32>, Vec<u32>), Stop> {
        let component = crate::txn::components(at(self.nodes()), watch, |node, cursor| {
            let (before, _) = self.before(node, *cursor)?;
            *cursor += 1;
            Some(before)
        })?;
        let mut sizes = vec![0_u32; component.len()];
        for of in &component {
            sizes[at(*of)] += 1;
        }
        Ok((component, sizes))
    }

    /// Every node.
    pub(super) fn all_nodes(&self) -> std::ops::Range<u32> {
        0..id(at(self.nodes()))
    }
}
