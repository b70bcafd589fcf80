//! The process that holds what a pause stops, as a debugger holds it: its end, however it comes, lets everything go on. The
//! kernel ends it with its agent.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::process::{Child, ChildStdin, ChildStdout};
use std::time::Duration;

use firedrill_core::action::{ProcessRef, Undo};
use firedrill_core::cluster::{NodeName, ProcessName};
use firedrill_sys::process::{Process, State};
use firedrill_sys::trace::{self, Seized};
use firedrill_sys::{clock, process, ready, spawn};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{ARGUMENT, INTERVAL, PATIENCE, whom};
use crate::protocol::{Config, Refusal, RefusalKind};
use crate::world::{self, World};

/// How long one attempt to hold all may take: what waits for a child that is held cannot stop (`vfork(2)`), so everything is
/// let go then and tried again.
const ATTEMPT: Duration = Duration::from_millis(700);
/// How long the holder may take to start and answer.
const ANSWER: Duration = Duration::from_secs(4);
/// How often it lets processes be seen that have ended while they were held.
const TURN: Duration = Duration::from_millis(20);
const LONGEST_ANSWER: usize = 1 << 20;

/// What a holder is to do: the first line it is told. Later ones are process ids to let go of.
#[derive(Serialize, Deserialize)]
struct Job {
    config: Config,
    node: NodeName,
    process: Option<ProcessName>,
}

/// What a holder has done: the first line it says. Later ones say whether all were let go.
#[derive(Serialize, Deserialize)]
struct Report {
    held: Vec<ProcessRef>,
    /// When the last of it was stopped, nanoseconds of `CLOCK_BOOTTIME`.
    since: u64,
    /// It did not come to rest: it is to be tried again.
    restless: bool,
}

/// A holder at work.
#[derive(Debug)]
pub(super) struct Holder {
    child: Child,
    pipes: Option<(ChildStdin, ChildStdout)>,
    /// What it holds.
    pub(super) held: Vec<ProcessRef>,
    /// When the last of it was stopped.
    pub(super) since: u64,
}

impl Holder {
    /// Holds what the undo's action names. What is not permitted is left as it is: it is for signals. `None` when the
    /// processes did not come to rest.
    pub(super) fn start(config: &Config, undo: &Undo) -> Result<Option<Self>, Refusal> {
        let (node, process) = whom(&undo.action)?;
        let job = Job { config: config.clone(), node: node.clone(), process: process.cloned() };
        let failed = |error: io::Error| Refusal::system("starting what holds the pause", &error);
        let mut child = process::start_self(&[ARGUMENT, &undo.tag]).map_err(failed)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let mut holder = Self { child, pipes: None, held: Vec::new(), since: 0 };
        let Some((pipe, answers)) = pipes else { return Err(failed(io::Error::other("no pipes"))) };
        ready::never_wait(&pipe).and_then(|()| ready::never_wait(&answers)).map_err(failed)?;
        let report: Report = tell(&pipe, &job).and_then(|()| hear(&answers)).map_err(failed)?;
        holder.pipes = Some((pipe, answers));
        (holder.held, holder.since) = (report.held, report.since);
        Ok((!report.restless).then_some(holder))
    }

    /// Lets go of all but what others `want`. Still there, with that, if there is such.
    pub(super) fn keep_only(mut self, want: &[ProcessRef]) -> Result<Option<Self>, Refusal> {
        let (kept, free): (Vec<_>, Vec<_>) = self.held.drain(..).partition(|reference| want.contains(reference));
        if kept.is_empty() {
            return self.release().map(|()| None);
        }
        self.held = kept;
        let pids: Vec<i32> = free.iter().map(|reference| reference.pid).collect();
        let Some((pipe, answers)) = &self.pipes else { return Ok(Some(self)) };
        let let_go: bool = tell(pipe, &pids)
            .and_then(|()| hear(answers))
            .map_err(|error| Refusal::system("asking what holds the pause to let go", &error))?;
        let what = || Refusal::new(RefusalKind::System, "not all that was held could be let go");
        if let_go { Ok(Some(self)) } else { Err(what()) }
    }

    /// Lets everything go.
    fn release(mut self) -> Result<(), Refusal> {
        drop(self.pipes.take());
        let ended = clock::until(PATIENCE, INTERVAL, || self.child.try_wait().transpose());
        // Killed, if need be, when it is dropped: that lets go as well.
        ended
            .map_or_else(|| Err(io::Error::from(io::ErrorKind::TimedOut)), |ended| ended.map(drop))
            .or_else(|_| self.end().map_err(|error| Refusal::system("ending what holds the pause", &error)))
    }

    fn end(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            crate::log::say(&format!("what holds the pause could not be ended: {error}"));
        }
    }
}

fn tell(pipe: &ChildStdin, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    ready::write_all(pipe, &line, ANSWER)
}

fn hear<T: DeserializeOwned>(answers: &ChildStdout) -> io::Result<T> {
    let mut line = Vec::new();
    let answered = clock::until(ANSWER, Duration::ZERO, || match ready::read_some(answers, TURN) {
        Ok(Some(bytes)) => {
            line.extend(bytes);
            (line.ends_with(b"\n") || line.len() > LONGEST_ANSWER).then_some(Ok(()))
        }
        Ok(None) => Some(Err(io::Error::from(io::ErrorKind::UnexpectedEof))),
        Err(error) => Some(Err(error)),
    });
    answered.unwrap_or_else(|| Err(io::Error::from(io::ErrorKind::TimedOut)))?;
    Ok(serde_json::from_slice(&line)?)
}

/// Is a holder: holds what it is told, says so, and waits for the end of its standard input.
pub fn hold() -> Result<(), Refusal> {
    let failed = |error: io::Error| Refusal::system("holding processes", &error);
    spawn::die_with_parent().map_err(failed)?;
    let stdin = io::stdin();
    ready::never_wait(&stdin).map_err(failed)?;
    let mut line = Vec::new();
    let job: Job = loop {
        match ready::read_some(&stdin, ANSWER).map_err(failed)? {
            Some(bytes) if !bytes.is_empty() => line.extend(bytes),
            Some(_) | None => return Err(Refusal::new(RefusalKind::Order, "nobody says what to hold")),
        }
        if line.ends_with(b"\n") {
            break serde_json::from_slice(&line).map_err(|error| failed(error.into()))?;
        }
    };
    let world = World::of_leftovers(job.config)?;
    let report = hold_all(&world, &job.node, job.process.as_ref())?;
    let text = serde_json::to_string(&report).map_err(|error| failed(error.into()))?;
    writeln!(io::stdout(), "{text}").map_err(failed)?;
    if report.restless {
        return Ok(());
    }
    // Then it is told whom to let go of. Its end is the agent's wish, or death.
    let mut line = Vec::new();
    while let Ok(Some(bytes)) = ready::read_some(&stdin, TURN) {
        line.extend(bytes);
        if line.ends_with(b"\n") {
            let pids: Vec<i32> = serde_json::from_slice(&line).map_err(|error| failed(error.into()))?;
            line.clear();
            let all = pids.into_iter().map(trace::let_go).try_fold(true, |all, one| one.map(|one| all && one));
            writeln!(io::stdout(), "{}", all.map_err(failed)?).map_err(failed)?;
        }
        trace::pass_on_ends().map_err(failed)?;
    }
    Ok(())
}

/// Holds every thread, until two looks in a row find all of them at rest, new threads and children included.
fn hold_all(world: &World, node: &NodeName, name: Option<&ProcessName>) -> Result<Report, Refusal> {
    let mut held = BTreeMap::new();
    let mut quiet_looks = 0;
    let mut since = clock::boottime_nanos();
    let done = clock::until(ATTEMPT, INTERVAL, || match round(world, node, name, &mut held) {
        Ok(true) => {
            quiet_looks += 1;
            (quiet_looks == 2).then_some(Ok(()))
        }
        Ok(false) => {
            quiet_looks = 0;
            since = clock::boottime_nanos();
            None
        }
        Err(refusal) => Some(Err(refusal)),
    });
    let restless = done.is_none();
    done.transpose()?;
    // Parents first, as they were found.
    let mut held: Vec<(usize, ProcessRef)> = held.into_values().collect();
    held.sort();
    Ok(Report { held: held.into_iter().map(|(_, reference)| reference).collect(), since, restless })
}

/// One look: holds what is new, and stops what still runs. Whether all was at rest.
fn round(
    world: &World,
    node: &NodeName,
    name: Option<&ProcessName>,
    held: &mut BTreeMap<i32, (usize, ProcessRef)>,
) -> Result<bool, Refusal> {
    let mut quiet = true;
    for process in world.processes(node, name)? {
        // What somebody else has stopped is at rest, and not ours to let go on.
        if process.state == State::Stopped {
            continue;
        }
        quiet &= hold_threads(&process, held)
            .map_err(|error| Refusal::system(format!("holding {} ({})", process.name, process.pid), &error))?;
    }
    trace::pass_on_ends().map_err(|error| Refusal::system("holding processes", &error))?;
    Ok(quiet)
}

fn hold_threads(process: &Process, held: &mut BTreeMap<i32, (usize, ProcessRef)>) -> io::Result<bool> {
    let mut quiet = true;
    for tid in trace::threads(process.pid) {
        if trace::is_still(tid) && held.contains_key(&process.pid) {
            continue;
        }
        match trace::seize(tid)? {
            Seized::Held => {
                let next = held.len();
                held.entry(process.pid).or_insert_with(|| (next, world::reference(process)));
                trace::interrupt(tid)?;
                quiet = false;
            }
            // Signals are for those.
            Seized::Refused | Seized::Gone => {}
        }
    }
    Ok(quiet)
}
