//! What bears the mark of a lab of this state folder on this host although no record tells of it: control groups, loop devices
//! and mounts. What belongs to a lab that lives is spared, and what is another state folder's.

use std::fs;
use std::io;
use std::path::{self, Path, PathBuf};

use firedrill_core::platform::Residue;
use firedrill_core::seed::fnv1a;
use firedrill_sys::{cgroup, children, loops, mounts};

use super::records::{Record, labs_dir};

/// What the names of control groups of labs begin with whose records are in this state folder; the run's id follows. Those of
/// other installations, and of whoever else calls groups so, are theirs, also when they are empty.
fn group_prefix() -> String {
    let state = labs_dir();
    let real = fs::canonicalize(&state).or_else(|_| path::absolute(&state)).unwrap_or(state);
    format!("firedrill-{:08x}-", fnv1a(real.as_os_str().as_encoded_bytes()) >> 32)
}

/// The name of the control group of that run's lab, below which those of its nodes are.
pub fn group_name(run_id: &str) -> String {
    format!("{}{run_id}", group_prefix())
}

/// Controllers that groups are made for in hierarchies of their own.
pub(super) const CONTROLLERS: [&str; 4] = ["memory", "cpu", "blkio", "pids"];

/// Removes what no living lab has, of runs whose id is `wanted`, or of all. What was removed, and what could not be.
pub fn remove(wanted: Option<&str>) -> (Vec<String>, Vec<Residue>) {
    let (mut gone, mut left) = (Vec::new(), Vec::new());
    let mut note = |what: String, remedy: String, removed: io::Result<()>| match removed {
        Ok(()) => gone.push(what),
        Err(error) => left.push(Residue { what: format!("{what}: {error}"), remedy }),
    };
    let is_wanted = |id: &str| wanted.is_none_or(|wanted| wanted == id) && !is_alive(id);
    for at in mounts_below(&labs_dir()) {
        let Some(id) = id_below(&real(&labs_dir()), &at).filter(|id| is_wanted(id)) else { continue };
        let place = at.display();
        note(format!("mount at {place} of lab {id}"), format!("umount {place}"), mounts::detach(&at));
    }
    for (device, file) in loops::below(&real(&labs_dir())) {
        let Some(id) = id_below(&real(&labs_dir()), &file).filter(|id| is_wanted(id)) else { continue };
        let device_name = device.display();
        let remedy = format!("losetup --detach {device_name}");
        note(format!("loop device {device_name} of lab {id}"), remedy, loops::detach(&device));
    }
    for group in groups().into_iter().filter(|(id, _)| is_wanted(id)).map(|(_, group)| group) {
        let mut all: Vec<PathBuf> = below(&group);
        all.push(group.clone());
        // One with somebody in it is somebody's.
        if all.iter().any(|group| fs::read_to_string(cgroup::door(group)).is_ok_and(|text| !text.is_empty())) {
            continue;
        }
        let path = group.display();
        note(format!("control group {path}"), format!("rmdir {path}/* {path}"), cgroup::remove(&all));
    }
    (gone, left)
}

/// Whether a lab of that id lives: its record says so, or a holder with its id runs, whatever state folder it has.
fn is_alive(id: &str) -> bool {
    let recorded = Record::read(&labs_dir().join(id)).is_ok_and(|record| record.is_live());
    let pids = children::all().unwrap_or_default().into_iter().map(|(pid, _)| pid);
    let names_it = |pid: i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        words.any(|word| Path::new(&word).file_name().is_some_and(|name| name == id))
    };
    recorded || pids.into_iter().any(names_it)
}

/// Control groups that are a lab's of ours by their name, in every hierarchy.
fn groups() -> Vec<(String, PathBuf)> {
    let (mut found, prefix) = (Vec::new(), group_prefix());
    for root in cgroup::roots_with(&CONTROLLERS) {
        for group in below(&root) {
            let name = group.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.extend(name.strip_prefix(&prefix).map(|id| (id.to_owned(), group.clone())));
        }
    }
    found.sort();
    found
}

pub(super) fn below(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// Takes away what is mounted on this host below a lab's folder.
pub(super) fn unmount_below(lab_dir: &Path) -> io::Result<()> {
    mounts_below(lab_dir).iter().map(|at| mounts::detach(at)).fold(Ok(()), io::Result::and)
}

/// Mounts on this host below a folder, last first; labs have theirs in their own namespace.
fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let real = real(folder);
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = text.lines().rev().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    places.filter(|at| at.starts_with(&real)).collect()
}

fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The lab that a path below the folder of labs is of.
fn id_below(labs: &Path, path: &Path) -> Option<String> {
    let first = path.strip_prefix(labs).ok()?.iter().next()?;
    Some(first.to_string_lossy().into_owned())
}
