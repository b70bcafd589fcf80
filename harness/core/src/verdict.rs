//! What a run amounts to. Nothing checked is never a pass; the worst of many wins.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The outcome of a run, a check or an objective, ordered by badness.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Everything that was to hold was checked and holds.
    Pass,
    /// An objective is missed.
    Slow,
    /// The run proves nothing: a fault that did not bite, no operations, not steady, a check that could not decide.
    Invalid,
    /// Ended early by a halt condition or by Ctrl-C.
    Aborted,
    /// An invariant is broken.
    Fail,
    /// Something of a fault or of the lab was left behind.
    Dirty,
}

impl Verdict {
    /// The worst of many; `Invalid` for none, because nothing checked is never a pass.
    pub fn worst(verdicts: impl IntoIterator<Item = Self>) -> Self {
        verdicts.into_iter().max().unwrap_or(Self::Invalid)
    }

    /// The exit code of this verdict. See [`exit`].
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Pass => exit::PASS,
            Self::Slow => exit::SLOW,
            Self::Invalid => exit::INVALID,
            Self::Aborted => exit::ABORTED,
            Self::Fail => exit::FAIL,
            Self::Dirty => exit::DIRTY,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "PASS",
            Self::Slow => "SLOW",
            Self::Invalid => "INVALID",
            Self::Aborted => "ABORTED",
            Self::Fail => "FAIL",
            Self::Dirty => "DIRTY",
        })
    }
}

/// Exit codes of the command. They are part of the interface and do not change.
pub mod exit {
    /// Everything holds.
    pub const PASS: u8 = 0;
    /// An invariant is broken.
    pub const FAIL: u8 = 1;
    /// The scenario or the command line is wrong; nothing was touched.
    pub const USAGE: u8 = 2;
    /// An objective is missed.
    pub const SLOW: u8 = 3;
    /// The run proves nothing.
    pub const INVALID: u8 = 4;
    /// Something was left behind.
    pub const DIRTY: u8 = 5;
    /// Halted, or Ctrl-C.
    pub const ABORTED: u8 = 6;
    /// This environment lacks something; nothing was touched.
    pub const ENVIRONMENT: u8 = 7;
    /// A bug of firedrill (`EX_SOFTWARE` of sysexits.h).
    pub const BUG: u8 = 70;
}
