//! Anomalies by Elle's names, what each violates, and what a name that somebody asks for stands for.

use std::fmt;

use super::consistency::Consistency;

/// The shape of a cycle of dependencies between transactions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CycleKind {
    /// Only writes that follow writes.
    G0,
    /// Writes and reads of what was written, at least one read.
    G1c,
    /// Exactly one read of what was later overwritten.
    GSingle,
    /// Several of those, no two next to each other.
    GNonadjacent,
    /// Any number of those.
    G2,
}

/// An order that is not of data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Order {
    /// That of each process.
    Process,
    /// One ended before the other began.
    Realtime,
}

/// What is wrong with a history of transactions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Anomaly {
    /// A cycle of dependencies; with an order, one that needs this order.
    Cycle(CycleKind, Option<Order>),
    /// An aborted write was read.
    G1a,
    /// A write was read that its transaction replaced.
    G1b,
    /// The versions of a key cannot be put in one order.
    CyclicVersions,
    /// A committed write was made on top of an aborted one.
    DirtyUpdate,
    /// An element is in a list twice.
    DuplicateElements,
    /// No two transactions depend on each other. By itself this is no violation: nothing could be checked.
    EmptyTransactionGraph,
    /// A value was read that nobody wrote.
    GarbageRead,
    /// Two reads of a list, none a prefix of the other.
    IncompatibleOrder,
    /// A transaction contradicts its own reads and writes.
    Internal,
    /// Two transactions replaced the same version of a key.
    LostUpdate,
}

const KINDS: [CycleKind; 5] =
    [CycleKind::G0, CycleKind::G1c, CycleKind::GSingle, CycleKind::GNonadjacent, CycleKind::G2];
const ORDERS: [Option<Order>; 3] = [None, Some(Order::Process), Some(Order::Realtime)];

impl Anomaly {
    /// Every anomaly.
    pub fn all() -> impl Iterator<Item = Self> {
        let cycles = KINDS.into_iter().flat_map(|kind| ORDERS.into_iter().map(move |order| Self::Cycle(kind, order)));
        cycles.chain([
            Self::G1a,
            Self::G1b,
            Self::CyclicVersions,
            Self::DirtyUpdate,
            Self::DuplicateElements,
            Self::EmptyTransactionGraph,
            Self::GarbageRead,
            Self::IncompatibleOrder,
            Self::Internal,
            Self::LostUpdate,
        ])
    }

    /// Its name, as Elle has it.
    pub fn name(self) -> &'static str {
        use {CycleKind as K, Order as O};
        match self {
            Self::Cycle(K::G0, None) => "G0",
            Self::Cycle(K::G0, Some(O::Process)) => "G0-process",
            Self::Cycle(K::G0, Some(O::Realtime)) => "G0-realtime",
            Self::Cycle(K::G1c, None) => "G1c",
            Self::Cycle(K::G1c, Some(O::Process)) => "G1c-process",
            Self::Cycle(K::G1c, Some(O::Realtime)) => "G1c-realtime",
            Self::Cycle(K::GSingle, None) => "G-single-item",
            Self::Cycle(K::GSingle, Some(O::Process)) => "G-single-item-process",
            Self::Cycle(K::GSingle, Some(O::Realtime)) => "G-single-item-realtime",
            Self::Cycle(K::GNonadjacent, None) => "G-nonadjacent-item",
            Self::Cycle(K::GNonadjacent, Some(O::Process)) => "G-nonadjacent-item-process",
            Self::Cycle(K::GNonadjacent, Some(O::Realtime)) => "G-nonadjacent-item-realtime",
            Self::Cycle(K::G2, None) => "G2-item",
            Self::Cycle(K::G2, Some(O::Process)) => "G2-item-process",
            Self::Cycle(K::G2, Some(O::Realtime)) => "G2-item-realtime",
            Self::G1a => "G1a",
            Self::G1b => "G1b",
            Self::CyclicVersions => "cyclic-versions",
            Self::DirtyUpdate => "dirty-update",
            Self::DuplicateElements => "duplicate-elements",
            Self::EmptyTransactionGraph => "empty-transaction-graph",
            Self::GarbageRead => "garbage-read",
            Self::IncompatibleOrder => "incompatible-order",
            Self::Internal => "internal",
            Self::LostUpdate => "lost-update",
        }
    }

    /// The weakest models that forbid it.
    pub fn violates(self) -> &'static [Consistency] {
        use {Consistency as C, CycleKind as K, Order as O};
        match self {
            Self::Cycle(K::G0, None) | Self::CyclicVersions | Self::DuplicateElements | Self::GarbageRead => {
                &[C::ReadUncommitted]
            }
            Self::Cycle(K::G0, Some(O::Process)) => &[C::StrongSessionReadUncommitted],
            Self::Cycle(K::G0, Some(O::Realtime)) => &[C::StrongReadUncommitted],
            Self::Cycle(K::G1c, None) | Self::G1a | Self::G1b | Self::DirtyUpdate | Self::IncompatibleOrder => {
                &[C::ReadCommitted]
            }
            Self::Cycle(K::G1c, Some(O::Process)) => &[C::StrongSessionReadCommitted],
            Self::Cycle(K::G1c, Some(O::Realtime)) => &[C::StrongReadCommitted],
            Self::Cycle(K::GSingle, None) => &[C::ConsistentView, C::RepeatableRead],
            Self::Cycle(K::GNonadjacent, None) => &[C::RepeatableRead, C::SnapshotIsolation],
            Self::Cycle(K::GSingle | K::GNonadjacent, Some(O::Process)) => &[C::StrongSessionSnapshotIsolation],
            Self::Cycle(K::GSingle | K::GNonadjacent, Some(O::Realtime)) => &[C::StrongSnapshotIsolation],
            Self::Cycle(K::G2, None) => &[C::RepeatableRead],
            Self::Cycle(K::G2, Some(O::Process)) => &[C::StrongSessionSerializable],
            Self::Cycle(K::G2, Some(O::Realtime)) => &[C::StrongSerializable],
            Self::Internal => &[C::ReadAtomic],
            Self::LostUpdate => &[C::CursorStability, C::UpdateAtomic],
            Self::EmptyTransactionGraph => &[],
        }
    }

    /// Whether this model forbids it.
    pub fn is_forbidden_by(self, model: Consistency) -> bool {
        self.violates().iter().any(|weakest| model.implies(*weakest))
    }

    /// What a name stands for: one anomaly, or a group (`G1`, `G2`, `G-single`, …) and everything that is a case of it.
    /// None when nothing is called so.
    pub fn named(name: &str) -> Option<Vec<Self>> {
        let cycles =
            |kinds: &[CycleKind], order| kinds.iter().map(|kind| Self::Cycle(*kind, order)).collect::<Vec<_>>();
        let (stem, order) = match (name.strip_suffix("-process"), name.strip_suffix("-realtime")) {
            (Some(stem), _) => (stem, Some(Order::Process)),
            (None, Some(stem)) => (stem, Some(Order::Realtime)),
            (None, None) => (name, None),
        };
        let kinds: &[CycleKind] = match stem {
            "G0" => &[CycleKind::G0],
            "G1c" | "G1" => &[CycleKind::G0, CycleKind::G1c],
            "G-single" | "G-single-item" => &[CycleKind::GSingle],
            "G-nonadjacent" | "G-nonadjacent-item" => &[CycleKind::GSingle, CycleKind::GNonadjacent],
            "G2" | "G2-item" => &[CycleKind::GSingle, CycleKind::GNonadjacent, CycleKind::G2],
            _ => return Self::all().find(|anomaly| anomaly.name() == name).map(|anomaly| vec![anomaly]),
        };
        let mut all = cycles(kinds, order);
        if name == "G1" {
            all.extend([Self::G1a, Self::G1b, Self::IncompatibleOrder]);
        }
        Some(all)
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_its_own() {
        for anomaly in Anomaly::all() {
            assert!(Anomaly::named(anomaly.name()).is_some_and(|all| all.contains(&anomaly)), "{anomaly}");
        }
        assert_eq!(Anomaly::named("G3"), None);
        assert_eq!(Anomaly::named("G1").map(|all| all.len()), Some(5));
    }
}
