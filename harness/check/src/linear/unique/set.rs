//! Sets: each read holds the one before it, and an element is added between the last read without it and the first with
//! it.

use super::{Chain, Decided, Group, spans_of};
use crate::hash::FastMap;
use crate::intern::{NONE, at, id};
use crate::linear::plan::Span;
use crate::linear::spec::{Op, Spec};

/// An element, in eight bytes: large reads look at all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Element {
    /// Who adds it; [`NONE`] needs to when the set begins with it.
    insert: u32,
    /// The first of the reads with it, by size; [`NONE`] or [`FIRST`].
    rank: u32,
}

/// The set begins with it.
const FIRST: u32 = NONE - 1;

/// Nobody adds it.
const NOBODY: Element = Element { insert: NONE, rank: NONE };

pub(super) fn decide(initial: &[u32], spec: &Spec, spans: &[Span]) -> Option<Decided> {
    // By their numbers, which are dense.
    let mut elements: Vec<Element> = Vec::new();
    let mut insert = |number: u32, element: Element| {
        let place = at(number);
        if place >= elements.len() {
            elements.resize(place + 1, NOBODY);
        }
        elements.get_mut(place).map_or(NOBODY, |known| std::mem::replace(known, element))
    };
    for element in initial {
        insert(*element, Element { insert: NONE, rank: FIRST });
    }
    let mut reads: FastMap<usize, usize> = FastMap::default();
    let mut chain: Vec<(&[u32], Group)> = Vec::new();
    for (place, span) in spans.iter().enumerate() {
        let op = spec.op(span.op)?;
        if let Op::Insert(element) = op {
            let place = u32::try_from(place).ok().filter(|place| *place < FIRST)?;
            if insert(*element, Element { insert: place, rank: NONE }) != NOBODY {
                return None;
            }
        } else if let Op::Elements(read) = op {
            if span.ends.is_some() {
                let next = chain.len();
                let of = *reads.entry(span.op).or_insert(next);
                if of == next {
                    chain.push((read, Group::EMPTY));
                }
                chain.get_mut(of)?.1.add(place, span);
            }
        } else {
            return None;
        }
    }
    chain.sort_unstable_by_key(|(read, group)| (read.len(), group.end));
    let mut inserts = vec![Group::EMPTY; chain.len() + 1];
    let mut known = initial.len();
    for (rank, (read, group)) in chain.iter().enumerate() {
        let mut held = 0;
        for element in *read {
            let Some(element) = elements.get_mut(at(*element)).filter(|element| **element != NOBODY) else {
                return Some(Decided::NoOrder(spans_of([group.end])));
            };
            if element.rank == NONE {
                element.rank = id(rank);
            } else {
                held += 1;
            }
        }
        // It lacks one that a smaller read has, or the set had; or it is as large as that one and another.
        if held < known {
            let before = rank.checked_sub(1).and_then(|before| chain.get(before)).map(|(_, group)| group.end);
            return Some(Decided::NoOrder(spans_of([group.end].into_iter().chain(before))));
        }
        known = read.len();
    }
    for element in elements.iter().filter(|element| element.insert != NONE) {
        let Some(span) = spans.get(at(element.insert)) else { continue };
        // What nobody read and nobody knows of may never have been added.
        if element.rank != NONE || span.ends.is_some() {
            let group = if element.rank == NONE { chain.len() } else { at(element.rank) };
            inserts.get_mut(group)?.add(at(element.insert), span);
        }
    }
    let mut order = Chain::new();
    let reads = chain.iter().map(|(_, group)| *group).chain([Group::EMPTY]);
    for group in inserts.into_iter().zip(reads).flat_map(|(inserts, reads)| [inserts, reads]) {
        if let Some(why) = order.follow(group) {
            return Some(Decided::NoOrder(why));
        }
    }
    Some(Decided::Order)
}
