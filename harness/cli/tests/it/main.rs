//! The command as people and CI meet it: the real binary, its output against files, its exit codes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must say so")]

mod architecture;
mod bench;
mod command;
mod lab;
mod library;
mod mishaps_lab;
mod mishaps_sim;
mod residue;
mod sabotage;
mod scan;
mod simulated;
mod storm;
mod words;
