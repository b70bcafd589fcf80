//! What a platform is: where nodes live, how they are reached, and how actions are done to them.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::action::{Action, Applied, Deed, Effect, Reverted, Undo};
use crate::cluster::NodeName;
use crate::fault::Needs;
pub use crate::inventory::{Inventory, Item};
use crate::seed::Seed;
use crate::system::{LabRecipe, SimRecipe};
use crate::time::Clock;

/// Whether a platform can ever do a deed; known when a scenario is loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offer {
    /// Never; the text says why.
    Never(&'static str),
    /// It depends on the host; preflight tells.
    Perhaps,
    /// Always.
    Always,
}

/// What a deed will be done with on this host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mechanism {
    /// The deed.
    pub deed: Deed,
    /// By what: `nft table owned by the agent, bridge family`.
    pub by: String,
    /// What else there is to say of it; empty if nothing.
    pub note: String,
    /// Set when this is a fallback: what a better mechanism lacks here, and what would provide that.
    #[serde(default)]
    pub better: Option<Missing>,
}

impl Mechanism {
    /// The best there is.
    pub fn best(deed: Deed, by: impl Into<String>) -> Self {
        Self { deed, by: by.into(), note: String::new(), better: None }
    }

    /// Works, but a better one lacks something here.
    pub fn fallback(deed: Deed, by: impl Into<String>, lacks: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { better: Some(Missing::new(lacks, remedy)), ..Self::best(deed, by) }
    }

    /// With a remark.
    #[must_use]
    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// By what, why not by a better one, and how to get that.
    pub fn words(&self) -> String {
        let note = if self.note.is_empty() { String::new() } else { format!(" ({})", self.note) };
        let better = self.better.as_ref().map(|better| format!("; a fallback: {} ({})", better.what, better.remedy));
        format!("{}{note}{}", self.by, better.unwrap_or_default())
    }
}

/// Something this environment lacks, and what to run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Missing {
    /// What is missing, lower case: `program etcd is not installed`.
    pub what: String,
    /// The command or the step that provides it.
    pub remedy: String,
}

impl Missing {
    /// What is missing, and what provides it.
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

/// What a platform can do on this host.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Survey {
    /// What is missing for anything to run at all.
    pub missing: Vec<Missing>,
    /// Of each deed that was asked for: by what, or what it lacks.
    pub deeds: Vec<(Deed, Result<Mechanism, Missing>)>,
}

impl Survey {
    /// The mechanisms, if nothing at all is missing.
    pub fn all(self) -> Result<Vec<Mechanism>, Vec<Missing>> {
        let mut missing = self.missing;
        let mut mechanisms = Vec::new();
        for (_, asked) in self.deeds {
            match asked {
                Ok(mechanism) => mechanisms.push(mechanism),
                // Several deeds may lack the same.
                Err(lacks) if !missing.contains(&lacks) => missing.push(lacks),
                Err(_) => {}
            }
        }
        if missing.is_empty() { Ok(mechanisms) } else { Err(missing) }
    }
}

/// From where a connection is made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Vantage {
    /// Where clients are; faults may cut it.
    Clients,
    /// Where observers are; never cut.
    Control,
}

/// A connection to a server, whatever carries it.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A boxed [`Stream`].
pub type BoxStream = Box<dyn Stream>;

/// Reaches ports of nodes.
#[async_trait]
pub trait Dialer: Send + Sync {
    /// Connects to `port` of `node`. Has no deadline of its own beyond the operating system's: callers bound it.
    async fn dial(&self, from: Vantage, node: &NodeName, port: u16) -> io::Result<BoxStream>;
}

/// Why an action could not be prepared, applied or reverted.
#[derive(Debug, Error)]
pub enum DeedError {
    /// The operating system refused.
    #[error("{what}")]
    System {
        /// What was being done.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is nothing to act on.
    #[error("nothing to act on: {0}")]
    NoTarget(String),
    /// The agent is gone or does not answer.
    #[error("the agent does not answer: {0}")]
    Agent(String),
    /// This platform does not do this.
    #[error("not offered here: {0}")]
    NotOffered(String),
}

/// Why the cluster could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// This environment lacks something; nothing was touched.
    #[error("this environment lacks something")]
    Missing(Vec<Missing>),
    /// A server ended during the start.
    #[error("{unit} on {node} ended at the start: {status}")]
    UnitDied {
        /// The node.
        node: NodeName,
        /// The unit.
        unit: String,
        /// Exit status in words.
        status: String,
        /// Its last log lines.
        log: Vec<String>,
    },
    /// Anything else.
    #[error("{what}")]
    Other {
        /// What was being done.
        what: String,
        /// What went wrong.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// How a cluster was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Started {
    /// From nothing; [`Platform::save_template`] may be called once it is whole.
    Cold,
    /// Cloned from the cached template.
    FromTemplate,
    /// This platform has no templates.
    Plain,
}

/// Something left behind, changed or lost, and the command that undoes that.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Residue {
    /// What: `nft table fd-1a2b-3 in the switch`.
    pub what: String,
    /// A command to copy and paste.
    pub remedy: String,
}

/// Something the platform noticed by itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "incident", rename_all = "kebab-case")]
pub enum Incident {
    /// A unit's main process ended.
    UnitExited {
        /// The node.
        node: NodeName,
        /// The unit.
        unit: String,
        /// Exit status in words: `exit code 1`, `signal 9`.
        status: String,
    },
    /// The agent ended; everything it held has been undone by its death.
    AgentDied {
        /// Why, as far as known.
        detail: String,
    },
}

/// What is needed to open a platform for one run.
#[derive(Clone)]
pub struct OpenRequest {
    /// Short id of the run, unique on this machine; lower-case letters and digits.
    pub run_id: String,
    /// The nodes.
    pub nodes: Vec<NodeName>,
    /// How the lab starts the system, if the lab can.
    pub lab: Option<LabRecipe>,
    /// What the simulation runs, if the system is simulated.
    pub sim: Option<SimRecipe>,
    /// What the faults of the run need from the start.
    pub needs: Needs,
    /// The run's folder; logs of nodes go to `nodes/<node>/`.
    pub run_dir: PathBuf,
    /// How long an agent holds faults without hearing from the harness.
    pub lease: Duration,
    /// The seed of the run.
    pub seed: Seed,
    /// The clock of the run.
    pub clock: Clock,
    /// The id of a running cluster that the run is to use, and to leave running, instead of one of its own.
    pub against: Option<String>,
}

/// How to run a command of one's own at a place of a running cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reach {
    /// The node; `None` for where clients are.
    pub node: Option<NodeName>,
    /// The place in words: `as a client`, `on n1 (10.77.0.1)`.
    pub place: String,
    /// What to put before the command.
    pub prefix: String,
}

/// A platform: acts on nodes. One value serves one run.
#[async_trait]
pub trait Platform: Send + Sync {
    /// Asks this host for what the deeds and the cluster need, and touches nothing.
    async fn survey(&self, deeds: &[Deed]) -> Survey;
    /// What the deeds will be done with, or all that is missing.
    async fn preflight(&self, deeds: &[Deed]) -> Result<Vec<Mechanism>, Vec<Missing>> {
        self.survey(deeds).await.all()
    }
    /// Makes the nodes and starts the servers' processes, from the cached template if there is one and `use_template`.
    /// Readiness is the engine's to ask of the system. On an error everything already made is removed.
    async fn start(&self, use_template: bool) -> Result<Started, StartError>;
    /// Called when a cold-started cluster has become whole: stops the servers, saves their data as the template of later
    /// starts, and starts them again. The engine waits for a whole cluster once more.
    async fn save_template(&self) -> Result<(), StartError>;
    /// Removes the cached template, because a cluster cloned from it did not become whole.
    async fn discard_template(&self);
    /// Stops the servers and removes the nodes. Must succeed if never started, half started or already stopped.
    async fn stop(&self) -> Result<(), DeedError>;
    /// Reads what is needed to undo `action` and chooses the names of what it will create. Changes nothing.
    async fn prepare(&self, action: &Action) -> Result<Undo, DeedError>;
    /// Performs the action. Called only once the undo is on disk. Reverts by itself when `hold` has passed.
    async fn apply(&self, undo: &Undo, hold: Option<Duration>) -> Result<Applied, DeedError>;
    /// Undoes the action. Must succeed if never, half or already done.
    async fn revert(&self, undo: &Undo) -> Result<Reverted, DeedError>;
    /// Looks for the effect of the action where it bites; never asks the mechanism whether it is installed.
    async fn probe(&self, undo: &Undo) -> Effect;
    /// Lists everything a fault could leave behind.
    async fn inventory(&self) -> Result<Inventory, DeedError>;
    /// Words for what differs from before, each with the command that removes it.
    fn residue(&self, before: &Inventory, after: &Inventory) -> Vec<Residue>;
    /// Reaches the nodes.
    fn dialer(&self) -> Arc<dyn Dialer>;
    /// The next thing noticed. Waits forever if nothing happens; cancel-safe.
    async fn incident(&self) -> Incident;
    /// The last `lines` lines of each unit's log of a node, for the last screen of a failed start.
    fn last_log_lines(&self, node: &NodeName, lines: usize) -> Vec<String>;
    /// Words on how to reach the running cluster by hand, for `firedrill up`.
    fn how_to_reach(&self) -> Vec<Reach>;
}

/// A platform for one run, or what this environment lacks for it.
pub type Opened = Result<Arc<dyn Platform>, Vec<Missing>>;

/// A platform in the registry.
pub struct PlatformEntry {
    /// Its name in `[cluster] platform`.
    pub name: &'static str,
    /// One line for the listing.
    pub summary: &'static str,
    /// Whether it can ever do a deed.
    pub offers: fn(Deed) -> Offer,
    /// Whether the run lives on virtual time.
    pub virtual_time: bool,
    /// Asks this host what the deeds would be done with, whatever the system. Touches nothing.
    pub survey: fn(&[Deed]) -> Survey,
    /// Makes a platform for one run. Touches nothing yet.
    pub open: fn(OpenRequest) -> Opened,
}

/// The address of a node of the lab, `10.77.0.<i>`, the same in every run because every lab has a network of its own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeAddress {
    /// The node.
    pub node: NodeName,
    /// Its address.
    pub address: Ipv4Addr,
}

/// An address of the lab's network that nobody ever has.
pub const LAB_NOBODY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 250);

/// Addresses for `nodes`, in order, from `10.77.0.1`.
pub fn lab_addresses(nodes: &[NodeName]) -> Vec<NodeAddress> {
    let numbered = nodes.iter().zip(1_u8..=200);
    numbered.map(|(node, i)| NodeAddress { node: node.clone(), address: Ipv4Addr::new(10, 77, 0, i) }).collect()
}
