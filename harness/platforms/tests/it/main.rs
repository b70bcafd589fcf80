//! The platforms as their users see them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../contract/mod.rs"]
mod contract;
mod sim_breakers;
mod sim_bugs;
mod sim_cluster;
mod sim_contract;
mod sim_deeds;
mod sim_rig;
