//! Waiting without an async runtime: for descriptors, and for conditions that nothing announces.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

/// How often [`until`] looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What to wait for on a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// Something to read, or the end.
    Read,
    /// Room to write, or something to read, or the end.
    ReadOrWrite,
    /// Room to write, or an error.
    Write,
}

/// Waits until one of the descriptors is ready, for at most `limit` (for ever if `None`). One answer per descriptor.
pub fn any(fds: &[(BorrowedFd<'_>, Want)], limit: Option<Duration>) -> io::Result<Vec<bool>> {
    let flags = |want: Want| match want {
        Want::Read => PollFlags::POLLIN,
        Want::ReadOrWrite => PollFlags::POLLIN | PollFlags::POLLOUT,
        Want::Write => PollFlags::POLLOUT,
    };
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|(fd, want)| PollFd::new(*fd, flags(*want))).collect();
    match ppoll(&mut polled, limit.map(TimeSpec::from_duration), None) {
        Ok(_) => Ok(polled.iter().map(|fd| fd.revents().is_some_and(|events| !events.is_empty())).collect()),
        Err(Errno::EINTR) => Ok(vec![false; fds.len()]),
        Err(errno) => Err(errno.into()),
    }
}

/// Looks again and again until `look` returns `Ok`, for at most about `limit`; then returns its last error.
pub fn until<T, E>(limit: Duration, mut look: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let mut waited = Duration::ZERO;
    loop {
        match look() {
            Err(_) if waited < limit => {}
            done => return done,
        }
        // With no descriptors poll only passes time; a signal that cuts it short makes the next look come earlier.
        if any(&[], Some(LOOK_EVERY)).is_err() {
            return look();
        }
        waited += LOOK_EVERY;
    }
}

/// Makes reads and writes of a descriptor return instead of waiting.
pub fn never_wait(fd: impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    Ok(fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)?)
}

/// Writes all to a descriptor that never waits; `TimedOut` when it takes nothing for `limit`.
pub fn write_all(fd: impl AsFd, mut bytes: &[u8], limit: Duration) -> io::Result<()> {
    while !bytes.is_empty() {
        match nix::unistd::write(fd.as_fd(), bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::EAGAIN) => {
                if any(&[(fd.as_fd(), Want::Write)], Some(limit))? == [false] {
                    return Err(io::Error::from(io::ErrorKind::TimedOut));
                }
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// What has come so far on a descriptor that never waits, waiting for it at most `limit`: empty when nothing has, `None`
/// at the end.
pub fn read_some(fd: impl AsFd, limit: Duration) -> io::Result<Option<Vec<u8>>> {
    if any(&[(fd.as_fd(), Want::Read)], Some(limit))? == [false] {
        return Ok(Some(Vec::new()));
    }
    let mut buffer = [0; 4096];
    match nix::unistd::read(fd.as_fd(), &mut buffer) {
        Ok(0) => Ok(None),
        Ok(count) => Ok(Some(buffer[..count].to_vec())),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(Some(Vec::new())),
        Err(errno) => Err(errno.into()),
    }
}
