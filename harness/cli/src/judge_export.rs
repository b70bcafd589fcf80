//! `firedrill judge --export FILE`: a history written as Jepsen would, whole or not at all.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;

use firedrill_check::history::{self, Form, Loaded, RawOp};
use firedrill_check::limits::Stop;
use firedrill_check::linear::Model;
use firedrill_core::verdict::exit;

use crate::args::JudgeArgs;
use crate::failure::Failure;
use crate::judge_file::recorded;
use crate::limited::{Limited, limit};
use crate::{judge_durable, judge_txn, written};

/// So many lines are written between two questions for a limit.
const LINES: usize = 1 << 10;

/// How one operation is written.
type WriteOp = fn(&RawOp, usize, &mut String);

/// Writes the history, as the name of the file says.
pub(crate) fn export(args: &JudgeArgs, model: &str, path: &Path, limited: &Limited<'_>) -> Result<(), Failure> {
    let write: WriteOp = match path.extension().and_then(OsStr::to_str) {
        Some("edn") => history::edn_line,
        Some("json" | "jsonl") => history::json_line,
        Some(_) | None => {
            let help = "end its name with .edn or .jsonl";
            return Err(Failure::usage(format!("{} is no history", path.display())).help(help));
        }
    };
    let history = if !args.run.is_dir() {
        limited.load(history::load_text_within)?.map_err(|stop| stopped(path, stop))?
    } else if let Some(durable) = judge_durable::model(model) {
        judge_durable::recorded(args, durable)?
    } else if judge_txn::MODELS.iter().any(|(name, _)| *name == model) {
        recorded(args, Form::Transactions)?
    } else {
        recorded(args, if model == Model::Set.name() { Form::Ledger } else { Form::Objects })?
    };
    save(&history, path, write, || limited.exceeded(0))
}

/// Under another name first: half a history would have another verdict.
fn save(history: &Loaded, path: &Path, write: WriteOp, exceeded: impl Fn() -> Option<Stop>) -> Result<(), Failure> {
    let mut reached = None;
    let lines = |out: &mut dyn Write| {
        let mut line = String::new();
        for (place, op) in history.ops.iter().enumerate() {
            if place % LINES == 0
                && let Some(stop) = exceeded()
            {
                reached = Some(stop);
                return Err(io::Error::from(io::ErrorKind::Interrupted));
            }
            line.clear();
            write(op, place, &mut line);
            out.write_all(line.as_bytes())?;
        }
        Ok(())
    };
    written::replace_with(path, lines).map_err(|error| match reached {
        Some(stop) => stopped(path, stop),
        None => Failure::usage(format!("{} cannot be written", path.display())).because(&error),
    })
}

fn stopped(path: &Path, stop: Stop) -> Failure {
    let help = "give it more with --limit-time and --limit-memory, or judge without --export";
    Failure::new(exit::INVALID, format!("{} was reached before {} was written", limit(stop), path.display())).help(help)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Verb};

    fn lines(count: usize) -> String {
        "{:process 0 :type :ok :f :write :value 1}\n".repeat(count)
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_limit_that_is_reached_while_it_is_read_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let (file, out) = (folder.path().join("a"), folder.path().join("b.edn"));
        fs::write(&file, lines(9)).unwrap();
        for (option, value, words) in [("--limit-time", "0s", "time"), ("--limit-memory", "1B", "memory")] {
            let words_of_command = ["firedrill", "judge", file.to_str().unwrap(), "--model", "register", option, value];
            let Verb::Judge(args) = Cli::try_parse_from(words_of_command).unwrap().verb else { panic!("another verb") };
            let failure = export(&args, "register", &out, &Limited::new(&args)).unwrap_err();
            let want = format!("the limit of {words} was reached before {} was written", out.display());
            assert_eq!((failure.code, failure.message), (exit::INVALID, want));
            assert_eq!(names(folder.path()), ["a"]);
        }
    }

    #[test]
    fn a_limit_that_is_reached_while_it_is_written_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("b.edn");
        let history = history::load(lines(LINES * 3).as_bytes()).unwrap();
        let save_until = |questions: usize, stop: Stop| {
            let asked = Cell::new(0);
            save(&history, &out, history::edn_line, || {
                asked.set(asked.get() + 1);
                (asked.get() > questions).then_some(stop)
            })
        };
        let failure = save_until(2, Stop::Memory).unwrap_err();
        assert_eq!(failure.code, exit::INVALID);
        assert!(failure.message.starts_with("the limit of memory was reached before "), "{failure:?}");
        assert!(names(folder.path()).is_empty());
        save_until(3, Stop::Time).unwrap();
        let whole = fs::read_to_string(&out).unwrap();
        assert_eq!(whole.lines().count(), LINES * 3);
        save_until(1, Stop::Time).unwrap_err();
        assert_eq!((fs::read_to_string(&out).unwrap(), names(folder.path())), (whole, vec!["b.edn".to_owned()]));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let history = history::load(lines(1).as_bytes()).unwrap();
        let failure = save(&history, &folder.path().join("no/b.edn"), history::edn_line, || None).unwrap_err();
        assert_eq!(failure.code, exit::USAGE);
        assert!(failure.message.ends_with("b.edn cannot be written"), "{failure:?}");
    }
}
