//! Starting this very program again, as a fresh process with a single thread, and programs that come with it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// Starts the caller's own program with `args`, `input` as standard input, and `log` as output and error.
#[expect(clippy::disallowed_methods, reason = "sys is where commands are run")]
pub fn own_program(args: &[&OsStr], input: OwnedFd, log: &File) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args).stdin(input).stdout(log.try_clone()?).stderr(log.try_clone()?);
    command.spawn()
}

/// Runs the caller's own program with `args` to its end and collects what it prints.
#[expect(clippy::disallowed_methods, reason = "sys is where commands are run")]
pub fn own_output(args: &[&OsStr]) -> io::Result<Output> {
    Command::new(std::env::current_exe()?).args(args).stdin(Stdio::null()).output()
}

/// Runs a program with `args` to its end and collects what it prints.
#[expect(clippy::disallowed_methods, reason = "sys is where commands are run")]
pub fn output_of(program: &Path, args: &[&OsStr]) -> io::Result<Output> {
    Command::new(program).args(args).stdin(Stdio::null()).output()
}
