//! Runs a scenario: plan, phases, inject, journal, sweep, record, judge. Knows no concrete fault, platform or system.
//!
//! One dispatcher ([`run`]) owns the state of a run; everything else reports to it.

pub mod failpoint;
pub mod folder;
pub mod interrupt;
pub mod journal;
pub mod observe;
pub mod plan;
pub mod suite;

mod final_reads;
mod flag;
mod inject;
mod load;
mod meter;
mod recorder;
mod run;
mod start;
mod storm;
mod verdict;
mod watch;

pub use suite::{RunError, RunOptions, run_scenario};
