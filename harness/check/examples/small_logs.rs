//! How long small histories take, in one process, as a library: each is parsed and decided many times.
//!
//! ```text
//! cargo run --release -p firedrill-check --example small_logs -- FILE…
//! ```
//!
//! Prints the median and the slowest of the files, each by the median of its rounds, in milliseconds: parsed and decided, then
//! decided alone; then of the same files with one read changed, so that they are violated: decided alone, then how much longer it
//! takes to look for the fewest calls that contradict each other as well.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use firedrill_check::history::{self, Kind, Loaded, Packed, Value};
use firedrill_check::linear::{self, Limits, Model, Verdict};

/// Rounds of each file.
const ROUNDS: usize = 51;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The same with the last read changed that can be, so that no order explains it.
fn violated(history: &Loaded, limits: &Limits<'_>) -> Result<Option<Packed>, Box<dyn Error>> {
    for place in (0..history.ops.len()).rev() {
        let mut history = history.clone();
        let op = &mut history.ops[place];
        let Value::List(pair) = &op.value else { continue };
        if (&*op.f, op.kind, pair.len()) != ("read", Kind::Ok, 2) {
            continue;
        }
        op.value = Value::List([pair[0].clone(), Value::Int(pair[1].int().map_or(0, |value| (value + 1) % 5))].into());
        let history = Packed::from(&history);
        if matches!(linear::check(&history, MODEL, &Value::Nil, limits)?.verdict, Verdict::Violated(_)) {
            return Ok(Some(history));
        }
    }
    Ok(None)
}

const MODEL: Model = Model::CasRegister;

#[expect(clippy::disallowed_methods, reason = "it measures real time, and no run is simulated here")]
fn timed<T>(mut run: impl FnMut() -> Result<T, Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        run()?;
        times.push(began.elapsed());
    }
    Ok(median(times))
}

fn main() -> Result<(), Box<dyn Error>> {
    let limits = Limits { exceeded: &|_| None, memory: 1 << 30 };
    let [mut whole, mut alone, mut refuted, mut explained] = [const { Vec::new() }; 4];
    for path in env::args().skip(1) {
        let text = fs::read(&path)?;
        let history = history::load_packed(&text)?;
        whole.push(timed(|| Ok(linear::check(&history::load_packed(&text)?, MODEL, &Value::Nil, &limits)?))?);
        alone.push(timed(|| Ok(linear::check(&history, MODEL, &Value::Nil, &limits)?))?);
        if let Some(history) = violated(&history.unpacked(), &limits)? {
            let brief = timed(|| Ok(linear::check(&history, MODEL, &Value::Nil, &limits)?))?;
            let full = timed(|| Ok(linear::explain(&history, MODEL, &Value::Nil, &limits)?))?;
            refuted.push(brief);
            explained.push(full.saturating_sub(brief));
        }
    }
    if refuted.is_empty() {
        return Err("usage: small_logs FILE…".into());
    }
    for times in [whole, alone, refuted, explained] {
        let slowest = times.iter().max().copied().unwrap_or_default();
        write!(io::stdout(), "{:.4} {:.4} ", median(times).as_secs_f64() * 1000.0, slowest.as_secs_f64() * 1000.0)?;
    }
    writeln!(io::stdout())?;
    Ok(())
}
