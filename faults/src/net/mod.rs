//! Faults of the network.

pub mod grudge;
pub mod partition;
