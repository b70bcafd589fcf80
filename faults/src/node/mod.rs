//! Faults of whole nodes.

pub mod crash;
pub mod power_loss;
pub mod rolling_restart;
pub mod stop;
