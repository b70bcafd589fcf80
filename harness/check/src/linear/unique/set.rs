//! Sets: each read holds the one before it, and an element is added between the last read without it and the first with
//! it.

use super::{Chain, Decided, Group, spans_of};
use crate::dense::Dense;
use crate::hash::FastMap;
use crate::intern::{NONE, at, id};
use crate::linear::elements::{Elements, ones};
use crate::linear::plan::Span;
use crate::linear::spec::{Op, Spec};

/// What is known of 32 elements, by their numbers, a bit for each: large reads look at all of them.
#[derive(Clone, Copy, Default, Debug)]
struct Known {
    /// Somebody adds it, or the set begins with it.
    is_there: u32,
    /// A read has it, or the set begins with it.
    is_read: u32,
}

fn known_at(all: &mut Vec<Known>, group: usize) -> Option<&mut Known> {
    if group >= all.len() {
        all.resize(group + 1, Known::default());
    }
    all.get_mut(group)
}

pub(super) fn decide(initial: &Elements, spec: &Spec, spans: &[Span]) -> Option<Decided> {
    let mut all: Vec<Known> = Vec::new();
    for (group, bits) in initial.groups() {
        *known_at(&mut all, group)? = Known { is_there: bits, is_read: bits };
    }
    // Who adds an element.
    let mut adders = Dense::default();
    let mut reads: FastMap<usize, usize> = FastMap::default();
    let mut chain: Vec<(&Elements, usize, Group)> = Vec::new();
    for (place, span) in spans.iter().enumerate() {
        let op = spec.op(span.op)?;
        if let Op::Insert(element) = op {
            let bit = 1 << (element % 32);
            let known = known_at(&mut all, at(element / 32))?;
            if known.is_there & bit != 0 {
                return None;
            }
            known.is_there |= bit;
            adders.int(0, i64::from(*element), id(place));
        } else if let Op::Elements(read) = op {
            if span.ends.is_some() {
                let next = chain.len();
                let of = *reads.entry(span.op).or_insert(next);
                if of == next {
                    chain.push((read, read.len(), Group::EMPTY));
                }
                chain.get_mut(of)?.2.add(place, span);
            }
        } else {
            return None;
        }
    }
    let mut adder = |group: usize, one: u32| {
        let (adder, _) = adders.int(0, i64::try_from(group).ok()? * 32 + i64::from(one), NONE);
        Some((at(adder), spans.get(at(adder))?))
    };
    chain.sort_unstable_by_key(|(_, count, group)| (*count, group.end));
    let mut inserts = vec![Group::EMPTY; chain.len() + 1];
    let mut before = initial.len();
    for (rank, (read, count, reads)) in chain.iter().enumerate() {
        let mut held = 0;
        for (group, bits) in read.groups() {
            let Some(known) = all.get_mut(group).filter(|known| bits & !known.is_there == 0) else {
                return Some(Decided::NoOrder(spans_of([reads.end])));
            };
            held += at((bits & known.is_read).count_ones());
            for one in ones(bits & !known.is_read) {
                let (place, span) = adder(group, one)?;
                inserts.get_mut(rank)?.add(place, span);
            }
            known.is_read |= bits;
        }
        // It lacks one that a smaller read has, or the set had; or it is as large as that one and another.
        if held < before {
            let smaller = rank.checked_sub(1).and_then(|smaller| chain.get(smaller)).map(|(.., reads)| reads.end);
            return Some(Decided::NoOrder(spans_of([reads.end].into_iter().chain(smaller))));
        }
        before = *count;
    }
    for (group, known) in all.iter().enumerate() {
        for one in ones(known.is_there & !known.is_read) {
            let (place, span) = adder(group, one)?;
            // What nobody read and nobody knows of may never have been added.
            if span.ends.is_some() {
                inserts.last_mut()?.add(place, span);
            }
        }
    }
    let mut order = Chain::new();
    let reads = chain.iter().map(|(.., reads)| *reads).chain([Group::EMPTY]);
    for group in inserts.into_iter().zip(reads).flat_map(|(inserts, reads)| [inserts, reads]) {
        if let Some(why) = order.follow(group) {
            return Some(Decided::NoOrder(why));
        }
    }
    Some(Decided::Order)
}
