//! `firedrill report`: the report of a recorded run again, out of its `run.json`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use firedrill_core::record::ScenarioRecord;
use firedrill_core::spec::suggest;
use firedrill_core::verdict::exit;
use firedrill_reports::{REPORTERS, console, json, junit, reporter};

use crate::args::ReportArgs;
use crate::failure::Failure;
use crate::output;
use crate::terminal::Terminal;

/// Renders. The exit code is 0 whatever the verdict was: rendering is not judging.
pub(crate) fn report(args: &ReportArgs) -> Result<ExitCode, Failure> {
    let Some(entry) = reporter(&args.format) else {
        let known: Vec<&str> = REPORTERS.iter().map(|entry| entry.name).collect();
        let help = suggest(&args.format, &known).unwrap_or_default();
        return Err(Failure::usage(format!("there is no reporter `{}`", args.format)).help(help));
    };
    let records = args.runs.iter().map(|run| read(run)).collect::<Result<Vec<_>, _>>()?;
    let mut bytes = Vec::new();
    let rendered = if entry.name == "junit" {
        junit::render_all(&records, &[], &mut bytes)
    } else if records.len() > 1 && entry.name != "console" {
        let message = format!("{} takes one run, not {}", entry.name, records.len());
        return Err(Failure::usage(message).help("only console and junit take several"));
    } else if entry.name == "console" && args.out.is_none() {
        let style = Terminal::stdout().style;
        bytes.extend(records.iter().flat_map(|record| console::screen(record, style, &[]).into_bytes()));
        Ok(())
    } else {
        records.iter().try_for_each(|record| (entry.render)(record, &mut bytes))
    };
    rendered.map_err(|error| Failure::new(exit::BUG, "the report cannot be rendered").because(&error))?;
    match &args.out {
        Some(path) => fs::write(path, &bytes)
            .map_err(|error| Failure::usage(format!("{} cannot be written: {error}", path.display())))?,
        None => output::print(&String::from_utf8_lossy(&bytes)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the record of a run's folder, or of its `run.json`.
pub(crate) fn read(run: &Path) -> Result<ScenarioRecord, Failure> {
    let path: PathBuf = if run.is_dir() { run.join("run.json") } else { run.to_owned() };
    let bytes = fs::read(&path).map_err(|error| {
        let failure = Failure::usage(format!("{} cannot be read: {error}", path.display()));
        if run.is_dir() {
            failure.help(format!("if the run ended early, `firedrill judge {}` makes it", run.display()))
        } else {
            failure.help("name the folder of a run, as `firedrill run` prints it")
        }
    })?;
    json::read(&bytes).map_err(|error| Failure::usage(format!("{} is of no use", path.display())).because(&error))
}
