//! What a run tells the console while it goes on. Reports never come from here: they are made from the recorded run.

use std::path::PathBuf;

use firedrill_core::event::{Phase, Stamped};
use firedrill_core::platform::Mechanism;
use firedrill_core::seed::Seed;
use firedrill_core::time::RunTime;

/// Something to show.
#[derive(Clone, PartialEq, Debug)]
pub enum Progress {
    /// A repeat begins. Shown first.
    Started {
        /// The scenario's name.
        name: String,
        /// Which repeat, from 0, and of how many.
        repeat: (u32, u32),
        /// The seed of this repeat.
        seed: Seed,
        /// The command that repeats it.
        repeat_command: String,
        /// The folder it is recorded in.
        folder: PathBuf,
    },
    /// By what each deed will be done.
    Mechanisms(Vec<Mechanism>),
    /// An event, as recorded.
    Event(Stamped),
    /// The state of affairs, about four times a second.
    Tick(Tick),
}

/// The state of affairs at a moment.
#[derive(Clone, PartialEq, Debug)]
pub struct Tick {
    /// When.
    pub at: RunTime,
    /// In which phase.
    pub phase: Phase,
    /// Router operations acknowledged in the last second.
    pub ok_per_second: f64,
    /// Router operations that failed or are unknown, in the last second.
    pub bad_per_second: f64,
    /// The node that takes writes, if exactly one does.
    pub primary: Option<String>,
    /// The cluster in words.
    pub cluster: String,
    /// Ids of the faults in force.
    pub active: Vec<String>,
    /// When the storm began and is planned to end, once it began.
    pub storm: Option<(RunTime, RunTime)>,
}

/// Shows progress. Called from the run's own tasks: must return at once and never block on the terminal for long.
pub trait Observer: Send + Sync {
    /// Shows one thing.
    fn show(&self, progress: &Progress);
}

/// Shows nothing.
pub struct Silent;

impl Observer for Silent {
    fn show(&self, _progress: &Progress) {}
}
