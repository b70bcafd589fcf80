//! Attributes of files, as the system has them and as the kernel asks for them.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use firedrill_sys::files;
use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};

use super::tree::{ROOT, number_of};

/// New attributes; `None` stays as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) mode: Option<u32>,
    pub(super) owner: (Option<u32>, Option<u32>),
    pub(super) size: Option<u64>,
    pub(super) times: (Option<TimeOrNow>, Option<TimeOrNow>),
}

/// A time that is to be set.
pub(super) fn file_time(time: Option<TimeOrNow>) -> files::FileTime {
    match time {
        None => files::FileTime::Keep,
        Some(TimeOrNow::Now) => files::FileTime::Now,
        Some(TimeOrNow::SpecificTime(time)) => {
            files::FileTime::At(time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
        }
    }
}

/// What kind of file that is.
pub(super) fn kind(of: fs::FileType) -> FileType {
    if of.is_dir() {
        FileType::Directory
    } else if of.is_symlink() {
        FileType::Symlink
    } else if of.is_socket() {
        FileType::Socket
    } else if of.is_fifo() {
        FileType::NamedPipe
    } else if of.is_block_device() {
        FileType::BlockDevice
    } else if of.is_char_device() {
        FileType::CharDevice
    } else {
        FileType::RegularFile
    }
}

/// What is said of the file with that number.
pub(super) fn attributes(number: u64, metadata: &Metadata) -> FileAttr {
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let time = |seconds: i64, nanos: i64| -> SystemTime {
        let (seconds, nanos) = (u64::try_from(seconds).unwrap_or(0), u32::try_from(nanos).unwrap_or(0));
        UNIX_EPOCH + Duration::new(seconds, nanos)
    };
    FileAttr {
        ino: INodeNo(if number == ROOT { ROOT } else { number_of(metadata) }),
        size: metadata.len(),
        blocks: metadata.blocks(),
        atime: time(metadata.atime(), metadata.atime_nsec()),
        mtime: time(metadata.mtime(), metadata.mtime_nsec()),
        ctime: time(metadata.ctime(), metadata.ctime_nsec()),
        crtime: UNIX_EPOCH,
        kind: kind(metadata.file_type()),
        perm: u16::try_from(metadata.mode() & 0o7777).unwrap_or(0),
        nlink: small(metadata.nlink()),
        uid: metadata.uid(),
        gid: metadata.gid(),
        rdev: small(metadata.rdev()),
        blksize: small(metadata.blksize()),
        flags: 0,
    }
}
