//! A scenario as data and plug-ins, ready to plan. Made from TOML by the crate `scenarios`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::{Check, When};
use crate::cluster::{NodeName, Selector};
use crate::fault::{Fault, FaultEntry, LabLinks, Needs};
use crate::history::Route;
use crate::platform::PlatformEntry;
use crate::seed::Seed;
use crate::system::System;
use crate::units::Rate;
use crate::verdict::Verdict;
use crate::workload::WorkloadSpec;

/// One scenario file, read and checked.
pub struct Scenario {
    /// The file as given on the command line.
    pub file: String,
    /// Its text, verbatim.
    pub text: String,
    /// What must hold, in a sentence.
    pub name: String,
    /// The incidents it keeps from coming back.
    pub guards: Vec<String>,
    /// Tags, for `--tag`.
    pub tags: Vec<String>,
    /// The seed, if the file fixes one.
    pub seed: Option<Seed>,
    /// The system under test.
    pub cluster: ClusterSpec,
    /// The load.
    pub load: LoadSpec,
    /// The gate before the storm.
    pub steady: SteadySpec,
    /// The faults, in file order.
    pub faults: Vec<FaultSpec>,
    /// What must hold.
    pub invariants: Vec<InvariantSpec>,
    /// Bounds on measures, and the number of repeats.
    pub objectives: Objectives,
    /// Limits on what may be done.
    pub safety: Safety,
    /// What a known-bad scenario must find.
    pub expect: Option<Expect>,
}

impl Scenario {
    /// Whether one of its checks judges what looking the nodes' data through has found.
    pub fn needs_audit(&self) -> bool {
        self.invariants.iter().any(|invariant| invariant.check.needs_audit())
    }

    /// What its faults need from the start, and how its cluster is asked to be.
    pub fn needs(&self) -> Needs {
        let mut all = Needs { links: self.cluster.lab_links, ..Needs::default() };
        for spec in &self.faults {
            all.add(spec.fault.needs());
            all.deeds.extend(spec.entry.deeds);
        }
        all
    }
}

/// `[cluster]`.
pub struct ClusterSpec {
    /// Name of the system.
    pub system_name: &'static str,
    /// The system with its options.
    pub system: Arc<dyn System>,
    /// The platform.
    pub platform: &'static PlatformEntry,
    /// Where the lab harms links.
    pub lab_links: LabLinks,
    /// The nodes.
    pub nodes: Vec<NodeName>,
    /// How long recovery after the storm may take.
    pub settle: Duration,
    /// How long the start may take.
    pub start: Duration,
}

/// How fast operations come due.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// Open loop: due at a fixed rate, whatever the cluster does.
    Open(Rate),
    /// Closed loop, as fast as it goes; for benchmarks.
    Max,
}

/// The kinds of route a workload uses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteKind {
    /// [`Route::Router`].
    Router,
    /// [`Route::Direct`], to each node.
    Direct,
}

/// `[workload]`: the load that all workloads share.
pub struct LoadSpec {
    /// Name of the workload.
    pub kind: &'static str,
    /// The workload with its options.
    pub workload: Box<dyn WorkloadSpec>,
    /// Clients through the router (or spread over the nodes if only `direct` is used). With both routes there is one
    /// more client for each node, at the pace of one router client.
    pub clients: u32,
    /// The rate of the clients together.
    pub pace: Pace,
    /// The ways they go.
    pub routes: Vec<RouteKind>,
    /// The deadline of each operation, from its invocation.
    pub timeout: Duration,
    /// The length of the storm if the file fixes it; else it follows from the timeline.
    pub duration: Option<Duration>,
}

/// `[steady]`.
#[derive(Clone, PartialEq, Debug)]
pub struct SteadySpec {
    /// How long the requirements must hold without a break.
    pub hold: Duration,
    /// How long to wait for that.
    pub within: Duration,
    /// What is required.
    pub require: Vec<Condition>,
}

/// `measure op value [for duration]`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Condition {
    /// As written.
    pub text: String,
    /// What is measured.
    pub measure: Measure,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what: a count, a ratio from 0 to 1, operations per second, or seconds.
    pub value: f64,
    /// How long it must hold without a break; zero is at once.
    pub hold: Duration,
}

/// What conditions can measure.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Nodes that take writes.
    Primaries,
    /// Nodes that receive the primary's log.
    Streaming,
    /// Standbys that commits wait for.
    SyncStandbys,
    /// Nodes that answer.
    Up,
    /// Share of router operations due in the last second that were acknowledged.
    OkRatio,
    /// Router operations acknowledged in the last second.
    OkRate,
    /// 99th percentile of latency from due time over the last second, seconds.
    LatencyP99,
}

/// Every measure with its word and the kind of value it takes.
pub const MEASURES: [(&str, Measure, MeasureKind); 7] = [
    ("primaries", Measure::Primaries, MeasureKind::Count),
    ("streaming", Measure::Streaming, MeasureKind::Count),
    ("sync-standbys", Measure::SyncStandbys, MeasureKind::Count),
    ("up", Measure::Up, MeasureKind::Count),
    ("ok-ratio", Measure::OkRatio, MeasureKind::Ratio),
    ("ok-rate", Measure::OkRate, MeasureKind::Rate),
    ("latency-p99", Measure::LatencyP99, MeasureKind::Duration),
];

/// The unit of a measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MeasureKind {
    /// A bare whole number.
    Count,
    /// A percentage.
    Ratio,
    /// Operations per second.
    Rate,
    /// A duration.
    Duration,
}

/// How a measure is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    More,
    /// `>=`
    AtLeast,
}

impl Comparison {
    /// Compares. Equality is exact to one part in a billion.
    pub fn holds(self, left: f64, right: f64) -> bool {
        let equal = (left - right).abs() <= 1e-9 * right.abs().max(1.0);
        match self {
            Self::Equal => equal,
            Self::NotEqual => !equal,
            Self::Less => left < right && !equal,
            Self::AtMost => left < right || equal,
            Self::More => left > right && !equal,
            Self::AtLeast => left > right || equal,
        }
    }
}

/// When a fault begins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// So long after the start of the storm.
    At(Duration),
    /// So long after another fault's onset.
    AfterOnset(String, Duration),
    /// So long after another fault was healed.
    AfterHealed(String, Duration),
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let human = crate::units::human;
        match self {
            Self::At(at) => write!(f, "at {}", human(*at)),
            Self::AfterOnset(id, delay) => write!(f, "after {id} + {}", human(*delay)),
            Self::AfterHealed(id, delay) => write!(f, "after {id}.healed + {}", human(*delay)),
        }
    }
}

/// `[[fault]]`.
pub struct FaultSpec {
    /// Its id, given or made from the kind (`net.partition-1`).
    pub id: String,
    /// Its entry in the registry.
    pub entry: &'static FaultEntry,
    /// With its options.
    pub fault: Box<dyn Fault>,
    /// Whom it aims at.
    pub on: Selector,
    /// When it begins.
    pub start: Start,
    /// How long it is held.
    pub hold: Option<Duration>,
}

/// `[[invariant]]`.
pub struct InvariantSpec {
    /// The check with its options.
    pub check: Box<dyn Check>,
    /// Over which part of the run.
    pub when: When,
    /// How long after its beginning it need not hold yet.
    pub grace: Duration,
}

/// `[objectives]`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Objectives {
    /// How often the scenario is run; at least 1.
    pub repeat: u32,
    /// The bounds.
    pub bounds: Vec<Objective>,
}

/// One bound on one statistic of one measure.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Objective {
    /// What is measured, per fault and run.
    pub measure: ObjectiveMeasure,
    /// Which statistic over the runs.
    pub statistic: Statistic,
    /// At most: seconds, or a count for `lost-writes`.
    pub at_most: f64,
    /// As written: `20s`, `500`.
    pub text: String,
}

/// What objectives can bound. The recovery phases are counted from the fault's onset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectiveMeasure {
    /// Until the leader key was gone.
    Detected,
    /// Until a new leader key was there.
    Elected,
    /// Until a node took writes on a higher epoch.
    Promoted,
    /// Until the last write the old primary acknowledged.
    Fenced,
    /// Until the first write acknowledged through the router that came due after the onset. Also called `first-ack`.
    Failover,
    /// Until all replicas streamed again on the new epoch, and the sync standby was named.
    Redundancy,
    /// Until latency was back within twice its steady median.
    Drained,
    /// Acknowledged writes lost.
    LostWrites,
}

/// Words for objective measures; `first-ack` and `failover` are one.
pub const OBJECTIVE_WORDS: [(&str, ObjectiveMeasure); 9] = [
    ("detected", ObjectiveMeasure::Detected),
    ("elected", ObjectiveMeasure::Elected),
    ("promoted", ObjectiveMeasure::Promoted),
    ("fenced", ObjectiveMeasure::Fenced),
    ("failover", ObjectiveMeasure::Failover),
    ("first-ack", ObjectiveMeasure::Failover),
    ("redundancy", ObjectiveMeasure::Redundancy),
    ("drained", ObjectiveMeasure::Drained),
    ("lost-writes", ObjectiveMeasure::LostWrites),
];

impl ObjectiveMeasure {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Detected => "detected",
            Self::Elected => "elected",
            Self::Promoted => "promoted",
            Self::Fenced => "fenced",
            Self::Failover => "failover",
            Self::Redundancy => "redundancy",
            Self::Drained => "drained",
            Self::LostWrites => "lost-writes",
        }
    }
}

/// A statistic over runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Statistic {
    /// The median.
    P50,
    /// The 95th percentile; needs twenty runs.
    P95,
    /// The largest.
    Max,
}

impl Statistic {
    /// Its word in a scenario.
    pub const fn word(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::Max => "max",
        }
    }
}

/// `[safety]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Safety {
    /// How many nodes (or named processes of nodes) may be impaired at once.
    pub max_impaired: u32,
    /// The run is halted and healed when one of these holds.
    pub halt_if: Vec<Condition>,
    /// How long an agent holds faults without hearing from the harness.
    pub lease: Duration,
    /// Node names or `label=value` pairs; a target must bear one of them. Empty allows all.
    pub only_if: Vec<String>,
}

/// `[expect]`: what a known-bad scenario must find.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Expect {
    /// The verdict it must come to.
    pub verdict: Verdict,
    /// The check that must say so.
    pub check: Option<String>,
    /// At least so many lost acknowledged writes.
    pub min_lost: Option<u64>,
    /// An anomaly that the check must name, see [`crate::check::CheckEntry::anomalies`].
    #[serde(default)]
    pub anomaly: Option<String>,
}

/// The routes of a run: which client takes which way, in order of process.
pub fn client_routes(load: &LoadSpec, nodes: &[NodeName]) -> Vec<Route> {
    let through_router = load.routes.contains(&RouteKind::Router);
    let direct = load.routes.contains(&RouteKind::Direct);
    let clients = usize::try_from(load.clients).unwrap_or(usize::MAX);
    let mut ways: Vec<Route> = Vec::new();
    if through_router {
        ways.extend(std::iter::repeat_n(Route::Router, clients));
    }
    if direct {
        let count = if through_router { nodes.len() } else { clients };
        ways.extend(nodes.iter().cycle().take(count).map(|node| Route::Direct(node.clone())));
    }
    ways
}
