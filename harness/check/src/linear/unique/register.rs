//! Registers: a value with everything that read it is a cluster, compare-and-sets tie clusters into a block, and blocks
//! take effect one after the other.

use super::{At, Chain, Decided, Group, Moment, spans_of};
use crate::dense::Dense;
use crate::intern::{at, id};
use crate::linear::plan::Span;
use crate::linear::spec::{Op, Spec};

/// A value.
#[derive(Clone, Copy, Debug)]
struct Cluster {
    writer: Writer,
    reads: Group,
    is_read: bool,
    /// It took effect, for all that is known of the others.
    needed: bool,
    /// The cluster whose writer replaced this value and no other.
    next: Option<usize>,
    walked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Writer {
    Nobody,
    Initial,
    /// A write.
    Write(usize),
    /// A compare-and-set of the value of this cluster.
    Cas(usize, usize),
}

impl Cluster {
    const NEW: Self =
        Self { writer: Writer::Nobody, reads: Group::EMPTY, is_read: false, needed: false, next: None, walked: false };
}

/// A block as seen by others: it takes effect around everything from its first end to its last beginning, or, when that is
/// the other way round, at any moment between them.
#[derive(Clone, Copy, Debug)]
struct Zone {
    end: At,
    begin: At,
    first: usize,
}

struct Clusters {
    of: Dense,
    all: Vec<Cluster>,
}

impl Clusters {
    fn get(&mut self, value: u32) -> usize {
        let (place, is_new) = self.of.int(0, i64::from(value), id(self.all.len()));
        if is_new {
            self.all.push(Cluster::NEW);
        }
        at(place)
    }

    /// Nothing when the value is written twice.
    fn write(&mut self, value: u32, writer: Writer) -> Option<()> {
        let place = self.get(value);
        let cluster = self.all.get_mut(place)?;
        if cluster.writer != Writer::Nobody {
            return None;
        }
        cluster.writer = writer;
        Some(())
    }
}

pub(super) fn decide(initial: u32, spec: &Spec, spans: &[Span]) -> Option<Decided> {
    let mut clusters = Clusters { of: Dense::default(), all: Vec::new() };
    clusters.write(initial, Writer::Initial)?;
    for (place, span) in spans.iter().enumerate() {
        let op = spec.op(span.op)?;
        if let Op::Write(value) = op {
            clusters.write(*value, Writer::Write(place))?;
        } else if let Op::Cas(from, to) = op {
            let from = clusters.get(*from);
            clusters.write(*to, Writer::Cas(place, from))?;
        } else if let Op::Read(value) = op {
            let cluster = clusters.get(*value);
            let cluster = clusters.all.get_mut(cluster)?;
            if span.ends.is_some() {
                cluster.reads.add(place, span);
                cluster.is_read = true;
            }
        } else {
            return None;
        }
    }
    let mut all = clusters.all;
    if let Some(why) = link(&mut all, spans) {
        return Some(Decided::NoOrder(why));
    }
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    for root in 0..all.len() {
        let cluster = all.get(root)?;
        if cluster.needed && matches!(cluster.writer, Writer::Initial | Writer::Write(_)) {
            match zone(&mut all, root, spans) {
                Ok(zone) if zone.end < zone.begin => forward.push(zone),
                Ok(zone) => backward.push(zone),
                Err(why) => return Some(Decided::NoOrder(why)),
            }
        }
    }
    // Compare-and-sets that replace each other's values in a circle.
    if let Some(cluster) = all.iter().find(|cluster| cluster.needed && !cluster.walked) {
        let writer = if let Writer::Cas(span, _) = cluster.writer { Some(span) } else { None };
        return Some(Decided::NoOrder(spans_of([(0, writer), cluster.reads.end])));
    }
    Some(apart(forward, &backward, &all).map_or(Decided::Order, Decided::NoOrder))
}

/// Finds what took effect, and ties each compare-and-set to the value it replaced.
fn link(all: &mut [Cluster], spans: &[Span]) -> Option<Vec<usize>> {
    let happened = |span: usize| spans.get(span).is_some_and(|span| span.ends.is_some());
    let mut open: Vec<usize> = Vec::new();
    for (place, cluster) in all.iter_mut().enumerate() {
        let written = match cluster.writer {
            Writer::Nobody => false,
            Writer::Initial => true,
            Writer::Write(span) | Writer::Cas(span, _) => happened(span),
        };
        if written || cluster.is_read {
            cluster.needed = true;
            open.push(place);
        }
    }
    while let Some(place) = open.pop() {
        let cluster = *all.get(place)?;
        match cluster.writer {
            Writer::Initial | Writer::Write(_) => {}
            Writer::Nobody => {
                let replaced = cluster.next.and_then(|next| all.get(next)).and_then(writer_of);
                return Some(spans_of([cluster.reads.end, (0, replaced)]));
            }
            Writer::Cas(span, from) => {
                let other = all.get(from)?.next.and_then(|next| all.get(next)).and_then(writer_of);
                if other.is_some() {
                    let first = all.get(from).and_then(writer_of);
                    return Some(spans_of([(0, other), (0, Some(span)), (0, first)]));
                }
                let from_cluster = all.get_mut(from)?;
                from_cluster.next = Some(place);
                if !from_cluster.needed || from_cluster.writer == Writer::Nobody {
                    from_cluster.needed = true;
                    open.push(from);
                }
            }
        }
    }
    None
}

fn writer_of(cluster: &Cluster) -> Option<usize> {
    match cluster.writer {
        Writer::Nobody | Writer::Initial => None,
        Writer::Write(span) | Writer::Cas(span, _) => Some(span),
    }
}

/// Walks through a block.
fn zone(all: &mut [Cluster], root: usize, spans: &[Span]) -> Result<Zone, Vec<usize>> {
    let mut chain = Chain::new();
    let mut whole = Group::EMPTY;
    let mut at = Some(root);
    while let Some(cluster) = at.and_then(|place| all.get_mut(place)) {
        cluster.walked = true;
        let mut write = Group::EMPTY;
        match writer_of(cluster) {
            Some(span) => {
                if let Some(of) = spans.get(span) {
                    write.add(span, of);
                }
            }
            // Before everything.
            None => write.end = (Moment::MIN, None),
        }
        for group in [write, cluster.reads] {
            if let Some(mut why) = chain.follow(group) {
                why.extend(writer_of(cluster));
                why.sort_unstable();
                why.dedup();
                return Err(why);
            }
            whole.join(group);
        }
        at = cluster.next;
    }
    Ok(Zone { end: whole.end, begin: whole.begin, first: root })
}

/// Whether blocks can be kept apart; the spans that prevent it otherwise.
fn apart(mut forward: Vec<Zone>, backward: &[Zone], all: &[Cluster]) -> Option<Vec<usize>> {
    let why = |left: &Zone, right: &Zone| {
        let writer = |zone: &Zone| (0, all.get(zone.first).and_then(writer_of));
        Some(spans_of([left.end, left.begin, writer(left), right.end, right.begin, writer(right)]))
    };
    forward.sort_unstable_by_key(|zone| zone.end);
    for pair in forward.windows(2) {
        if let [left, right] = pair
            && right.end < left.begin
        {
            return why(left, right);
        }
    }
    for inner in backward {
        let before = forward.partition_point(|zone| zone.end < inner.begin);
        if let Some(outer) = before.checked_sub(1).and_then(|place| forward.get(place))
            && inner.end < outer.begin
        {
            return why(outer, inner);
        }
    }
    None
}
