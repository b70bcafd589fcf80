//! Pure checkers and measures of recorded runs: what was lost, what diverged, how long recovery took, what it amounts to.
//!
//! Nothing here reads a clock, a file or a socket, or draws at random: the same record gives the same findings, when it
//! is made and whenever `firedrill judge` reads it again.

use firedrill_core::check::CheckEntry;

pub mod conclude;
pub mod crew;
pub mod durable;
pub mod evidence;
pub mod faults;
pub mod history;
pub mod judge;
pub mod limits;
pub mod linear;
pub mod losses;
pub mod objectives;
pub mod recovery;
pub mod run;
pub mod txn;
pub mod weak;

mod bank;
mod calls;
mod corruption_detected;
mod dense;
mod drawing;
mod hash;
mod intern;
mod isolation;
mod linearizable;
mod micro;
mod no_acked_loss;
mod no_corruption;
mod progress;
mod replicas_converge;
mod seen;
mod single_writer;

pub use conclude::{Conclusion, conclude};
pub use faults::{PlannedFault, fault_findings};
pub use judge::{JudgeInput, judge};
pub use losses::{Losses, losses};
pub use objectives::{distributions, objectives};
pub use recovery::recovery;
pub use run::{clean, load_record, run_finding};

/// Every check, in alphabetical order.
pub static CHECKS: &[CheckEntry] = &[
    bank::ENTRY,
    corruption_detected::ENTRY,
    isolation::ENTRY,
    linearizable::ENTRY,
    no_acked_loss::ENTRY,
    no_corruption::ENTRY,
    progress::ENTRY,
    replicas_converge::ENTRY,
    single_writer::ENTRY,
];

/// The example of the README, so that it cannot lie.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
