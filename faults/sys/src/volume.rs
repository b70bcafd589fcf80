//! Volumes: file systems of their own in image files, whose power can be cut. What was not on the device then is gone.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;

use crate::{clock, loops, mounts, programs};

/// The size of a volume, in bytes. Its image is sparse and takes what is written.
const SIZE: u64 = 8 << 30;
/// How long a file system may stay in use after its last process was killed.
const PATIENCE: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_millis(5);

/// A file system that can be cut off from its device.
struct Kind {
    name: &'static str,
    program: &'static str,
    /// The distribution's package that has the program.
    package: &'static str,
    arguments: &'static [&'static str],
    options: &'static str,
}

/// Best first. What the background tasks of ext4 would still initialise is zero in a new image.
const KINDS: [Kind; 2] = [
    Kind {
        name: "ext4",
        program: "mkfs.ext4",
        package: "e2fsprogs",
        arguments: &["-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1"],
        options: "noinit_itable",
    },
    Kind { name: "xfs", program: "mkfs.xfs", package: "xfsprogs", arguments: &["-q", "-f"], options: "" },
];

mod calls {
    // FS_IOC_SHUTDOWN, which ext4 and f2fs took over from XFS (XFS_IOC_GOINGDOWN), number included.
    // FIFREEZE and FITHAW of linux/fs.h; the kernel ignores their argument.
    nix::ioctl_none_bad!(freeze, nix::request_code_readwrite!(b'X', 119, size_of::<i32>()));
    nix::ioctl_none_bad!(thaw, nix::request_code_readwrite!(b'X', 120, size_of::<i32>()));
    nix::ioctl_write_ptr_bad!(shut_down, nix::request_code_read!(b'X', 125, size_of::<u32>()), u32);

    /// `struct mount_attr`, and of `MOUNT_ATTR_*`: every access is noted, and which settings of that kind make room for
    /// this one (linux/mount.h; `open_tree(2)`, `mount_setattr(2)`).
    pub(super) const STRICT: [u64; 4] = [0x20, 0x70 | 0x80, 0, 0];
    /// `OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC`.
    pub(super) const CLONE: libc::c_int = 1 | libc::O_CLOEXEC;
}

/// `FS_SHUTDOWN_FLAGS_NOLOGFLUSH`: not even the journal's memory reaches the device.
const NO_LOG_FLUSH: u32 = 2;

/// The file system that volumes are made with here, if none or if this one is asked for (`ext4`, `xfs`). `Err` says what is
/// missing, and what would provide it.
pub fn kind(asked: Option<&str>) -> Result<&'static str, (String, String)> {
    chosen(asked).map(|kind| kind.name)
}

fn chosen(asked: Option<&str>) -> Result<&'static Kind, (String, String)> {
    if !Path::new("/dev/loop-control").exists() {
        let remedy = "modprobe loop; in a container: run it with --privileged --volume /dev:/dev";
        return Err(("this machine has no loop devices".to_owned(), remedy.to_owned()));
    }
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let offers = |kind: &&Kind| known.lines().any(|line| line.split_whitespace().next_back() == Some(kind.name));
    let makes = |kind: &&Kind| programs::find(kind.program).is_some();
    // A file system that is a module is not known before its first mount.
    let kinds = || KINDS.iter().filter(|kind| asked.is_none_or(|asked| asked == kind.name));
    let best = kinds().find(|kind| makes(kind) && offers(kind)).or_else(|| kinds().find(makes));
    best.ok_or_else(|| {
        let Some(first) = kinds().next() else {
            let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
            return (
                format!("no volumes of {} are made", asked.unwrap_or_default()),
                format!("use {}", known.join(" or ")),
            );
        };
        let remedy = format!("apt-get install {}", first.package);
        (format!("program {} is not installed", first.program), remedy)
    })
}

/// Makes a new image with an empty file system in it, of the kind that is asked for or the best.
#[expect(clippy::disallowed_methods, reason = "sys is where commands are run")]
pub fn make(image: &Path, asked: Option<&str>) -> io::Result<()> {
    let Kind { program, arguments, .. } = chosen(asked).map_err(|(what, _)| io::Error::other(what))?;
    File::create_new(image)?.set_len(SIZE)?;
    let path = programs::find(program).ok_or_else(|| io::Error::other(format!("program {program} is gone")))?;
    let mut command = Command::new(path);
    let output = command.args(*arguments).arg(image).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program}: {}", said.trim().replace('\n', "; "))))
}

/// Mounts the file system of an image at `at`; its journal is replayed on the way.
pub fn mount(image: &File, at: &Path) -> io::Result<()> {
    if let Some(device) = loops::of(image)?.first() {
        return Err(io::Error::other(format!("it is still on {}", device.display())));
    }
    let device = loops::attach(image)?;
    mount_device(&device.path, at)
}

fn mount_device(device: &Path, at: &Path) -> io::Result<()> {
    // The image says what it is, whoever made it; the wrong ones do not take it.
    let mut failure = io::Error::other("no file system to mount it as");
    for Kind { name, options, .. } in KINDS {
        match mounts::device(device, at, name, options) {
            Ok(()) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => failure = error,
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
            Err(error) => return Err(error),
        }
    }
    Err(failure)
}

/// Empties a file system just made, and opens it to everybody as `/tmp` is.
pub fn prepare_root(at: &Path) -> io::Result<()> {
    match fs::remove_dir(at.join("lost+found")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::set_permissions(at, fs::Permissions::from_mode(0o1777))
}

/// Brings everything written so far to the device.
pub fn flush(at: &Path) -> io::Result<()> {
    let open = File::open(at)?;
    Ok(nix::unistd::syncfs(open)?)
}

/// Cuts file systems off from their devices, one right after the other. From then on everything on them fails with EIO,
/// until they are mounted anew.
#[expect(unsafe_code, reason = "an ioctl of file systems")]
pub fn cut_power(roots: &[File]) -> io::Result<()> {
    let flags = NO_LOG_FLUSH;
    for root in roots {
        // SAFETY: the flags live until the call returns.
        unsafe { calls::shut_down(root.as_raw_fd(), &raw const flags) }?;
    }
    Ok(())
}

/// Freezes a file system: what is written is on the device when this returns, and whoever changes anything from then on
/// waits until it is thawed. `EBUSY` if it is frozen already.
#[expect(unsafe_code, reason = "an ioctl of file systems")]
pub fn freeze(root: &File) -> io::Result<()> {
    // SAFETY: the call takes no memory of ours.
    unsafe { calls::freeze(root.as_raw_fd()) }?;
    Ok(())
}

/// Thaws a file system. Succeeds if it is not frozen.
#[expect(unsafe_code, reason = "an ioctl of file systems")]
pub fn thaw(root: &File) -> io::Result<()> {
    // SAFETY: the call takes no memory of ours.
    match unsafe { calls::thaw(root.as_raw_fd()) } {
        Ok(_) | Err(Errno::EINVAL) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// How long the clock by which accesses are noted may stand still: it ticks a hundred times a second at least (`CONFIG_HZ`).
const TICK: Duration = Duration::from_millis(30);

/// Whether the file system at `at` is frozen. Never waits for it: the kernel notes when a folder was read last, but on a frozen
/// file system it leaves that out rather than wait (`touch_atime`, fs/inode.c). So the topmost folder is read, by way of a
/// mount of its own that nobody else sees and that notes every access. Needs `CAP_SYS_ADMIN`, and Linux 5.12.
pub fn is_frozen(at: &Path) -> io::Result<bool> {
    let view = strict_view(at)?;
    let root = PathBuf::from(format!("/proc/self/fd/{}/.", view.as_raw_fd()));
    let accessed = || fs::metadata(&root).map(|root| (root.atime(), root.atime_nsec()));
    let noted = clock::until(TICK, INTERVAL, || {
        let looked = accessed().and_then(|before| {
            fs::read_dir(&root)?.next().transpose()?;
            Ok(accessed()? != before)
        });
        // Within one tick it is noted once.
        if matches!(looked, Ok(false)) { None } else { Some(looked) }
    });
    noted.map_or(Ok(true), |noted| noted.map(|noted| !noted))
}

/// A mount of its own of what is mounted at `at`, in no namespace, which notes every access.
#[expect(unsafe_code, reason = "nix knows neither call")]
fn strict_view(at: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(at.as_os_str().as_bytes())?;
    // SAFETY: the path lives until the call returns.
    let view = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), calls::CLONE) };
    let view = Errno::result(i32::try_from(view).map_err(io::Error::other)?)?;
    // SAFETY: the kernel has just given us this descriptor.
    let view = unsafe { OwnedFd::from_raw_fd(view) };
    let (here, strict) = (c"", calls::STRICT);
    // SAFETY: both pointers live until the call returns, and the size is that of what the second points to.
    let set = unsafe {
        let (fd, size) = (view.as_raw_fd(), size_of_val(&strict));
        libc::syscall(libc::SYS_mount_setattr, fd, here.as_ptr(), libc::AT_EMPTY_PATH, strict.as_ptr(), size)
    };
    Errno::result(set)?;
    Ok(view)
}

/// Thaws the file system on a loop device that may be mounted nowhere any more: a frozen one keeps its device for good, and
/// whoever waits for it cannot even be killed. It is mounted at `at`, a folder made for that, and taken away again.
pub fn thaw_device(device: &Path, at: &Path) -> io::Result<()> {
    fs::create_dir(at)?;
    let thawed = mount_device(device, at).and_then(|()| {
        let thawed = File::open(at).and_then(|root| thaw(&root));
        thawed.and(nix::mount::umount(at).map_err(io::Error::from))
    });
    thawed.and(fs::remove_dir(at))
}

/// Unmounts what is mounted at `at`, here and wherever the mount is propagated to, and waits until the image is on no
/// device: only then is what the kernel still had in memory gone. Succeeds if nothing is mounted there.
pub fn unmount(image: &File, at: &Path) -> io::Result<()> {
    let mut seen = format!("{} stays in use", at.display());
    let done = clock::until(PATIENCE, INTERVAL, || match nix::mount::umount(at) {
        Err(Errno::EINVAL | Errno::ENOENT) => match loops::of(image) {
            Ok(devices) if devices.is_empty() => Some(Ok(())),
            Ok(devices) => {
                seen = format!("{} is unmounted, and its device {devices:?} stays in use", at.display());
                None
            }
            Err(error) => Some(Err(error)),
        },
        // After a success there may have been another mount below this one.
        Ok(()) | Err(Errno::EBUSY) => None,
        Err(errno) => Some(Err(errno.into())),
    });
    done.unwrap_or_else(|| Err(io::Error::other(seen)))
}

/// Whether the file system at `at` takes writes: a file is made in it, written to its device, and removed.
pub fn takes_writes(at: &Path, name: &str) -> bool {
    let path = at.join(name);
    let written =
        OpenOptions::new().write(true).create(true).truncate(true).open(&path).and_then(|file| file.sync_all());
    let removed = fs::remove_file(&path);
    written.is_ok() && removed.is_ok()
}
