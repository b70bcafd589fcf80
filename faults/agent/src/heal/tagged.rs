//! What bears our tag although no journal tells of it: tables of nftables, TAP devices, and files. Whatever a living agent serves is
//! spared.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use firedrill_sys::clock;
use firedrill_sys::links;
use firedrill_sys::namespaces;
use firedrill_sys::nft;
use firedrill_sys::process::{self, NetnsId};
use firedrill_sys::tap;

use super::{Job, LOOKS, Told};
use crate::deeds::clock::OFFSET;
use crate::world::is_tag;

/// How long a table may take to go whose owner is ending.
const PATIENCE: Duration = Duration::from_secs(5);
/// How deep files are looked for below a folder.
const DEPTH: usize = 3;
/// Entries looked at, at most.
const MOST: usize = 50_000;

/// Removes it.
pub(super) fn remove(job: &Job, tell: &mut (dyn FnMut(Told) + Send)) {
    let alive = living();
    let own = PathBuf::from("/proc/self/ns/net");
    let mut places = vec![(own.clone(), None)];
    if job.everywhere {
        let own = fs::read_link(&own).unwrap_or_default();
        let others = namespaces::networks().into_iter().filter(|(name, _)| *own != *Path::new(name));
        places.extend(others.map(|(_, path)| (path.clone(), Some(path))));
    }
    for (path, enter) in places {
        if NetnsId::of_file(&path).is_ok_and(|id| !alive.places.contains(&id)) {
            // One that may not be entered, or has gone meanwhile, has nothing that this user could have left.
            drop(in_place(enter.as_deref(), || {
                remove_tables(job, enter.as_deref(), tell)?;
                remove_devices(job, enter.as_deref(), tell)
            }));
        }
    }
    for folder in &job.folders {
        remove_files(job, &alive, folder, tell);
    }
}

/// What living agents serve.
struct Living {
    /// Where they are.
    places: Vec<NetnsId>,
    /// What the tags of those that have started anything begin with.
    tags: Vec<String>,
}

fn living() -> Living {
    let all = process::own_processes().unwrap_or_default();
    let agents = all.iter().filter(|one| one.role.is_none());
    let place = |pid: i32| NetnsId::of_file(Path::new(&format!("/proc/{pid}/ns/net"))).ok();
    Living {
        places: agents.filter_map(|one| place(one.process.pid)).collect(),
        tags: all.iter().filter_map(|one| one.tag.clone()).collect(),
    }
}

/// Does it in a place, on a thread of its own: who is in a node's namespace with the whole process is taken for one of its
/// servers by the faults of a living run, which may kill it.
fn in_place<T: Send>(path: Option<&Path>, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let Some(path) = path else { return work() };
    let there = File::open(path)?;
    let enter = move || namespaces::enter(there.as_fd()).and_then(|()| work());
    thread::scope(|scope| scope.spawn(enter).join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked"))))
}

/// Whether it is the tag of an action of the job: what is created bears nothing shorter.
fn is_wanted(job: &Job, name: &str) -> bool {
    let number = name.rsplit('-').next().unwrap_or_default();
    let numbered = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
    is_tag(name) && name.starts_with(&job.tag) && numbered
}

/// Whether a living agent is in a place, or has what bears that name at the hosts' ends that it serves.
fn is_spared(place: Option<&Path>, name: &str) -> bool {
    let place = NetnsId::of_file(place.unwrap_or(Path::new("/proc/thread-self/ns/net")));
    let alive = living();
    place.is_ok_and(|place| alive.places.contains(&place)) || alive.tags.iter().any(|tag| name.starts_with(tag))
}

fn remove_tables(job: &Job, place: Option<&Path>, tell: &mut (dyn FnMut(Told) + Send)) -> io::Result<()> {
    for (family, name) in nft::tables(&job.tag)?.into_iter().filter(|(_, name)| is_wanted(job, name)) {
        let what = format!("nft table {} {name}", family.name());
        let deleted = clock::until(PATIENCE, LOOKS, || match nft::delete_table(family, &name) {
            // Somebody has it: an agent that was not there yet when it was looked for, or what an agent has left and what
            // ends within a moment, and the table with it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => is_spared(place, &name).then_some(None),
            deleted => Some(Some(deleted)),
        });
        let owned = || Some(Err(io::ErrorKind::PermissionDenied.into()));
        tell(match deleted.unwrap_or_else(owned) {
            None => continue,
            Some(Ok(())) => Told::Removed { what },
            Some(Err(error)) => {
                let remedy = format!("{}{}nft delete table {} {name}", job.prefix, there(place), family.name());
                Told::Left { what, why: error.to_string(), remedy }
            }
        });
    }
    Ok(())
}

/// Those that nobody has: what a wire has is not taken from it.
fn remove_devices(job: &Job, place: Option<&Path>, tell: &mut (dyn FnMut(Told) + Send)) -> io::Result<()> {
    let links = links::look()?.links.into_iter().map(|(name, _)| name);
    for name in links.filter(|name| name.starts_with(tap::PREFIX)) {
        let what = format!("TAP device {name}");
        match tap::remove_orphan(&name) {
            Ok(false) => {}
            Ok(true) => tell(Told::Removed { what }),
            Err(error) => {
                let remedy = format!("{}{}ip link del {name}", job.prefix, there(place));
                tell(Told::Left { what, why: error.to_string(), remedy });
            }
        }
    }
    Ok(())
}

/// What a person puts before a command to be in a place.
fn there(place: Option<&Path>) -> String {
    place.map_or(String::new(), |path| format!("nsenter --net={} ", path.display()))
}

fn remove_files(job: &Job, alive: &Living, folder: &Path, tell: &mut (dyn FnMut(Told) + Send)) {
    for (path, tag) in tagged_files(folder) {
        if !is_wanted(job, &tag) || alive.tags.iter().any(|living| tag.starts_with(living)) {
            continue;
        }
        let what = format!("file {}", path.display());
        tell(match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let remedy = format!("{}rm {}", job.prefix, path.display());
                Told::Left { what, why: error.to_string(), remedy }
            }
            Ok(()) | Err(_) => Told::Removed { what },
        });
    }
}

/// The files below a folder, a few levels deep, that bear a tag of that prefix.
pub(crate) fn files(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    tagged_files(folder).into_iter().filter(|(_, tag)| tag.starts_with(prefix)).map(|(path, _)| path).collect()
}

/// Files named by a tag: the links by which a clock is changed, and what shows a loss of power.
fn tagged_files(folder: &Path) -> Vec<(PathBuf, String)> {
    let (mut found, mut seen) = (Vec::new(), 0);
    walk(folder, DEPTH, &mut seen, &mut found);
    found
}

fn walk(folder: &Path, depth: usize, seen: &mut usize, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        *seen += 1;
        if *seen > MOST {
            return;
        }
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let kind = entry.file_type();
        if kind.as_ref().is_ok_and(std::fs::FileType::is_dir) && depth > 0 {
            walk(&path, depth - 1, seen, found);
            continue;
        }
        let is_link = kind.is_ok_and(|kind| kind.is_symlink());
        let tag = match (is_link, name.strip_prefix('.')) {
            (true, None) if name == OFFSET => fs::read_link(&path).unwrap_or_default().to_string_lossy().into_owned(),
            (true, None) => name,
            // `.fd-a-1.synced`
            (false, Some(rest)) => rest.split('.').next().unwrap_or_default().to_owned(),
            (true, Some(_)) | (false, None) => continue,
        };
        if is_tag(&tag) {
            found.push((path, tag));
        }
    }
}
