//! What a run says to people and to CI: console text, JSON and `JUnit`.
//!
//! Every reporter is a pure function of the record. There is no clock, no file and no environment here: timestamps come
//! from the record, colours and places from the caller. Adding a reporter is one file and one line in [`REPORTERS`].

use std::io::{self, Write};

use firedrill_core::record::ScenarioRecord;

pub mod cases;
pub mod clean;
pub mod console;
pub mod json;
pub mod junit;

mod canvas;
mod culprit;
mod figures;

/// A reporter in the registry.
#[derive(Debug)]
pub struct ReporterEntry {
    /// Its name, for `--format`.
    pub name: &'static str,
    /// One line for the listing.
    pub summary: &'static str,
    /// The file it is written to in the run's folder.
    pub file_name: &'static str,
    /// Writes the report of one scenario. Errors are those of the writer.
    pub render: fn(&ScenarioRecord, &mut dyn Write) -> io::Result<()>,
}

/// Every reporter, by name.
pub static REPORTERS: &[ReporterEntry] = &[
    ReporterEntry {
        name: "console",
        summary: "the final screen as plain text",
        file_name: "run.txt",
        render: console::render,
    },
    ReporterEntry {
        name: "json",
        summary: "everything, in a versioned schema; what `firedrill report` reads",
        file_name: "run.json",
        render: json::render,
    },
    ReporterEntry {
        name: "junit",
        summary: "one suite per scenario, one case per fault, invariant and objective, for CI",
        file_name: "junit.xml",
        render: junit::render,
    },
];

/// The reporter of that name.
pub fn reporter(name: &str) -> Option<&'static ReporterEntry> {
    REPORTERS.iter().find(|entry| entry.name == name)
}
