//! Files by descriptors that stand for them without being open for reading or writing (`O_PATH`, see `open(2)`): they
//! stay valid whatever becomes of the name, and every other operation goes by `/proc/self/fd`.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise, readlinkat};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, mknod, utimensat};
use nix::sys::statvfs::statvfs;
use nix::sys::time::TimeSpec;

pub use libc::{
    EBADF, EEXIST, EINVAL, EIO, ENOENT, ENOSPC, ENOSYS, ENOTDIR, EOPNOTSUPP, EROFS, O_ACCMODE, O_CREAT, O_DIRECT,
    O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY, S_IFIFO, S_IFMT, S_IFREG, S_IFSOCK, S_ISGID,
};

/// A descriptor that stands for what is at `path`; a symbolic link is not followed.
pub fn pin(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)
}

/// The path by which a descriptor can be named.
pub fn path_of(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Opens what a descriptor stands for, with the access mode and the flags of `open(2)`, but nothing that makes a file.
pub fn reopen(pinned: &File, flags: i32) -> io::Result<File> {
    let keep = !(libc::O_ACCMODE | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_TRUNC | libc::O_APPEND);
    // O_DIRECT is between the server and us: below, the page cache is wanted.
    let custom = flags & keep & !libc::O_DIRECT;
    let open =
        |read: bool, write: bool| OpenOptions::new().read(read).write(write).custom_flags(custom).open(path_of(pinned));
    match flags & libc::O_ACCMODE {
        // What is overwritten may have to be read first.
        libc::O_WRONLY => open(true, true).or_else(|_| open(false, true)),
        libc::O_RDWR => open(true, true),
        _ => open(true, false),
    }
}

/// Gives what a descriptor stands for another name.
pub fn link(pinned: &File, path: &Path) -> io::Result<()> {
    Ok(nix::unistd::linkat(AT_FDCWD, &path_of(pinned), AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW)?)
}

/// What the symbolic link says that a descriptor stands for.
pub fn read_link(pinned: &File) -> io::Result<OsString> {
    Ok(readlinkat(pinned, "")?)
}

/// Makes a file that must not be there yet, open for reading and writing.
pub fn create(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(mode & 0o7777).custom_flags(libc::O_NOFOLLOW);
    options.open(path)
}

/// Opens a file for reading and writing past the page cache.
pub fn open_direct(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(path)
}

/// Makes a socket, a pipe or a plain file, by the kind bits of `mode`. Devices are refused.
pub fn make_node(path: &Path, mode: u32) -> io::Result<()> {
    let kind = SFlag::from_bits_truncate(mode & libc::S_IFMT);
    if ![SFlag::S_IFSOCK, SFlag::S_IFIFO, SFlag::S_IFREG].contains(&kind) {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    Ok(mknod(path, kind, Mode::from_bits_truncate(mode & 0o7777), 0)?)
}

/// Sets permission bits by path, following links of `/proc/self/fd`.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(mode & 0o7777))
}

/// A time to set on a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileTime {
    /// Leave it.
    Keep,
    /// The kernel's present.
    Now,
    /// Since the epoch.
    At(Duration),
}

/// Sets the times of last access and last change.
pub fn set_times(path: &Path, accessed: FileTime, modified: FileTime) -> io::Result<()> {
    let spec = |time: FileTime| match time {
        FileTime::Keep => TimeSpec::UTIME_OMIT,
        FileTime::Now => TimeSpec::UTIME_NOW,
        FileTime::At(since) => TimeSpec::from_duration(since),
    };
    Ok(utimensat(AT_FDCWD, path, &spec(accessed), &spec(modified), UtimensatFlags::FollowSymlink)?)
}

/// `fallocate(2)`.
pub fn allocate(file: &File, mode: i32, offset: i64, length: i64) -> io::Result<()> {
    let mode = FallocateFlags::from_bits(mode).ok_or_else(|| io::Error::from_raw_os_error(libc::EOPNOTSUPP))?;
    Ok(fallocate(file, mode, offset, length)?)
}

/// Drops what of a file is in the page cache and not dirty.
pub fn forget_cached(file: &File) -> io::Result<()> {
    Ok(posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
}

/// Room in a file system, in the units of `statvfs(3)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Blocks, free blocks, and free blocks for ordinary users.
    pub blocks: (u64, u64, u64),
    /// Files and free files.
    pub files: (u64, u64),
    /// Preferred and fundamental block size.
    pub sizes: (u32, u32),
    /// Longest name.
    pub longest_name: u32,
}

/// Room in the file system that `path` is on.
pub fn room(path: &Path) -> io::Result<Room> {
    let found = statvfs(path)?;
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(Room {
        blocks: (found.blocks(), found.blocks_free(), found.blocks_available()),
        files: (found.files(), found.files_free()),
        sizes: (small(found.block_size()), small(found.fragment_size())),
        longest_name: small(found.name_max()),
    })
}

/// Lets the calling process open as many files as it ever may.
pub fn raise_open_files() -> io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// Lets files that the calling process makes have the very permission bits it asks for.
pub fn clear_umask() {
    nix::sys::stat::umask(Mode::empty());
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    use super::*;

    #[test]
    fn a_pinned_file_outlives_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        create(&path, 0o600).unwrap().write_all_at(b"fire", 0).unwrap();
        let pinned = pin(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let open = reopen(&pinned, libc::O_RDWR | libc::O_DIRECT).unwrap();
        let mut text = [0; 4];
        open.read_exact_at(&mut text, 0).unwrap();
        assert_eq!((&text, pinned.metadata().unwrap().nlink()), (b"fire", 0));
        set_times(&path_of(&pinned), FileTime::Keep, FileTime::At(Duration::from_secs(5))).unwrap();
        assert_eq!(pinned.metadata().unwrap().mtime(), 5);
    }

    #[test]
    fn sockets_can_be_made_and_devices_cannot() {
        let folder = tempfile::tempdir().unwrap();
        make_node(&folder.path().join("socket"), libc::S_IFSOCK | 0o600).unwrap();
        let refused = make_node(&folder.path().join("disk"), libc::S_IFBLK | 0o600).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    }
}
