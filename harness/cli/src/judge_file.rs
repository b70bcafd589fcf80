//! `firedrill judge FILE --model M`: somebody's history, or one of ours as if it were; each family of models has a file.

use std::path::PathBuf;
use std::process::ExitCode;

use firedrill_check::history::{self, Form, Loaded};
use firedrill_check::linear::Model;
use firedrill_core::history::FinalRead;
use firedrill_engine::folder;

use crate::args::JudgeArgs;
use crate::failure::Failure;
use crate::limited::Limited;
use crate::{judge_durable, judge_export, judge_linear, judge_txn, limited, output};

/// Reads the file, decides it, prints the verdict and gives its exit code.
pub(crate) fn judge_file(args: &JudgeArgs, model: &str) -> Result<ExitCode, Failure> {
    let limited = Limited::new(args);
    if let Some(path) = &args.export {
        judge_export::export(args, model, path, &limited)?;
    }
    let judged = judged(args, model, &limited);
    limited.unchanged()?;
    let (text, code) = judged?;
    output::print(&text);
    Ok(ExitCode::from(code))
}

pub(crate) fn unreadable(args: &JudgeArgs) -> Failure {
    Failure::usage(format!("{} cannot be judged", args.run.display()))
}

/// The history of a run.
pub(crate) fn recorded(args: &JudgeArgs, form: Form) -> Result<Loaded, Failure> {
    let folder = repeat(args)?;
    let (recorded, ..) =
        folder::recorded(&folder, limited::opened).map_err(|error| unreadable(args).because(&error))?;
    let history = history::from_calls(&recorded.calls, form);
    if history.is_empty() && !recorded.calls.is_empty() {
        let help = "its workload has other operations: a ledger is a set; the other models are for registers, lists and accounts";
        return Err(unreadable(args).help(help));
    }
    Ok(history)
}

/// What each node held at the end of a run.
pub(crate) fn final_reads(args: &JudgeArgs) -> Result<Vec<FinalRead>, Failure> {
    let (recorded, ..) =
        folder::recorded(&repeat(args)?, limited::opened).map_err(|error| unreadable(args).because(&error))?;
    Ok(recorded.finals)
}

/// The folder of the one repeat that is meant.
fn repeat(args: &JudgeArgs) -> Result<PathBuf, Failure> {
    let repeats = folder::repeats(&args.run).map_err(|error| unreadable(args).because(&error))?;
    match repeats.as_slice() {
        [one] => Ok(one.clone()),
        several => {
            let help = format!("it has {} repeats; name one of them: {}", several.len(), args.run.join("1").display());
            Err(unreadable(args).help(help))
        }
    }
}

/// What is to be printed, and the exit code.
fn judged(args: &JudgeArgs, model: &str, limited: &Limited<'_>) -> Result<(String, u8), Failure> {
    if let Some(transactions) = judge_txn::model(args, model)? {
        return judge_txn::judge(args, (model, transactions), limited);
    }
    if let Some(durable) = judge_durable::model(model) {
        return judge_durable::judge(args, durable, limited);
    }
    if args.staleness.is_some() {
        return Err(Failure::usage("--staleness is for bounded-staleness"));
    }
    let model = Model::ALL.iter().find(|known| known.name() == model).copied();
    judge_linear::judge(args, model.ok_or_else(|| Failure::usage("no such model"))?, limited)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;
    use crate::args::{Cli, Verb};
    use clap::Parser as _;

    /// What is asked about some file.
    pub(crate) fn args(options: &str) -> JudgeArgs {
        let words = ["firedrill", "judge", "history.edn"].into_iter().chain(options.split(' '));
        let Verb::Judge(args) = Cli::try_parse_from(words).unwrap().verb else { panic!("another verb") };
        args
    }

    /// Judges a history that is in a file.
    pub(crate) fn judge(history: &str, options: &[&str]) -> Result<(String, u8), Failure> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history.edn");
        fs::write(&file, history).unwrap();
        let words = ["firedrill", "judge", file.to_str().unwrap()];
        let Verb::Judge(args) = Cli::try_parse_from(words.iter().chain(options)).unwrap().verb else {
            panic!("another verb")
        };
        judged(&args, args.model.as_deref().unwrap(), &Limited::new(&args))
    }
}
