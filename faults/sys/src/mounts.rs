//! Mounts in the caller's own mount namespace.

use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};

const NONE: Option<&str> = None;

/// Stops mounts from being seen in, or coming from, the mount namespace this one was copied from.
pub fn make_private() -> io::Result<()> {
    Ok(mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?)
}

/// An empty file system in memory; `mode` are the permission bits of its root.
pub fn tmpfs(at: &Path, mode: u32) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(Some("firedrill"), at, Some("tmpfs"), flags, Some(format!("mode={mode:o}").as_str()))?)
}

/// The `/proc` of the caller's pid namespace.
pub fn proc(at: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("proc"), at, Some("proc"), flags, NONE)?)
}

/// Shows `from` at `at` as well.
pub fn bind(from: &Path, at: &Path) -> io::Result<()> {
    Ok(mount(Some(from), at, NONE, MsFlags::MS_BIND, NONE)?)
}
