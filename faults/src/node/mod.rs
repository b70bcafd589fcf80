//! Faults of whole nodes.

pub mod crash;
pub mod power_loss;
