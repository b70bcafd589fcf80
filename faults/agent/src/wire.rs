//! The wire: a data-plane process of its own that impairs links. In a switch a table of nftables, owned by this process, has
//! the kernel drop the frames of an impaired link in the bridge, while a packet socket takes the same frames before the
//! bridge has them; the wire impairs them and sends them out past the bridge. At the end of a host, where there is no
//! switch, such a table at the host's own interface sends them to a TAP device of this process instead; what goes out is
//! given back to the interface, and what comes in to the host by the TAP. All other links stay with the kernel, and when
//! this process ends, however it ends, table, sockets and devices go with it and the kernel forwards again.
//!
//! One process serves all impairments of an agent, because a frame that two of them concern must pass both: it goes
//! through them in the order in which they were made.

pub mod client;
pub mod doors;
pub mod frame;
pub mod plane;
pub mod run;
pub mod stage;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use firedrill_core::harm::Impairment;
use serde::{Deserialize, Serialize};

/// The argument by which the program becomes a wire.
pub const ARGUMENT: &str = "wire";

/// A directed link as the wire knows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Way {
    /// In words, `n1→n2`; names its random stream.
    pub name: String,
    /// The address its frames come from.
    pub from: Ipv4Addr,
    /// The address they go to.
    pub to: Ipv4Addr,
    /// Where they are taken and given back.
    pub at: At,
}

/// Where the frames of a link are taken and given back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum At {
    /// Between two interfaces of the switch.
    Switch {
        /// The interface they come in by.
        input: String,
        /// The interface they leave by.
        output: String,
    },
    /// Where they leave their sender.
    Sender(End),
    /// Where they reach their receiver.
    Receiver(End),
}

/// A host's end of its links.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct End {
    /// A file that is the host's network namespace.
    pub netns: PathBuf,
    /// Its interface.
    pub interface: String,
}

/// An impairment to be in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Its tag; the name of its table.
    pub tag: String,
    /// Where.
    pub ways: Vec<Way>,
    /// Only packets from or to this port.
    pub port: Option<u16>,
    /// How.
    pub how: Impairment,
    /// What chance is drawn from.
    pub seed: u64,
    /// When the wire ends it by itself, by `CLOCK_BOOTTIME` in nanoseconds.
    pub deadline: Option<u64>,
}

/// A cut that the kernel has, to be kept by what the wire has in its hands as well: its frames go past the tables of others.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Severed {
    /// Its tag.
    pub tag: String,
    /// Where.
    pub ways: Vec<Way>,
    /// Only packets from or to this port.
    pub port: Option<u16>,
}

/// What a wire is told, one JSON line each. It answers each with one [`Said`], in order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// Said first: how long to go on without hearing anything, in nanoseconds.
    Patience(u64),
    /// Impair.
    Hold(Order),
    /// Let nothing pass there.
    Cut(Severed),
    /// Impair or cut no longer; fine if it is not in force.
    Release(String),
    /// Say that you are there.
    Ping,
}

/// What a wire answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// Done.
    Done,
    /// Not done; nothing of it is in force.
    Failed {
        /// In words.
        what: String,
        /// What the operating system said.
        errno: Option<i32>,
    },
}
