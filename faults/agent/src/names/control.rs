//! The socket by which a name server is asked to mislead. A lie is in force from its answer until its connection ends,
//! whoever ends it, or its deadline has passed.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::Path;

use firedrill_core::cluster::NodeName;
use firedrill_core::harm::NameAnswer;
use serde::{Deserialize, Serialize};

use crate::planes;

/// What is asked, one JSON line a connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// Mislead, for as long as the connection lives.
    Mislead {
        /// The tag of the action.
        tag: String,
        /// Who asks, by address.
        askers: BTreeSet<Ipv4Addr>,
        /// For whose names.
        names: BTreeSet<NodeName>,
        /// What is answered.
        answer: NameAnswer,
        /// When it ends by itself, in nanoseconds of `CLOCK_BOOTTIME`; it never begins later.
        deadline: Option<u64>,
    },
    /// What is in force.
    List,
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reply {
    /// The lie is in force.
    InForce {
        /// Since when, in nanoseconds of `CLOCK_BOOTTIME`.
        from: u64,
    },
    /// What is in force.
    Listed {
        /// The tag of each, in the order in which they came, and the process whose connection it lasts as long as.
        held: Vec<(String, i32)>,
    },
    /// It was not done.
    Refused {
        /// Why.
        why: String,
    },
}

/// Asks a name server; the connection, which keeps a lie in force, and the answer.
pub fn ask(socket: &Path, order: &Order) -> io::Result<(UnixStream, Reply)> {
    planes::ask(socket, order)
}
