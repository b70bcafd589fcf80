//! Sets: each read holds the one before it, and an element is added between the last read without it and the first with
//! it.

use super::{Chain, Decided, Group, spans_of};
use crate::hash::FastMap;
use crate::intern::at;
use crate::linear::plan::Span;
use crate::linear::spec::{Op, Spec};

/// An element.
#[derive(Clone, Copy, Debug)]
struct Element {
    /// Who adds it; nobody needs to when the set begins with it.
    insert: Option<usize>,
    first: bool,
    /// The first of the reads with it, by size.
    rank: Option<usize>,
}

pub(super) fn decide(initial: &[u32], spec: &Spec, spans: &[Span]) -> Option<Decided> {
    // By their numbers, which are dense.
    let mut elements: Vec<Option<Element>> = Vec::new();
    let mut insert = |number: u32, element: Element| {
        let place = at(number);
        if place >= elements.len() {
            elements.resize(place + 1, None);
        }
        elements.get_mut(place).and_then(|known| known.replace(element))
    };
    for element in initial {
        insert(*element, Element { insert: None, first: true, rank: None });
    }
    let mut reads: FastMap<usize, usize> = FastMap::default();
    let mut chain: Vec<(&[u32], Group)> = Vec::new();
    for (place, span) in spans.iter().enumerate() {
        let op = spec.op(span.op)?;
        if let Op::Insert(element) = op {
            if insert(*element, Element { insert: Some(place), first: false, rank: None }).is_some() {
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
            let Some(element) = elements.get_mut(at(*element)).and_then(Option::as_mut) else {
                return Some(Decided::NoOrder(spans_of([group.end])));
            };
            if element.first || element.rank.is_some() {
                held += 1;
            } else {
                element.rank = Some(rank);
            }
        }
        // It lacks one that a smaller read has, or the set had; or it is as large as that one and another.
        if held < known {
            let before = rank.checked_sub(1).and_then(|before| chain.get(before)).map(|(_, group)| group.end);
            return Some(Decided::NoOrder(spans_of([group.end].into_iter().chain(before))));
        }
        known = read.len();
    }
    for element in elements.iter().flatten() {
        let Some((place, span)) = element.insert.and_then(|place| Some((place, spans.get(place)?))) else { continue };
        // What nobody read and nobody knows of may never have been added.
        if element.rank.is_some() || span.ends.is_some() {
            inserts.get_mut(element.rank.unwrap_or(chain.len()))?.add(place, span);
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
