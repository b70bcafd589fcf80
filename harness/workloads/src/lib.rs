//! What clients do. A new workload is one file and one line in [`WORKLOADS`].

use firedrill_core::workload::WorkloadEntry;

pub mod bank;
pub mod ledger;
pub mod register;
pub mod transactions;

mod keys;

/// Every workload, in alphabetical order.
pub static WORKLOADS: &[WorkloadEntry] =
    &[bank::ENTRY, ledger::ENTRY, transactions::LIST_APPEND, register::ENTRY, transactions::RW_REGISTER];
