//! Asks whoever starts a node's units to start again what does not run.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use firedrill_core::cluster::NodeName;

use crate::protocol::{Refusal, RefusalKind};

/// How long starting the units of one node may take.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_ANSWER: u64 = 4096;

/// `ensure <node>` to the socket; returns when the units run.
pub fn ensure(starter: &Path, node: &NodeName) -> Result<(), Refusal> {
    let failed = |error: io::Error| Refusal::system(format!("asking to start {node} again"), &error);
    let answer = ask(starter, node).map_err(failed)?;
    match answer.trim_end().split_once(' ') {
        None if answer.trim_end() == "ok" => Ok(()),
        Some(("error", why)) => {
            Err(Refusal::new(RefusalKind::System, format!("{node} could not be started again: {why}")))
        }
        None | Some(_) => {
            let what = format!("asked to start {node} again, the starter said {:?}", answer.trim_end());
            Err(Refusal::new(RefusalKind::System, what))
        }
    }
}

fn ask(starter: &Path, node: &NodeName) -> io::Result<String> {
    let mut stream = UnixStream::connect(starter)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    writeln!(stream, "ensure {node}")?;
    let mut answer = String::new();
    BufReader::new(stream.take(LONGEST_ANSWER)).read_line(&mut answer)?;
    Ok(answer)
}
