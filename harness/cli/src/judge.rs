//! `firedrill judge`: every finding of a recorded run again, out of its folder; histories are judged in `judge_file`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use firedrill_core::scenario::Scenario;
use firedrill_engine::folder;
use firedrill_engine::suite::judge_again;
use firedrill_reports::console;
use firedrill_scenarios::{Overrides, load_with};

use crate::args::JudgeArgs;
use crate::failure::Failure;
use crate::loaded::{self, Broken};
use crate::run::failure_of;
use crate::terminal::Terminal;
use crate::{judge_file, limited, output, written};

/// Judges again, replaces the reports in the folder, and gives the exit code of the verdict.
pub(crate) fn judge(args: &JudgeArgs) -> Result<ExitCode, Failure> {
    if let Some(model) = &args.model {
        return judge_file::judge_file(args, model);
    }
    if args.run.is_file() {
        let help = "--model says what the object of a history is; a run is named by its folder";
        return Err(Failure::usage(format!("{} is a file", args.run.display())).help(help));
    }
    let scenario = recorded_scenario(&args.run)?;
    let record = judge_again(&scenario, &args.run, limited::opened).map_err(|error| failure_of(&error))?;
    let places = written::reports(&record, &args.run)?;
    if let Some(path) = &args.junit {
        written::junit_file(std::slice::from_ref(&record), &[], path)?;
    }
    output::print(&console::screen(&record, Terminal::stdout().style, &[places]));
    Ok(ExitCode::from(record.verdict.exit_code()))
}

/// The scenario as it was run: its text is in the manifest, with the platform it ran on.
fn recorded_scenario(run: &Path) -> Result<Arc<Scenario>, Failure> {
    let of_folder = |error: &dyn std::error::Error| {
        let help = "name the folder of a run, as `firedrill run` prints it";
        Failure::usage(format!("{} cannot be judged", run.display())).because(error).help(help)
    };
    let repeats = folder::repeats(run).map_err(|error| of_folder(&error))?;
    let first = repeats.first().map_or(run, |first| first.as_path());
    let manifest = folder::manifest(first).map_err(|error| of_folder(&error))?;
    let overrides = Overrides {
        platform: Some(manifest.platform.clone()),
        repeat: Some(manifest.repeat.1),
        ..Overrides::default()
    };
    load_with(&manifest.file, &manifest.text, &loaded::registries(), &overrides).map(Arc::new).map_err(|mistakes| {
        loaded::print_mistakes(&Broken { file: manifest.file.clone(), text: manifest.text.clone(), mistakes });
        let help = format!("it was recorded by firedrill {}; use that one", manifest.version);
        Failure::usage("this firedrill does not understand the recorded scenario").help(help)
    })
}
