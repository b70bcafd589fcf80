//! Taking resources away: memory that no process has mapped, files without a name, and limits of other processes. What takes
//! them is a process of its own, whose end gives everything back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::unistd::{Gid, Uid};

/// Memory is taken in pieces of this size, in bytes, so that a limit is met and not leapt over.
pub const PIECE: usize = 64 * 1024;

/// Memory that is taken by writing to a file that only memory holds. It is not mapped, so that it counts for the control
/// group of whoever writes and not for the size of the process: the kernel's killer looks at the size.
#[derive(Debug)]
pub struct Taken {
    file: File,
    bytes: u64,
}

impl Taken {
    /// Nothing yet.
    pub fn new() -> io::Result<Self> {
        let file = nix::sys::memfd::memfd_create(c"firedrill", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
        Ok(Self { file: file.into(), bytes: 0 })
    }

    /// Takes one more [`PIECE`].
    pub fn more(&mut self) -> io::Result<()> {
        // Not zeros, which same-page merging would fold into one.
        let piece = vec![u8::try_from(self.bytes % 251).unwrap_or(1); PIECE];
        self.file.write_all(&piece)?;
        self.bytes += u64::try_from(piece.len()).unwrap_or(0);
        Ok(())
    }

    /// How much is taken, in bytes.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// How much a process has taken so, in bytes; 0 when it is gone or hidden.
pub fn taken(pid: i32) -> u64 {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().map(|entry| entry.path());
    let memory =
        files.filter(|file| fs::read_link(file).is_ok_and(|link| link.starts_with("/memfd:firedrill (deleted)")));
    memory.filter_map(|file| fs::metadata(file).ok()).map(|metadata| metadata.len()).sum()
}

/// A file in `folder` that has no name, so that nothing of it is left when it is closed.
pub fn nameless_file(folder: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(folder)
}

/// Writes `block` at `offset` and waits until the device has it.
pub fn write_through(file: &File, block: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(block, offset)?;
    file.sync_data()
}

/// Spins for ever.
pub fn spin() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

/// How many file descriptors a process may have: what it is held to, and how far it may raise that itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileLimit {
    /// What it is held to.
    pub soft: u64,
    /// How far it may raise that.
    pub hard: u64,
}

/// The limit of a process, from `/proc/PID/limits`.
pub fn file_limit(pid: i32) -> io::Result<FileLimit> {
    let text = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    parse_limit(&text).ok_or_else(|| io::Error::other(format!("/proc/{pid}/limits has no limit of open files")))
}

fn parse_limit(text: &str) -> Option<FileLimit> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut numbers =
        line.split_ascii_whitespace().map(|word| if word == "unlimited" { Some(u64::MAX) } else { word.parse().ok() });
    Some(FileLimit { soft: numbers.next()??, hard: numbers.next()?? })
}

/// The limits in `/proc/PID/limits`, as the options of `prlimit(1)` are called.
const LIMITS: [(&str, &str); 16] = [
    ("Max cpu time", "cpu"),
    ("Max file size", "fsize"),
    ("Max data size", "data"),
    ("Max stack size", "stack"),
    ("Max core file size", "core"),
    ("Max resident set", "rss"),
    ("Max processes", "nproc"),
    ("Max open files", "nofile"),
    ("Max locked memory", "memlock"),
    ("Max address space", "as"),
    ("Max file locks", "locks"),
    ("Max pending signals", "sigpending"),
    ("Max msgqueue size", "msgqueue"),
    ("Max nice priority", "nice"),
    ("Max realtime priority", "rtprio"),
    ("Max realtime timeout", "rttime"),
];

/// All limits of a process, as `prlimit(1)` takes them: `nofile`, `1024:4096`. None of a process that is gone.
pub fn limits(pid: i32) -> Vec<(&'static str, String)> {
    all_limits(&fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default())
}

fn all_limits(text: &str) -> Vec<(&'static str, String)> {
    let of_line = |line: &str| {
        let (name, option) = LIMITS.iter().find(|(name, _)| line.starts_with(name))?;
        let mut values = line.get(name.len()..)?.split_ascii_whitespace();
        Some((*option, format!("{}:{}", values.next()?, values.next()?)))
    };
    text.lines().filter_map(of_line).collect()
}

/// How many file descriptors a process has open.
pub fn open_files(pid: i32) -> io::Result<u64> {
    let count = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    u64::try_from(count).map_err(io::Error::other)
}

/// Sets the limit of a process. The caller must be of the same user in every respect, or have `CAP_SYS_RESOURCE`.
#[expect(unsafe_code, reason = "nix has no prlimit")]
pub fn limit_files(pid: i32, limit: FileLimit) -> io::Result<()> {
    let new = libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard };
    // SAFETY: the kernel reads `new`, which outlives the call, and writes nowhere because the last pointer is null.
    let done = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const new, std::ptr::null_mut()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The real user and group of a process.
pub fn owner(pid: i32) -> io::Result<(u32, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let id = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    id("Uid:").zip(id("Gid:")).ok_or_else(|| io::Error::other(format!("/proc/{pid}/status names no user")))
}

/// Makes the calling process one of this user and group, for good; nothing to do when it is already.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    if crate::namespaces::own_ids() == (uid, gid) {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(gid, gid, gid)?;
    Ok(nix::unistd::setresuid(uid, uid, uid)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 unlimited            files     \n";
        assert_eq!(parse_limit(text), Some(FileLimit { soft: 1024, hard: u64::MAX }));
        assert_eq!(parse_limit("Max processes 1 2"), None);
        assert_eq!(all_limits(text), [("nofile", "1024:unlimited".to_owned())]);
        assert_eq!(limits(nix::unistd::Pid::this().as_raw()).len(), LIMITS.len());
    }

    #[test]
    fn memory_is_taken_without_being_mapped() {
        let mut taken = Taken::new().unwrap();
        for _ in 0..3 {
            taken.more().unwrap();
        }
        assert_eq!(taken.bytes(), 3 * 64 * 1024);
        assert_eq!(taken.file.metadata().unwrap().len(), taken.bytes());
    }

    #[test]
    fn a_nameless_file_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = nameless_file(folder.path()).unwrap();
        write_through(&file, b"block", 4096).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_process_may_lower_and_raise_its_own_limit() {
        let own = nix::unistd::Pid::this().as_raw();
        let limit = file_limit(own).unwrap();
        let lower = FileLimit { soft: limit.soft - 1, ..limit };
        limit_files(own, lower).unwrap();
        assert_eq!(file_limit(own).unwrap(), lower);
        limit_files(own, limit).unwrap();
        assert!(open_files(own).unwrap() > 2);
        assert_eq!(owner(own).unwrap(), crate::namespaces::own_ids());
    }
}
