//! How fast this machine's memory is for who looks up entries of a large table in no order: what figures of `ci/bench judge`
//! are to be read beside.
//!
//! ```text
//! cargo run --release -p firedrill-check --example memory
//! ```
//!
//! Prints nanoseconds for each of many loads that depend on each other, in a table of 256 MiB.

use std::error::Error;
use std::hint::black_box;
use std::io::{self, Write as _};
use std::time::Instant;

/// Entries of the table, a power of two.
const ENTRIES: u32 = 1 << 26;
/// Loads that are timed.
const LOADS: u32 = 1 << 22;

#[expect(clippy::disallowed_methods, reason = "it measures real time, and no run is simulated here")]
fn main() -> Result<(), Box<dyn Error>> {
    // Each entry names the next: a linear congruential generator of full period (Hull and Dobell, 1962) visits all of them.
    let table: Vec<u32> =
        (0..ENTRIES).map(|at| at.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f) % ENTRIES).collect();
    let began = Instant::now();
    let mut at = 0;
    for _ in 0..LOADS {
        at = table[usize::try_from(at)?];
    }
    black_box(at);
    writeln!(io::stdout(), "{:.0}", began.elapsed().as_secs_f64() * 1e9 / f64::from(LOADS))?;
    Ok(())
}
