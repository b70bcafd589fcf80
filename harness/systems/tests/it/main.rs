//! Systems against real servers on loopback addresses of this machine.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "the functions of a test may panic, and say what they skip"
)]

mod cluster;
mod patroni;
mod sim;
