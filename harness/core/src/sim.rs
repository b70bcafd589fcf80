//! What the simulated store and its client say to each other: one JSON text a line, one request at a time.
//!
//! The platform `sim` plays the server, the system `sim` is the client; neither knows the other.

use serde::{Deserialize, Serialize};

use crate::cluster::{Epoch, NodeName, Position};
use crate::history::EpochSwitch;

/// The port on which simulated nodes answer.
pub const PORT: u16 = 7000;

/// The one process of a simulated node.
pub const PROCESS: &str = "store";

/// What a client asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// How the node sees itself and the cluster.
    Status,
    /// Makes the empty ledger; safe to repeat.
    CreateLedger,
    /// Adds a row.
    Insert {
        /// The row.
        row: u64,
    },
    /// Reads every row the node has applied.
    Scan,
    /// The switches of epoch in the node's own log.
    Switches,
}

impl Request {
    /// Whether it changes the ledger, so that a lost answer leaves its outcome unknown.
    pub const fn writes(&self) -> bool {
        match self {
            Self::CreateLedger | Self::Insert { .. } => true,
            Self::Status | Self::Scan | Self::Switches => false,
        }
    }
}

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Whether it takes writes.
    pub read_write: bool,
    /// The epoch it is on.
    pub epoch: Epoch,
    /// How far its log goes: written on a primary, applied on a replica.
    pub position: Position,
    /// Whether it receives the primary's log now.
    pub streaming: bool,
    /// The primary it follows, or itself.
    pub primary: Option<NodeName>,
    /// How often its process has been started.
    pub incarnation: u64,
}

/// What a node answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Status),
    /// The write is done.
    Acknowledged {
        /// The epoch it was written on.
        epoch: Epoch,
        /// Its place in the log.
        position: Position,
    },
    /// To [`Request::Scan`].
    Rows {
        /// The epoch the node is on.
        epoch: Epoch,
        /// How far it has applied the log.
        position: Position,
        /// The rows, ascending.
        rows: Vec<u64>,
    },
    /// To [`Request::Switches`], oldest first.
    Switches {
        /// The switches.
        switches: Vec<EpochSwitch>,
    },
    /// The node does not take writes; nothing was done.
    ReadOnly {
        /// The epoch the node is on.
        epoch: Epoch,
    },
    /// The node gave the write up after it had gone into its log.
    Unknown {
        /// Why.
        why: String,
    },
}

/// An answer and who gives it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// The node.
    pub node: NodeName,
    /// Its answer.
    pub answer: Answer,
}
