//! Answers to the kernel, as the results of operations make them.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

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

refuse!(ReplyAttr, ReplyCreate, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite);

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

pub(super) fn give_data(reply: ReplyData, read: io::Result<Vec<u8>>) {
    match read {
        Ok(bytes) => reply.data(&bytes),
        Err(error) => reply.error(error.into()),
    }
}

pub(super) fn give_end(reply: ReplyEmpty, done: io::Result<()>) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error.into()),
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
