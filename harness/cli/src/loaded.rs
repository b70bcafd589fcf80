//! Scenarios as the command line names them, read and checked.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use firedrill_core::scenario::Scenario;
use firedrill_core::spec::{Mistake, suggest};
use firedrill_platforms::PLATFORMS;
use firedrill_scenarios::{Overrides, Registries, load_with};

use crate::args::FilesArgs;
use crate::failure::Failure;
use crate::terminal::Terminal;
use crate::{diagnostics, discover, output};

/// What scenarios may name: everything that is built in.
pub(crate) fn registries() -> Registries {
    Registries {
        faults: firedrill_faults::FAULTS,
        systems: firedrill_systems::SYSTEMS,
        platforms: PLATFORMS,
        workloads: firedrill_workloads::WORKLOADS,
        checks: firedrill_check::CHECKS,
    }
}

/// A file that is no scenario.
pub(crate) struct Broken {
    /// The file.
    pub(crate) file: String,
    /// Its text.
    pub(crate) text: String,
    /// Everything that is wrong with it.
    pub(crate) mistakes: Vec<Mistake>,
}

/// Reads the scenarios that are meant, in order. A file with mistakes is always meant: its tags cannot be trusted.
pub(crate) fn read(args: &FilesArgs, overrides: &Overrides) -> Result<Vec<Result<Arc<Scenario>, Broken>>, Failure> {
    known_platform(overrides)?;
    let files = discover::find(&args.files)?;
    let all = files.iter().map(|file| one(file, overrides)).collect::<Result<Vec<_>, _>>()?;
    let tags: Vec<String> =
        all.iter().filter_map(|read| read.as_ref().ok()).flat_map(|scenario| scenario.tags.clone()).collect();
    let meant: Vec<_> = all
        .into_iter()
        .filter(|read| read.as_ref().map_or(true, |scenario| discover::wanted(&scenario.tags, &args.tags)))
        .collect();
    if meant.is_empty() { Err(discover::no_such_tag(&args.tags, tags.iter())) } else { Ok(meant) }
}

/// As [`read`], for verbs that go on only when every file is right. Every mistake of every file is printed first.
pub(crate) fn scenarios(args: &FilesArgs, overrides: &Overrides) -> Result<Vec<Arc<Scenario>>, Failure> {
    let mut good = Vec::new();
    let mut broken = 0_usize;
    for read in read(args, overrides)? {
        match read {
            Ok(scenario) => good.push(scenario),
            Err(file) => {
                broken += 1;
                print_mistakes(&file);
            }
        }
    }
    if broken > 0 {
        let total = broken + good.len();
        return Err(Failure::usage(format!("{broken} of {total} scenario files cannot be used; nothing was touched")));
    }
    Ok(good)
}

/// Prints the mistakes of one file.
pub(crate) fn print_mistakes(broken: &Broken) {
    output::error(&diagnostics::render(&broken.file, &broken.text, &broken.mistakes, Terminal::stderr()));
}

fn one(file: &Path, overrides: &Overrides) -> Result<Result<Arc<Scenario>, Broken>, Failure> {
    let name = file.display().to_string();
    let failed = |why: String| Failure::usage(format!("{name} cannot be read: {why}"));
    let bytes = fs::read(file).map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8(bytes)
        .map_err(|error| failed(format!("byte {} is not UTF-8, as TOML is", error.utf8_error().valid_up_to())))?;
    Ok(match load_with(&name, &text, &registries(), overrides) {
        Ok(scenario) => Ok(Arc::new(scenario)),
        Err(mistakes) => Err(Broken { file: name, text, mistakes }),
    })
}

/// `--on` is checked before any file is blamed for it.
fn known_platform(overrides: &Overrides) -> Result<(), Failure> {
    let Some(name) = &overrides.platform else { return Ok(()) };
    let known: Vec<&str> = PLATFORMS.iter().map(|platform| platform.name).collect();
    if known.contains(&name.as_str()) {
        return Ok(());
    }
    let failure = Failure::usage(format!("there is no platform `{name}`"));
    Err(match suggest(name, &known) {
        Some(help) => failure.help(help),
        None => failure,
    })
}

/// A single scenario, for verbs that take one.
pub(crate) fn single(file: &Path, overrides: &Overrides) -> Result<Arc<Scenario>, Failure> {
    if file.is_dir() {
        let help = "name one scenario file";
        return Err(Failure::usage(format!("{} is a folder", file.display())).help(help));
    }
    let args = FilesArgs { files: vec![PathBuf::from(file)], tags: Vec::new() };
    let mut all = scenarios(&args, overrides)?;
    all.pop().ok_or_else(|| Failure::usage(format!("{} holds no scenario", file.display())))
}
