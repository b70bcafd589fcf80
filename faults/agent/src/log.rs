//! The agent's log: lines on standard error, each with the time of `CLOCK_BOOTTIME`.

use std::io::Write;

use firedrill_sys::clock;

/// Writes one line. When standard error is gone there is nowhere left to say so.
pub fn say(line: &str) {
    let now = clock::boottime_nanos();
    let line = format!("{}.{:06} firedrill-agent: {line}\n", now / 1_000_000_000, now / 1000 % 1_000_000);
    drop(std::io::stderr().write_all(line.as_bytes()));
}
