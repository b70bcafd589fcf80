//! How long small histories take, in one process, as a library: each is parsed and decided many times.
//!
//! ```text
//! cargo run --release -p firedrill-check --example small_logs -- FILE…
//! ```
//!
//! Prints the median and the slowest of the files, each by the median of its rounds, in milliseconds: parsed and decided, then
//! decided alone.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use firedrill_check::history::{self, Value};
use firedrill_check::linear::{self, Limits, Model};

/// Rounds of each file.
const ROUNDS: usize = 51;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[expect(clippy::disallowed_methods, reason = "it measures real time, and no run is simulated here")]
fn main() -> Result<(), Box<dyn Error>> {
    let limits = Limits { exceeded: &|_| None, memory: 1 << 30 };
    let (mut whole, mut decided) = (Vec::new(), Vec::new());
    for path in env::args().skip(1) {
        let text = fs::read(&path)?;
        let (mut both, mut alone) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let history = history::load_packed(&text)?;
            let parsed = Instant::now();
            linear::check(&history, Model::CasRegister, &Value::Nil, &limits)?;
            both.push(began.elapsed());
            alone.push(parsed.elapsed());
        }
        whole.push(median(both));
        decided.push(median(alone));
    }
    let worst = |times: &[Duration]| times.iter().max().copied().unwrap_or_default().as_secs_f64() * 1000.0;
    if whole.is_empty() {
        return Err("usage: small_logs FILE…".into());
    }
    let (slowest, slowest_alone) = (worst(&whole), worst(&decided));
    let (usual, alone) = (median(whole).as_secs_f64() * 1000.0, median(decided).as_secs_f64() * 1000.0);
    writeln!(io::stdout(), "{usual:.4} {slowest:.4} {alone:.4} {slowest_alone:.4}")?;
    Ok(())
}
