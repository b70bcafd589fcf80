//! Control groups, both versions: one folder per node, so that resources of a node can be limited as a whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::group::{Group, Knob, Memory};
use crate::programs::may_write;
use crate::ready::until;

mod group;

/// Controllers by which a node can be limited. A hierarchy of version 2 with others only (`hugetlb`, as left over beside
/// version 1) is of no use.
const WANTED_V2: [&str; 4] = ["cpu", "io", "memory", "pids"];
/// Hierarchies of version 1 that a lab joins. Not `cpu`: a whole lab would weigh as much as one process beside it.
const WANTED_V1: [&str; 2] = ["freezer", "pids"];

/// Roots of the hierarchies this process may make groups in: the one of version 2 if it has controllers, else those of
/// version 1 that are useful here. Empty when there are none; detected, because machines differ.
pub fn roots() -> Vec<PathBuf> {
    roots_with(&[])
}

/// Roots like [`roots`], and of version 1 also those of these controllers.
pub fn roots_with(also: &[&str]) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut v1 = Vec::new();
    for line in mounts.lines() {
        let Some((kind, at, options)) = cgroup_mount(line) else { continue };
        if !may_write(&at) {
            continue;
        }
        let controllers = fs::read_to_string(at.join("cgroup.controllers")).unwrap_or_default();
        if kind == "cgroup2" && controllers.split_whitespace().any(|controller| WANTED_V2.contains(&controller)) {
            return vec![at];
        }
        if kind == "cgroup" && options.split(',').any(|option| WANTED_V1.contains(&option) || also.contains(&option)) {
            v1.push(at);
        }
    }
    v1.sort();
    v1.dedup();
    v1
}

/// Whether groups can be made here that have this controller.
pub fn has(controller: &str) -> bool {
    // The root of version 2 has neither limit nor counter of its own, but says what its children have.
    let files = [format!("{controller}.shares"), format!("{controller}.limit_in_bytes")];
    roots_with(&[controller]).iter().any(|root| {
        let below = fs::read_to_string(root.join("cgroup.subtree_control")).unwrap_or_default();
        let named = root.file_name().is_some_and(|name| name.to_string_lossy().split(',').any(|one| one == controller));
        below.split_whitespace().any(|one| one == controller)
            || named
            || files.iter().any(|file| root.join(file).exists())
    })
}

/// Kind, mount point and super options of a mount of a control group file system (format: `proc_pid_mountinfo(5)`).
fn cgroup_mount(line: &str) -> Option<(&str, PathBuf, &str)> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ').skip(3);
    let (root, at) = (front.next()?, front.next()?);
    let mut back = back.split(' ');
    let (kind, options) = (back.next()?, back.nth(1)?);
    (kind.starts_with("cgroup") && root == "/").then(|| (kind, PathBuf::from(at), options))
}

/// Makes a group, and the groups above it that are missing. In version 2 what a group may limit is for the one above it to
/// say; the root, which is the host's, is left as it is.
pub fn create(group: &Path) -> io::Result<()> {
    if group.is_dir() {
        return Ok(());
    }
    let above = group.parent().unwrap_or(group);
    if !above.is_dir() {
        create(above)?;
    }
    fs::create_dir(group)?;
    let given = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    for controller in given.split_whitespace().filter(|controller| WANTED_V2.contains(controller)) {
        // A group that processes are in cannot pass controllers on; then its children go without.
        let passed = fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
        if passed.is_err() {
            break;
        }
    }
    Ok(())
}

/// The file to write a process id into so that the process joins.
pub fn door(group: &Path) -> PathBuf {
    group.join("cgroup.procs")
}

/// Removes groups, given children before parents. Waits a little for processes that are still ending.
pub fn remove(groups: &[PathBuf]) -> io::Result<()> {
    let mut first_error = Ok(());
    for group in groups {
        let removed = until(Duration::from_secs(5), || match fs::remove_dir(group) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Err(error),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ok(())),
            other => Ok(other),
        });
        match removed {
            Ok(Ok(())) => {}
            Ok(Err(error)) | Err(error) => first_error = first_error.and(Err(error)),
        }
    }
    first_error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_lines_are_read() {
        let v1 = "31 25 0:26 / /sys/fs/cgroup/freezer rw,relatime shared:9 - cgroup cgroup rw,freezer";
        assert_eq!(cgroup_mount(v1), Some(("cgroup", PathBuf::from("/sys/fs/cgroup/freezer"), "rw,freezer")));
        let v2 = "30 23 0:25 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(cgroup_mount(v2).map(|found| found.0), Some("cgroup2"));
        assert_eq!(cgroup_mount("22 1 8:1 / / rw - ext4 /dev/sda1 rw"), None);
    }
}
