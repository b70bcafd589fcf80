//! Faults of the network.

pub mod bandwidth;
pub mod corrupt;
pub mod dns;
pub mod duplicate;
pub mod grudge;
pub mod half_open;
pub mod jitter;
pub mod latency;
mod links;
pub mod loss;
pub mod partition;
pub mod refuse;
pub mod reorder;
pub mod reset;
