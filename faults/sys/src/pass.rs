//! Messages with file descriptors between two processes, over a `SOCK_SEQPACKET` socket pair, or one that was connected by
//! its path: each message arrives whole or not at all, and an end that is gone is seen at once.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind,
    connect, listen, recvmsg, sendmsg, socket, socketpair,
};

/// The longest message, in bytes. Below half of the kernel's default send buffer (`net.core.wmem_default`, 212992).
pub const LONGEST: usize = 64 * 1024;

/// Most descriptors in one message.
pub const MOST_FDS: usize = 4;

/// Connections that may wait to be accepted.
const WAITING: i32 = 16;

const FLAGS: SockFlag = SockFlag::SOCK_CLOEXEC.union(SockFlag::SOCK_NONBLOCK);

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
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, FLAGS)?)
}

/// Listens at a path, for this user alone. Non-blocking and close-on-exec.
pub fn listen_at(path: &Path) -> io::Result<OwnedFd> {
    let listener = socket(AddressFamily::Unix, SockType::SeqPacket, FLAGS, None)?;
    bind(listener.as_raw_fd(), &UnixAddr::new(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listen(&listener, Backlog::new(WAITING)?)?;
    Ok(listener)
}

/// Takes the next connection; `WouldBlock` when there is none. Non-blocking and close-on-exec.
#[expect(unsafe_code, reason = "a descriptor arrives as a number and becomes owned here")]
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let raw = accept4(listener.as_raw_fd(), FLAGS)?;
    // SAFETY: the kernel has just made this descriptor for this process; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Connects to who listens at a path. Non-blocking and close-on-exec.
pub fn connect_to(path: &Path) -> io::Result<OwnedFd> {
    let stream = socket(AddressFamily::Unix, SockType::SeqPacket, FLAGS, None)?;
    connect(stream.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(stream)
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
    fn who_connects_by_path_is_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("door");
        assert_eq!(connect_to(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        let listener = listen_at(&path).unwrap();
        assert_eq!(accept(listener.as_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let here = connect_to(&path).unwrap();
        let there = accept(listener.as_fd()).unwrap();
        send(here.as_fd(), b"hello", &[]).unwrap();
        assert_eq!(receive(there.as_fd()).unwrap().unwrap().bytes, b"hello");
    }

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
