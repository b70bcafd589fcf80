//! Messages with file descriptors between two processes, over a `SOCK_SEQPACKET` socket pair: each message arrives
//! whole or not at all, and an end that is gone is seen at once.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};

/// The longest message, in bytes. Below half of the kernel's default send buffer (`net.core.wmem_default`, 212992).
pub const LONGEST: usize = 64 * 1024;

/// Most descriptors in one message.
pub const MOST_FDS: usize = 4;

/// A message received.
#[derive(Debug)]
pub struct Message {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The descriptors that came with it, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// Two connected ends, non-blocking and close-on-exec.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// Sends one message. `WouldBlock` when the other end does not read, `BrokenPipe` when it is gone.
pub fn send(to: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if bytes.is_empty() || bytes.len() > LONGEST || fds.len() > MOST_FDS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "message too long or empty"));
    }
    let raw: Vec<RawFd> = fds.iter().map(BorrowedFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let ancillary: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(bytes)], ancillary, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// The next message; `None` when the other end is gone, `WouldBlock` when there is none yet.
#[expect(unsafe_code, reason = "descriptors arrive as numbers and become owned here")]
pub fn receive(from: BorrowedFd<'_>) -> io::Result<Option<Message>> {
    let mut bytes = vec![0; LONGEST];
    let mut ancillary = nix::cmsg_space!([RawFd; MOST_FDS]);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let got = recvmsg::<()>(from.as_raw_fd(), &mut parts, Some(&mut ancillary), flags)?;
    let mut fds = Vec::new();
    for message in got.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = message {
            // SAFETY: the kernel has just installed these descriptors in this process; nobody else owns them.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let length = got.bytes;
    if length == 0 {
        return Ok(None);
    }
    bytes.truncate(length);
    Ok(Some(Message { bytes, fds }))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Seek as _, Write as _};
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_descriptor_crosses_and_the_end_is_seen() {
        let (here, there) = pair().unwrap();
        let mut file: File = tempfile::tempfile().unwrap();
        file.write_all(b"fire").unwrap();
        send(here.as_fd(), b"take this", &[file.as_fd()]).unwrap();
        let mut message = receive(there.as_fd()).unwrap().unwrap();
        assert_eq!(message.bytes, b"take this");
        let mut copy = File::from(message.fds.remove(0));
        copy.rewind().unwrap();
        let mut text = String::new();
        copy.read_to_string(&mut text).unwrap();
        assert_eq!(text, "fire");
        assert_eq!(receive(there.as_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(here);
        assert!(receive(there.as_fd()).unwrap().is_none());
    }
}
