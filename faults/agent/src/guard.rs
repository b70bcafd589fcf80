//! The guard: a second process that undoes what the kernel does not undo by itself when the agent dies (units that are down,
//! processes stopped by a signal), and that kills an agent which hangs or is stopped. The agent tells it what is in force
//! over a pipe, whose end is the agent's death, and beats; the guard answers each line with a byte, so that the agent
//! notices a guard that is gone or hangs, and starts another.

mod process;

use std::io;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout};
use std::time::Duration;

use firedrill_core::action::Undo;
use firedrill_sys::identity::Identity;
use firedrill_sys::{clock, ready};
use serde::{Deserialize, Serialize};

pub use process::{run, undo_without_agent};

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
/// How long the agent may be silent while it does or undoes a deed.
const DEED: Duration = Duration::from_secs(20);
/// How often the agent beats at least.
const BEAT: Duration = Duration::from_millis(500);
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
        let mut guard = Self { start, journal, holds: Vec::new(), process: None, silence };
        guard.replace().map_err(|error| Refusal::system("starting the agent's guard", &error))?;
        Ok(guard)
    }

    /// To be called before an action is applied, and again when it concerns more. When it returns, the undo is on disk and
    /// the guard knows it.
    pub fn hold(&mut self, undo: &Undo) -> Result<(), Refusal> {
        self.pass("before-journal");
        self.journal(&Entry::Intent { undo: undo.clone() })
            .map_err(|error| Refusal::system("the agent's journal", &error))?;
        self.pass("after-journal");
        match self.holds.iter_mut().find(|known| known.tag == undo.tag) {
            Some(known) => known.clone_from(undo),
            None => self.holds.push(undo.clone()),
        }
        let told = self.process.as_mut().map(|process| process.tell_and_wait(&Told::Hold(undo.clone())));
        if !matches!(told, Some(Ok(()))) {
            // The next one is told everything, this action too.
            self.replace().map_err(|error| Refusal::system("the agent's guard is gone", &error))?;
        }
        self.pass("after-guard");
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
        self.pass("before-release");
        if let Err(error) = self.journal(&Entry::Released { tag: tag.to_owned(), held, by }) {
            // It is undone once more by whoever comes after, which does no harm.
            say(&format!("{tag}: the journal could not be written: {error}"));
        }
        self.pass("after-release");
        if let Some(Err(error)) = self.process.as_mut().map(|process| process.tell(&Told::Release(tag.to_owned()))) {
            say(&format!("the guard does not listen: {error}"));
        }
    }

    /// To be called before a deed is done or undone, which may take longer than the lease, and after it.
    pub fn busy(&mut self, busy: bool) {
        if let Some(process) = &mut self.process {
            process.beat(if busy { self.silence.max(DEED) } else { self.silence });
        }
    }

    /// To be called again and again: beats, and looks whether the guard still answers. One that does not is replaced. An
    /// error when it cannot be: then nothing would undo what is in force at the agent's death.
    pub fn tend(&mut self) -> Result<(), Refusal> {
        let now = clock::boottime_nanos();
        if let Some(process) = &mut self.process {
            if now.saturating_sub(process.last_beat) >= nanos(BEAT / 2) {
                process.beat(self.silence);
            }
            if process.answers(self.silence) {
                return Ok(());
            }
        }
        say("the guard is gone or hangs: another is started");
        self.replace().map_err(|error| Refusal::system("starting another guard", &error))
    }

    /// The guard's process.
    pub fn identity(&self) -> Option<Identity> {
        let pid = self.process.as_ref().and_then(|process| i32::try_from(process.child.id()).ok());
        pid.and_then(Identity::of)
    }

    /// Dies here if asked to, see [`failpoint`].
    pub fn pass(&self, point: &str) {
        failpoint::at(point, self.identity());
    }

    fn journal(&mut self, entry: &Entry) -> io::Result<()> {
        self.journal.as_mut().map_or(Ok(()), |journal| journal.write(entry))
    }

    /// Starts a guard in place of the one there may be, and tells it everything.
    fn replace(&mut self) -> io::Result<()> {
        if let Some(mut old) = self.process.take() {
            old.child.kill()?;
            old.child.wait()?;
        }
        let mut next = Process::start()?;
        next.tell(&Told::World(Box::new(self.start.clone())))?;
        for undo in &self.holds {
            next.tell(&Told::Hold(undo.clone()))?;
        }
        next.beat(self.silence);
        next.wait_acknowledged(HOLD)?;
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
    pipe: ChildStdin,
    acknowledgements: ChildStdout,
    /// Lines told, and lines that it has answered.
    told: usize,
    acknowledged: usize,
    /// When it last answered, or had nothing to answer.
    last_answer: u64,
    last_beat: u64,
}

impl Process {
    fn start() -> io::Result<Self> {
        let mut child = firedrill_sys::process::start_self(&[ARGUMENT])?;
        let (pipe, acknowledgements) = (child.stdin.take(), child.stdout.take());
        let (pipe, acknowledgements) = pipe.zip(acknowledgements).ok_or_else(|| io::Error::other("no pipes"))?;
        ready::never_wait(&pipe)?;
        ready::never_wait(&acknowledgements)?;
        let last_answer = clock::boottime_nanos();
        Ok(Self { child, pipe, acknowledgements, told: 0, acknowledged: 0, last_answer, last_beat: 0 })
    }

    fn tell(&mut self, told: &Told) -> io::Result<()> {
        let mut line = serde_json::to_vec(told)?;
        line.push(b'\n');
        if self.told == self.acknowledged {
            self.last_answer = clock::boottime_nanos();
        }
        self.told += 1;
        ready::write_all(&self.pipe, &line, HOLD)
    }

    fn tell_and_wait(&mut self, told: &Told) -> io::Result<()> {
        self.tell(told)?;
        self.wait_acknowledged(HOLD)
    }

    /// Says that the agent lives, and how long it may be silent from now on. A guard that is gone is noticed by
    /// [`Process::answers`].
    fn beat(&mut self, silence: Duration) {
        self.last_beat = clock::boottime_nanos();
        if self.acknowledged + MOST_BEATS > self.told {
            drop(self.tell(&Told::Beat(nanos(silence))));
        }
    }

    fn wait_acknowledged(&mut self, limit: Duration) -> io::Result<()> {
        let deadline = clock::boottime_nanos().saturating_add(nanos(limit));
        while self.acknowledged < self.told {
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
        heard && (self.acknowledged == self.told || waited < nanos(silence))
    }

    fn hear(&mut self, limit: Duration) -> io::Result<()> {
        let bytes = ready::read_some(&self.acknowledgements, limit)?;
        let count = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?.len();
        if count > 0 {
            self.acknowledged += count;
            self.last_answer = clock::boottime_nanos();
        }
        Ok(())
    }
}

/// Beats on their way to a guard that does not answer, at most.
const MOST_BEATS: usize = 100;

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
