//! Where nodes live: the lab on this machine, and the simulation

pub mod agent_client;
