//! Loop devices: a file as a block device. They are attached with `autoclear`, so that one ends with its last use: when
//! the mount namespace it is mounted in goes, the device goes with it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

const CONTROL: &str = "/dev/loop-control";
/// `LO_FLAGS_AUTOCLEAR`, see loop(4).
const AUTOCLEAR: u32 = 4;
/// Somebody else may take the free device between the question and the attaching.
const TRIES: u32 = 32;

/// `struct loop_info64` of `linux/loop.h`.
#[repr(C)]
#[derive(Default)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u64; 8],
    crypt_name: [u64; 8],
    encrypt_key: [u64; 4],
    init: [u64; 2],
}

/// `struct loop_config` of `linux/loop.h`.
#[repr(C)]
#[derive(Default)]
struct Configuration {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

mod calls {
    nix::ioctl_none_bad!(get_free, 0x4C82);
    nix::ioctl_write_ptr_bad!(configure, 0x4C0A, super::Configuration);
    nix::ioctl_none_bad!(clear, 0x4C01);
    nix::ioctl_read_bad!(status, 0x4C05, super::Info);
}

/// An attached device; it stays while this value, or a mount of it, does.
#[derive(Debug)]
pub struct Loop {
    /// Its path in `/dev`.
    pub path: PathBuf,
    _open: File,
}

/// Attaches a file. Needs root outside of any user namespace, and Linux 5.8.
#[expect(unsafe_code, reason = "ioctls of loop devices")]
pub fn attach(image: &File) -> io::Result<Loop> {
    let fd = u32::try_from(image.as_raw_fd()).map_err(io::Error::other)?;
    let configuration = Configuration { fd, info: Info { flags: AUTOCLEAR, ..Info::default() }, ..Default::default() };
    let control = OpenOptions::new().read(true).write(true).open(CONTROL)?;
    for _ in 0..TRIES {
        // SAFETY: the call takes no memory of ours.
        let number = unsafe { calls::get_free(control.as_raw_fd()) }?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let open = OpenOptions::new().read(true).write(true).open(&path)?;
        // SAFETY: the structure is the kernel's, and lives until the call returns.
        match unsafe { calls::configure(open.as_raw_fd(), &raw const configuration) } {
            Ok(_) => return Ok(Loop { path, _open: open }),
            Err(Errno::EBUSY) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(io::Error::other(format!("{TRIES} loop devices were taken by somebody else")))
}

/// The devices that a file is attached to, whatever its name.
#[expect(unsafe_code, reason = "ioctls of loop devices")]
pub fn of(image: &File) -> io::Result<Vec<PathBuf>> {
    let wanted = image.metadata()?;
    let mut found = Vec::new();
    for (device, _) in below(Path::new("")) {
        // One that goes meanwhile is not attached.
        let Ok(open) = File::open(&device) else { continue };
        let mut info = Info::default();
        // SAFETY: the structure is the kernel's, and lives until the call returns.
        let told = unsafe { calls::status(open.as_raw_fd(), &raw mut info) };
        if told.is_ok() && (info.device, info.inode) == (wanted.dev(), wanted.ino()) {
            found.push(device);
        }
    }
    Ok(found)
}

/// The attached devices whose file is below `folder`, with that file; also those whose file is unlinked by now.
pub fn below(folder: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let Ok(text) = fs::read_to_string(entry.path().join("loop/backing_file")) else { continue };
        let text = text.trim_end_matches('\n');
        let file = PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(text));
        // Every path is below the empty one.
        if file.starts_with(folder) {
            found.push((Path::new("/dev").join(entry.file_name()), file));
        }
    }
    found.sort();
    found
}

/// Detaches a device, once nobody uses it any more. Succeeds if it is not attached.
#[expect(unsafe_code, reason = "ioctls of loop devices")]
pub fn detach(device: &Path) -> io::Result<()> {
    let open = File::open(device)?;
    // SAFETY: the call takes no memory of ours.
    match unsafe { calls::clear(open.as_raw_fd()) } {
        Ok(_) | Err(Errno::ENXIO) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_are_as_long_as_the_kernels() {
        assert_eq!(size_of::<Info>(), 232);
        assert_eq!(size_of::<Configuration>(), 304);
    }
}
