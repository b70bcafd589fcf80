//! The guard's own process: listens until its agent is gone, or is silent for so long that it must hang and is killed, and
//! then undoes what is left.

use std::io::{self, Write as _};
use std::time::Duration;

use firedrill_core::action::{Action, Undo};
use firedrill_sys::nft::Keeper;
use firedrill_sys::{clock, ready};

use super::{Start, Told, nanos};
use crate::deeds;
use crate::failpoint;
use crate::journal::Leftover;
use crate::log::say;
use crate::protocol::Refusal;
use crate::starter;
use crate::world::World;

/// The longest the guard waits without looking at the time.
const LOOK: Duration = Duration::from_millis(250);
/// How long a killed agent may take to end.
const END: Duration = Duration::from_secs(5);
/// How long the kernel may take to unlock the journal of an agent that has died.
const UNLOCK: Duration = Duration::from_secs(1);

/// Is a guard: listens until the pipe ends, then undoes what is left. `Err` when something could not be undone.
pub fn run() -> Result<(), Refusal> {
    let mut ward = Ward { start: None, holds: Vec::new(), patience: None };
    ward.listen().map_err(|error| Refusal::system("the guard's pipe", &error))?;
    match ward.start {
        Some(start) => undo_all(*start, ward.holds),
        None => Ok(()),
    }
}

/// What the guard knows of its agent.
struct Ward {
    start: Option<Box<Start>>,
    /// In the order of applying.
    holds: Vec<Undo>,
    /// For how long the agent may be silent, in nanoseconds.
    patience: Option<u64>,
}

impl Ward {
    /// Returns when the agent is gone.
    fn listen(&mut self) -> io::Result<()> {
        let (stdin, mut stdout) = (io::stdin(), io::stdout());
        ready::never_wait(&stdin)?;
        ready::never_wait(&stdout)?;
        let mut pending = Vec::new();
        let mut heard = clock::boottime_nanos();
        // A machine that was suspended looks like an agent that hangs: it is given one more look.
        let mut suspected = false;
        loop {
            // A read that fails is the agent's death as well.
            let Ok(Some(bytes)) = ready::read_some(&stdin, LOOK) else { return Ok(()) };
            let now = clock::boottime_nanos();
            if bytes.is_empty() {
                let silent = self.patience.is_some_and(|patience| now.saturating_sub(heard) >= patience);
                if silent && suspected {
                    return self.kill_agent();
                }
                suspected = silent;
                continue;
            }
            (heard, suspected) = (now, false);
            pending.extend(bytes);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                self.take(serde_json::from_slice(&line)?);
                // An agent that does not read, or is gone, is noticed by its silence.
                drop(stdout.write_all(b".").and_then(|()| stdout.flush()));
            }
        }
    }

    fn take(&mut self, told: Told) {
        match told {
            Told::World(start) => self.start = Some(start),
            Told::Hold(undo) => match self.holds.iter_mut().find(|known| known.tag == undo.tag) {
                Some(known) => *known = undo,
                None => self.holds.push(undo),
            },
            Told::Release(tag) => self.holds.retain(|undo| undo.tag != tag),
            Told::Beat(patience) => self.patience = Some(patience),
        }
    }

    /// The agent hangs or is stopped. What it holds by kernel objects goes with it.
    fn kill_agent(&self) -> io::Result<()> {
        let Some(agent) = self.start.as_ref().and_then(|start| start.agent) else { return Ok(()) };
        let seconds = Duration::from_nanos(self.patience.unwrap_or(nanos(LOOK)));
        let silence = firedrill_core::units::human(seconds);
        say(&format!("the agent, process {}, has been silent for {silence}: its guard kills it", agent.pid));
        agent.kill()?;
        if !agent.wait_gone(END)? {
            say("the agent does not end; its guard undoes what it can");
        }
        Ok(())
    }
}

/// Undoes everything, last first; one that fails does not stop the others, and stays in the journal.
fn undo_all(start: Start, holds: Vec<Undo>) -> Result<(), Refusal> {
    let mut leftover = start.journal.as_ref().and_then(|path| {
        clock::until(UNLOCK, Duration::from_millis(5), || match Leftover::take(path) {
            Ok(None) if path.exists() => None,
            Ok(found) => Some(found),
            Err(error) => {
                say(&format!("{} cannot be read: {error}", path.display()));
                Some(None)
            }
        })?
    });
    let mut left: Vec<Undo> = holds.into_iter().rev().collect();
    // Written down, but not told any more: it was hardly applied, and undoing it does no harm.
    let known = leftover.iter().flat_map(|leftover| leftover.pending.clone());
    left.extend(known.filter(|undo| !left.iter().any(|held| held.tag == undo.tag)).collect::<Vec<_>>());
    let world = World::of_leftovers(start.config)?;
    let mut result = Ok(());
    for undo in left {
        let tag = &undo.tag;
        say(&format!("the agent died; its guard undoes {tag} ({})", undo.action));
        failpoint::at("guard-before-undo");
        if let Err(refusal) = undo_without_agent(&world, &undo) {
            say(&format!("{tag} could not be undone: {refusal}"));
            result = Err(refusal);
            continue;
        }
        failpoint::at("guard-after-undo");
        if let Some(Err(error)) = leftover.as_mut().map(|leftover| leftover.release(tag)) {
            say(&format!("{tag}: the journal could not be written: {error}"));
        }
        failpoint::at("guard-after-release");
    }
    if let Some(leftover) = leftover.filter(|leftover| leftover.pending.is_empty()) {
        leftover.remove().map_err(|error| Refusal::system("removing the journal", &error))?;
    }
    result
}

/// Undoes by what the undo alone tells. Also for undos of an agent that died earlier.
pub fn undo_without_agent(world: &World, undo: &Undo) -> Result<(), Refusal> {
    // A table that an agent's socket owned went with the agent.
    let gone = matches!((&undo.action, world.keeper), (Action::Cut { .. }, Keeper::Socket));
    let undone = if gone { Ok(()) } else { deeds::work(&undo.action)?.undo(world, undo, &[]) };
    let Some(path) = &world.config.starter else { return undone };
    let started = deeds::restarts(&undo.action).into_iter().map(|node| starter::ensure(path, node));
    started.fold(undone, Result::and)
}
