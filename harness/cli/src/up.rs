//! `firedrill up` and `down`: a scenario's cluster to play with.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use firedrill_core::cluster::ClusterView;
use firedrill_core::platform::{OpenRequest, Platform as _, StartError, Started};
use firedrill_core::scenario::Scenario;
use firedrill_core::seed::{Seed, fnv1a};
use firedrill_core::time::{Clock, Wall};
use firedrill_core::verdict::exit;
use firedrill_core::wait;
use firedrill_engine::RunError;
use firedrill_engine::interrupt::Interrupts;
use firedrill_engine::suite::in_words;
use firedrill_platforms::lab::{self, Inside, Lab, Purpose};
use firedrill_reports::console::{Paint, Style};
use firedrill_scenarios::Overrides;

use crate::args::{DownArgs, UpArgs};
use crate::failure::Failure;
use crate::run::{failure_of, listening};
use crate::terminal::Terminal;
use crate::{heal, loaded, output};

/// How often the cluster is asked whether it is whole.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How long one node may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Lines of each node's logs that are shown when the start fails.
const LOG_LINES: usize = 10;

/// Starts a cluster and leaves it running.
pub(crate) fn up(args: &UpArgs) -> Result<ExitCode, Failure> {
    let scenario = loaded::single(&args.file, &Overrides::default())?;
    let platform = scenario.cluster.platform.name;
    if platform != lab::ENTRY.name {
        let message = format!("nothing of a cluster on `{platform}` can be left running");
        return Err(Failure::usage(message).help("`up` works on the platform `lab`"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| failure_of(&RunError::Runtime(error)))?;
    let interrupts = listening()?;
    heal::after_the_dead();
    runtime.block_on(bring_up(&scenario, !args.no_template, &interrupts))
}

async fn bring_up(scenario: &Scenario, use_template: bool, interrupts: &Interrupts) -> Result<ExitCode, Failure> {
    let id = fresh_id();
    let clock = Clock::start();
    let run_dir = firedrill_sys::dirs::state_dir().join("up").join(&id);
    std::fs::create_dir_all(&run_dir)
        .map_err(|error| Failure::usage(format!("{} cannot be made", run_dir.display())).because(&error))?;
    let missing = |missing| failure_of(&RunError::Environment(missing));
    let lab = Lab::open(request(scenario, &id, run_dir.clone(), clock)).map_err(missing)?;
    lab.preflight(&[]).await.map_err(missing)?;
    let started = tokio::select! {
        started = start(scenario, &lab, use_template, clock) => started,
        () = interrupts.reached(1) => Err(Failure::new(exit::ABORTED, "interrupted; the cluster is removed")),
    };
    let detached = match started {
        Ok(()) => lab
            .detach()
            .await
            .map_err(|error| Failure::new(exit::ENVIRONMENT, "the cluster cannot be left running").because(&error)),
        Err(failure) => Err(failure),
    };
    if let Err(failure) = detached {
        lab.stop().await.map_err(|error| {
            Failure::new(exit::DIRTY, "the cluster cannot be removed")
                .because(&error)
                .help(format!("firedrill down {id}"))
        })?;
        if failure.code == exit::ABORTED {
            // Only logs; what cannot be removed does no harm.
            drop(std::fs::remove_dir_all(&run_dir));
            return Err(failure);
        }
        return Err(failure.help(format!("the logs are in {}", run_dir.join("nodes").display())));
    }
    let style = Terminal::stdout().style;
    output::print(&describe(&id, &by_hand(scenario, &lab), &run_dir, style));
    Ok(ExitCode::SUCCESS)
}

async fn start(scenario: &Scenario, lab: &Lab, use_template: bool, clock: Clock) -> Result<(), Failure> {
    let how = lab.start(use_template).await.map_err(|error| start_failure(&error))?;
    if let Err(seen) = whole(scenario, lab, clock).await {
        if how == Started::FromTemplate {
            lab.discard_template().await;
        }
        let mut failure = Failure::new(exit::INVALID, seen);
        for node in &scenario.cluster.nodes {
            failure.details.extend(lab.last_log_lines(node, LOG_LINES));
        }
        return Err(failure);
    }
    if how == Started::Cold && use_template {
        lab.save_template().await.map_err(|error| start_failure(&error))?;
        whole(scenario, lab, clock).await.map_err(|seen| Failure::new(exit::INVALID, seen))?;
    }
    Ok(())
}

async fn whole(scenario: &Scenario, lab: &Lab, clock: Clock) -> Result<(), String> {
    let cluster = &scenario.cluster;
    let dialer = lab.dialer();
    let waited = wait::until("a whole cluster", clock, cluster.start, ASK_EVERY, async || {
        let view = cluster.system.view(&*dialer, clock, ANSWER_WITHIN).await;
        cluster.system.whole(&view).map_err(|why| format!("{why} ({})", view.in_words()))
    });
    waited.await.map_err(|timed_out| timed_out.to_string())
}

fn start_failure(error: &StartError) -> Failure {
    match error {
        StartError::Missing(missing) => failure_of(&RunError::Environment(missing.clone())),
        StartError::UnitDied { log, .. } => {
            let mut failure = Failure::new(exit::INVALID, in_words(error));
            failure.details.extend(log.iter().cloned());
            failure
        }
        StartError::Other { .. } => Failure::new(exit::INVALID, "the cluster did not start").because(error),
    }
}

fn request(scenario: &Scenario, id: &str, run_dir: PathBuf, clock: Clock) -> OpenRequest {
    let cluster = &scenario.cluster;
    OpenRequest {
        run_id: id.to_owned(),
        nodes: cluster.nodes.clone(),
        lab: cluster.system.lab(),
        sim: cluster.system.sim(),
        needs: scenario.needs(),
        run_dir,
        lease: scenario.safety.lease,
        seed: scenario.seed.unwrap_or(Seed(0)),
        clock,
        against: None,
    }
}

/// The first argument by which this program knows that it is to look at a running cluster: [`view`] starts it again,
/// because the one that looks enters the lab's namespaces.
pub(crate) const VIEW_ARGUMENT: &str = "__lab-view";

/// The cluster `id` that `up` left running, as the system of `scenario` sees it.
pub(crate) fn view(id: &str, scenario: &Scenario) -> Result<ClusterView, Failure> {
    let unseen = |why: String| {
        let help = "`firedrill up` prints the id of what it leaves running";
        Failure::usage(format!("the cluster {id} cannot be looked at: {}", why.trim())).help(help)
    };
    let args = [VIEW_ARGUMENT, id, &scenario.file].map(OsStr::new);
    let output = firedrill_sys::launch::own_output(&args).map_err(|error| unseen(error.to_string()))?;
    if !output.status.success() {
        return Err(unseen(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| unseen(error.to_string()))
}

/// What the program does when its first argument is [`VIEW_ARGUMENT`]: prints the view as JSON, or why there is none.
pub(crate) fn print_view() -> ExitCode {
    match look() {
        Ok(json) => {
            output::print(&json);
            ExitCode::SUCCESS
        }
        Err(why) => {
            output::error(&why);
            ExitCode::from(exit::USAGE)
        }
    }
}

fn look() -> Result<String, String> {
    let mut args = std::env::args().skip(2);
    let (Some(id), Some(file)) = (args.next(), args.next()) else {
        return Err("an id and a file are needed".to_owned());
    };
    let scenario = loaded::single(Path::new(&file), &Overrides::default()).map_err(|failure| failure.message)?;
    lab::enter(&id).map_err(|error| error.to_string())?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let cluster = &scenario.cluster;
    let dialer = Inside::new(&cluster.nodes);
    let view = runtime.block_on(cluster.system.view(&dialer, Clock::start(), ANSWER_WITHIN));
    if view.nodes.iter().all(|node| !node.up) {
        return Err(format!("no node answers: {}", view.in_words()));
    }
    serde_json::to_string(&view).map_err(|error| error.to_string())
}

/// Unique on this machine, short enough to type.
fn fresh_id() -> String {
    let hash = fnv1a(format!("{} {}", Wall::now().unix_nanos, std::process::id()).as_bytes());
    format!("up{:06x}", hash >> 40)
}

/// Whole commands to copy: the system's own at the places where they work, then each place for one's own.
fn by_hand(scenario: &Scenario, lab: &Lab) -> Vec<String> {
    let places = lab.how_to_reach();
    let mut lines = Vec::new();
    for (node, command) in scenario.cluster.system.shell_hints() {
        let place = places.iter().find(|place| place.node == node);
        lines.extend(place.map(|place| format!("{} {command}", place.prefix)));
    }
    lines.extend(places.iter().map(|place| format!("{}: {} COMMAND", place.place, place.prefix)));
    lines
}

fn describe(id: &str, reach: &[String], run_dir: &Path, style: Style) -> String {
    let mut lines = vec![format!("{}  {id}", style.paint(Paint::Good, "up"))];
    lines.extend(reach.iter().map(|line| format!("  {}", style.text(line))));
    lines.push(format!("  logs: {}", style.text(&run_dir.join("nodes").display().to_string())));
    lines.push(format!("  remove it with: firedrill down {id}\n"));
    lines.join("\n")
}

/// Removes clusters that `up` left running.
pub(crate) fn down(args: &DownArgs) -> Result<ExitCode, Failure> {
    let running: Vec<String> =
        lab::list().into_iter().filter(|record| record.purpose == Purpose::Up).map(|record| record.run_id).collect();
    let wanted = match &args.id {
        Some(id) if running.contains(id) => vec![id.clone()],
        Some(id) => {
            let known = if running.is_empty() {
                "none is running".to_owned()
            } else {
                format!("running: {}", running.join(", "))
            };
            return Err(Failure::usage(format!("no cluster {id} is left running")).help(known));
        }
        None => running,
    };
    let style = Terminal::stdout().style;
    if wanted.is_empty() {
        output::print("none is running\n");
    }
    for id in wanted {
        lab::down(&id).map_err(|error| Failure::new(exit::DIRTY, format!("{id} cannot be removed")).because(&error))?;
        let logs = firedrill_sys::dirs::state_dir().join("up").join(&id);
        drop(std::fs::remove_dir_all(logs));
        output::print(&format!("{}  {id}\n", style.paint(Paint::Good, "down")));
    }
    Ok(ExitCode::SUCCESS)
}
