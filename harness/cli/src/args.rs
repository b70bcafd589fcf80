//! The command line: verbs, options and what `--help` says.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use firedrill_check::durable;
use firedrill_check::linear::Model;
use firedrill_core::seed::Seed;
use firedrill_core::units::{Bytes, duration};

use crate::judge_txn::{self, Asked, consistency};

/// What every `--help` ends with. The numbers are those of [`firedrill_core::verdict::exit`].
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
   0  everything holds
   1  FAIL     an invariant is broken (or a known-bad scenario no longer finds it)
   2           the scenario or the command line is wrong; nothing was touched
   3  SLOW     an objective is missed
   4  INVALID  the run proves nothing: a fault did not bite, not steady, no load
   5  DIRTY    something was left behind; what, and how to remove it, is printed
   6  ABORTED  a halt condition or Ctrl-C; everything was healed
   7           this environment lacks something; nothing was touched
  70           a bug of firedrill: please report it";

/// Injects faults into a real cluster while clients write to it, and says what was lost, what diverged and how long
/// recovery took.
#[derive(Parser, Debug)]
#[command(name = "firedrill", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Run scenarios and judge them
    Run(RunArgs),
    /// Say what a run would do, and touch nothing
    Plan(PlanArgs),
    /// Check scenario files and say everything that is wrong with them
    Validate(ValidateArgs),
    /// List what scenarios can use
    List(ListArgs),
    /// Say which faults work on this machine, by what, and what would change it
    Doctor(DoctorArgs),
    /// Judge a recorded run again, or anybody's history
    Judge(JudgeArgs),
    /// Render the report of a recorded run again
    Report(ReportArgs),
    /// Undo what a run left in force
    Heal(HealArgs),
    /// Start a scenario's cluster, leave it running and say how to reach it
    Up(UpArgs),
    /// Remove a cluster that `up` left running
    Down(DownArgs),
}

/// Which scenarios.
#[derive(Args, Debug)]
pub(crate) struct FilesArgs {
    /// Scenario files, or folders: every scenario below them, in name order, but for folders called `tests`
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Only scenarios with this tag; given several times, with any of them
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
}

/// `run`.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct RunArgs {
    /// Which scenarios.
    #[command(flatten)]
    pub(crate) scenarios: FilesArgs,
    /// Seed of everything random; the default is the scenario's, or a new one that is printed
    #[arg(long)]
    pub(crate) seed: Option<Seed>,
    /// Run each scenario so many times, each with a fresh cluster; the default is the scenario's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) repeat: Option<u32>,
    /// Folder to record runs in
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(crate) out: PathBuf,
    /// A file for all scenarios.
    #[arg(long, value_name = "FILE", help = "Also write one JUnit file of all scenarios")]
    pub(crate) junit: Option<PathBuf>,
    /// Run on this platform instead of the scenario's
    #[arg(long = "on", value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Start from nothing: neither use nor save the cached cluster template
    #[arg(long)]
    pub(crate) no_template: bool,
    /// Run against a cluster that `up` left running, and leave it running
    #[arg(long, value_name = "ID", conflicts_with = "no_template")]
    pub(crate) against: Option<String>,
}

/// `plan`.
#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    /// Which scenarios.
    #[command(flatten)]
    pub(crate) scenarios: FilesArgs,
    /// Seed of everything random; the default is the scenario's, or 0
    #[arg(long)]
    pub(crate) seed: Option<Seed>,
    /// Plan for this platform instead of the scenario's
    #[arg(long = "on", value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Resolve the targets on a cluster that `up` left running
    #[arg(long, value_name = "ID")]
    pub(crate) against: Option<String>,
}

/// `validate`.
#[derive(Args, Debug)]
pub(crate) struct ValidateArgs {
    /// Which scenarios.
    #[command(flatten)]
    pub(crate) scenarios: FilesArgs,
    /// Check for this platform instead of the scenario's
    #[arg(long = "on", value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
}

/// What can be listed.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Family {
    /// What can be injected
    Faults,
    /// What can run on the nodes
    Systems,
    /// Where nodes can live
    Platforms,
    /// What clients can do
    Workloads,
    /// What invariants can claim
    Checks,
    /// How a run can be reported
    Reporters,
}

/// `list`.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// What to list; everything when absent
    pub(crate) family: Option<Family>,
    /// Show one of them, with an example
    #[arg(requires = "family")]
    pub(crate) name: Option<String>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `doctor --help` ends with.
const DOCTOR_CODES: &str = "\
Exit codes:
   0  every fault that was asked about works, if only by a fallback
   1  one of them cannot be had on this machine; what would change that is printed";

/// `doctor`.
#[derive(Args, Debug)]
#[command(after_help = DOCTOR_CODES)]
pub(crate) struct DoctorArgs {
    /// Only these faults, or all of a family (`net`); every fault when absent
    #[arg(value_name = "FAULT")]
    pub(crate) faults: Vec<String>,
    /// Only this platform; all but the simulation when absent
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `judge`.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct JudgeArgs {
    /// The folder of a recorded run (`runs/<id>`, or one repeat of it), or with --model a file with a history: Jepsen's
    /// (EDN, JSON lines), Porcupine's (etcd logs, key-value text), Plume's text or AWDIT's test format
    #[arg(value_name = "RUN|FILE")]
    pub(crate) run: PathBuf,
    /// A file for the verdict.
    #[arg(long, value_name = "FILE", help = "Also write the verdict as JUnit", conflicts_with = "model")]
    pub(crate) junit: Option<PathBuf>,
    /// What the history's object is: the history is valid if it is linearizable, or, of the transactions list-append and
    /// rw-register and of the models of durability (set-full and those after it), if it shows no anomaly that counts
    #[arg(long, value_name = "MODEL", value_parser = model())]
    pub(crate) model: Option<String>,
    /// The object's first value, as JSON
    #[arg(long, value_name = "JSON", default_value = "null", requires = "model")]
    pub(crate) initial: String,
    /// bounded-staleness: how long something replaced may still be read; without it, not at all
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "model")]
    pub(crate) staleness: Option<Duration>,
    /// Give up after so long; without it, never
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "model")]
    pub(crate) limit_time: Option<Duration>,
    /// Give up rather than hold more memory than this. Pages of a file, which the kernel may take back at any time, do not count
    #[arg(long, value_name = "SIZE", default_value = "4GiB", requires = "model")]
    pub(crate) limit_memory: Bytes,
    /// The verdict on the history as JSON
    #[arg(long, requires = "model")]
    pub(crate) json: bool,
    /// Also draw a violation: the calls around one of linearizability, or the transactions that show each anomaly, by process
    #[arg(long, value_name = "FILE.svg|FILE.html", requires = "model")]
    pub(crate) picture: Option<PathBuf>,
    /// Also write the history as Jepsen would, so that other checkers can read it
    #[arg(long, value_name = "FILE.edn|FILE.jsonl", requires = "model")]
    pub(crate) export: Option<PathBuf>,
    /// Also write the smallest part of the history that shows the first anomaly of transactions, as a history of its own
    #[arg(long, value_name = "FILE.edn|FILE.jsonl", requires = "model")]
    pub(crate) witness: Option<PathBuf>,
    /// Of the models of transactions.
    #[command(flatten)]
    pub(crate) transactions: TxnArgs,
}

/// What only histories of transactions are asked.
#[derive(Args, Debug)]
pub(crate) struct TxnArgs {
    /// Transactions: what the history must satisfy; the default, without --anomalies, is strict-serializable. For
    /// rw-register also the axiomatic levels rc-axiomatic, ra and cc, and with real time strong-rc-axiomatic, strong-ra
    /// and strong-cc
    #[arg(long, value_name = "MODEL,…", value_delimiter = ',', value_parser = consistency, requires = "model")]
    pub(crate) consistency: Vec<Asked>,
    /// Transactions: what the history must not show, by Elle's names. Models of durability: what counts as a violation
    #[arg(long, value_name = "ANOMALY,…", value_delimiter = ',', requires = "model")]
    pub(crate) anomalies: Vec<String>,
    /// rw-register: each key is linearizable, so that real time orders its versions
    #[arg(long, requires = "model")]
    pub(crate) linearizable_keys: bool,
    /// rw-register: each process meets the versions of a key in order
    #[arg(long, requires = "model")]
    pub(crate) sequential_keys: bool,
    /// rw-register: whoever reads a key and writes it replaces the version it read
    #[arg(long, requires = "model")]
    pub(crate) wfr_keys: bool,
}

/// The names of the models.
fn model() -> PossibleValuesParser {
    let durable = durable::Model::ALL.iter().map(|model| model.name());
    let transactions = judge_txn::MODELS.iter().map(|(name, _)| *name);
    PossibleValuesParser::new(Model::ALL.iter().map(|model| model.name()).chain(transactions).chain(durable))
}

/// `report`.
#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// The folder of a recorded run (`runs/<id>`), or its run.json; console and junit take several
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
    /// A reporter (`firedrill list reporters`)
    #[arg(long, default_value = "console", value_name = "REPORTER")]
    pub(crate) format: String,
    /// Write to this file instead of the terminal
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// `heal`.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct HealArgs {
    /// The run, by its folder or its id
    #[arg(value_name = "RUN")]
    pub(crate) run: Option<String>,
    /// Everything that ended runs left on this machine; runs that are alive are spared
    #[arg(long)]
    pub(crate) all: bool,
}

/// `up`.
#[derive(Args, Debug)]
pub(crate) struct UpArgs {
    /// The scenario whose cluster is started; its faults and load are not
    #[arg(value_name = "SCENARIO")]
    pub(crate) file: PathBuf,
    /// Start from nothing: neither use nor save the cached cluster template
    #[arg(long)]
    pub(crate) no_template: bool,
}

/// `down`.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct DownArgs {
    /// The id that `up` printed
    #[arg(value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Every cluster that `up` left running
    #[arg(long)]
    pub(crate) all: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use firedrill_core::verdict::exit;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_exit_code_is_documented() {
        let codes = [
            exit::PASS,
            exit::FAIL,
            exit::USAGE,
            exit::SLOW,
            exit::INVALID,
            exit::DIRTY,
            exit::ABORTED,
            exit::ENVIRONMENT,
            exit::BUG,
        ];
        let documented: Vec<u8> = EXIT_CODES
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .filter_map(|word| word.parse().ok())
            .collect();
        assert_eq!(documented, codes);
    }
}
