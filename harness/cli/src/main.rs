//! The command `firedrill`: arguments, what people see, exit codes. The only crate that prints or exits.

mod args;
mod diagnostics;
mod discover;
mod doctor;
mod failure;
mod heal;
mod judge;
mod judge_durable;
mod judge_evidence;
mod judge_export;
mod judge_file;
mod judge_linear;
mod judge_txn;
mod judge_weak;
mod limited;
mod list;
mod loaded;
mod output;
mod plan;
mod progress;
mod report;
mod run;
mod terminal;
mod up;
mod validate;
mod written;

use std::any::Any;
use std::panic::{self, PanicHookInfo};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser as _;
use firedrill_core::verdict::exit;
use firedrill_sys::huge::HugePages;

use crate::args::{Cli, Verb};
use crate::failure::Failure;

/// Judging looks up entries of large tables in no order.
#[global_allocator]
static MEMORY: HugePages = HugePages;

fn main() -> ExitCode {
    // A lab's holder is this program again, and so is who looks into one. They must not have started a thread, so that
    // they can enter a user namespace.
    let first = std::env::args_os().nth(1).unwrap_or_default();
    if first == firedrill_platforms::lab::init::ARGUMENT {
        return firedrill_platforms::lab::init::main();
    }
    if first == firedrill_platforms::lab::heal::INSIDE {
        return heal::inside();
    }
    if first == up::VIEW_ARGUMENT {
        return up::print_view();
    }
    panic::set_hook(Box::new(say_bug));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            // Help and version are "errors" of clap too, with exit code 0. If even this cannot be printed, nothing can.
            drop(message.print());
            return if message.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let done = panic::catch_unwind(|| perform(&cli.verb));
    let code = match done {
        Ok(Ok(code)) => code,
        Ok(Err(failure)) => failure.report(),
        Err(_) => ExitCode::from(exit::BUG),
    };
    // Also on another thread, or in a task whose panic the runtime caught: no verdict of such a process counts.
    if PANICKED.load(Ordering::SeqCst) { ExitCode::from(exit::BUG) } else { code }
}

/// Whether anything in this process has panicked.
static PANICKED: AtomicBool = AtomicBool::new(false);

fn perform(verb: &Verb) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Run(args) => run::run(args),
        Verb::Plan(args) => plan::plan(args),
        Verb::Validate(args) => validate::validate(args),
        Verb::List(args) => list::list(args),
        Verb::Doctor(args) => doctor::doctor(args),
        Verb::Judge(args) => judge::judge(args),
        Verb::Report(args) => report::report(args),
        Verb::Heal(args) => Ok(heal::heal(args)),
        Verb::Up(args) => up::up(args),
        Verb::Down(args) => up::down(args),
    }
}

/// What is said when firedrill itself is wrong. What was injected is undone all the same: by the agent, whose lease ends.
fn say_bug(info: &PanicHookInfo<'_>) {
    PANICKED.store(true, Ordering::SeqCst);
    let place = info.location().map(ToString::to_string);
    output::error(&bug_words(info.payload(), place.as_deref(), std::thread::current().name()));
    let trace = std::backtrace::Backtrace::capture();
    if trace.status() == std::backtrace::BacktraceStatus::Captured {
        output::error(&format!("{trace}\n"));
    }
}

fn bug_words(payload: &dyn Any, place: Option<&str>, thread: Option<&str>) -> String {
    let literal = payload.downcast_ref::<&str>().copied();
    let what = literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    let what = firedrill_reports::clean::line(what);
    let place = place.map(|place| format!(" at {place}")).unwrap_or_default();
    let version = firedrill_core::VERSION;
    let thread = thread.unwrap_or("unnamed");
    format!(
        "firedrill {version} has a bug: {what}{place} (thread {thread})\n  \
         please report it, with the command and this message; RUST_BACKTRACE=1 adds where it came from\n  \
         what was injected is undone by itself; `firedrill heal --all` makes sure\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bug_says_what_where_and_what_becomes_of_the_faults() {
        let said = bug_words(&"no \u{1b}[2J way".to_owned(), Some("a.rs:1:2"), Some("recorder"));
        let first =
            format!("firedrill {} has a bug: no ␛[2J way at a.rs:1:2 (thread recorder)", firedrill_core::VERSION);
        assert_eq!(said.lines().next(), Some(first.as_str()));
        assert!(said.contains("please report it") && said.contains("`firedrill heal --all`"), "{said}");
        let nameless = bug_words(&7_u32, None, None);
        assert!(nameless.contains("has a bug: no message (thread unnamed)"), "{nameless}");
    }
}
