//! The guard: a second, idle process that undoes what the kernel does not undo by itself when the agent dies (stopped
//! processes, units that are down). The agent tells it what is in force over a pipe, whose end is the agent's death.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::process::{Child, ChildStdin};
use std::time::Duration;

use firedrill_core::action::{Action, Undo};
use firedrill_sys::nft::Keeper;
use firedrill_sys::{clock, process};
use serde::{Deserialize, Serialize};

use crate::deeds;
use crate::log::say;
use crate::protocol::{Config, Refusal};
use crate::starter;
use crate::world::World;

/// The argument by which the program becomes a guard.
pub const ARGUMENT: &str = "guard";
/// How long a guard that was let go may take to exit.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a guard is told, one JSON line each.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Told {
    /// Where it is; said first.
    World(Config),
    /// An action is about to be in force, or concerns more processes than was said.
    Hold(Undo),
    /// An action is undone.
    Release(String),
}

/// The agent's end of its guard.
#[derive(Debug)]
pub struct Guard {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// Starts a guard for this world.
    pub fn start(config: &Config) -> Result<Self, Refusal> {
        let failed = |error: &io::Error| Refusal::system("starting the agent's guard", error);
        let mut child = process::start_self(ARGUMENT).map_err(|error| failed(&error))?;
        let pipe = child.stdin.take();
        let mut guard = Self { child, pipe };
        guard.tell(&Told::World(config.clone())).map_err(|error| failed(&error))?;
        Ok(guard)
    }

    /// To be called before an action is applied, and again when it concerns more.
    pub fn hold(&mut self, undo: &Undo) -> Result<(), Refusal> {
        let told = self.tell(&Told::Hold(undo.clone()));
        told.map_err(|error| Refusal::system("the agent's guard is gone", &error))
    }

    /// To be called when an action is undone. A guard that is gone has nothing to release.
    pub fn release(&mut self, tag: &str) {
        if let Err(error) = self.tell(&Told::Release(tag.to_owned())) {
            say(&format!("the guard is gone: {error}"));
        }
    }

    fn tell(&mut self, told: &Told) -> io::Result<()> {
        let mut line = serde_json::to_vec(told)?;
        line.push(b'\n');
        let pipe = self.pipe.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        pipe.write_all(&line)
    }
}

impl Drop for Guard {
    /// Lets the guard go and waits for it a moment; it undoes what was not released.
    fn drop(&mut self) {
        drop(self.pipe.take());
        let ended = clock::until(PATIENCE, Duration::from_millis(1), || self.child.try_wait().transpose());
        if ended.is_none() {
            say("the guard is still busy");
        }
    }
}

/// Is a guard: listens until the pipe ends, then undoes what is left. `Err` when something could not be undone.
pub fn run() -> Result<(), Refusal> {
    let mut world = None;
    let mut holds: BTreeMap<String, Undo> = BTreeMap::new();
    for line in io::stdin().lock().lines() {
        // A line cut short is the agent's death in the middle of it.
        let Ok(told) = line.and_then(|line| Ok(serde_json::from_str(&line)?)) else { break };
        match told {
            Told::World(config) => world = Some(World::new(config)?),
            Told::Hold(undo) => drop(holds.insert(undo.tag.clone(), undo)),
            Told::Release(tag) => drop(holds.remove(&tag)),
        }
    }
    let mut result = Ok(());
    if let Some(world) = world {
        for (tag, undo) in holds {
            say(&format!("the agent died; its guard undoes {tag} ({})", undo.action));
            if let Err(refusal) = undo_without_agent(&world, &undo) {
                say(&format!("{tag} could not be undone: {refusal}"));
                result = Err(refusal);
            }
        }
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
