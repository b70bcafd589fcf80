//! Links and addresses, through iproute2's `ip`, in the caller's network namespace.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use crate::programs;

/// Runs a batch of `ip` commands, one a line, in the caller's network namespace; the first that fails ends it.
#[expect(clippy::disallowed_methods, reason = "sys is where commands are run")]
pub fn batch(script: &str) -> io::Result<()> {
    let program = programs::find("ip").ok_or_else(|| io::Error::other("program ip is not installed"))?;
    let mut command = Command::new(program);
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    // The pipe is dropped, and so closed, at the end of this block; a script is far shorter than a pipe is long.
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(script.as_bytes()));
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("ip: {}", said.trim().replace('\n', "; "))));
    }
    written
}
