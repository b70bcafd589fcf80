//! What init does when the lab's agent has died: its program heals after it, as `firedrill heal` would. Only when that is
//! done are units started of nodes that the agent had down: before, a volume that lost its power may still be dead.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use firedrill_agent::heal::{ARGUMENT, Job};
use firedrill_agent::protocol::TAG;
use firedrill_core::time::RunTime;
use firedrill_sys::spawn::{RunAs, Spawn};

use super::build::home_path;
use crate::lab::clocks;
use crate::lab::wire::JOURNALS;

/// How long after an agent's connection its end may be seen.
const END: Duration = Duration::from_secs(1);
/// How units, and agents, end that end well.
const WELL: &str = "exit code 0";

/// The agent's program, and what is to be done when its process has ended.
#[derive(Debug)]
pub(super) struct Healer {
    /// The nodes of the lab.
    nodes: Vec<String>,
    program: Option<Program>,
    running: Option<i32>,
    /// Nodes that are to be started, and since when.
    left_down: BTreeMap<String, RunTime>,
}

#[derive(Debug)]
struct Program {
    path: String,
    env: BTreeMap<String, String>,
    log: OwnedFd,
}

impl Healer {
    pub(super) fn new(nodes: impl IntoIterator<Item = String>) -> Self {
        Self { nodes: nodes.into_iter().collect(), program: None, running: None, left_down: BTreeMap::new() }
    }

    /// An agent was started: that program, with its log.
    pub(super) fn knows(
        &mut self,
        argv: &[String],
        env: &BTreeMap<String, String>,
        log: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let mut env = env.clone();
        env.remove(firedrill_agent::failpoint::VARIABLE);
        let path = argv.first().cloned().unwrap_or_default();
        self.program = Some(Program { path, env, log: log.try_clone_to_owned()? });
        Ok(())
    }

    /// The agent has ended so: heals after it, unless it ended well.
    pub(super) fn agent_ended(&mut self, status: &str) -> io::Result<()> {
        let Some(Program { path, env, log }) = self.program.take().filter(|_| status != WELL) else { return Ok(()) };
        let folders = self.nodes.iter().flat_map(|node| [clocks::folder(node), home_path(node)]);
        let job = Job {
            tag: TAG.to_owned(),
            journals: vec![JOURNALS.into()],
            folders: folders.collect(),
            everywhere: false,
            prefix: String::new(),
        };
        let job = serde_json::to_string(&job).map_err(io::Error::other)?;
        let null = File::open("/dev/null")?;
        let spawn = Spawn {
            argv: &[path, ARGUMENT.to_owned(), job],
            env: &env,
            stdio: [null.as_fd(), log.as_fd(), log.as_fd()],
            cgroups: &[],
            namespaces: Vec::new(),
            directory: Path::new("/"),
            run_as: RunAs::Same,
        };
        self.running = Some(spawn.start()?);
        Ok(())
    }

    /// A child of init has ended; whether it was this one.
    pub(super) fn ended(&mut self, pid: i32) -> bool {
        let own = self.running == Some(pid);
        self.running = self.running.filter(|running| *running != pid);
        own
    }

    /// Whoever had a node down is gone without a word.
    pub(super) fn left_down(&mut self, node: String, now: RunTime) {
        self.left_down.insert(node, now);
    }

    /// Whether nodes wait to be started.
    pub(super) fn is_due(&self) -> bool {
        !self.left_down.is_empty()
    }

    /// The nodes that may be started now: all is healed, or there is nobody to heal after.
    pub(super) fn healed(&mut self, agent_lives: bool, now: RunTime) -> Vec<String> {
        let waits = |since: RunTime| self.running.is_some() || (agent_lives && now.since(since) < END);
        let may: Vec<String> =
            self.left_down.iter().filter(|(_, since)| !waits(**since)).map(|(node, _)| node.clone()).collect();
        self.left_down.retain(|node, _| !may.contains(node));
        may
    }

    /// Its process, if it runs.
    pub(super) const fn process(&self) -> Option<i32> {
        self.running
    }
}
