//! What happened in a run beside the calls: phases, faults, what watchers saw. Written as it happens, one JSON line each,
//! so that `judge` can compute every finding again.

use serde::{Deserialize, Serialize};

use crate::action::{Action, Effect};
use crate::cluster::{ClusterView, Epoch, NodeName};
use crate::platform::{Incident, Residue};
use crate::system::Audit;
use crate::time::{RunTime, Wall};

/// The phases of a run, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Asking the host for what is needed.
    Preflight,
    /// Starting the cluster.
    Start,
    /// Waiting until the cluster is steady under load.
    Steady,
    /// The timeline of faults.
    Storm,
    /// Undoing what is still in force.
    Heal,
    /// Waiting until the cluster is whole and the replicas have caught up.
    Settle,
    /// Reading everything through every node.
    FinalReads,
    /// Stopping the cluster and looking for residue.
    Stop,
    /// Judging.
    Judge,
}

impl Phase {
    /// The word people see.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Start => "start",
            Self::Steady => "steady",
            Self::Storm => "storm",
            Self::Heal => "heal",
            Self::Settle => "settle",
            Self::FinalReads => "final reads",
            Self::Judge => "judge",
            Self::Stop => "stop",
        }
    }
}

/// When in the life of a held fault a proof was taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// Just before the injection: the effect must be absent.
    Before,
    /// Just after the injection.
    Onset,
    /// Half-way.
    Middle,
    /// Just before the heal.
    BeforeHeal,
    /// After the heal: the effect must be absent.
    AfterHeal,
}

/// One thing that happened.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Event {
    /// A phase began. Carries the wall clock, so that servers' logs can be lined up.
    Phase {
        /// Which.
        phase: Phase,
        /// Wall-clock time.
        wall: Wall,
    },
    /// The steady gate closed: whether it was met, and what was last seen.
    Steady {
        /// Met.
        met: bool,
        /// What was seen.
        seen: String,
    },
    /// A fault begins: its role words are resolved and pinned.
    FaultOnset {
        /// Id of the fault.
        fault: String,
        /// Its kind.
        kind: String,
        /// The nodes it aims at.
        targets: Vec<NodeName>,
        /// What it does, in words.
        words: String,
    },
    /// An action took effect.
    StepApplied {
        /// Id of the fault.
        fault: String,
        /// Place of the step in the fault's plan.
        step: u32,
        /// The action.
        action: Action,
        /// How long it is to be held; `None` for one-shot actions.
        hold_nanos: Option<u64>,
        /// When it took effect, by the agent.
        from: RunTime,
    },
    /// A probe looked for the effect of an action.
    StepProof {
        /// Id of the fault.
        fault: String,
        /// Place of the step.
        step: u32,
        /// When.
        moment: Moment,
        /// What it found.
        effect: Effect,
    },
    /// An action was undone.
    StepReverted {
        /// Id of the fault.
        fault: String,
        /// Place of the step.
        step: u32,
        /// The interval it was in force, by the agent's log.
        held: Option<(RunTime, RunTime)>,
        /// Who undid it: `asked`, `deadline`, `lease`…
        by: String,
    },
    /// Everything of a fault is undone.
    FaultHealed {
        /// Id of the fault.
        fault: String,
    },
    /// A fault could not be injected, or was not because it would have gone beyond the safety limits.
    FaultRefused {
        /// Id of the fault.
        fault: String,
        /// Why.
        reason: String,
    },
    /// An undo failed.
    HealFailed {
        /// Id of the fault.
        fault: String,
        /// Why.
        reason: String,
    },
    /// One node was asked and answered (or not). Equal answers in a row may be joined.
    NodeSeen {
        /// Which node.
        node: NodeName,
        /// Whether it takes writes; `None` if it did not answer.
        read_write: Option<bool>,
        /// Its epoch.
        epoch: Option<Epoch>,
        /// When the first of the joined answers was asked for.
        first_asked: RunTime,
        /// When the first answer came.
        first_answered: RunTime,
        /// When the last of the joined answers was asked for.
        last_asked: RunTime,
        /// When the last answer came.
        last_answered: RunTime,
        /// How many answers are joined.
        count: u32,
    },
    /// The leader key (or lease) of the cluster changed.
    Leader {
        /// Who holds it; `None` when it is gone.
        holder: Option<NodeName>,
        /// Revision of the change in the consensus store, if it has one.
        revision: Option<u64>,
    },
    /// The whole cluster was asked.
    View {
        /// What was seen.
        view: ClusterView,
    },
    /// The platform noticed something.
    Incident {
        /// What.
        incident: Incident,
    },
    /// A halt condition held.
    Halted {
        /// The condition, as written.
        condition: String,
        /// What was seen.
        seen: String,
    },
    /// A person interrupted the run.
    Interrupted {
        /// In which phase.
        phase: Phase,
    },
    /// The wait for a whole cluster with caught-up replicas ended.
    Settled {
        /// Whether it came about.
        met: bool,
        /// What was last seen.
        seen: String,
    },
    /// The data of a node was looked through for damage.
    Audited {
        /// Which node.
        node: NodeName,
        /// What was found.
        audit: Audit,
    },
    /// The sweep for residue ended.
    Swept {
        /// What was left. Empty is clean.
        residue: Vec<Residue>,
    },
    /// Something the run could not go on after, in words.
    Broken {
        /// In which phase.
        phase: Phase,
        /// What.
        reason: String,
    },
}

/// An event with its time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Stamped {
    /// When it happened or was seen.
    pub at: RunTime,
    /// What.
    pub event: Event,
}
