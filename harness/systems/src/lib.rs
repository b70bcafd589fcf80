//! What runs on the nodes: etcd, Patroni, Redis with Sentinel, and the simulated store.
//!
//! A system knows roles, clients and health, and how the lab starts it. It reaches nodes only through a
//! [`Dialer`](firedrill_core::platform::Dialer) and never knows which platform is behind it.

use firedrill_core::system::SystemEntry;

pub mod etcd;
pub mod patroni;
pub mod redis_sentinel;
pub mod sim;

mod http;
mod joined;
mod programs;
mod route;

/// Every system, alphabetical.
pub static SYSTEMS: &[SystemEntry] = &[etcd::ENTRY, patroni::ENTRY, redis_sentinel::ENTRY, sim::ENTRY];
