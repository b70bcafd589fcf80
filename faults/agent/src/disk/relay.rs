//! Requests that came by a queue and are not on data: they are passed on, as bytes, to a session like that of `/dev/fuse`, and
//! its replies are passed back.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use firedrill_sys::fuse_ring::Asked;
use fuser::{Config, Session, SessionACL};

use super::THREADS;
use super::operations::Operations;
use super::passing::Passing;

/// The longest message, in bytes; a socket takes so much unless `net.core.wmem_default` was made smaller.
const LONGEST: usize = 128 << 10;
/// What may be asked of a folder at once, in bytes.
const LARGEST_LIST: u32 = 64 << 10;

/// `enum fuse_opcode` of `linux/fuse.h`.
const OPEN: u32 = 14;
const INIT: u32 = 26;
const READDIR: u32 = 28;
const CREATE: u32 = 35;

/// Where things are in a request, in bytes from its beginning: `struct fuse_in_header`, `struct fuse_read_in`.
const SIZE_OF_LIST: usize = 40 + 16;
/// In a reply: `struct fuse_out_header`, then `struct fuse_open_out`, before which a file that is created has a `struct
/// fuse_entry_out`.
const REPLY_HEADER: usize = 16;
const ENTRY: usize = 128;
const OPEN_FLAGS: usize = 8;
const OPEN_BACKING: usize = 12;
/// `FOPEN_PASSTHROUGH`.
const PASS_THROUGH: u32 = 1 << 7;

/// The way to that session and back.
pub(super) struct Relay {
    socket: UnixDatagram,
    below: Arc<Operations>,
    /// By the number of the request.
    waiting: Mutex<BTreeMap<u64, Asked>>,
}

impl Relay {
    /// Has the session begin.
    pub(super) fn start(passing: Passing) -> io::Result<Arc<Self>> {
        let (socket, theirs) = UnixDatagram::pair()?;
        let below = Arc::clone(&passing.below);
        let mut config = Config::default();
        config.acl = SessionACL::All;
        config.n_threads = Some(THREADS);
        // What is agreed upon with the kernel is agreed upon by `/dev/fuse`: this offers nothing.
        socket.send(&initiation())?;
        let session = Session::from_fd(passing, theirs.into(), SessionACL::All, config)?;
        socket.recv(&mut [0; 256])?;
        let relay = Arc::new(Self { socket, below, waiting: Mutex::default() });
        let back = Arc::clone(&relay);
        thread::Builder::new().name("relay".to_owned()).spawn(move || session.run())?;
        thread::Builder::new().name("replies".to_owned()).spawn(move || back.pass_back())?;
        Ok(relay)
    }

    /// Passes a request on.
    pub(super) fn pass(&self, asked: Asked) {
        let (operation, unique, mut request) = (asked.operation(), asked.unique(), asked.whole());
        if operation == READDIR && word(&request, SIZE_OF_LIST).is_some_and(|size| size > LARGEST_LIST) {
            put(&mut request, SIZE_OF_LIST, LARGEST_LIST);
        }
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(unique, asked);
        if self.socket.send(&request).is_err() {
            // Dropped, it fails.
            drop(self.answered(unique));
        }
    }

    fn answered(&self, unique: u64) -> Option<Asked> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&unique)
    }

    fn pass_back(&self) {
        let mut message = vec![0; LONGEST];
        while let Ok(length) = self.socket.recv(&mut message) {
            let reply = &mut message[..length];
            let (Some(error), Some(unique)) = (word(reply, 4), long(reply, 8)) else { continue };
            let Some(asked) = self.answered(unique) else { continue };
            match i32::from_ne_bytes(error.to_ne_bytes()) {
                0 => {
                    match asked.operation() {
                        OPEN => self.name_backing(&mut reply[REPLY_HEADER..]),
                        CREATE if length > REPLY_HEADER + ENTRY => {
                            self.name_backing(&mut reply[REPLY_HEADER + ENTRY..]);
                        }
                        _ => {}
                    }
                    asked.answer(&reply[REPLY_HEADER..]);
                }
                number => asked.fail(-number),
            }
        }
    }

    /// Tells the kernel what it passes through to, in a `struct fuse_open_out`: the session that made it cannot.
    fn name_backing(&self, opened: &mut [u8]) {
        let open = long(opened, 0).and_then(|open| self.below.open_file(open).ok());
        let id = open.and_then(|open| open.backing.as_ref()?.id());
        if let (Some(id), Some(flags)) = (id, word(opened, OPEN_FLAGS)) {
            put(opened, OPEN_FLAGS, flags | PASS_THROUGH);
            put(opened, OPEN_BACKING, id);
        }
    }
}

/// A request that begins a session: `struct fuse_in_header`, `struct fuse_init_in`.
fn initiation() -> Vec<u8> {
    let mut request = vec![0; 40 + 64];
    // Its length, what it is, its number; then the version.
    for (at, number) in [(0, 104), (4, INIT), (8, 1), (40, 7), (44, 38)] {
        put(&mut request, at, number);
    }
    request
}

fn put(bytes: &mut [u8], at: usize, word: u32) {
    bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
