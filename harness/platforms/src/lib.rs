//! Where nodes live: the lab on this machine, and the simulation

use firedrill_core::platform::PlatformEntry;

pub mod agent_client;
pub mod lab;
pub mod sim;

/// Every platform, by name.
pub static PLATFORMS: &[PlatformEntry] = &[lab::ENTRY, sim::ENTRY];
