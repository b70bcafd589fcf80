//! The levels of weak isolation.

use std::fmt;

/// An axiomatic level, after Biswas and Enea, "On the Complexity of Checking Transactional Consistency" (OOPSLA 2019). It
/// holds when the transactions have a total order, the commit order, that contains the order of each session and who read
/// from whom, and in which a transaction that read key `x` from `T1` sees no later writer of `x` than `T1`. What it sees
/// is what the levels differ in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Axiom {
    /// Whatever it read from before that read.
    ReadCommitted,
    /// Whatever it read from, and whatever its session performed before.
    ReadAtomic,
    /// Whatever came before it through any chain of sessions and reads.
    Causal,
}

/// An axiom, and whether transactions also see, and the commit order also contains, what ended before they began.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Level {
    /// What is seen.
    pub axiom: Axiom,
    /// Real time counts like the order of a session.
    pub realtime: bool,
}

impl Level {
    /// Every level, from weak to strong.
    pub const ALL: [Self; 6] = [
        Self { axiom: Axiom::ReadCommitted, realtime: false },
        Self { axiom: Axiom::ReadAtomic, realtime: false },
        Self { axiom: Axiom::Causal, realtime: false },
        Self { axiom: Axiom::ReadCommitted, realtime: true },
        Self { axiom: Axiom::ReadAtomic, realtime: true },
        Self { axiom: Axiom::Causal, realtime: true },
    ];

    /// The name it is asked for by.
    pub fn name(self) -> &'static str {
        match (self.axiom, self.realtime) {
            (Axiom::ReadCommitted, false) => "rc-axiomatic",
            (Axiom::ReadAtomic, false) => "ra",
            (Axiom::Causal, false) => "cc",
            (Axiom::ReadCommitted, true) => "strong-rc-axiomatic",
            (Axiom::ReadAtomic, true) => "strong-ra",
            (Axiom::Causal, true) => "strong-cc",
        }
    }

    /// The level of this name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(name))
    }

    /// Whether a history that breaks `weaker` breaks this one too. Every level implies itself.
    pub fn implies(self, weaker: Self) -> bool {
        self.axiom >= weaker.axiom && self.realtime >= weaker.realtime
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
