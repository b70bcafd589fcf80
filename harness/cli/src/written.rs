//! Reports on disk: in the run's folder, and where the command line says.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use firedrill_core::record::ScenarioRecord;
use firedrill_core::verdict::exit;
use firedrill_reports::REPORTERS;
use firedrill_reports::junit::{self, NotRun};

use crate::failure::Failure;

/// Writes every report of a scenario into its folder. Returns in words where they are.
pub(crate) fn reports(record: &ScenarioRecord, folder: &Path) -> Result<String, Failure> {
    let mut names = Vec::new();
    for reporter in REPORTERS {
        let mut bytes = Vec::new();
        let path = folder.join(reporter.file_name);
        let written = (reporter.render)(record, &mut bytes).and_then(|()| replace(&path, &bytes));
        written.map_err(|error| unwritable(&path, &error))?;
        names.push(reporter.file_name);
    }
    Ok(format!("{}: {}", folder.display(), names.join(", ")))
}

/// Writes one `JUnit` file of all scenarios, those that were not run included.
pub(crate) fn junit_file(records: &[ScenarioRecord], not_run: &[NotRun], path: &Path) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    let written = junit::render_all(records, not_run, &mut bytes).and_then(|()| replace(path, &bytes));
    written.map_err(|error| unwritable(path, &error))
}

/// Tries before a run whether a file can be written, so that a wrong path fails at once and not after the run.
pub(crate) fn try_file(path: &Path) -> Result<(), Failure> {
    let make = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::OpenOptions::new().create(true).append(true).open(path).map(drop)
    };
    make().map_err(|error: io::Error| {
        Failure::usage(format!("{} cannot be written: {error}", path.display()))
            .help("nothing was run; name another file")
    })
}

/// Under another name first, so that a full disk never leaves half of a report, or none where one was.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, |out| out.write_all(bytes))
}

/// The same for what is written in pieces: when that fails, what was there stays, and nothing else does.
pub(crate) fn replace_with(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part: PathBuf = path.with_file_name(name);
    let fill = |file: File| {
        let mut out = BufWriter::new(file);
        write(&mut out)?;
        out.flush()
    };
    let written = File::create(&part).and_then(fill).and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        // The first error is the one that tells why.
        drop(fs::remove_file(&part));
    }
    written
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let message = format!("the report {} cannot be written: {error}", path.display());
    Failure::new(exit::INVALID, message)
        .help("free some space, then `firedrill judge` the run's folder: its record is kept")
}
