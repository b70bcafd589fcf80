//! What a pid namespace's init does: hears of children that end, reaps them, and signals processes.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Becomes readable when a child has ended.
#[derive(Debug)]
pub struct ChildEnds(SignalFd);

impl ChildEnds {
    /// Blocks SIGCHLD and listens for it instead.
    pub fn listen() -> io::Result<Self> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None)?;
        Ok(Self(SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// Forgets what made it readable, and reaps every child that has ended: process id and status in words.
    pub fn reap(&self) -> io::Result<Vec<(i32, String)>> {
        while self.0.read_signal()?.is_some() {}
        let mut ended = Vec::new();
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => ended.push((pid.as_raw(), format!("exit code {code}"))),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    ended.push((pid.as_raw(), format!("signal {} ({signal})", i32::from(signal_number(signal)))));
                }
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(ended),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for ChildEnds {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[expect(clippy::as_conversions, reason = "the discriminant of a C enum is the signal's number")]
const fn signal_number(signal: Signal) -> i16 {
    signal as i16
}

/// Waits for one child; its status in words and whether it was exit code 0.
pub fn wait(pid: i32) -> io::Result<(String, bool)> {
    loop {
        match waitpid(Pid::from_raw(pid), None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok((format!("exit code {code}"), code == 0)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok((format!("signal {signal}"), false)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Asks a process to end.
pub fn terminate(pid: i32) -> io::Result<()> {
    send(pid, Signal::SIGTERM)
}

fn send(pid: i32, signal: Signal) -> io::Result<()> {
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Ends a process at once, and then asks those that it leaves to this process as orphans to end in good order (SIGINT).
/// Orphans are this process's children that are not in `known`.
pub fn kill_then_interrupt_orphans(pid: i32, known: &[i32]) -> io::Result<()> {
    send(pid, Signal::SIGKILL)?;
    let own = std::process::id();
    for (child, parent) in all()? {
        if u32::try_from(parent) == Ok(own) && child != pid && !known.contains(&child) {
            send(child, Signal::SIGINT)?;
        }
    }
    Ok(())
}

/// From the init of a pid namespace: lets every stopped process of the namespace go on.
pub fn continue_all() -> io::Result<()> {
    match kill(Pid::from_raw(-1), Signal::SIGCONT) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Process ids that `/proc` shows, with their parents', in order.
pub fn all() -> io::Result<Vec<(i32, i32)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // A process may end between the two looks.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(1)?.parse().ok());
        found.push((pid, parent.unwrap_or(0)));
    }
    found.sort_unstable();
    Ok(found)
}
