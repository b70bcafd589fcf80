//! How an operation meets the harms in force, and which files the kernel may pass through to by itself.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use firedrill_core::harm::DiskOp;
use fuser::{BackingId, Errno, INodeNo};

use super::backing::Backing;
use super::harms::{Deed, Fate, Harms};
use super::operations::{Operations, Twist};
use super::places::Parts;
use super::replies::Refuse;
use super::tree::Inode;

/// The file system.
pub(super) struct Passing {
    pub(super) below: Arc<Operations>,
    pub(super) harms: Arc<Harms>,
    /// What may be harmed; the kernel passes through by itself to all else.
    pub(super) targets: Vec<Parts>,
    pub(super) kernel_passes: Arc<AtomicBool>,
    /// Files whose data the kernel keeps, which it does for as long as it knows them.
    pub(super) cached: Arc<Mutex<BTreeSet<u64>>>,
    pub(super) way: Way,
}

/// How requests come.
#[derive(Clone)]
pub(super) enum Way {
    /// By `/dev/fuse`.
    Device,
    /// By `/dev/fuse` until the kernel has said whether it takes the queues that are ready for it.
    Offered(Arc<AtomicBool>),
    /// By queues, whose kernel has this device.
    Queues(Arc<File>),
}

/// What an operation is, for the harms.
#[derive(Clone, Copy)]
pub(super) struct About {
    pub(super) op: DiskOp,
    /// The file, or the folder it is in.
    pub(super) number: u64,
    pub(super) bytes: u64,
    /// Whether a file is opened for nothing else.
    pub(super) only_reads: bool,
    /// Whether only attributes are changed.
    pub(super) attributes: bool,
    /// Whether it may take long, so that whoever took the request should be free meanwhile.
    pub(super) slow: bool,
}

impl About {
    pub(super) const fn new(op: DiskOp, number: INodeNo) -> Self {
        let slow = match op {
            DiskOp::Read | DiskOp::Fsync | DiskOp::Truncate | DiskOp::Unlink | DiskOp::Rename => true,
            DiskOp::Open | DiskOp::Create | DiskOp::Write => false,
        };
        Self { op, number: number.0, bytes: 0, only_reads: false, attributes: false, slow }
    }
}

impl Passing {
    pub(super) fn new(below: Arc<Operations>, harms: Arc<Harms>, targets: Vec<Parts>) -> Self {
        Self { below, harms, targets, kernel_passes: Arc::default(), cached: Arc::default(), way: Way::Device }
    }

    fn place(&self, number: u64, name: Option<&OsStr>) -> Vec<OsString> {
        let found = self.below.tree.get(number).map(|inode| self.below.tree.place(&inode));
        let mut place = found.unwrap_or_default();
        place.extend(name.map(OsStr::to_owned));
        place
    }

    /// Has the operation meet the harms, and `work` done when nothing holds it.
    pub(super) fn through<R: Refuse>(
        &self,
        about: About,
        name: Option<&OsStr>,
        grows: &dyn Fn() -> bool,
        reply: R,
        work: impl FnOnce(&Arc<Operations>, &Twist, R) + Send + 'static,
    ) {
        let place = || self.place(about.number, name);
        let About { op, bytes, only_reads, attributes, .. } = about;
        let deed = Deed { op, place: &place, bytes, grows, only_reads, attributes };
        self.harms.meet(&deed, |fate, pass| {
            let Fate { fail, holds, flips, swallow, tear } = fate;
            let twist = Twist { flips, swallow, tear };
            let below = Arc::clone(&self.below);
            let act = move || match fail {
                Some(number) => reply.refuse(Errno::from_i32(number)),
                None => match below.powered() {
                    Ok(_on) => work(&below, &twist, reply),
                    Err(error) => reply.refuse(error.into()),
                },
            };
            match pass.held() {
                None if about.slow => self.harms.held.add(holds, act),
                None => act(),
                Some(held) => held.add(holds, act),
            }
        });
    }

    /// Whether the kernel may pass through to a file. Decided once for as long as it knows the file: it refuses to mix.
    fn may_pass(&self, inode: &Inode) -> bool {
        if !self.kernel_passes.load(Ordering::Relaxed) {
            return false;
        }
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.contains(&inode.number) {
            return false;
        }
        let place = self.below.tree.place(inode);
        let may = !self.targets.iter().any(|target| target.cover(&place));
        if !may {
            cached.insert(inode.number);
        }
        may
    }

    /// What the kernel passes through to: the same for all who have the file open.
    pub(super) fn backing(
        &self,
        inode: &Inode,
        file: &File,
        register: impl FnOnce(&File) -> io::Result<BackingId>,
    ) -> Option<Arc<Backing>> {
        let mut kept = inode.backing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(backing) = kept.upgrade() {
            return Some(backing);
        }
        if !self.may_pass(inode) {
            return None;
        }
        let registered = match &self.way {
            Way::Queues(device) => Backing::on_device(device, file),
            Way::Device | Way::Offered(_) => register(file).map(Backing::OfSession),
        };
        if let Ok(backing) = registered {
            let backing = Arc::new(backing);
            *kept = Arc::downgrade(&backing);
            return Some(backing);
        }
        // Not root, or a file system that cannot be passed to: everything goes by this process from now on.
        self.kernel_passes.store(false, Ordering::Relaxed);
        self.cached.lock().unwrap_or_else(PoisonError::into_inner).insert(inode.number);
        None
    }

    /// How long an open file is, in bytes.
    pub(super) fn size(&self, open: u64) -> u64 {
        self.below.open_file(open).and_then(|open| open.file.metadata()).map_or(0, |metadata| metadata.len())
    }

    /// Whether a write needs room that the file does not have yet.
    pub(super) fn needs_room(&self, open: u64, end: u64) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = self.below.open_file(open).and_then(|open| open.file.metadata());
        metadata.map_or(true, |metadata| end > metadata.len() || metadata.blocks() * 512 < metadata.len())
    }

    /// The same file system, for an operation that may wait.
    pub(super) fn share(&self) -> Self {
        Self {
            below: Arc::clone(&self.below),
            harms: Arc::clone(&self.harms),
            targets: self.targets.clone(),
            kernel_passes: Arc::clone(&self.kernel_passes),
            cached: Arc::clone(&self.cached),
            way: self.way.clone(),
        }
    }
}
