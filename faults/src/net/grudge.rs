//! Partition shapes as pure functions on lists of ends, after Jepsen's grudges (`jepsen/src/jepsen/nemesis.clj`): a
//! grudge says of each end whose packets it never gets.

use std::collections::{BTreeMap, BTreeSet};

use firedrill_core::action::{Endpoint, Link};
use firedrill_core::cluster::ClusterView;
use firedrill_core::select::{majority_of, pick};
use rand::seq::SliceRandom as _;

use firedrill_core::seed::ChaCha8Rng;

/// For each end, the ends whose packets never arrive there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grudge(BTreeMap<Endpoint, BTreeSet<Endpoint>>);

/// The nodes of a view in its order, and the clients as one more end if `clients`.
pub fn ends(view: &ClusterView, clients: bool) -> Vec<Endpoint> {
    let nodes = view.nodes.iter().map(|node| Endpoint::Node(node.name.clone()));
    nodes.chain(clients.then_some(Endpoint::Clients)).collect()
}

impl Grudge {
    /// Drops packets of one direction.
    fn drop(&mut self, from: &Endpoint, to: &Endpoint) {
        if from != to {
            self.0.entry(to.clone()).or_default().insert(from.clone());
        }
    }

    /// Drops packets of both directions.
    fn part(&mut self, a: &Endpoint, b: &Endpoint) {
        self.drop(a, b);
        self.drop(b, a);
    }

    /// Whether packets of this direction are dropped.
    pub fn drops(&self, from: &Endpoint, to: &Endpoint) -> bool {
        self.0.get(to).is_some_and(|senders| senders.contains(from))
    }

    /// Whether two ends hear each other, both ways.
    pub fn joined(&self, a: &Endpoint, b: &Endpoint) -> bool {
        !self.drops(a, b) && !self.drops(b, a)
    }

    /// The cut directions, in the order of `ends`.
    pub fn links(&self, ends: &[Endpoint]) -> Vec<Link> {
        let pairs = ends.iter().flat_map(|from| ends.iter().map(move |to| (from, to)));
        let cut = pairs.filter(|(from, to)| self.drops(from, to));
        cut.map(|(from, to)| Link { from: from.clone(), to: to.clone() }).collect()
    }
}

/// Each target is alone: nobody hears it and it hears nobody, other targets included.
pub fn isolate(ends: &[Endpoint], targets: &[Endpoint]) -> Grudge {
    let mut grudge = Grudge::default();
    for target in targets {
        for end in ends {
            grudge.part(target, end);
        }
    }
    grudge
}

/// Nobody of one side hears anybody of the other.
pub fn split(one: &[Endpoint], other: &[Endpoint]) -> Grudge {
    let mut grudge = Grudge::default();
    for a in one {
        for b in other {
            grudge.part(a, b);
        }
    }
    grudge
}

/// Which packets of a target are dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Those to it: it speaks and hears nothing.
    In,
    /// Those from it: it hears and nobody hears it.
    Out,
}

/// Packets between targets and all others are dropped in one direction.
pub fn one_way(ends: &[Endpoint], targets: &[Endpoint], direction: Direction) -> Grudge {
    let mut grudge = Grudge::default();
    for target in targets {
        for end in ends.iter().filter(|end| !targets.contains(end)) {
            match direction {
                Direction::In => grudge.drop(end, target),
                Direction::Out => grudge.drop(target, end),
            }
        }
    }
    grudge
}

/// Two sides that cover all ends. The targets are together: on the smaller side, filled up by draw to half of
/// all, as long as they are no majority themselves; else they are one side and the rest is the other.
pub fn halves(ends: &[Endpoint], targets: &[Endpoint], rng: &mut ChaCha8Rng) -> (Vec<Endpoint>, Vec<Endpoint>) {
    let smaller = ends.len() / 2;
    let others: Vec<Endpoint> = ends.iter().filter(|end| !targets.contains(end)).cloned().collect();
    let drawn = pick(&others, smaller.saturating_sub(targets.len()), rng);
    ends.iter().cloned().partition(|end| targets.contains(end) || drawn.contains(end))
}

/// Two sides that do not hear each other, and a bridge between them that both hear.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bridge {
    /// The side of the targets; never larger than the other by more than one.
    pub near: Vec<Endpoint>,
    /// The node both sides hear.
    pub bridge: Endpoint,
    /// The other side.
    pub far: Vec<Endpoint>,
}

/// Draws a bridge from the ends that are no targets, and halves the rest. `None` for fewer than three ends, or when
/// all but one are targets.
pub fn bridge(ends: &[Endpoint], targets: &[Endpoint], rng: &mut ChaCha8Rng) -> Option<Bridge> {
    let others: Vec<Endpoint> = ends.iter().filter(|end| !targets.contains(end)).cloned().collect();
    if others.len() < 2 {
        return None;
    }
    let bridge = pick(&others, 1, rng).into_iter().next()?;
    let rest: Vec<Endpoint> = ends.iter().filter(|end| **end != bridge).cloned().collect();
    let (near, far) = halves(&rest, targets, rng);
    Some(Bridge { near, bridge, far })
}

/// Every end hears a majority (itself included), no two the same, on a ring in drawn order. Jepsen's
/// `majorities-ring` for five; for more, the neighbours on both sides are as many as a majority needs, so that hearing
/// stays mutual. `None` for fewer than five ends.
pub fn majorities_ring(ends: &[Endpoint], rng: &mut ChaCha8Rng) -> Option<Grudge> {
    let count = ends.len();
    if count < 5 {
        return None;
    }
    let reach = (majority_of(count) - 1).div_ceil(2);
    let mut circle = ends.to_vec();
    circle.shuffle(rng);
    let mut grudge = Grudge::default();
    for (i, a) in circle.iter().enumerate() {
        for (j, b) in circle.iter().enumerate() {
            let apart = i.abs_diff(j);
            if apart.min(count - apart) > reach {
                grudge.part(a, b);
            }
        }
    }
    Some(grudge)
}
