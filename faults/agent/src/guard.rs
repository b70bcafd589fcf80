//! The guard: a second process that undoes what the kernel does not undo by itself when the agent dies (units that are down,
//! processes stopped by a signal), and that kills an agent which hangs or is stopped. The agent tells it what is in force
//! over a pipe, whose end is the agent's death, and beats; the guard answers each line with a byte, so that the agent
//! notices a guard that is gone or hangs, and starts another.

mod heart;
mod process;

use std::io;
use std::path::PathBuf;
use std::process::{Child, ChildStdout};
use std::sync::Arc;
use std::time::Duration;

use firedrill_core::action::Undo;
use firedrill_sys::identity::Identity;
use firedrill_sys::{clock, ready};
use serde::{Deserialize, Serialize};

pub use process::{run, undo_without_agent};

use self::heart::{Heart, Pipe};
use crate::failpoint;
use crate::journal::{Entry, Journal};
use crate::log::say;
use crate::protocol::{By, Config, Held, Refusal};

/// The argument by which the program becomes a guard.
pub const ARGUMENT: &str = "guard";
/// How long a guard that was let go may take to exit.
const PATIENCE: Duration = Duration::from_secs(1);
/// The least silence that the two take for the other's death: shorter ones come by themselves on a busy machine.
const LEAST_SILENCE: Duration = Duration::from_secs(2);
/// How long the guard may take to know of an action before it is applied.
const HOLD: Duration = Duration::from_secs(5);

/// What a guard is told, one JSON line each.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Told {
    /// Where it is, and whose guard; said first.
    World(Box<Start>),
    /// An action is about to be in force, or concerns more processes than was said.
    Hold(Undo),
    /// An action is undone.
    Release(String),
    /// The agent lives. If nothing follows for so many nanoseconds it hangs.
    Beat(u64),
}

/// What a guard must know from the beginning.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Start {
    config: Config,
    agent: Option<Identity>,
    journal: Option<PathBuf>,
}

/// What keeps the undo of everything in force safe from the agent's own death: its journal and its guard.
#[derive(Debug)]
pub struct Guard {
    start: Start,
    journal: Option<Journal>,
    /// What is in force, as last told.
    holds: Vec<Undo>,
    process: Option<Process>,
    heart: Heart,
    silence: Duration,
}

impl Guard {
    /// Makes the journal, and starts a guard for this world.
    pub fn start(config: &Config) -> Result<Self, Refusal> {
        let journal = config.journal.as_ref().map(|folder| Journal::create(folder, config));
        let journal = journal.transpose().map_err(|error| Refusal::system("making the agent's journal", &error))?;
        let path = journal.as_ref().map(|journal| journal.path().to_owned());
        let start = Start { config: config.clone(), agent: Identity::own(), journal: path };
        let silence = Duration::from_nanos(config.lease_nanos).max(LEAST_SILENCE);
        let failed = |error: io::Error| Refusal::system("starting the agent's guard", &error);
        let heart = Heart::start(silence).map_err(failed)?;
        let mut guard = Self { start, journal, holds: Vec::new(), process: None, heart, silence };
        guard.replace().map_err(failed)?;
        Ok(guard)
    }

    /// To be called before an action is applied, and again when it concerns more. When it returns, the undo is on disk and
    /// the guard knows it.
    pub fn hold(&mut self, undo: &Undo) -> Result<(), Refusal> {
        failpoint::at("before-journal");
        self.journal(&Entry::Intent { undo: undo.clone() })
            .map_err(|error| Refusal::system("the agent's journal", &error))?;
        failpoint::at("after-journal");
        match self.holds.iter_mut().find(|known| known.tag == undo.tag) {
            Some(known) => known.clone_from(undo),
            None => self.holds.push(undo.clone()),
        }
        let told = self.process.as_mut().map(|process| process.tell_and_wait(&Told::Hold(undo.clone())));
        if !matches!(told, Some(Ok(()))) {
            // The next one is told everything, this action too.
            self.replace().map_err(|error| Refusal::system("the agent's guard is gone", &error))?;
        }
        failpoint::at("after-guard");
        Ok(())
    }

    /// To be called when an action has been applied.
    pub fn applied(&mut self, tag: &str, from: u64) {
        let entry = Entry::Applied { tag: tag.to_owned(), from };
        if let Err(error) = self.journal(&entry) {
            // Its undo is there; only since when it was in force is not.
            say(&format!("{tag}: the journal could not be written: {error}"));
        }
    }

    /// To be called when an action is undone. A guard that is gone has nothing to release.
    pub fn release(&mut self, tag: &str, held: Option<Held>, by: Option<By>) {
        self.holds.retain(|undo| undo.tag != tag);
        failpoint::at("before-release");
        if let Err(error) = self.journal(&Entry::Released { tag: tag.to_owned(), held, by }) {
            // It is undone once more by whoever comes after, which does no harm.
            say(&format!("{tag}: the journal could not be written: {error}"));
        }
        failpoint::at("after-release");
        if let Some(Err(error)) = self.process.as_mut().map(|process| process.tell(&Told::Release(tag.to_owned()))) {
            say(&format!("the guard does not listen: {error}"));
        }
    }

    /// To be called before a deed is done or undone, which may take longer than the lease, and after it.
    pub fn busy(&mut self, busy: bool) {
        self.heart.turned(busy);
    }

    /// To be called again and again: the agent's loop goes round. Looks whether the guard still answers; one that does not
    /// is replaced. An error when it cannot be: then nothing would undo what is in force at the agent's death.
    pub fn tend(&mut self) -> Result<(), Refusal> {
        self.heart.turned(false);
        if self.process.as_mut().is_some_and(|process| process.answers(self.silence)) {
            return Ok(());
        }
        say("the guard is gone or hangs: another is started");
        self.replace().map_err(|error| Refusal::system("starting another guard", &error))
    }

    fn journal(&mut self, entry: &Entry) -> io::Result<()> {
        self.journal.as_mut().map_or(Ok(()), |journal| journal.write(entry))
    }

    /// Starts a guard in place of the one there may be, and tells it everything.
    fn replace(&mut self) -> io::Result<()> {
        self.heart.beat_to(None);
        if let Some(mut old) = self.process.take() {
            old.child.kill()?;
            old.child.wait()?;
        }
        let mut next = Process::start()?;
        next.tell(&Told::World(Box::new(self.start.clone())))?;
        for undo in &self.holds {
            next.tell(&Told::Hold(undo.clone()))?;
        }
        next.wait_acknowledged(HOLD)?;
        self.heart.beat_to(Some(Arc::clone(&next.pipe)));
        failpoint::guarded_by(i32::try_from(next.child.id()).ok().and_then(Identity::of));
        self.process = Some(next);
        Ok(())
    }
}

impl Drop for Guard {
    /// Lets the guard go and waits for it a moment; it undoes what was not released.
    fn drop(&mut self) {
        if let Some(Err(error)) = self.journal.take().map(Journal::close) {
            say(&format!("the journal could not be removed: {error}"));
        }
        self.heart.beat_to(None);
        let Some(Process { mut child, pipe, .. }) = self.process.take() else { return };
        drop(pipe);
        let ended = clock::until(PATIENCE, Duration::from_millis(1), || child.try_wait().transpose());
        if ended.is_none() {
            say("the guard is still busy");
        }
    }
}

/// The guard's process, and the pipes to and from it.
#[derive(Debug)]
struct Process {
    child: Child,
    pipe: Arc<Pipe>,
    acknowledgements: ChildStdout,
    /// When it last answered, or had nothing to answer.
    last_answer: u64,
}

impl Process {
    fn start() -> io::Result<Self> {
        let mut child = firedrill_sys::process::start_self(&[ARGUMENT])?;
        let (pipe, acknowledgements) = (child.stdin.take(), child.stdout.take());
        let (pipe, acknowledgements) = pipe.zip(acknowledgements).ok_or_else(|| io::Error::other("no pipes"))?;
        ready::never_wait(&acknowledgements)?;
        let pipe = Arc::new(Pipe::new(pipe)?);
        Ok(Self { child, pipe, acknowledgements, last_answer: clock::boottime_nanos() })
    }

    fn tell(&self, told: &Told) -> io::Result<()> {
        self.pipe.tell(told)
    }

    fn tell_and_wait(&mut self, told: &Told) -> io::Result<()> {
        self.tell(told)?;
        self.wait_acknowledged(HOLD)
    }

    fn wait_acknowledged(&mut self, limit: Duration) -> io::Result<()> {
        let deadline = clock::boottime_nanos().saturating_add(nanos(limit));
        while self.pipe.unanswered() > 0 {
            let left = deadline.saturating_sub(clock::boottime_nanos());
            if left == 0 {
                return Err(io::Error::from(io::ErrorKind::TimedOut));
            }
            self.hear(Duration::from_nanos(left))?;
        }
        Ok(())
    }

    /// Whether it lives and has not been silent for that long.
    fn answers(&mut self, silence: Duration) -> bool {
        let heard = self.hear(Duration::ZERO).is_ok();
        let waited = clock::boottime_nanos().saturating_sub(self.last_answer);
        heard && waited < nanos(silence)
    }

    fn hear(&mut self, limit: Duration) -> io::Result<()> {
        let bytes = ready::read_some(&self.acknowledgements, limit)?;
        let count = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?.len();
        self.pipe.answered(count);
        if count > 0 || self.pipe.unanswered() == 0 {
            self.last_answer = clock::boottime_nanos();
        }
        Ok(())
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
