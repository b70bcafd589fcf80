//! Processes that will not be mistaken for later ones with the same number, and waiting for their end.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

/// A process as seen from the caller's pid namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot (`/proc/PID/stat`, field 22, see `proc_pid_stat(5)`).
    pub start: u64,
}

impl Identity {
    /// The process with this number now, unless there is none or it has ended and only waits to be reaped.
    pub fn of(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command name may hold blanks and parentheses; the fields after it are counted from its last one.
        let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?;
        let start = fields.nth(18)?.parse().ok()?;
        (!matches!(state, "Z" | "X")).then_some(Self { pid, start })
    }

    /// The calling process.
    pub fn own() -> Option<Self> {
        Self::of(i32::try_from(std::process::id()).ok()?)
    }

    /// Whether that very process still runs.
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Kills it with SIGKILL if it still is that process. Succeeds if it is gone already.
    pub fn kill(self) -> io::Result<()> {
        let Some(pidfd) = self.pidfd()? else { return Ok(()) };
        pidfd_kill(&pidfd).or_else(|error| if gone(&error) { Ok(()) } else { Err(error) })
    }

    /// Waits until it has ended; whether it has within `limit`.
    pub fn wait_gone(self, limit: Duration) -> io::Result<bool> {
        let Some(pidfd) = self.pidfd()? else { return Ok(true) };
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        Ok(poll(&mut fds, timeout)? > 0)
    }

    /// `None` when the process is gone. The identity is checked after the descriptor exists, so it cannot be another's.
    fn pidfd(self) -> io::Result<Option<OwnedFd>> {
        match pidfd_open(self.pid) {
            Ok(pidfd) if self.is_alive() => Ok(Some(pidfd)),
            Ok(_) => Ok(None),
            Err(error) if gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The id of this boot: what a process id is worth nothing without.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// A namespace of the calling process (`net`, `pid`…) in words, as `/proc/self/ns` has it: `net:[4026531840]`. Equal words
/// are one namespace.
pub fn own_namespace(kind: &str) -> io::Result<String> {
    Ok(fs::read_link(format!("/proc/self/ns/{kind}"))?.to_string_lossy().into_owned())
}

fn gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH)
}

#[expect(unsafe_code, reason = "nix has no pidfd_open")]
fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[expect(unsafe_code, reason = "nix has no pidfd_send_signal")]
fn pidfd_kill(pidfd: &OwnedFd) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo asks the kernel to fill it as kill(2) would; the descriptor outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), libc::SIGKILL, no_info, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_is_alive_and_an_impostor_is_not() {
        let own = Identity::own().unwrap();
        assert!(own.is_alive());
        let impostor = Identity { start: own.start + 1, ..own };
        assert!(!impostor.is_alive());
        impostor.kill().unwrap();
        assert!(impostor.wait_gone(Duration::ZERO).unwrap());
        assert!(!own.wait_gone(Duration::ZERO).unwrap());
    }
}
