//! The kernel's requests: each meets the harms in force, and is then done below, fails, or waits, answered by another
//! thread.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use firedrill_core::harm::DiskOp;
use firedrill_sys::{files, fuse_ring};
use fuser::{
    BsdFileFlags, Errno, FileHandle, FileType, Filesystem, FopenFlags, INodeNo, InitFlags, KernelConfig, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::attributes::Change;
use super::backing::Backing;
use super::data::Of;
use super::operations::Owner;
use super::passing::{About, Passing, Way};
use super::replies::{Copied, GENERATION, TRUE_FOR, give_attributes, give_data, give_end, give_entry, nobody};

/// The largest write, in bytes.
pub(super) const LARGEST_WRITE: u32 = 1 << 20;
/// Reads ahead that may wait at once, so that stalled ones do not keep others from the disk.
const BACKGROUND: u16 = 1024;

/// How a file is opened whose data the kernel keeps, and one that it passes through to.
const KEPT: FopenFlags = FopenFlags::FOPEN_NOFLUSH.union(FopenFlags::FOPEN_KEEP_CACHE);
const PASSED: FopenFlags = FopenFlags::FOPEN_NOFLUSH;

/// Whose the things are that a request makes.
fn owner(request: &Request) -> Owner {
    Owner { user: request.uid(), group: request.gid() }
}

impl Filesystem for Passing {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // What an older kernel lacks it does without.
        let wanted = [InitFlags::FUSE_PARALLEL_DIROPS, InitFlags::FUSE_CACHE_SYMLINKS, InitFlags::FUSE_ASYNC_DIO];
        let _granted = wanted.map(|wanted| config.add_capabilities(wanted).is_ok());
        let _limited = (config.set_max_write(LARGEST_WRITE).is_ok(), config.set_max_background(BACKGROUND).is_ok());
        if let Way::Offered(taken) = &self.way {
            let offered = InitFlags::from_bits_retain(fuse_ring::OFFER);
            taken.store(config.add_capabilities(offered).is_ok(), Ordering::Relaxed);
        }
        let everything = self.targets.iter().any(|target| target.cover(&[]));
        if !everything && config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok() {
            let passes = config.set_max_stack_depth(2).is_ok();
            self.kernel_passes.store(passes, Ordering::Relaxed);
        }
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.below.lookup(parent.0, name) {
            Err(error) if error.raw_os_error() == Some(files::ENOENT) => {
                reply.entry(&TRUE_FOR, &nobody(), GENERATION);
            }
            found => give_entry(reply, found),
        }
    }

    fn forget(&self, _request: &Request, number: INodeNo, times: u64) {
        self.below.tree.forget(number.0, times);
        if self.below.tree.get(number.0).is_err() {
            self.cached.lock().unwrap_or_else(PoisonError::into_inner).remove(&number.0);
        }
    }

    fn getattr(&self, _request: &Request, number: INodeNo, _open: Option<FileHandle>, reply: ReplyAttr) {
        give_attributes(reply, self.below.attributes(number.0));
    }

    fn setattr(
        &self,
        _request: &Request,
        number: INodeNo,
        mode: Option<u32>,
        user: Option<u32>,
        group: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _changed: Option<SystemTime>,
        open: Option<FileHandle>,
        _created: Option<SystemTime>,
        _changed_flags: Option<SystemTime>,
        _backed_up: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change = Change { mode, owner: (user, group), size, times: (accessed, modified) };
        let about = About { attributes: size.is_none(), slow: size.is_some(), ..About::new(DiskOp::Truncate, number) };
        let grows = || {
            let now = self.below.attributes(number.0).map_or(0, |attributes| attributes.size);
            size.is_some_and(|size| size > now)
        };
        self.through(about, None, &grows, reply, move |below, _, reply| {
            let open = open.map(|open| open.0);
            give_attributes(reply, below.change(number.0, open, &change));
        });
    }

    fn readlink(&self, _request: &Request, number: INodeNo, reply: ReplyData) {
        give_data(reply, self.below.read_link(number.0).map(OsString::into_encoded_bytes));
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _mask: u32,
        _device: u32,
        reply: ReplyEntry,
    ) {
        let (owner, new) = (owner(request), name.to_owned());
        self.through(About::new(DiskOp::Create, parent), Some(name), &|| true, reply, move |below, _, reply| {
            give_entry(reply, below.make(parent.0, &new, owner, |path| files::make_node(path, mode)));
        });
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, _mask: u32, reply: ReplyEntry) {
        let (owner, new) = (owner(request), name.to_owned());
        self.through(About::new(DiskOp::Create, parent), Some(name), &|| true, reply, move |below, _, reply| {
            let make = |path: &Path| {
                use std::os::unix::fs::DirBuilderExt as _;
                fs::DirBuilder::new().mode(mode).create(path)
            };
            give_entry(reply, below.make(parent.0, &new, owner, make));
        });
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let gone = name.to_owned();
        self.through(About::new(DiskOp::Unlink, parent), Some(name), &|| false, reply, move |below, _, reply| {
            give_end(reply, below.remove(parent.0, &gone, false));
        });
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let gone = name.to_owned();
        self.through(About::new(DiskOp::Unlink, parent), Some(name), &|| false, reply, move |below, _, reply| {
            give_end(reply, below.remove(parent.0, &gone, true));
        });
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let (owner, new, target) = (owner(request), name.to_owned(), target.to_owned());
        self.through(About::new(DiskOp::Create, parent), Some(name), &|| true, reply, move |below, _, reply| {
            give_entry(reply, below.symlink(parent.0, &new, &target, owner));
        });
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let (from, to) = (name.to_owned(), new_name.to_owned());
        self.through(About::new(DiskOp::Rename, parent), Some(name), &|| false, reply, move |below, _, reply| {
            give_end(reply, below.rename((parent.0, &from), (new_parent.0, &to)));
        });
    }

    fn link(&self, _request: &Request, number: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let new = name.to_owned();
        self.through(About::new(DiskOp::Rename, parent), Some(name), &|| false, reply, move |below, _, reply| {
            give_entry(reply, below.link(number.0, parent.0, &new));
        });
    }

    fn open(&self, _request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let only_reads = flags.0 & files::O_ACCMODE == files::O_RDONLY;
        let about = About { only_reads, ..About::new(DiskOp::Open, number) };
        let this = self.share();
        self.through(about, None, &|| false, reply, move |below, _, reply| {
            let opened = below.tree.get(number.0).and_then(|inode| Ok((files::reopen(&inode.pinned, flags.0)?, inode)));
            let (file, inode) = match opened {
                Ok(opened) => opened,
                Err(error) => return reply.error(error.into()),
            };
            let backing = this.backing(&inode, &file, |file| reply.open_backing(file));
            let open = FileHandle(below.keep(file, inode, backing.clone()));
            match backing.as_deref() {
                Some(Backing::OfSession(id)) => reply.opened_passthrough(open, PASSED, id),
                Some(Backing::OfDevice(_)) => reply.opened(open, PASSED),
                None => reply.opened(open, KEPT),
            }
        });
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _mask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (owner, new, this) = (owner(request), name.to_owned(), self.share());
        self.through(About::new(DiskOp::Create, parent), Some(name), &|| true, reply, move |below, _, reply| {
            let (attributes, inode, file) = match below.create(parent.0, &new, (mode, flags), owner) {
                Ok(created) => created,
                Err(error) => return reply.error(error.into()),
            };
            let backing = this.backing(&inode, &file, |file| reply.open_backing(file));
            let open = FileHandle(below.keep(file, inode, backing.clone()));
            match backing.as_deref() {
                Some(Backing::OfSession(id)) => {
                    reply.created_passthrough(&TRUE_FOR, &attributes, GENERATION, open, PASSED, id);
                }
                Some(Backing::OfDevice(_)) => reply.created(&TRUE_FOR, &attributes, GENERATION, open, PASSED),
                None => reply.created(&TRUE_FOR, &attributes, GENERATION, open, KEPT),
            }
        });
    }

    fn read(
        &self,
        _request: &Request,
        number: INodeNo,
        open: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.read_data(Of { number, open: open.0 }, offset, size, reply);
    }

    fn write(
        &self,
        _request: &Request,
        number: INodeNo,
        open: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if self.write_data(Of { number, open: open.0 }, offset, Copied { data: data.to_vec(), reply }) {
            self.below.sync_early(open.0);
        }
    }

    fn release(
        &self,
        _request: &Request,
        _number: INodeNo,
        open: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.below.close(open.0);
        reply.ok();
    }

    fn fsync(&self, _request: &Request, number: INodeNo, open: FileHandle, only_data: bool, reply: ReplyEmpty) {
        self.sync_data(Of { number, open: open.0 }, only_data, reply);
    }

    fn opendir(&self, _request: &Request, _number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(self.below.folders.open()), FopenFlags::empty());
    }

    fn readdir(&self, _request: &Request, number: INodeNo, open: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let add = |number: u64, next: u64, kind: FileType, name: &OsStr| reply.add(INodeNo(number), next, kind, name);
        let folder = self.below.tree.get(number.0);
        match folder.and_then(|folder| self.below.folders.list(&folder, open.0, offset, add)) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error.into()),
        }
    }

    fn releasedir(&self, _request: &Request, _number: INodeNo, open: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        self.below.folders.close(open.0);
        reply.ok();
    }

    fn fsyncdir(&self, _request: &Request, number: INodeNo, _open: FileHandle, _only_data: bool, reply: ReplyEmpty) {
        self.through(About::new(DiskOp::Fsync, number), None, &|| false, reply, move |below, twist, reply| {
            give_end(reply, below.sync_folder(number.0, twist));
        });
    }

    fn statfs(&self, _request: &Request, _number: INodeNo, reply: ReplyStatfs) {
        match self.below.room() {
            Ok(room) => {
                let (all, free, ours) = room.blocks;
                let (free, ours) = if self.harms.nothing_free() { (0, 0) } else { (free, ours) };
                let (size, fragment) = room.sizes;
                reply.statfs(all, free, ours, room.files.0, room.files.1, size, room.longest_name, fragment);
            }
            Err(error) => reply.error(error.into()),
        }
    }

    /// Nobody here uses extended attributes; said once, the kernel does not ask again.
    fn getxattr(&self, _request: &Request, _number: INodeNo, _name: &OsStr, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _request: &Request, _number: INodeNo, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn fallocate(
        &self,
        _request: &Request,
        number: INodeNo,
        open: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let grows = || offset.saturating_add(length) > self.size(open.0);
        self.through(About::new(DiskOp::Truncate, number), None, &grows, reply, move |below, _, reply| {
            give_end(reply, below.allocate(open.0, (offset, length), mode));
        });
    }
}
