//! Faults of processes.

pub mod kill;
pub mod oom;
pub mod pause;
pub mod restart_loop;

use std::collections::BTreeSet;

use firedrill_core::cluster::{NodeName, ProcessName};
use firedrill_core::spec::Fields;

/// Reads `process`: which process of the node; all of the node when absent.
fn process(fields: &mut Fields<'_, '_>) -> Option<ProcessName> {
    fields.optional::<String>("process").map(ProcessName)
}

/// `postgres of n1`, or `every process of n1`.
fn whose(process: Option<&ProcessName>, targets: &[NodeName]) -> String {
    let process = process.map_or("every process", |process| process.0.as_str());
    format!("{process} of {}", crate::words::list(targets))
}

/// Each target counts, as a whole or by its process.
fn impairs(process: Option<&ProcessName>, targets: &[NodeName]) -> BTreeSet<(NodeName, Option<ProcessName>)> {
    targets.iter().map(|node| (node.clone(), process.cloned())).collect()
}
