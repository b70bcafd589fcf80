//! Starting processes inside namespaces, from a process with a single thread, with errors that say which step failed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{Gid, Pid, Uid};

use crate::accounts::Account;
use crate::namespaces::{self, Kind};

/// Which side of a fork the caller is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forked {
    /// The old process; the number is the child's.
    Parent(i32),
    /// The new one.
    Child,
}

/// Forks a process that has a single thread; refuses when it has more, because the child could then find locks held
/// by threads that do not exist in it (fork(2)).
#[expect(unsafe_code, reason = "fork")]
pub fn fork() -> io::Result<Forked> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("only a process with a single thread may fork"));
    }
    // SAFETY: with a single thread the child is a whole copy: no lock is held by a thread that it lacks.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(Forked::Parent(child.as_raw())),
        nix::unistd::ForkResult::Child => Ok(Forked::Child),
    }
}

/// Has the kernel kill the calling process when its parent ends. To be asked again after a change of user.
pub fn die_with_parent() -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)
}

/// Leaves the terminal's session, so that its signals (Ctrl-C) do not reach the caller.
pub fn leave_session() -> io::Result<()> {
    Ok(nix::unistd::setsid().map(drop)?)
}

/// As whom a process runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RunAs {
    /// As the caller.
    Same,
    /// As this user, all capabilities given up; needs root.
    Account(Account),
    /// In a user namespace of its own, where the caller is this user and group: for a root of a user namespace whose
    /// programs refuse to run as root.
    Nested(u32, u32),
}

/// A process to start.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// Program and arguments; the program's path is absolute.
    pub argv: &'a [String],
    /// The whole environment.
    pub env: &'a BTreeMap<String, String>,
    /// Standard input, output and error.
    pub stdio: [BorrowedFd<'a>; 3],
    /// `cgroup.procs` files to join by.
    pub cgroups: &'a [PathBuf],
    /// Namespaces to enter, in this order.
    pub namespaces: Vec<BorrowedFd<'a>>,
    /// Working directory, as seen from inside.
    pub directory: &'a Path,
    /// As whom.
    pub run_as: RunAs,
}

impl Spawn<'_> {
    /// Starts it in a session of its own and returns its process id once the program has taken over.
    pub fn start(&self) -> io::Result<i32> {
        let (report, reporter) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        match fork()? {
            Forked::Child => {
                drop(report);
                let Err(error) = self.become_it();
                report_and_exit(reporter, &error)
            }
            Forked::Parent(pid) => {
                drop(reporter);
                let mut failure = String::new();
                File::from(report).read_to_string(&mut failure)?;
                if failure.is_empty() {
                    return Ok(pid);
                }
                nix::sys::wait::waitpid(Pid::from_raw(pid), None)?;
                Err(io::Error::other(failure))
            }
        }
    }

    fn become_it(&self) -> Result<Infallible, String> {
        let step = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
        for door in self.cgroups {
            fs::write(door, "0").map_err(step("join the control group"))?;
        }
        for namespace in &self.namespaces {
            namespaces::enter(*namespace).map_err(step("enter a namespace"))?;
        }
        std::env::set_current_dir(self.directory).map_err(step("change the working directory"))?;
        leave_session().map_err(step("start a session"))?;
        connect_stdio(self.stdio).map_err(step("connect standard streams"))?;
        self.take_identity().map_err(step("take the user's identity"))?;
        reset_signals().map_err(step("reset signals"))?;
        self.execute().map_err(|error| format!("{}: {error}", self.argv.first().map_or("", String::as_str)))
    }

    fn take_identity(&self) -> io::Result<()> {
        match &self.run_as {
            RunAs::Same => Ok(()),
            RunAs::Account(account) => {
                let groups: Vec<Gid> = account.groups.iter().copied().map(Gid::from_raw).collect();
                let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
                nix::unistd::setgroups(&groups)?;
                nix::unistd::setresgid(gid, gid, gid)?;
                Ok(nix::unistd::setresuid(uid, uid, uid)?)
            }
            RunAs::Nested(uid, gid) => {
                let outside = namespaces::own_ids();
                namespaces::unshare(&[Kind::User])?;
                namespaces::map_own_user((*uid, *gid), outside)
            }
        }
    }

    fn execute(&self) -> io::Result<Infallible> {
        let argv: Vec<CString> = self.argv.iter().map(|arg| CString::new(arg.as_str())).collect::<Result<_, _>>()?;
        let env = self.env.iter().map(|(name, value)| CString::new(format!("{name}={value}")));
        let env: Vec<CString> = env.collect::<Result<_, _>>()?;
        let program = argv.first().ok_or_else(|| io::Error::other("no program"))?;
        Ok(nix::unistd::execve(program, &argv, &env)?)
    }
}

/// A copy in the child, so that a source which is itself 0, 1 or 2 is not overwritten before it is read.
fn connect_stdio(stdio: [BorrowedFd<'_>; 3]) -> io::Result<()> {
    let [input, output, error] = stdio.map(|fd| fd.try_clone_to_owned());
    nix::unistd::dup2_stdin(input?.as_fd())?;
    nix::unistd::dup2_stdout(output?.as_fd())?;
    nix::unistd::dup2_stderr(error?.as_fd())?;
    Ok(())
}

/// Rust ignores SIGPIPE and the lab's init blocks SIGCHLD; both would be inherited by a server.
#[expect(unsafe_code, reason = "signal dispositions")]
fn reset_signals() -> io::Result<()> {
    // SAFETY: the default disposition runs no code of ours.
    unsafe { nix::sys::signal::signal(Signal::SIGPIPE, SigHandler::SigDfl) }?;
    Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?)
}

#[expect(unsafe_code, reason = "leave a forked child without running the parent's exit code")]
fn report_and_exit(reporter: OwnedFd, error: &str) -> ! {
    // Nobody is left to tell when the pipe is broken: the parent is gone and so will this process be.
    drop(File::from(reporter).write_all(error.as_bytes()));
    // SAFETY: _exit ends the process at once and returns to nobody.
    unsafe { libc::_exit(127) }
}

/// Takes standard input away from the caller and leaves `/dev/null` in its place.
pub fn take_stdin() -> io::Result<OwnedFd> {
    let taken = io::stdin().as_fd().try_clone_to_owned()?;
    nix::unistd::dup2_stdin(File::open("/dev/null")?.as_fd())?;
    Ok(taken)
}

/// Ends a forked child at once, without running what its parent would run at its end.
#[expect(unsafe_code, reason = "leave a forked child without running the parent's exit code")]
pub fn leave(fine: bool) -> ! {
    // SAFETY: _exit ends the process at once and returns to nobody.
    unsafe { libc::_exit(i32::from(!fine)) }
}
