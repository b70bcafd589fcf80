//! What can be wrong, by name.

use std::fmt;

/// Something that should not be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Anomaly {
    /// It was acknowledged, or seen, and is missing.
    Lost,
    /// It was missing for a while after it was acknowledged.
    Stale,
    /// Nobody read it for sure after it was acknowledged.
    NeverRead,
    /// It is there more than once.
    Duplicate,
    /// It is there, though nobody wrote it, or its write failed.
    Unexpected,
    /// Two messages have one offset.
    InconsistentOffsets,
    /// A consumer got messages against their order.
    NonmonotonicPoll,
    /// A producer's messages are in the log against the order in which it sent them.
    NonmonotonicSend,
    /// A consumer got a message, and not the one before it.
    PollSkip,
    /// An acknowledged message beyond everything that anybody polled.
    Unseen,
    /// The balances have another sum.
    WrongTotal,
    /// An account has no balance.
    NilBalance,
    /// An account is overdrawn.
    NegativeBalance,
    /// Two readers saw two writes in opposite orders.
    LongFork,
    /// A sum that no set of additions explains.
    OutOfBounds,
    /// A process saw a write, and later what was before it.
    NonmonotonicRead,
    /// A process's write is there, and one that it made before is not.
    NonmonotonicWrite,
    /// A process did not see its own write.
    OwnWriteMissing,
    /// What was read had been replaced longer ago than allowed.
    TooStale,
    /// A replica lacks an element that the primary has before others which it has.
    Gap,
    /// A replica has elements in another order than the primary.
    Reordered,
    /// A replica has what the primary never had.
    Diverged,
    /// A replica's sequence is no longer what it was.
    Rewritten,
    /// A key is there that was deleted before other effects that are there.
    ResurrectedKey,
}

impl Anomaly {
    /// Every one.
    pub const ALL: &[Self] = &[
        Self::Lost,
        Self::Stale,
        Self::NeverRead,
        Self::Duplicate,
        Self::Unexpected,
        Self::InconsistentOffsets,
        Self::NonmonotonicPoll,
        Self::NonmonotonicSend,
        Self::PollSkip,
        Self::Unseen,
        Self::WrongTotal,
        Self::NilBalance,
        Self::NegativeBalance,
        Self::LongFork,
        Self::OutOfBounds,
        Self::NonmonotonicRead,
        Self::NonmonotonicWrite,
        Self::OwnWriteMissing,
        Self::TooStale,
        Self::Gap,
        Self::Reordered,
        Self::Diverged,
        Self::Rewritten,
        Self::ResurrectedKey,
    ];

    /// Its name: Jepsen's where Jepsen has one.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Stale => "stale",
            Self::NeverRead => "never-read",
            Self::Duplicate => "duplicate",
            Self::Unexpected => "unexpected",
            Self::InconsistentOffsets => "inconsistent-offsets",
            Self::NonmonotonicPoll => "nonmonotonic-poll",
            Self::NonmonotonicSend => "nonmonotonic-send",
            Self::PollSkip => "poll-skip",
            Self::Unseen => "unseen",
            Self::WrongTotal => "wrong-total",
            Self::NilBalance => "nil-balance",
            Self::NegativeBalance => "negative-balance",
            Self::LongFork => "long-fork",
            Self::OutOfBounds => "out-of-bounds",
            Self::NonmonotonicRead => "nonmonotonic-read",
            Self::NonmonotonicWrite => "nonmonotonic-write",
            Self::OwnWriteMissing => "own-write-missing",
            Self::TooStale => "too-stale",
            Self::Gap => "gap",
            Self::Reordered => "reordered",
            Self::Diverged => "diverged",
            Self::Rewritten => "rewritten",
            Self::ResurrectedKey => "resurrected-key",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|anomaly| anomaly.name() == name)
    }

    /// Whether it is only told, unless it is asked about: what Jepsen's checkers tell and let pass.
    pub fn is_note(self) -> bool {
        matches!(self, Self::Stale | Self::NeverRead | Self::Unseen | Self::NegativeBalance | Self::Rewritten)
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
