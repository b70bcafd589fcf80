//! `run.json`: the record as it is, in a versioned schema, and the way back.

use std::io::{self, Write};

use firedrill_core::check::Finding;
use firedrill_core::record::{RUN_SCHEMA, RunRecord, ScenarioRecord};
use serde::Deserialize;
use thiserror::Error;

/// Why a `run.json` cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It was written by a later firedrill.
    #[error(
        "run.json has schema {found}, and this firedrill {} knows up to {RUN_SCHEMA}: use the firedrill that wrote it ({version})",
        firedrill_core::VERSION
    )]
    Newer {
        /// Its schema.
        found: u64,
        /// The version that wrote it, as far as it says so.
        version: String,
    },
    /// It is JSON but says no schema.
    #[error("no `schema` in it: this is not a run.json")]
    NotARecord,
    /// It is no JSON, or lacks what its schema promises.
    #[error("run.json cannot be read")]
    Broken(#[source] serde_json::Error),
}

/// Writes the record as pretty JSON with a final line break. JSON has no word for infinite or undefined numbers: such a
/// figure is left out, and such a measurement is written as 0 or absent.
pub fn render(record: &ScenarioRecord, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &finite(record)).map_err(io::Error::from)?;
    out.write_all(b"\n")
}

#[derive(Deserialize)]
struct Head {
    schema: Option<u64>,
    version: Option<String>,
}

/// Reads a record. A schema newer than [`RUN_SCHEMA`] is refused before anything else is looked at.
pub fn read(bytes: &[u8]) -> Result<ScenarioRecord, ReadError> {
    let head: Head = serde_json::from_slice(bytes).map_err(ReadError::Broken)?;
    let found = head.schema.ok_or(ReadError::NotARecord)?;
    if found > u64::from(RUN_SCHEMA) {
        return Err(ReadError::Newer { found, version: head.version.unwrap_or_else(|| "unknown".to_owned()) });
    }
    serde_json::from_slice(bytes).map_err(ReadError::Broken)
}

fn finite(record: &ScenarioRecord) -> ScenarioRecord {
    let mut record = record.clone();
    record.runs.iter_mut().for_each(finite_run);
    zero(&mut record.seconds);
    for objective in &mut record.objectives {
        absent(&mut objective.reached);
        zero(&mut objective.objective.at_most);
    }
    for distribution in &mut record.distributions {
        for value in [&mut distribution.min, &mut distribution.p50, &mut distribution.p95, &mut distribution.max] {
            absent(value);
        }
    }
    record
}

fn finite_run(run: &mut RunRecord) {
    let figures = |finding: &mut Finding| finding.figures.retain(|_, value| value.is_finite());
    figures(&mut run.run);
    run.findings.iter_mut().for_each(figures);
    zero(&mut run.seconds);
    zero(&mut run.load.ok_per_second);
    run.load.latency.iter_mut().for_each(zero);
    run.phases.iter_mut().for_each(|(_, at)| zero(at));
    for fault in &mut run.faults {
        figures(&mut fault.finding);
        absent(&mut fault.onset);
        absent(&mut fault.healed);
        absent(&mut fault.recovery.outage);
        zero(&mut fault.recovery.watched);
        fault.recovery.phases.values_mut().for_each(absent);
    }
}

fn zero(value: &mut f64) {
    if !value.is_finite() {
        *value = 0.0;
    }
}

fn absent(value: &mut Option<f64>) {
    *value = value.filter(|number| number.is_finite());
}
