//! The platforms as their users see them.

mod sim_bugs;
mod sim_cluster;
mod sim_contract;
mod sim_rig;
