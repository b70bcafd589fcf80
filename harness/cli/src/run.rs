//! `firedrill run`: scenarios one after the other, each reported as soon as it is judged.

use std::process::ExitCode;
use std::sync::Arc;

use firedrill_core::record::ScenarioRecord;
use firedrill_core::scenario::Scenario;
use firedrill_core::time::Wall;
use firedrill_core::verdict::{Verdict, exit};
use firedrill_engine::interrupt::Interrupts;
use firedrill_engine::observe::Observer;
use firedrill_engine::{RunError, RunOptions, run_scenario};
use firedrill_platforms::lab;
use firedrill_reports::console::{self, Paint, Style};
use firedrill_reports::junit::NotRun;
use firedrill_scenarios::Overrides;

use crate::args::RunArgs;
use crate::failure::Failure;
use crate::progress::Console;
use crate::terminal::Terminal;
use crate::{heal, limited, loaded, output, written};

/// Runs, and gives the exit code of the worst verdict.
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let overrides = Overrides { platform: args.platform.clone(), seed: args.seed, repeat: args.repeat };
    let scenarios = loaded::scenarios(&args.scenarios, &overrides)?;
    if let Some(path) = &args.junit {
        written::try_file(path)?;
    }
    refuse_elsewhere(args, &scenarios)?;
    let interrupts = listening()?;
    heal::after_the_dead();
    let mut tally = Tally::default();
    for scenario in &scenarios {
        if interrupts.count() > 0 {
            tally.skipped.push(not_run(scenario, &interrupted()));
            continue;
        }
        match one(args, scenario, &interrupts) {
            Ok(record) => tally.records.push(record),
            Err(failure) => {
                failure.report();
                tally.failures.push(not_run(scenario, &failure));
            }
        }
    }
    if let Some(path) = &args.junit {
        written::junit_file(&tally.records, &[&tally.failures[..], &tally.skipped].concat(), path)?;
    }
    if scenarios.len() > 1 {
        output::print(&tally.summary(Terminal::stdout().style));
    }
    Ok(ExitCode::from(tally.exit_code()))
}

fn interrupted() -> Failure {
    Failure::new(exit::ABORTED, "not begun: interrupted before")
}

fn not_run(scenario: &Scenario, failure: &Failure) -> NotRun {
    NotRun {
        file: scenario.file.clone(),
        name: scenario.name.clone(),
        when: Wall::now(),
        code: failure.code,
        reason: failure.message.clone(),
        details: failure.details.iter().chain(&failure.help).cloned().collect(),
    }
}

/// Interrupts that Ctrl-C and SIGTERM raise.
pub(crate) fn listening() -> Result<Interrupts, Failure> {
    let interrupts = Interrupts::default();
    let installed = interrupts.install();
    installed.map_err(|error| Failure::new(exit::ENVIRONMENT, "Ctrl-C cannot be listened for").because(&error))?;
    Ok(interrupts)
}

fn one(args: &RunArgs, scenario: &Arc<Scenario>, interrupts: &Interrupts) -> Result<ScenarioRecord, Failure> {
    let terminal = Terminal::stdout();
    let shown = Arc::new(Console::open(terminal));
    let observer: Arc<dyn Observer> = shown.clone();
    let options = RunOptions {
        out: args.out.clone(),
        state: firedrill_sys::dirs::state_dir(),
        seed: args.seed,
        use_template: !args.no_template,
        flags: repeated_flags(args),
        observer,
        interrupts: interrupts.clone(),
        files: limited::opened,
        against: args.against.clone(),
    };
    let finished = run_scenario(scenario, &options);
    shown.close();
    let finished = finished.map_err(|error| failure_of(&error))?;
    if let Some(error) = &finished.cut_short {
        let left = "the repeats that were left could not be run";
        Failure { message: left.to_owned(), ..failure_of(error) }.report();
    }
    let reports = written::reports(&finished.record, &finished.folder);
    let places = reports.as_ref().map_or_else(|_| finished.folder.display().to_string(), Clone::clone);
    output::print(&format!("\n{}\n", console::screen(&finished.record, terminal.style, &[places])));
    match reports {
        Err(failure) if finished.record.verdict == Verdict::Pass => Err(failure),
        Err(failure) => {
            failure.report();
            Ok(finished.record)
        }
        Ok(_) => Ok(finished.record),
    }
}

/// Only clusters of the lab are left running, and only some.
fn refuse_elsewhere(args: &RunArgs, scenarios: &[Arc<Scenario>]) -> Result<(), Failure> {
    let elsewhere = |scenario: &&Arc<Scenario>| scenario.cluster.platform.name != lab::ENTRY.name;
    let Some(id) = &args.against else { return Ok(()) };
    match scenarios.iter().find(elsewhere) {
        None if lab::heal::left_running().contains(id) => Ok(()),
        None => Err(Failure::usage(format!("no cluster {id} is left running"))
            .help("`firedrill up` prints the id of what it leaves running")),
        Some(scenario) => {
            let (file, platform) = (&scenario.file, scenario.cluster.platform.name);
            let message = format!("{file} runs on `{platform}`, where no cluster is left running");
            Err(Failure::usage(message).help("`--against` works on the platform `lab`"))
        }
    }
}

/// The options that the command which repeats a run must have, beside the seed.
fn repeated_flags(args: &RunArgs) -> String {
    let mut flags: Vec<String> = args.platform.iter().map(|platform| format!("--on {platform}")).collect();
    flags.extend(args.against.iter().map(|id| format!("--against {id}")));
    if args.no_template {
        flags.push("--no-template".to_owned());
    }
    flags.join(" ")
}

/// An error of the engine as people see it.
pub(crate) fn failure_of(error: &RunError) -> Failure {
    match error {
        RunError::Environment(missing) => {
            let mut failure = Failure::new(exit::ENVIRONMENT, format!("{error}; nothing was touched"));
            for each in missing {
                failure.details.push(format!("{}: {}", each.what, each.remedy));
            }
            failure.help("after that, run the same command again")
        }
        RunError::Folder { .. } => {
            Failure::usage("nothing was run").because(error).help("choose a folder that can be written with --out")
        }
        RunError::Record(_) => Failure::new(exit::INVALID, "the run's record cannot be written or read").because(error),
        RunError::Journal(_) => Failure::new(exit::ENVIRONMENT, "without a journal nothing is injected").because(error),
        RunError::Runtime(_) => Failure::new(exit::ENVIRONMENT, "nothing was run").because(error),
    }
}

/// What the scenarios came to together.
#[derive(Default)]
struct Tally {
    records: Vec<ScenarioRecord>,
    /// Scenarios that could not be run or reported.
    failures: Vec<NotRun>,
    /// Scenarios not begun because of an interrupt.
    skipped: Vec<NotRun>,
}

impl Tally {
    /// The worst verdict decides; only when all pass does it matter that some could not be run.
    fn exit_code(&self) -> u8 {
        let judged = self.records.iter().map(|record| record.verdict);
        let unjudged = (!self.skipped.is_empty()).then_some(Verdict::Aborted);
        let worst = judged.chain(unjudged).max().unwrap_or(Verdict::Pass);
        if worst != Verdict::Pass {
            return worst.exit_code();
        }
        self.failures.iter().map(|failure| failure.code).max().unwrap_or(exit::PASS)
    }

    fn summary(&self, style: Style) -> String {
        let line = |paint: Paint, word: &str, text: &str| {
            let space = " ".repeat(7_usize.saturating_sub(word.len()));
            format!("{}{space}  {}", style.paint(paint, word), style.text(text))
        };
        let mut lines = vec![style.paint(Paint::Bold, "all scenarios")];
        lines.extend(self.records.iter().map(|record| {
            let (paint, word) = (Paint::of(record.verdict), record.verdict.to_string());
            line(paint, &word, &format!("{}  {}", record.file, record.name))
        }));
        lines.extend(self.failures.iter().map(|NotRun { file, code, .. }| {
            line(Paint::Bad, "not run", &format!("{file}  (exit code {code}, see above)"))
        }));
        lines.extend(
            self.skipped
                .iter()
                .map(|NotRun { file, .. }| line(Paint::Doubt, "skipped", &format!("{file}  (interrupted before)"))),
        );
        lines.push(String::new());
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_run_is_never_a_pass() {
        let not_run = |code| NotRun {
            file: "a".to_owned(),
            name: "A".to_owned(),
            when: Wall { unix_nanos: 0 },
            code,
            reason: "why".to_owned(),
            details: Vec::new(),
        };
        let failed = |code| Tally { failures: vec![not_run(code)], ..Tally::default() };
        assert_eq!(failed(exit::ENVIRONMENT).exit_code(), exit::ENVIRONMENT);
        let skipped = Tally { skipped: vec![not_run(exit::ABORTED)], ..Tally::default() };
        assert_eq!(skipped.exit_code(), exit::ABORTED);
    }
}
