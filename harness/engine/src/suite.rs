//! A scenario with its repeats: each on a fresh cluster, with a derived seed and a folder of its own; then the verdict over
//! all of them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use firedrill_core::action::Deed;
use firedrill_core::platform::{Mechanism, Missing, OpenRequest, Platform};
use firedrill_core::record::{RunRecord, ScenarioRecord};
use firedrill_core::scenario::Scenario;
use firedrill_core::seed::{Seed, fnv1a};
use firedrill_core::time::{Clock, Wall};
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::folder::{self, FolderError, MANIFEST_FILE, Manifest, SCENARIO_FILE, write_json};
use crate::inject::words;
use crate::interrupt::Interrupts;
use crate::journal::{Journal, JournalError};
use crate::observe::{Observer, Progress};
use crate::recorder;
use crate::run::Run;
use crate::verdict;

/// How scenarios are to be run.
#[derive(Clone)]
pub struct RunOptions {
    /// Where the folders of runs go.
    pub out: PathBuf,
    /// The fixed state directory, for journals.
    pub state: PathBuf,
    /// Overrides the scenario's seed.
    pub seed: Option<Seed>,
    /// Whether clusters may be cloned from cached templates.
    pub use_template: bool,
    /// Flags to repeat in the command that repeats the run (`--on sim`).
    pub flags: String,
    /// Shows progress.
    pub observer: Arc<dyn Observer>,
    /// Asks the run to stop.
    pub interrupts: Interrupts,
    /// How what was recorded is read again.
    pub files: folder::Open,
    /// The id of a running cluster that is used, and left running, instead of a fresh one for each repeat.
    pub against: Option<String>,
}

/// Why a scenario could not be run at all. Nothing was touched.
#[derive(Debug, Error)]
pub enum RunError {
    /// This environment lacks something.
    #[error("this environment lacks what the scenario needs")]
    Environment(Vec<Missing>),
    /// The folder of the run could not be made.
    #[error("the folder of the run cannot be made: {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of the run could not be written or read back.
    #[error(transparent)]
    Record(#[from] FolderError),
    /// The journal could not be made.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The async runtime could not be built.
    #[error("the runtime could not be started")]
    Runtime(#[source] io::Error),
}

/// A scenario that was run.
pub struct Finished {
    /// What it came to.
    pub record: ScenarioRecord,
    /// Its folder.
    pub folder: PathBuf,
    /// Why the repeats after the first ones could not be run.
    pub cut_short: Option<RunError>,
}

/// Runs a scenario with all its repeats. `run.json` is not written here: reports are.
pub fn run_scenario(scenario: &Arc<Scenario>, options: &RunOptions) -> Result<Finished, RunError> {
    let started = Wall::now();
    let seed = options.seed.or(scenario.seed).unwrap_or_else(|| fresh_seed(started));
    let id = run_name(scenario, started, seed);
    let folder = options.out.join(&id);
    let plan = SuitePlan { scenario, options, seed, id, folder, started };
    let mechanisms = plan.preflight()?;
    make_folder(&plan.folder)?;
    let text = plan.folder.join(SCENARIO_FILE);
    fs::write(&text, &scenario.text).map_err(|source| RunError::Folder { path: text, source })?;
    let mut runs = Vec::new();
    let wanted = scenario.objectives.repeat.max(1);
    let mut cut_short = None;
    for repeat in 0..wanted {
        if options.interrupts.count() > 0 {
            break;
        }
        match plan.repeat(repeat, &mechanisms) {
            Ok(run) => runs.push(run),
            Err(error) if runs.is_empty() => return Err(error),
            // What the runs before it found is still worth its report.
            Err(error) => {
                cut_short = Some(error);
                break;
            }
        }
    }
    let versions = runs.first().map(|run: &Repeat| run.versions.clone()).unwrap_or_default();
    let runs = runs.into_iter().map(|run| run.record).collect();
    let record = verdict::scenario(scenario, plan.header(mechanisms, versions, wanted), runs);
    Ok(Finished { record, folder: plan.folder.clone(), cut_short })
}

struct SuitePlan<'a> {
    scenario: &'a Arc<Scenario>,
    options: &'a RunOptions,
    seed: Seed,
    id: String,
    folder: PathBuf,
    started: Wall,
}

struct Repeat {
    record: RunRecord,
    versions: BTreeMap<String, String>,
}

impl SuitePlan<'_> {
    /// Asks the host, and touches nothing.
    fn preflight(&self) -> Result<Vec<Mechanism>, RunError> {
        let runtime = self.runtime()?;
        runtime.block_on(async {
            let platform = self.open("preflight", Path::new(""), self.seed, Clock::start())?;
            platform.preflight(&deeds(self.scenario)).await.map_err(RunError::Environment)
        })
    }

    fn open(&self, run_id: &str, folder: &Path, seed: Seed, clock: Clock) -> Result<Arc<dyn Platform>, RunError> {
        let cluster = &self.scenario.cluster;
        let request = OpenRequest {
            run_id: run_id.to_owned(),
            nodes: cluster.nodes.clone(),
            lab: cluster.system.lab(),
            sim: cluster.system.sim(),
            needs: self.scenario.needs(),
            run_dir: folder.to_owned(),
            lease: self.scenario.safety.lease,
            seed,
            clock,
            against: self.options.against.clone(),
        };
        (cluster.platform.open)(request).map_err(RunError::Environment)
    }

    /// A simulated run lives on one thread and on virtual time, which jumps whenever nothing is left to do.
    fn runtime(&self) -> Result<Runtime, RunError> {
        let built = if self.scenario.cluster.platform.virtual_time {
            Builder::new_current_thread().enable_all().start_paused(true).build()
        } else {
            Builder::new_multi_thread().worker_threads(2).enable_all().build()
        };
        built.map_err(RunError::Runtime)
    }

    /// Clients have a thread of their own: one, so that no answer wakes a second, and so that what blocks elsewhere (the
    /// journal's fsync) does not look like a pause of the service. Virtual time has room for one runtime only.
    fn runtime_of_clients(&self) -> Result<Option<Runtime>, RunError> {
        if self.scenario.cluster.platform.virtual_time {
            return Ok(None);
        }
        let built = Builder::new_multi_thread().worker_threads(1).thread_name("clients").enable_all().build();
        built.map(Some).map_err(RunError::Runtime)
    }

    fn repeat(&self, repeat: u32, mechanisms: &[Mechanism]) -> Result<Repeat, RunError> {
        let folder = self.folder.join((repeat + 1).to_string());
        make_folder(&folder)?;
        let started = Wall::now();
        let seed = self.seed.derive(repeat);
        let run_id = short_id(started, repeat);
        let manifest = self.manifest(repeat, &run_id, seed, started, mechanisms);
        write_json(&folder.join(MANIFEST_FILE), &manifest)?;
        self.options.observer.show(&Progress::Started {
            name: self.scenario.name.clone(),
            repeat: manifest.repeat,
            seed,
            repeat_command: manifest.repeat_command.clone(),
            folder: folder.clone(),
        });
        self.options.observer.show(&Progress::Mechanisms(mechanisms.to_vec()));
        let lost = self.live(&folder, &run_id, seed)?;
        let (recorded, finals, mut torn) = folder::recorded(&folder, self.options.files)?;
        torn.extend(lost);
        let seconds = Duration::from_nanos(Wall::now().unix_nanos.saturating_sub(started.unix_nanos)).as_secs_f64();
        let record = verdict::run(self.scenario, &manifest, seconds, &recorded, &torn);
        Ok(Repeat { record, versions: finals.versions })
    }

    /// Runs once and records it. Returns what of the record was lost, if anything was.
    fn live(&self, folder: &Path, run_id: &str, seed: Seed) -> Result<Option<String>, RunError> {
        let runtime = self.runtime()?;
        let apart = self.runtime_of_clients()?;
        let clients = apart.as_ref().unwrap_or(&runtime).handle().clone();
        runtime.block_on(async {
            let clock = Clock::start();
            let (recorder, writer) = recorder::open(folder, clock, Arc::clone(&self.options.observer))
                .map_err(|source| RunError::Folder { path: folder.to_owned(), source })?;
            let platform = self.open(run_id, folder, seed, clock)?;
            let platform_name = self.scenario.cluster.platform.name;
            let against = self.options.against.as_deref();
            let journal = Journal::create(&self.options.state, platform_name, run_id, folder, against)?;
            let run = Run {
                scenario: Arc::clone(self.scenario),
                seed,
                folder: folder.to_owned(),
                platform,
                clock,
                recorder,
                observer: Arc::clone(&self.options.observer),
                interrupts: self.options.interrupts.clone(),
                use_template: self.options.use_template,
                stage: watch::Sender::new(crate::watch::Stage::default()),
                clients,
            };
            Ok(run.run(journal, writer).await.err())
        })
    }

    fn manifest(&self, repeat: u32, run_id: &str, seed: Seed, started: Wall, mechanisms: &[Mechanism]) -> Manifest {
        Manifest {
            format: Manifest::current_format(),
            version: firedrill_core::VERSION.to_owned(),
            id: self.id.clone(),
            run_id: run_id.to_owned(),
            file: self.scenario.file.clone(),
            text: self.scenario.text.clone(),
            platform: self.scenario.cluster.platform.name.to_owned(),
            nodes: self.scenario.cluster.nodes.clone(),
            seed,
            repeat: (repeat, self.scenario.objectives.repeat.max(1)),
            repeat_command: self.repeat_command(seed),
            started,
            mechanisms: mechanisms.to_vec(),
            environment: environment(),
        }
    }

    fn repeat_command(&self, seed: Seed) -> String {
        let flags = if self.options.flags.is_empty() { String::new() } else { format!(" {}", self.options.flags) };
        format!("firedrill run {} --seed {seed} --repeat 1{flags}", self.scenario.file)
    }

    fn header(&self, mechanisms: Vec<Mechanism>, versions: BTreeMap<String, String>, wanted: u32) -> verdict::Header {
        let ended = Wall::now().unix_nanos.saturating_sub(self.started.unix_nanos);
        let mut environment = environment();
        environment.extend(versions);
        verdict::Header {
            id: self.id.clone(),
            seed: self.seed,
            repeat_command: self.repeat_command(self.seed),
            started: self.started,
            seconds: Duration::from_nanos(ended).as_secs_f64(),
            environment,
            mechanisms,
            wanted,
        }
    }
}

fn make_folder(path: &Path) -> Result<(), RunError> {
    fs::create_dir_all(path).map_err(|source| RunError::Folder { path: path.to_owned(), source })
}

/// The deeds a scenario's faults need, each once.
pub fn deeds(scenario: &Scenario) -> Vec<Deed> {
    scenario.needs().deeds.into_iter().collect()
}

/// A seed nobody chose: from the clock and the process, short enough to read out.
fn fresh_seed(now: Wall) -> Seed {
    Seed(fnv1a(format!("{} {}", now.unix_nanos, std::process::id()).as_bytes()) >> 40)
}

/// Unique on this machine: a run's name for kernel objects, lower-case letters and digits.
fn short_id(now: Wall, repeat: u32) -> String {
    let hash = fnv1a(format!("{} {} {repeat}", now.unix_nanos, std::process::id()).as_bytes());
    format!("{:08x}", hash >> 32)
}

/// `20261121-010203-primary-kill-7421`: sorts by time, says what, and does not meet another run's.
fn run_name(scenario: &Scenario, started: Wall, seed: Seed) -> String {
    let stamp: String = started.rfc3339().chars().take(19).filter(char::is_ascii_digit).collect();
    let stem = Path::new(&scenario.file).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let (day, time) = stamp.split_at(8);
    let unique = short_id(started, 0);
    format!("{day}-{time}-{}-{seed}-{}", stem.unwrap_or_else(|| "scenario".to_owned()), &unique[..4])
}

/// What the run runs on. Asked once: it does not change, and hashing the binary takes a while.
fn environment() -> BTreeMap<String, String> {
    static ASKED: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    ASKED.get_or_init(ask_environment).clone()
}

fn ask_environment() -> BTreeMap<String, String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let distribution = read("/etc/os-release")
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME=").map(|name| name.trim_matches('"').to_owned()));
    let binary = std::env::current_exe().and_then(fs::read).map(|bytes| format!("{:016x}", fnv1a(&bytes)));
    let mut found = BTreeMap::from([
        ("kernel".to_owned(), read("/proc/sys/kernel/osrelease")),
        ("firedrill".to_owned(), firedrill_core::VERSION.to_owned()),
    ]);
    found.extend(distribution.map(|name| ("distribution".to_owned(), name)));
    found.extend(binary.ok().map(|hash| ("firedrill-binary".to_owned(), hash)));
    found.extend(std::thread::available_parallelism().ok().map(|cpus| ("cpus".to_owned(), cpus.to_string())));
    found
}

/// Judges a recorded run again: every repeat in its folder.
pub fn judge_again(scenario: &Arc<Scenario>, folder: &Path, files: folder::Open) -> Result<ScenarioRecord, RunError> {
    let mut runs = Vec::new();
    let mut first: Option<(Manifest, BTreeMap<String, String>)> = None;
    let mut seconds = 0.0;
    for repeat in folder::repeats(folder)? {
        let manifest = folder::manifest(&repeat)?;
        let (recorded, finals, torn) = folder::recorded(&repeat, files)?;
        let last = recorded.events.last().map(|stamped| stamped.at).unwrap_or_default();
        let took = Duration::from_nanos(last.as_nanos()).as_secs_f64();
        seconds += took;
        runs.push(verdict::run(scenario, &manifest, took, &recorded, &torn));
        first.get_or_insert((manifest, finals.versions));
    }
    let Some((manifest, versions)) = first else {
        return Err(FolderError::NotARun { path: folder.to_owned() }.into());
    };
    let mut environment = manifest.environment.clone();
    environment.extend(versions);
    // Of the folder of one repeat nothing more is wanted.
    let wanted = if folder.join(MANIFEST_FILE).exists() { 1 } else { manifest.repeat.1 };
    let header = verdict::Header {
        id: manifest.id.clone(),
        seed: manifest.seed,
        repeat_command: manifest.repeat_command.clone(),
        started: manifest.started,
        seconds,
        environment,
        mechanisms: manifest.mechanisms,
        wanted,
    };
    Ok(verdict::scenario(scenario, header, runs))
}

/// An error with its causes, on one line.
pub fn in_words(error: &dyn std::error::Error) -> String {
    words(error)
}
