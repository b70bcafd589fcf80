//! Faults of whole nodes.

pub mod crash;
