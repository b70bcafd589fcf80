//! Answers to the kernel, as the results of operations make them.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use firedrill_sys::fuse_ring::Asked;
use fuser::{
    Errno, FileAttr, FileType, Generation, INodeNo, ReplyAttr, ReplyCreate, ReplyData, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyWrite,
};

/// How long the kernel may believe what it was told of names and attributes: nobody else changes them.
pub(super) const TRUE_FOR: Duration = Duration::from_secs(3600);
/// Numbers are never given to another file while the kernel knows them.
pub(super) const GENERATION: Generation = Generation(0);

/// A reply that can be an error.
pub(super) trait Refuse: Send + 'static {
    fn refuse(self, error: Errno);
}

macro_rules! refuse {
    ($($reply:ty),*) => {
        $(impl Refuse for $reply {
            fn refuse(self, error: Errno) {
                self.error(error);
            }
        })*
    };
}

refuse!(ReplyAttr, ReplyCreate, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen);

impl Refuse for Asked {
    fn refuse(self, error: Errno) {
        self.fail(error.code());
    }
}

/// A reply that may give bytes.
pub(super) trait Give: Refuse {
    fn give(self, bytes: &[u8]);
}

impl Give for ReplyData {
    fn give(self, bytes: &[u8]) {
        self.data(bytes);
    }
}

impl Give for Asked {
    fn give(self, bytes: &[u8]) {
        self.answer(bytes);
    }
}

/// A reply that may say no more than that it is done.
pub(super) trait End: Refuse {
    fn end(self);
}

impl End for ReplyEmpty {
    fn end(self) {
        self.ok();
    }
}

impl End for Asked {
    fn end(self) {
        self.answer(&[]);
    }
}

/// The reply to a write, and what is to be written.
pub(super) trait Written: Refuse {
    fn data(&self) -> &[u8];
    fn written(self, bytes: u32);
}

/// A write whose data the session takes back when the request has been seen.
pub(super) struct Copied {
    pub(super) data: Vec<u8>,
    pub(super) reply: ReplyWrite,
}

impl Refuse for Copied {
    fn refuse(self, error: Errno) {
        self.reply.error(error);
    }
}

impl Written for Copied {
    fn data(&self) -> &[u8] {
        &self.data
    }

    fn written(self, bytes: u32) {
        self.reply.written(bytes);
    }
}

impl Written for Asked {
    fn data(&self) -> &[u8] {
        self.payload()
    }

    /// As `struct fuse_write_out` has it.
    fn written(self, bytes: u32) {
        let [a, b, c, d] = bytes.to_ne_bytes();
        self.answer(&[a, b, c, d, 0, 0, 0, 0]);
    }
}

pub(super) fn give_entry(reply: ReplyEntry, found: io::Result<FileAttr>) {
    match found {
        Ok(attributes) => reply.entry(&TRUE_FOR, &attributes, GENERATION),
        Err(error) => reply.error(error.into()),
    }
}

pub(super) fn give_attributes(reply: ReplyAttr, found: io::Result<FileAttr>) {
    match found {
        Ok(attributes) => reply.attr(&TRUE_FOR, &attributes),
        Err(error) => reply.error(error.into()),
    }
}

pub(super) fn give_data(reply: impl Give, read: io::Result<Vec<u8>>) {
    match read {
        Ok(bytes) => reply.give(&bytes),
        Err(error) => reply.refuse(error.into()),
    }
}

pub(super) fn give_end(reply: impl End, done: io::Result<()>) {
    match done {
        Ok(()) => reply.end(),
        Err(error) => reply.refuse(error.into()),
    }
}

/// By number 0 the kernel remembers that a name is not there.
pub(super) fn nobody() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}
