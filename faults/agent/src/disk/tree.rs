//! The files and folders the kernel knows of, each by a descriptor that stands for it, so that renames, hard links and
//! files without a name need no care.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use firedrill_sys::files;

use super::backing::Backing;
use super::early::Early;
use super::length::Length;

/// The number of the home itself.
pub(super) const ROOT: u64 = 1;
/// The deepest folder.
const DEEPEST: usize = 64;

/// A file or folder.
#[derive(Debug)]
pub(crate) struct Inode {
    /// Its number, in the file system below as well, but for [`ROOT`].
    pub(crate) number: u64,
    /// Stands for it.
    pub(crate) pinned: File,
    place: Mutex<Place>,
    /// What the kernel passes through to while it is open, if it does.
    pub(crate) backing: Mutex<Weak<Backing>>,
    /// Its changes and syncs.
    pub(super) early: Early,
    pub(super) length: Length,
}

/// The name it was last known by.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    parent: u64,
    name: OsString,
}

impl Inode {
    /// The path by which it is reached, whatever its name.
    pub(crate) fn path(&self) -> PathBuf {
        files::path_of(&self.pinned)
    }

    /// The path of what it holds under that name.
    pub(crate) fn child(&self, name: &OsStr) -> PathBuf {
        self.path().join(name)
    }
}

#[derive(Debug)]
struct Known {
    inode: Arc<Inode>,
    lookups: u64,
}

/// All that the kernel knows of.
#[derive(Debug)]
pub(crate) struct Tree {
    known: RwLock<BTreeMap<u64, Known>>,
}

impl Tree {
    /// Knows the home only.
    pub(super) fn new(home: File) -> io::Result<Self> {
        if !home.metadata()?.is_dir() {
            return Err(io::Error::from_raw_os_error(files::ENOTDIR));
        }
        let tree = Self { known: RwLock::default() };
        let place = Place { parent: 0, name: OsString::new() };
        tree.known_mut().insert(ROOT, Known { inode: inode(ROOT, home, place), lookups: 1 });
        Ok(tree)
    }

    fn known_mut(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<u64, Known>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has that number.
    pub(super) fn get(&self, number: u64) -> io::Result<Arc<Inode>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(&number).map(|known| Arc::clone(&known.inode));
        found.ok_or_else(|| io::Error::from_raw_os_error(files::ENOENT))
    }

    /// What a folder holds under a name; the kernel knows it from now on.
    pub(super) fn meet(&self, parent: &Inode, name: &OsStr) -> io::Result<(Arc<Inode>, Metadata)> {
        let pinned = files::pin(&parent.child(name))?;
        let metadata = pinned.metadata()?;
        let number = number_of(&metadata);
        let place = Place { parent: parent.number, name: name.to_owned() };
        let mut known = self.known_mut();
        let entry =
            known.entry(number).or_insert_with(|| Known { inode: inode(number, pinned, place.clone()), lookups: 0 });
        entry.lookups += 1;
        entry.inode.place.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&place);
        Ok((Arc::clone(&entry.inode), metadata))
    }

    /// The kernel has forgotten so many meetings.
    pub(super) fn forget(&self, number: u64, times: u64) {
        let mut known = self.known_mut();
        if number != ROOT
            && let Some(entry) = known.get_mut(&number)
        {
            entry.lookups = entry.lookups.saturating_sub(times);
            if entry.lookups == 0 {
                known.remove(&number);
            }
        }
    }

    /// What was renamed to that name is known by it.
    pub(super) fn renamed(&self, parent: &Inode, name: &OsStr) -> io::Result<()> {
        let number = number_of(&std::fs::symlink_metadata(parent.child(name))?);
        if let Ok(inode) = self.get(number) {
            let place = Place { parent: parent.number, name: name.to_owned() };
            *inode.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
        }
        Ok(())
    }

    /// Where it is below the home, as far as is known.
    pub(super) fn place(&self, inode: &Inode) -> Vec<OsString> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut parts = Vec::new();
        let mut place = inode.place.lock().unwrap_or_else(PoisonError::into_inner).clone();
        while place.parent != 0 && parts.len() < DEEPEST {
            parts.push(place.name);
            let Some(parent) = known.get(&place.parent) else { break };
            place = parent.inode.place.lock().unwrap_or_else(PoisonError::into_inner).clone();
        }
        parts.reverse();
        parts
    }

    /// All that is known, but for the home.
    pub(super) fn all(&self) -> Vec<Arc<Inode>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.values().filter(|known| known.inode.number != ROOT).map(|known| Arc::clone(&known.inode)).collect()
    }
}

fn inode(number: u64, pinned: File, place: Place) -> Arc<Inode> {
    let (backing, early, length) = (Mutex::default(), Early::default(), Length::default());
    Arc::new(Inode { number, pinned, place: Mutex::new(place), backing, early, length })
}

/// The number below, unless that is the one by which the kernel knows the home.
pub(super) fn number_of(metadata: &Metadata) -> u64 {
    if metadata.ino() == ROOT { u64::MAX } else { metadata.ino() }
}
