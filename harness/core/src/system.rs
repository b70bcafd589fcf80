//! What a system is: what runs on the nodes, who leads there, and how a client speaks to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::action::{Action, Deed, Effect};
use crate::cluster::{ClusterView, Epoch, NodeName, Position, ProcessName};
use crate::event::Event;
use crate::history::{EpochSwitch, Op, OpKind, Outcome, Route};
use crate::platform::{Dialer, Vantage};
use crate::spec::Fields;
use crate::time::{Clock, RunTime};

/// How one operation ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Completion {
    /// What the client learnt.
    pub outcome: Outcome,
    /// Who answered.
    pub served_by: Option<NodeName>,
    /// On which epoch.
    pub epoch: Option<Epoch>,
    /// Where in the log.
    pub receipt: Option<Position>,
    /// Whether the connection can take another operation.
    pub usable: bool,
}

/// A connection that performs operations, one at a time.
#[async_trait]
pub trait Client: Send {
    /// Performs one operation. Errors are outcomes. The caller bounds it: when this future is dropped the client is
    /// dropped with it, the socket closes, and nothing is sent to cancel (a cancelled commit may commit locally).
    async fn invoke(&mut self, op: &Op) -> Completion;
}

/// Why a client could not connect. Nothing was sent, so the operation did not happen.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ConnectError(pub String);

/// Where watchers put what they see, stamped on receipt. Bounded: what does not fit is counted, never waited for.
pub trait Sink: Send + Sync {
    /// Records an event that was seen at `at`.
    fn put(&self, at: RunTime, event: Event);
}

/// What runs on the nodes.
#[async_trait]
pub trait System: Send + Sync {
    /// The names of its processes, that faults may aim at.
    fn processes(&self) -> Vec<ProcessName>;
    /// Asks every node at about the same time, each for at most `limit`. Never fails: who does not answer is down.
    async fn view(&self, dial: &dyn Dialer, clock: Clock, limit: Duration) -> ClusterView;
    /// `Ok` when the cluster is whole: one primary, every other node following it, all telling the same story.
    fn whole(&self, view: &ClusterView) -> Result<(), String>;
    /// Watches nodes and leadership until cancelled, putting [`Event::NodeSeen`] and [`Event::Leader`] into the sink.
    async fn watch(&self, dial: Arc<dyn Dialer>, clock: Clock, sink: Arc<dyn Sink>);
    /// Connects a client. The caller bounds it.
    async fn connect(
        &self,
        dial: Arc<dyn Dialer>,
        vantage: Vantage,
        route: &Route,
    ) -> Result<Box<dyn Client>, ConnectError>;
    /// The switches of epoch that a node knows of, oldest first, read from its own record.
    async fn epoch_switches(&self, dial: &dyn Dialer, node: &NodeName) -> Result<Vec<EpochSwitch>, String>;
    /// Looks for an action's effect through the servers themselves, where only they can tell: the clock their processes
    /// read, a checksum they find wrong. `None` where the platform's probe tells.
    async fn witness(&self, _dial: &dyn Dialer, _action: &Action) -> Option<Effect> {
        None
    }
    /// Whether the clock that a process reads can be changed alone; if not, why.
    fn clock_of(&self, _process: &ProcessName) -> Result<(), &'static str> {
        Err("this system has no process whose clock can be changed")
    }
    /// Whether its servers find each other by name, so that the answers of a name server reach them; if not, what to do.
    fn uses_names(&self) -> Result<(), &'static str> {
        Err("leave the fault out, or use a system whose servers can find each other by name: etcd, patroni")
    }
    /// Looks a node's data through for damage. The caller bounds it.
    async fn audit(&self, _dial: &dyn Dialer, _node: &NodeName) -> Audit {
        Audit { failure: Some("this system cannot look its data through".to_owned()), ..Audit::default() }
    }
    /// Versions of the servers, by name.
    async fn versions(&self, dial: &dyn Dialer) -> BTreeMap<String, String>;
    /// How the lab starts it; `None` if the lab cannot.
    fn lab(&self) -> Option<LabRecipe>;
    /// What the simulation runs; `None` for real systems.
    fn sim(&self) -> Option<SimRecipe>;
    /// How long recovery may take by the system's own settings (its lease and retries), for default deadlines.
    fn recovery_bound(&self) -> Duration;
    /// Commands to reach it by hand, from the clients' network or (with a name) from inside that node.
    fn shell_hints(&self) -> Vec<(Option<NodeName>, String)>;
}

/// What looking through a node's data for damage has found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Audit {
    /// What was looked at, in words: `9,000 pages and their checksums, 109 tables, 163 indexes`.
    pub looked_at: String,
    /// What is damaged, one line each; empty when nothing is.
    pub damage: Vec<String>,
    /// Why not everything could be looked at, if so; further lines are the server's log.
    pub failure: Option<String>,
}

/// Reads a system's options table for so many nodes.
pub type ParseSystem = fn(&mut Fields<'_, '_>, &[NodeName]) -> Option<Arc<dyn System>>;

/// A system in the registry.
pub struct SystemEntry {
    /// Its name in `[cluster] system`; also the name of its options table.
    pub name: &'static str,
    /// One line for the listing.
    pub summary: &'static str,
    /// A `[cluster]` section that parses.
    pub example: &'static str,
    /// Reads the options table (absent reads as empty) for so many nodes. Takes every key it knows before it
    /// returns, also after a mistake, because what is left is reported as unknown. `None` after noting one.
    pub parse: ParseSystem,
    /// The kinds of operation its clients can perform.
    pub performs: &'static [OpKind],
    /// Platforms it runs on.
    pub platforms: &'static [&'static str],
    /// Deeds it cannot bear or that have no meaning for it, with the reason.
    pub refuses: &'static [(Deed, &'static str)],
}

/// Where a node's home directory is, in the node's own mount namespace. Everything a unit writes goes below it.
pub const NODE_HOME: &str = "/run/firedrill/home";

/// How the lab starts a system: data only.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LabRecipe {
    /// Programs that must be there.
    pub programs: Vec<Program>,
    /// What runs, in the order of starting; every node's units of the same place start together.
    pub units: Vec<Unit>,
    /// Files to write below [`NODE_HOME`] before the start, per node.
    pub files: Vec<HomeFile>,
    /// The program files of processes whose clock can be changed by a library that is loaded before their own.
    #[serde(default)]
    pub clocks: BTreeMap<ProcessName, PathBuf>,
    /// Whether the nodes have names: the lab then runs a name server, and every node asks that one.
    #[serde(default)]
    pub names: bool,
}

/// A program the recipe starts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Program {
    /// What people call it.
    pub name: String,
    /// Where it was found; `None` if nowhere.
    pub path: Option<PathBuf>,
    /// Debian's package that has it.
    pub package: String,
}

/// A process that the lab starts on a node and, after a kill, starts again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Unit {
    /// On which node.
    pub node: NodeName,
    /// Its name; its log is `nodes/<node>/<name>.log`.
    pub name: String,
    /// Program and arguments, absolute.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// The user it runs as when the lab has root (`postgres`, `etcd`).
    pub user: String,
    /// Starts only once this port of its own node answers, if any (bounded by the start's deadline).
    pub needs_port: Option<u16>,
    /// How it is ended when the cluster is saved as a template.
    #[serde(default)]
    pub for_template: TemplateEnd,
}

/// How a unit is ended when its cluster is saved as a template.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TemplateEnd {
    /// SIGTERM, as an administrator would.
    #[default]
    Terminate,
    /// SIGKILL, so that it cannot give up what it holds; then SIGINT to what it leaves as orphans.
    KillThenInterruptOrphans,
}

/// A file or a directory in a node's home.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HomeFile {
    /// On which node.
    pub node: NodeName,
    /// Path below [`NODE_HOME`].
    pub path: String,
    /// Content; `None` makes a directory.
    pub content: Option<String>,
    /// Permission bits.
    pub mode: u32,
    /// Owner when the lab has root.
    pub user: String,
}

/// A bug planted in the simulated store, each caught by a scenario that claims it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SimBug {
    /// Acknowledges before any replica has the write.
    AckBeforeReplicating,
    /// After a failover a replica goes on answering from before it.
    StaleReadAfterFailover,
    /// A cut-off primary never steps down, and its followers elect another.
    TwoPrimaries,
    /// A crash loses what was acknowledged last.
    LostOnCrash,
    /// Faults report success and do nothing.
    FaultDoesNothing,
    /// Undoing a fault leaves something behind.
    UndoLeavesSomething,
}

/// What the simulation runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SimRecipe {
    /// Planted bugs.
    pub bugs: Vec<SimBug>,
    /// How long a primary may lead without hearing from a majority, and a follower waits before it stands.
    pub lease: Duration,
}
