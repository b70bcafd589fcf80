//! What clients do. A new workload is one file and one line in [`WORKLOADS`].

use firedrill_core::workload::WorkloadEntry;

pub mod ledger;

/// Every workload, in alphabetical order.
pub static WORKLOADS: &[WorkloadEntry] = &[ledger::ENTRY];
