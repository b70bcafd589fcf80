//! Holding processes as a debugger does (`ptrace(2)`): when whoever holds them ends, the kernel lets them go on. Nothing here
//! takes a stop or a signal from the kernel's hands (no `wait` consumes one), so none is lost however the end comes.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::ready::until;

/// What became of an attempt to hold a thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seized {
    /// It is held by the caller, and its new threads and children will be. It may run on until [`interrupt`].
    Held,
    /// It has ended.
    Gone,
    /// Not permitted: another process holds it, or the kernel forbids it.
    Refused,
}

/// Whether the kernel lets a process with the capability for it hold others at all (`kernel.yama.ptrace_scope` is not 3).
pub fn is_permitted() -> bool {
    fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").map_or(true, |scope| scope.trim() != "3")
}

/// Begins to hold a thread of another process. The calling thread holds it from now on.
pub fn seize(tid: i32) -> io::Result<Seized> {
    let options = Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK;
    match ptrace::seize(Pid::from_raw(tid), options) {
        Ok(()) => Ok(Seized::Held),
        Err(Errno::ESRCH) => Ok(Seized::Gone),
        // A child that was born held is held already; it is the caller's own.
        Err(Errno::EPERM) if is_own(tid) => Ok(Seized::Held),
        Err(Errno::EPERM | Errno::EACCES) => {
            Ok(if fs::exists(format!("/proc/{tid}"))? { Seized::Refused } else { Seized::Gone })
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Stops a held thread. Nothing if it has ended meanwhile, or has stopped by itself.
pub fn interrupt(tid: i32) -> io::Result<()> {
    match ptrace::interrupt(Pid::from_raw(tid)) {
        Ok(()) | Err(Errno::ESRCH | Errno::EIO) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Lets a held process go on, with the signal it was about to take if it stopped at one. Waits a moment for a thread that has
/// not come to its stop yet; `false` if one did not.
pub fn let_go(pid: i32) -> io::Result<bool> {
    let mut all = true;
    for tid in threads(pid).into_iter().filter(|tid| is_own(*tid)) {
        all &= until(LET_GO, || if is_still(tid) { Ok(()) } else { Err(()) }).is_ok();
        detach(tid, stopped_at(tid)?)?;
    }
    Ok(all)
}

/// How long a thread may take to come to its stop.
const LET_GO: Duration = Duration::from_secs(1);

/// The signal that a thread was about to take when it stopped; 0 if it stopped for something else. Takes nothing from the
/// kernel's hands.
#[expect(unsafe_code, reason = "nix knows no real-time signals")]
fn stopped_at(tid: i32) -> io::Result<i32> {
    let flags = libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    let id = libc::id_t::try_from(tid).map_err(io::Error::other)?;
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the kernel writes one siginfo to the place it is given, which outlives the call.
    let result = unsafe { libc::waitid(libc::P_PID, id, info.as_mut_ptr(), flags) };
    if result != 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::ECHILD) { Ok(0) } else { Err(error) };
    }
    // SAFETY: all of it was zeroed, and zeros are a siginfo; for the end or stop of a child the status is set.
    let status = unsafe { info.assume_init().si_status() };
    // Above the signal is the event, if it was one.
    Ok(if status >> 8 == 0 { status & 0xff } else { 0 })
}

#[expect(unsafe_code, reason = "nix knows no real-time signals")]
fn detach(tid: i32, signal: i32) -> io::Result<()> {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    let signal = libc::c_long::from(signal);
    // SAFETY: PTRACE_DETACH takes numbers only, and touches no memory of ours.
    let result = unsafe { libc::ptrace(libc::PTRACE_DETACH, tid, nothing, signal) };
    let error = io::Error::last_os_error();
    if result == 0 || error.raw_os_error() == Some(libc::ESRCH) { Ok(()) } else { Err(error) }
}

/// Lets held processes that have ended be seen by their own parents, which the kernel keeps from it until the holder knows.
pub fn pass_on_ends() -> io::Result<()> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
    loop {
        match waitid(Id::All, flags) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The threads of a process, if it lives.
pub fn threads(pid: i32) -> Vec<i32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut tids: Vec<i32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    tids.sort_unstable();
    tids
}

/// Whether every thread of a process is stopped, by a signal or by a holder; `false` if it has ended.
pub fn is_halted(pid: i32) -> bool {
    let threads = threads(pid);
    !threads.is_empty() && threads.into_iter().all(|tid| matches!(state(tid), Some('T' | 't' | 'Z' | 'X') | None))
}

/// Whether a thread is stopped by its holder. One that has ended does not run either.
pub fn is_still(tid: i32) -> bool {
    matches!(state(tid), Some('t' | 'Z' | 'X') | None)
}

/// The process that holds a process or thread.
pub fn tracer(tid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?;
    line.trim().parse().ok().filter(|pid| *pid != 0)
}

fn is_own(tid: i32) -> bool {
    tracer(tid).is_some_and(|tracer| u32::try_from(tracer) == Ok(std::process::id()))
}

/// See `proc_pid_stat(5)`; `None` if there is no such thread any more.
fn state(tid: i32) -> Option<char> {
    let stat = fs::read(format!("/proc/{tid}/stat")).ok()?;
    String::from_utf8_lossy(&stat).rsplit_once(')')?.1.trim_start().chars().next()
}
