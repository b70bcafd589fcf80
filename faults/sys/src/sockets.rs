//! TCP sockets made in whatever network namespace the caller is in.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, connect, getsockopt, recv, send, socket, sockopt,
};

use crate::ready::{Want, any};

/// A fresh IPv4 TCP socket, not connected, non-blocking, close-on-exec. It stays in the namespace it was made in.
pub fn tcp() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(AddressFamily::Inet, SockType::Stream, flags, None)?)
}

/// Whether something accepts connections at `address` now, looking for at most `limit`.
pub fn answers(address: SocketAddrV4, limit: Duration) -> io::Result<bool> {
    let socket = tcp()?;
    match connect(socket.as_raw_fd(), &SockaddrIn::from(address)) {
        Ok(()) => Ok(true),
        Err(Errno::EINPROGRESS) => {
            let ready = any(&[(socket.as_fd(), Want::Write)], Some(limit))?;
            Ok(ready.first() == Some(&true) && getsockopt(&socket, sockopt::SocketError)? == 0)
        }
        Err(_) => Ok(false),
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Being made.
    Pending,
    /// Made; or everything sent is acknowledged.
    Done,
    /// Something sent is not acknowledged.
    Unacknowledged,
    /// Refused.
    Refused,
    /// Reset by the other side.
    Reset,
    /// Ended by another error.
    Failed,
}

impl Progress {
    /// Whether the connection is being made.
    pub fn is_pending(self) -> bool {
        self == Self::Pending
    }

    /// Whether something is not acknowledged.
    pub fn is_unacknowledged(self) -> bool {
        self == Self::Unacknowledged
    }

    fn of(errno: Errno) -> Self {
        if errno == Errno::ECONNREFUSED {
            Self::Refused
        } else if matches!(errno, Errno::ECONNRESET | Errno::EPIPE) {
            Self::Reset
        } else {
            Self::Failed
        }
    }
}

/// Begins a connection and does not wait for it.
pub fn begin(address: SocketAddrV4) -> io::Result<OwnedFd> {
    let socket = tcp()?;
    match connect(socket.as_raw_fd(), &SockaddrIn::from(address)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether a connection is made by now.
pub fn connected(socket: &OwnedFd) -> Progress {
    if !matches!(any(&[(socket.as_fd(), Want::Write)], Some(Duration::ZERO)).as_deref(), Ok([true])) {
        return Progress::Pending;
    }
    match getsockopt(socket, sockopt::SocketError).map(Errno::from_raw) {
        Ok(Errno::UnknownErrno) => Progress::Done,
        Ok(errno) | Err(errno) => Progress::of(errno),
    }
}

/// Sends a few bytes.
pub fn send_some(socket: &OwnedFd) -> Progress {
    match send(socket.as_raw_fd(), b"\n\n\n\n", MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT) {
        Ok(_) => Progress::Unacknowledged,
        Err(errno) => Progress::of(errno),
    }
}

/// Whether what was sent is acknowledged by now.
#[expect(unsafe_code, reason = "nix has no SIOCOUTQ")]
pub fn acknowledged(socket: &OwnedFd) -> Progress {
    let mut byte = [0];
    match recv(socket.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK) {
        Ok(_) | Err(Errno::EAGAIN) => {}
        Err(errno) => return Progress::of(errno),
    }
    let mut left: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (which is TIOCOUTQ, tcp(7)) writes one int, and the pointer is to one that lives during the call.
    let asked = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut left) };
    match (asked, left) {
        (0, 0) => Progress::Done,
        (0, _) => Progress::Unacknowledged,
        _ => Progress::Failed,
    }
}
