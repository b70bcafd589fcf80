//! TCP sockets made in whatever network namespace the caller is in.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, getsockopt, socket, sockopt};

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
