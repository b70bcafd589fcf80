//! The agent's standard input: lines of bounded length, and requests from them.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::atomic::{AtomicU64, Ordering};

use firedrill_sys::clock;
use serde_json::Value;

use crate::log::say;
use crate::protocol::{MAX_LINE, Refusal, RefusalKind, Request, VERSION};

/// What came in.
#[derive(Debug)]
pub enum Input {
    /// A line.
    Line(Vec<u8>),
    /// A line without an end within [`MAX_LINE`] bytes. The rest of it comes as further lines.
    Overlong,
    /// Nothing more will come.
    Closed,
}

/// Reads until the end, or until `give` is false. Notes in `heard` when something came in, by `CLOCK_BOOTTIME`.
pub fn read_lines(heard: &AtomicU64, give: impl Fn(Input) -> bool) {
    let mut stdin = BufReader::new(io::stdin());
    let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
    loop {
        let mut line = Vec::new();
        let read = stdin.by_ref().take(limit).read_until(b'\n', &mut line);
        heard.store(clock::boottime_nanos(), Ordering::Relaxed);
        let input = match read {
            Ok(0) => Input::Closed,
            Ok(_) if line.last() == Some(&b'\n') => Input::Line(line),
            Ok(_) => Input::Overlong,
            Err(error) => {
                say(&format!("reading failed: {error}"));
                Input::Closed
            }
        };
        let closed = matches!(input, Input::Closed);
        if !give(input) || closed {
            break;
        }
    }
}

/// Reads a request; a refusal comes with the id, as far as that can be read, or 0. The version of a hello is looked at
/// first: another version's hello may look otherwise.
pub fn read_request(line: &[u8]) -> Result<Request, (u64, Refusal)> {
    let malformed = |id: u64, error: &serde_json::Error| {
        (id, Refusal::new(RefusalKind::Malformed, format!("not a request: {error}")))
    };
    let value: Value = serde_json::from_slice(line).map_err(|error| malformed(0, &error))?;
    let id = value.get("id").and_then(Value::as_u64).unwrap_or(0);
    let version = value.pointer("/ask/hello/version").and_then(Value::as_u64);
    if let Some(version) = version.filter(|version| *version != u64::from(VERSION)) {
        return Err((id, wrong_version(version)));
    }
    serde_json::from_value(value).map_err(|error| malformed(id, &error))
}

/// The refusal of another version.
pub fn wrong_version(theirs: impl fmt::Display) -> Refusal {
    let what = format!("the agent speaks version {VERSION} of the protocol, its owner version {theirs}: use one build");
    Refusal::new(RefusalKind::Version, what)
}
