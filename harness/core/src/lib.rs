//! The vocabulary every other crate speaks: scenarios, clusters, actions, histories, verdicts, and the plug-in traits.
//!
//! Nothing here touches the world. No file, socket or process is opened, and the only clock is the one in [`time`].

pub mod action;
pub mod check;
pub mod cluster;
pub mod codec;
pub mod event;
pub mod fault;
pub mod harm;
pub mod history;
pub mod inventory;
pub mod platform;
pub mod record;
pub mod scenario;
pub mod seed;
pub mod select;
pub mod sim;
pub mod spec;
pub mod system;
pub mod time;
pub mod timeline;
pub mod units;
pub mod verdict;
pub mod wait;
pub mod workload;

/// Version of firedrill, as printed, recorded in manifests and reports.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
