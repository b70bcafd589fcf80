//! Mounts in the caller's own mount namespace.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
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

/// Shows `from`, and what is mounted below it, at `at` as well.
pub fn bind_all(from: &Path, at: &Path) -> io::Result<()> {
    Ok(mount(Some(from), at, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)?)
}

/// From now on what is mounted at or below `at` is also seen in copies and binds of it, and what is mounted there, here.
pub fn share(at: &Path) -> io::Result<()> {
    Ok(mount(NONE, at, NONE, MsFlags::MS_SHARED, NONE)?)
}

/// A block device with a file system of that kind; `options` as for mount(8).
pub fn device(device: &Path, at: &Path, kind: &str, options: &str) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(Some(device), at, Some(kind), flags, Some(options))?)
}

/// Takes away what is mounted at `at`, topmost, at once; whoever uses it still can. Fine if nothing is.
pub fn detach(at: &Path) -> io::Result<()> {
    match nix::mount::umount2(at, nix::mount::MntFlags::MNT_DETACH | nix::mount::MntFlags::UMOUNT_NOFOLLOW) {
        Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The device or file system that is mounted at `at`, topmost, as `/proc/self/mountinfo` names it; `None` if nothing is.
pub fn source(at: &Path) -> io::Result<Option<String>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo")?;
    Ok(text.lines().rev().find_map(|line| source_in(line, at)))
}

/// Field 5 is the mount point; after a lone dash come the kind and the source (`proc_pid_mountinfo(5)`). Points with
/// blanks are written with octal numbers, and are none of ours.
fn source_in(line: &str, at: &Path) -> Option<String> {
    let (place, origin) = line.split_once(" - ")?;
    let found = Path::new(place.split(' ').nth(4)?) == at;
    found.then(|| origin.split(' ').nth(1).map(ToOwned::to_owned))?
}

/// A mount, as `proc_pid_mountinfo(5)` has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mounted {
    /// Device number, `254:0`: the file system.
    pub device: String,
    /// What of the file system is mounted: `/`, or the path of a bind mount; `net:[4026532281]` of a namespace.
    pub root: String,
    /// Where.
    pub at: String,
    /// Options of the mount: `rw,nosuid,relatime`.
    pub flags: String,
    /// Whether it may be written to: the mount, and its file system.
    pub writable: bool,
    /// The group of mounts that mount and unmount together with what is below it, if it is in one.
    pub peers: Option<String>,
    /// Kind of file system.
    pub kind: String,
    /// Source.
    pub source: String,
    /// Options of the file system.
    pub options: String,
}

/// The mounts in the text of a `mountinfo`, in its order: of several at one place the last is seen.
pub fn parse(text: &str) -> Vec<Mounted> {
    text.lines().filter_map(parse_line).collect()
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse_line(line: &str) -> Option<Mounted> {
    let (place, origin) = line.split_once(" - ")?;
    let fields: Vec<&str> = place.split(' ').collect();
    let mut origin = origin.split(' ');
    let (kind, source, options) = (origin.next()?, origin.next()?, origin.next()?);
    let writable = |options: &str| options.split(',').any(|option| option == "rw");
    // Blanks and the like are written as octal numbers.
    let plain = |text: &str| text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
    Some(Mounted {
        device: (*fields.get(2)?).to_owned(),
        root: plain(fields.get(3)?),
        at: plain(fields.get(4)?),
        flags: (*fields.get(5)?).to_owned(),
        writable: writable(fields.get(5)?) && writable(options),
        peers: fields.iter().skip(6).find_map(|field| field.strip_prefix("shared:")).map(ToOwned::to_owned),
        kind: kind.to_owned(),
        source: plain(source),
        options: options.to_owned(),
    })
}

/// The device through which a process serves a file system (`fuse(4)`), opened.
pub fn fuse_device() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/fuse")
}

/// Mounts the file system that whoever reads from `device` serves, for every user, with permissions checked by the kernel.
pub fn fuse(device: &File, at: &Path) -> io::Result<()> {
    let (user, group) = crate::namespaces::own_ids();
    let options = format!(
        "fd={},rootmode=40000,user_id={user},group_id={group},allow_other,default_permissions",
        device.as_raw_fd()
    );
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(Some("firedrill"), at, Some("fuse.firedrill"), flags, Some(options.as_str()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let line = "36 35 98:0 /a\\040b /mnt rw,noatime master:1 shared:2 - ext3 /dev/root ro,errors=continue";
        let found = &parse(line)[0];
        assert_eq!([&found.device, &found.root, &found.at, &found.kind], ["98:0", "/a b", "/mnt", "ext3"]);
        assert_eq!((found.writable, found.peers.as_deref()), (false, Some("2")));
        assert_eq!(parse("36 35 98:0 / /mnt rw,noatime - tmpfs x rw")[0].peers, None);
        assert!(parse("nothing of the kind").is_empty());
    }

    #[test]
    fn the_source_is_after_the_dash() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue";
        assert_eq!(source_in(line, Path::new("/mnt2")).as_deref(), Some("/dev/root"));
        assert_eq!(source_in(line, Path::new("/mnt1")), None);
    }
}
