//! The name server of a lab: a process of its own that tells nodes each other's addresses, and misleads those that it is
//! asked to mislead, for exactly as long as whoever asked stays connected.
//!
//! It is started before the servers are and ends with the lab. When the agent dies its connections close, and the name
//! server tells the truth again.

mod book;
pub mod control;
mod message;
mod serve;

use std::io::{self, Write as _};
use std::net::SocketAddrV4;
use std::path::PathBuf;

use firedrill_core::platform::NodeAddress;
use serde::{Deserialize, Serialize};

/// The argument by which the program becomes a name server. A [`Setting`] as JSON follows.
pub const ARGUMENT: &str = "names";
/// What a name server prints once it answers.
pub const READY: &str = "ready";
/// The port of name servers (RFC 1035, 4.2).
pub const PORT: u16 = 53;

/// Whom a name server knows, and where it is asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Where it is asked, by UDP and TCP.
    pub at: SocketAddrV4,
    /// The socket it listens on for the agent.
    pub socket: PathBuf,
    /// The nodes in their order: each asks from its address, and its name is that address.
    pub nodes: Vec<NodeAddress>,
}

/// Is a name server, until it is killed.
pub fn run(setting: &str) -> io::Result<()> {
    let setting: Setting = serde_json::from_str(setting)?;
    let mut server = serve::Server::open(&setting)?;
    let mut output = io::stdout();
    writeln!(output, "{READY}")?;
    output.flush()?;
    server.serve()
}
