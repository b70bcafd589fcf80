//! Where nodes live: the lab on this machine, and the simulation
