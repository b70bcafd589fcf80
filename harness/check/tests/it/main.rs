//! The checks against small histories built by hand, each with and without a planted violation.

mod build;
mod conclude;
mod faults;
mod fuzz;
mod generated;
mod import;
mod importer;
mod integrity;
mod linear;
mod no_acked_loss;
mod objectives;
mod progress;
mod properties;
mod recovery;
mod registry;
mod replicas_converge;
mod single_writer;
mod transactions;
