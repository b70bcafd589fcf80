//! Asks whoever starts a node's units to start again what does not run, to do so by itself should the agent die, or to
//! have all of them end.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use firedrill_core::cluster::NodeName;

use crate::log::say;
use crate::protocol::{Refusal, RefusalKind};

/// How long starting the units of one node may take.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_ANSWER: u64 = 4096;

/// `ensure <node>` to the socket; returns when the units run.
pub fn ensure(starter: &Path, node: &NodeName) -> Result<(), Refusal> {
    ask(starter, "ensure", node).map(drop)
}

/// `stop <node>` to the socket; returns when the units are being asked to end, last started first.
pub fn stop(starter: &Path, node: &NodeName) -> Result<(), Refusal> {
    ask(starter, "stop", node).map(drop)
}

/// A node that is down on our account. Whoever starts units knows it by a connection, and starts them when that breaks off:
/// the agent may die together with its guard.
#[derive(Debug)]
pub struct Down {
    connection: UnixStream,
    node: NodeName,
}

impl Down {
    /// `down <node>` to the socket. To be asked before the node's processes are killed.
    pub fn note(starter: &Path, node: &NodeName) -> Result<Self, Refusal> {
        let connection = ask(starter, "down", node)?;
        Ok(Self { connection, node: node.clone() })
    }

    /// To be called when the units run again, or need not: the end of the connection means nothing then.
    pub fn forget(mut self) {
        if let Err(error) = self.connection.write_all(b"forget\n") {
            say(&format!("the starter of {} could not be told to forget: {error}", self.node));
        }
    }
}

/// Asks, and returns the connection when the answer is `ok`.
fn ask(starter: &Path, wish: &str, node: &NodeName) -> Result<UnixStream, Refusal> {
    let (connection, answer) = answer(starter, &format!("{wish} {node}\n"))
        .map_err(|error| Refusal::system(format!("asking for `{wish} {node}`"), &error))?;
    match answer.trim_end().split_once(' ') {
        None if answer.trim_end() == "ok" => Ok(connection),
        Some(("error", why)) => Err(Refusal::new(RefusalKind::System, format!("`{wish} {node}` was refused: {why}"))),
        None | Some(_) => {
            let what = format!("asked for `{wish} {node}`, the starter said {:?}", answer.trim_end());
            Err(Refusal::new(RefusalKind::System, what))
        }
    }
}

fn answer(starter: &Path, question: &str) -> io::Result<(UnixStream, String)> {
    let mut connection = UnixStream::connect(starter)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    connection.write_all(question.as_bytes())?;
    let mut answer = String::new();
    BufReader::new((&connection).take(LONGEST_ANSWER)).read_line(&mut answer)?;
    Ok((connection, answer))
}
