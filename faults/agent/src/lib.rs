//! The agent: a small process beside the nodes that performs actions, holds them, and undoes them when their deadline has
//! passed, when its owner has not been heard for the lease, when its standard input ends, and when it dies.
//!
//! It knows namespaces, interfaces and processes; it knows no system, no scenario and no verdict.

pub mod deeds;
pub mod disk;
pub mod ends;
pub mod failpoint;
pub mod guard;
pub mod heal;
pub mod hog;
pub mod holder;
pub mod input;
pub mod inventory;
pub mod journal;
pub mod leftovers;
pub mod log;
pub mod lookup;
pub mod names;
pub mod output;
pub(crate) mod planes;
pub mod protocol;
pub mod sabotage;
pub mod serve;
pub mod starter;
pub mod tables;
pub mod wire;
pub mod world;
