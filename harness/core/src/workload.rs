//! What operations clients issue. Knows no system.

use crate::history::{Call, Op, OpKind, ProcessId};
use crate::seed::ChaCha8Rng;
use crate::spec::Fields;

/// A stream of operations for one run. Deterministic by its stream and what it observed.
pub trait Workload: Send {
    /// Performed once through the router before the load begins; each must succeed.
    fn setup(&self) -> Vec<Op>;
    /// The next operation of a process.
    fn next(&mut self, who: ProcessId, rng: &mut ChaCha8Rng) -> Op;
    /// Learns how one ended.
    fn observe(&mut self, _call: &Call) {}
    /// Performed through every node after everything is healed and settled.
    fn finale(&self) -> Vec<Op>;
}

/// A workload with its options read; makes a fresh one for each repeat.
pub trait WorkloadSpec: Send + Sync {
    /// A fresh stream of operations.
    fn open(&self) -> Box<dyn Workload>;
}

/// A workload in the registry.
pub struct WorkloadEntry {
    /// Its name in `[workload] kind`.
    pub kind: &'static str,
    /// One line for the listing.
    pub summary: &'static str,
    /// A `[workload]` section that parses.
    pub example: &'static str,
    /// The kinds of operation it issues; a system must perform all of them.
    pub ops: &'static [OpKind],
    /// Checks that make sense of its history.
    pub checks: &'static [&'static str],
    /// Reads its own keys (the common ones are already taken). Takes every key it
    /// knows before it returns, also after a mistake, because what is left is reported as unknown. `None` after noting one.
    pub parse: fn(&mut Fields<'_, '_>) -> Option<Box<dyn WorkloadSpec>>,
}
