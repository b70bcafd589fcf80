//! Folders that are open, each with what it held when it was read.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::DirEntryExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use firedrill_sys::files;
use fuser::FileType;

use super::attributes::kind;
use super::tree::Inode;

/// An entry of an open folder: its number, kind and name.
type Entry = (u64, FileType, OsString);

/// All that are open.
#[derive(Default)]
pub(super) struct Folders {
    open: Mutex<BTreeMap<u64, Vec<Entry>>>,
    next: AtomicU64,
}

impl Folders {
    /// Opens one; the number of the opening.
    pub(super) fn open(&self) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(number, Vec::new());
        number
    }

    /// Closes it.
    pub(super) fn close(&self, open: u64) {
        drop(self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&open));
    }

    /// Gives the entries of a folder from the `offset`-th on, until `take` has enough; they are read anew from the first.
    pub(super) fn list(
        &self,
        folder: &Inode,
        open: u64,
        offset: u64,
        mut take: impl FnMut(u64, u64, FileType, &OsStr) -> bool,
    ) -> io::Result<()> {
        if offset == 0 {
            let entries = entries(folder)?;
            self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(open, entries);
        }
        let folders = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = folders.get(&open).ok_or_else(|| io::Error::from_raw_os_error(files::EBADF))?;
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        for ((number, kind, name), next) in entries.iter().skip(skipped).zip(offset + 1..) {
            if take(*number, next, *kind, name) {
                break;
            }
        }
        Ok(())
    }
}

fn entries(folder: &Inode) -> io::Result<Vec<Entry>> {
    let mut entries = vec![
        (folder.number, FileType::Directory, OsString::from(".")),
        (folder.number, FileType::Directory, OsString::from("..")),
    ];
    for entry in fs::read_dir(folder.path())? {
        let entry = entry?;
        entries.push((entry.ino(), kind(entry.file_type()?), entry.file_name()));
    }
    Ok(entries)
}
