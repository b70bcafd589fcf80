//! The lattice of consistency models: which is stronger than which, and the names they are asked for by.
//!
//! Adya's thesis (PL-1 to PL-3, PL-2+, PL-FCV, PL-SI), Cerone, Bernardi and Gotsman (prefix, causal, parallel snapshot
//! isolation), Bailis et al. (monotonic atomic view), and variants that also respect the order of a session (`strong
//! session`) or real time (`strong`). The names are Elle's.

use std::fmt;

macro_rules! models {
    ($($variant:ident $name:literal $also:expr, $weaker:expr, $doc:literal;)*) => {
        /// A consistency model.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Consistency {
            $(#[doc = $doc] $variant,)*
        }

        impl Consistency {
            /// Every model, in alphabetical order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name that findings use.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            fn other_names(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &$also,)* }
            }

            /// The models that this one directly contains.
            fn contains(self) -> &'static [Self] {
                use Consistency::*;
                match self { $(Self::$variant => &$weaker,)* }
            }
        }
    };
}

models! {
    CausalCerone "causal-cerone" [], [ReadAtomic], "Causal consistency of transactions.";
    ConsistentView "consistent-view" ["PL-2+"], [CursorStability, MonotonicSnapshotRead], "Adya's PL-2+: no read skew.";
    CursorStability "cursor-stability" ["PL-CS"], [ReadCommitted], "Adya's PL-CS: no lost update through a cursor.";
    ForwardConsistentView "forward-consistent-view" ["PL-FCV"], [ConsistentView], "Adya's PL-FCV.";
    MonotonicAtomicView "monotonic-atomic-view" [], [ReadCommitted], "Effects become visible together and stay.";
    MonotonicSnapshotRead "monotonic-snapshot-read" ["PL-MSR"], [MonotonicView], "Adya's PL-MSR.";
    MonotonicView "monotonic-view" ["PL-2L"], [ReadCommitted], "Adya's PL-2L.";
    ParallelSnapshotIsolation "parallel-snapshot-isolation" ["PSI"], [CausalCerone, UpdateAtomic],
        "Snapshots of causal consistency, and no lost update.";
    Prefix "prefix" [], [CausalCerone], "Prefix consistency.";
    ReadAtomic "read-atomic" [], [MonotonicAtomicView], "All effects of a transaction are seen or none.";
    ReadCommitted "read-committed" ["PL-2"], [ReadUncommitted], "Adya's PL-2.";
    ReadUncommitted "read-uncommitted" ["PL-1"], [], "Adya's PL-1.";
    RepeatableRead "repeatable-read" ["PL-2.99"], [CursorStability, MonotonicAtomicView],
        "Adya's PL-2.99: serializable but for predicates.";
    Serializable "serializable" ["PL-3"], [RepeatableRead, SnapshotIsolation, UpdateSerializable],
        "Adya's PL-3: some serial order explains everything.";
    SnapshotIsolation "snapshot-isolation" ["PL-SI"], [ForwardConsistentView, ParallelSnapshotIsolation, Prefix],
        "Reads of one snapshot; the first committer wins.";
    StrongReadCommitted "strong-read-committed" ["strong-PL-2"], [StrongReadUncommitted, StrongSessionReadCommitted],
        "Read committed in real time.";
    StrongReadUncommitted "strong-read-uncommitted" ["strong-PL-1"], [StrongSessionReadUncommitted],
        "Read uncommitted in real time.";
    StrongSerializable "strong-serializable" ["strict-serializable", "PL-SS"],
        [StrongSessionSerializable, StrongSnapshotIsolation], "Serializable in real time.";
    StrongSessionReadCommitted "strong-session-read-committed" ["strong-session-PL-2"],
        [ReadCommitted, StrongSessionReadUncommitted], "Read committed in the order of each session.";
    StrongSessionReadUncommitted "strong-session-read-uncommitted" ["strong-session-PL-1"], [ReadUncommitted],
        "Read uncommitted in the order of each session.";
    StrongSessionSerializable "strong-session-serializable" ["strong-session-PL-3"],
        [Serializable, StrongSessionSnapshotIsolation], "Serializable in the order of each session.";
    StrongSessionSnapshotIsolation "strong-session-snapshot-isolation" ["strong-session-PL-SI"],
        [SnapshotIsolation, StrongSessionReadCommitted], "Snapshot isolation in the order of each session.";
    StrongSnapshotIsolation "strong-snapshot-isolation" ["strong-PL-SI"],
        [StrongReadCommitted, StrongSessionSnapshotIsolation], "Snapshot isolation in real time.";
    UpdateAtomic "update-atomic" [], [ReadAtomic], "Read atomic, and no lost update.";
    UpdateSerializable "update-serializable" ["PL-3U"], [ConsistentView], "Adya's PL-3U: updates are serializable.";
}

impl Consistency {
    /// The model of this name, by whichever of its names, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|model| {
            model.name().eq_ignore_ascii_case(name)
                || model.other_names().iter().any(|other| other.eq_ignore_ascii_case(name))
        })
    }

    /// Whether a history that breaks `weaker` breaks this one too. Every model implies itself.
    pub fn implies(self, weaker: Self) -> bool {
        self == weaker || self.contains().iter().any(|model| model.implies(weaker))
    }
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is violated: the weakest models first, then every other that contains one of them.
pub(super) fn violated(broken: &[Consistency]) -> (Vec<Consistency>, Vec<Consistency>) {
    let is_direct = |model: Consistency| {
        broken.contains(&model) && !broken.iter().any(|other| *other != model && model.implies(*other))
    };
    let is_broken = |model: Consistency| broken.iter().any(|other| model.implies(*other));
    let all = || Consistency::ALL.iter().copied();
    (all().filter(|model| is_direct(*model)).collect(), all().filter(|m| is_broken(*m) && !is_direct(*m)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_serializable_contains_every_model() {
        for model in Consistency::ALL {
            assert!(Consistency::StrongSerializable.implies(*model), "{model}");
            assert!(model.implies(Consistency::ReadUncommitted), "{model}");
            assert_eq!(Consistency::named(model.name()), Some(*model));
        }
        assert_eq!(Consistency::named("pl-3"), Some(Consistency::Serializable));
        assert_eq!(Consistency::named("acid"), None);
    }

    #[test]
    fn models_only_contain_weaker_ones() {
        for model in Consistency::ALL {
            for other in Consistency::ALL {
                assert!(model == other || !(model.implies(*other) && other.implies(*model)), "{model} {other}");
            }
        }
        assert!(!Consistency::SnapshotIsolation.implies(Consistency::RepeatableRead));
        assert!(!Consistency::RepeatableRead.implies(Consistency::SnapshotIsolation));
    }
}
