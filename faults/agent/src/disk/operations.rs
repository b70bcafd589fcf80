//! What operations do below, once nothing holds them: each is the same operation on the folder that is passed through to.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, lchown, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use firedrill_sys::{files, namespaces};
use fuser::FileAttr;

use super::attributes::{Change, attributes, file_time};
use super::backing::Backing;
use super::early;
use super::folders::Folders;
use super::harms::draw;
use super::length::Changing;
use super::loss::{Gone, Loss};
use super::tree::{Inode, ROOT, Tree};

/// A sync that takes longer than this is left to a thread that takes no requests: to wake that one costs little beside it.
const SLOW: Duration = Duration::from_millis(1);

/// An open file.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) file: File,
    pub(super) inode: Arc<Inode>,
    /// Kept for as long as the kernel may pass through to it.
    pub(super) backing: Option<Arc<Backing>>,
}

/// What becomes of an operation that was let through, beside what it does.
#[derive(Default)]
pub(super) struct Twist {
    /// Bits to flip of what is read.
    pub(super) flips: Vec<u64>,
    /// Nothing is done, and success reported.
    pub(super) swallow: bool,
    /// What is written may be torn.
    pub(super) tear: bool,
}

/// Whose the things are that are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Owner {
    pub(super) user: u32,
    pub(super) group: u32,
}

/// The power of a disk that can lose it.
pub(super) struct Power {
    /// Whether it is on. Operations hold the lock for as long as they take.
    on: RwLock<bool>,
    loss: Mutex<Loss>,
}

impl Power {
    pub(super) fn new() -> Self {
        Self { on: RwLock::new(true), loss: Mutex::default() }
    }
}

/// The folder below, and what of it is open.
pub(super) struct Operations {
    pub(super) tree: Arc<Tree>,
    power: Option<Power>,
    opened: RwLock<BTreeMap<u64, Arc<Open>>>,
    pub(super) folders: Folders,
    next: AtomicU64,
    own: Owner,
    /// Taken while a file is synced early, one at a time, so that somebody is there for requests.
    syncing: Mutex<()>,
    /// Whether the last early sync took long.
    slow: AtomicBool,
}

impl Operations {
    pub(super) fn new(tree: Arc<Tree>, power: Option<Power>) -> Self {
        let (user, group) = namespaces::own_ids();
        let (opened, folders, next) = (RwLock::default(), Folders::default(), AtomicU64::new(1));
        let own = Owner { user, group };
        Self { tree, power, opened, folders, next, own, syncing: Mutex::default(), slow: AtomicBool::default() }
    }

    /// To be held during an operation; an error if the power is lost.
    pub(super) fn powered(&self) -> io::Result<Option<RwLockReadGuard<'_, bool>>> {
        let on = self.power.as_ref().map(|power| power.on.read().unwrap_or_else(PoisonError::into_inner));
        match on {
            Some(on) if !*on => Err(io::Error::from_raw_os_error(files::EIO)),
            on => Ok(on),
        }
    }

    /// What a loss of power would take back, if it can be lost.
    pub(super) fn loss(&self) -> Option<MutexGuard<'_, Loss>> {
        self.power.as_ref().map(|power| power.loss.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on every operation fails, and what was not synced is gone; see [`Loss::take_back`].
    pub(super) fn lose_power(&self, tear: Option<u64>) -> io::Result<Gone> {
        let Some(power) = &self.power else { return Err(io::Error::other("this disk cannot lose its power")) };
        let mut on = power.on.write().unwrap_or_else(PoisonError::into_inner);
        *on = false;
        power.loss.lock().unwrap_or_else(PoisonError::into_inner).take_back(tear)
    }

    /// The power is back.
    pub(super) fn regain_power(&self) {
        if let Some(power) = &self.power {
            *power.on.write().unwrap_or_else(PoisonError::into_inner) = true;
        }
    }

    /// Keeps what an operation is about to overwrite, which is under way until what this gives is dropped.
    fn keep_old<'a>(
        &self,
        inode: &'a Arc<Inode>,
        file: &File,
        offset: u64,
        length: u64,
    ) -> io::Result<Option<Changing<'a>>> {
        self.loss().map(|mut loss| loss.keep(inode, file, offset, length)).transpose()
    }

    pub(super) fn lookup(&self, parent: u64, name: &OsStr) -> io::Result<FileAttr> {
        let (inode, metadata) = self.tree.meet(&*self.tree.get(parent)?, name)?;
        Ok(attributes(inode.number, &metadata))
    }

    pub(super) fn attributes(&self, number: u64) -> io::Result<FileAttr> {
        Ok(attributes(number, &self.tree.get(number)?.pinned.metadata()?))
    }

    pub(super) fn change(&self, number: u64, open: Option<u64>, change: &Change) -> io::Result<FileAttr> {
        let inode = self.tree.get(number)?;
        let path = inode.path();
        if let Some(mode) = change.mode {
            files::set_mode(&path, mode)?;
        }
        if change.owner != (None, None) {
            std::os::unix::fs::chown(&path, change.owner.0, change.owner.1)?;
        }
        if let Some(size) = change.size {
            match open.and_then(|open| self.open_file(open).ok()) {
                Some(open) => self.resize(&inode, &open.file, size)?,
                None => self.resize(&inode, &files::reopen(&inode.pinned, files::O_RDWR)?, size)?,
            }
        }
        if change.times.0.is_some() || change.times.1.is_some() {
            files::set_times(&path, file_time(change.times.0), file_time(change.times.1))?;
        }
        self.attributes(number)
    }

    fn resize(&self, inode: &Arc<Inode>, file: &File, size: u64) -> io::Result<()> {
        inode.early.change(None, || {
            let _change = self.keep_old(inode, file, size, u64::MAX - size)?;
            file.set_len(size)
        })
    }

    pub(super) fn read_link(&self, number: u64) -> io::Result<OsString> {
        files::read_link(&self.tree.get(number)?.pinned)
    }

    /// Makes something in a folder by `make`, gives it its owner, and meets it.
    pub(super) fn make(
        &self,
        parent: u64,
        name: &OsStr,
        owner: Owner,
        make: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<FileAttr> {
        let parent = self.tree.get(parent)?;
        let path = parent.child(name);
        make(&path)?;
        self.give(&parent, &path, owner)?;
        let (inode, metadata) = self.tree.meet(&parent, name)?;
        Ok(attributes(inode.number, &metadata))
    }

    /// The kernel has checked that the asker may; made by us, it is ours until it is given away.
    fn give(&self, parent: &Inode, path: &Path, owner: Owner) -> io::Result<()> {
        let folder = parent.pinned.metadata()?;
        let inherits = folder.mode() & files::S_ISGID != 0;
        let group = if inherits { folder.gid() } else { owner.group };
        if (owner.user, group) == (self.own.user, self.own.group) && !inherits {
            return Ok(());
        }
        lchown(path, Some(owner.user), Some(group))
    }

    pub(super) fn symlink(&self, parent: u64, name: &OsStr, target: &Path, owner: Owner) -> io::Result<FileAttr> {
        self.make(parent, name, owner, |path| symlink(target, path))
    }

    pub(super) fn link(&self, number: u64, parent: u64, name: &OsStr) -> io::Result<FileAttr> {
        let (inode, parent) = (self.tree.get(number)?, self.tree.get(parent)?);
        files::link(&inode.pinned, &parent.child(name))?;
        let (inode, metadata) = self.tree.meet(&parent, name)?;
        Ok(attributes(inode.number, &metadata))
    }

    pub(super) fn remove(&self, parent: u64, name: &OsStr, folder: bool) -> io::Result<()> {
        let path = self.tree.get(parent)?.child(name);
        if folder { fs::remove_dir(path) } else { fs::remove_file(path) }
    }

    pub(super) fn rename(&self, from: (u64, &OsStr), to: (u64, &OsStr)) -> io::Result<()> {
        let (parent, new_parent) = (self.tree.get(from.0)?, self.tree.get(to.0)?);
        fs::rename(parent.child(from.1), new_parent.child(to.1))?;
        self.tree.renamed(&new_parent, to.1)
    }

    /// Makes a file and opens it.
    pub(super) fn create(
        &self,
        parent: u64,
        name: &OsStr,
        (mode, flags): (u32, i32),
        owner: Owner,
    ) -> io::Result<(FileAttr, Arc<Inode>, File)> {
        let folder = self.tree.get(parent)?;
        let path = folder.child(name);
        let file = match files::create(&path, mode) {
            Ok(file) => {
                self.give(&folder, &path, owner)?;
                Some(file)
            }
            Err(error) if error.raw_os_error() == Some(files::EEXIST) && flags & files::O_EXCL == 0 => None,
            Err(error) => return Err(error),
        };
        let (inode, metadata) = self.tree.meet(&folder, name)?;
        let file = file.map_or_else(|| files::reopen(&inode.pinned, flags), Ok)?;
        Ok((attributes(inode.number, &metadata), inode, file))
    }

    /// Keeps an open file; its number.
    pub(super) fn keep(&self, file: File, inode: Arc<Inode>, backing: Option<Arc<Backing>>) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let open = Arc::new(Open { file, inode, backing });
        self.opened.write().unwrap_or_else(PoisonError::into_inner).insert(number, open);
        number
    }

    pub(super) fn open_file(&self, open: u64) -> io::Result<Arc<Open>> {
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        opened.get(&open).cloned().ok_or_else(|| io::Error::from_raw_os_error(files::EBADF))
    }

    pub(super) fn close(&self, open: u64) {
        let closed = self.opened.write().unwrap_or_else(PoisonError::into_inner).remove(&open);
        if let Some(closed) = closed {
            closed.inode.early.closed(open);
        }
    }

    pub(super) fn read(&self, open: u64, offset: u64, size: u32, twist: &Twist) -> io::Result<Vec<u8>> {
        let open = self.open_file(open)?;
        let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
        let mut filled = 0;
        while filled < bytes.len() {
            let at = offset + u64::try_from(filled).map_err(io::Error::other)?;
            match open.file.read_at(&mut bytes[filled..], at) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        for drawn in &twist.flips {
            flip(&mut bytes, *drawn);
        }
        Ok(bytes)
    }

    pub(super) fn write(&self, number: u64, offset: u64, data: &[u8], twist: &Twist) -> io::Result<u32> {
        let open = self.open_file(number)?;
        let length = u64::try_from(data.len()).map_err(io::Error::other)?;
        open.inode.early.change(Some(number), || {
            let change = self.keep_old(&open.inode, &open.file, offset, length)?;
            open.file.write_all_at(data, offset)?;
            if let Some(change) = change {
                change.written(offset.saturating_add(length));
            }
            Ok(())
        })?;
        if twist.tear {
            self.loss().into_iter().for_each(|mut loss| loss.may_tear(open.inode.number, offset, length));
        }
        u32::try_from(data.len()).map_err(io::Error::other)
    }

    /// Syncs a file, or waits for a sync begun early, and then gives `answer`.
    pub(super) fn sync(
        self: &Arc<Self>,
        number: u64,
        only_data: bool,
        twist: &Twist,
        answer: impl FnOnce(io::Result<()>) + Send + 'static,
    ) {
        let open = match self.open_file(number) {
            Ok(open) => open,
            Err(error) => return answer(Err(error)),
        };
        if twist.swallow {
            self.loss().into_iter().for_each(|mut loss| loss.swallow(open.inode.number));
            return answer(Ok(()));
        }
        let (this, file) = (Arc::clone(self), open.inode.number);
        let synced = move |result: io::Result<()>| {
            // The kernel lets nobody write to a file while it is synced.
            if result.is_ok() {
                this.loss().into_iter().for_each(|mut loss| loss.synced(file));
            }
            answer(result);
        };
        if let Some(synced) = open.inode.early.asked(number, only_data, synced) {
            synced(if only_data { open.file.sync_data() } else { open.file.sync_all() });
        }
    }

    /// Whether a sync would be answered by one begun early.
    pub(super) fn is_syncing(&self, open: u64, only_data: bool) -> bool {
        self.open_file(open).is_ok_and(|file| file.inode.early.covers(open, only_data))
    }

    /// Syncs a file early, if that is expected after a write through this open file that has been answered. Until it is over
    /// the power is not lost.
    pub(super) fn sync_early(&self, number: u64) {
        if let (Ok(open), Ok(_on), Ok(_one)) = (self.open_file(number), self.powered(), self.syncing.try_lock())
            && let Some(took) = early::sync(number, &open)
        {
            self.slow.store(took > SLOW, Ordering::Relaxed);
        }
    }

    /// Whether whoever syncs early should not be one who takes requests.
    pub(super) fn syncs_slowly(&self) -> bool {
        self.slow.load(Ordering::Relaxed)
    }

    pub(super) fn sync_folder(&self, number: u64, twist: &Twist) -> io::Result<()> {
        if twist.swallow { Ok(()) } else { File::open(self.tree.get(number)?.path())?.sync_all() }
    }

    pub(super) fn allocate(&self, open: u64, range: (u64, u64), mode: i32) -> io::Result<()> {
        let open = self.open_file(open)?;
        let signed = |number: u64| i64::try_from(number).map_err(|_| io::Error::from_raw_os_error(files::EINVAL));
        open.inode.early.change(None, || {
            let _change = self.keep_old(&open.inode, &open.file, range.0, range.1)?;
            files::allocate(&open.file, mode, signed(range.0)?, signed(range.1)?)
        })
    }

    pub(super) fn room(&self) -> io::Result<files::Room> {
        files::room(&self.tree.get(ROOT)?.path())
    }
}

/// Flips a bit that `drawn` chooses, if there is any.
pub(super) fn flip(bytes: &mut [u8], drawn: u64) {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if let Some(place) = drawn.checked_rem(length).and_then(|place| usize::try_from(place).ok()) {
        bytes[place] ^= 1 << (draw(drawn, 1) % 8);
    }
}
