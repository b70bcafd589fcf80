//! Mounts: those that the agent sees, and those that each node sees for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use firedrill_core::inventory::WAS;
use firedrill_core::platform::{Inventory, Item};
use firedrill_sys::mounts::{self, Mounted};
use firedrill_sys::namespaces::{self, Kind};

use super::networks::NAMED;
use super::{HEAL, word};
use crate::protocol::Refusal;
use crate::world::World;

const TABLE: &str = "/proc/thread-self/mountinfo";

pub(super) fn note(world: &World, inventory: &mut Inventory) -> Result<(), Refusal> {
    let failed = |whose: &str| {
        let what = format!("looking at the mounts of {whose}");
        move |error: std::io::Error| Refusal::system(what, &error)
    };
    let own = fs::read_to_string(TABLE).map_err(failed("the lab"))?;
    let own = mounts::parse(&own);
    note_each("the lab", "", &own, inventory);
    let shared: BTreeSet<&String> = own.iter().filter_map(|mount| mount.peers.as_ref()).collect();
    for site in &world.config.nodes {
        let (name, Some(path)) = (site.name.as_str(), &site.ground.mounts) else { continue };
        let text = namespaces::visit(path, Kind::Mount, || fs::read_to_string(TABLE)).map_err(failed(name))?;
        let mut theirs = mounts::parse(&text);
        // What comes and goes together with one of the lab's is that one.
        theirs.retain(|mount| mount.peers.as_ref().is_none_or(|peers| !shared.contains(peers)));
        note_each(name, &format!("nsenter --mount={} ", word(path)), &theirs, inventory);
    }
    Ok(())
}

fn note_each(whose: &str, prefix: &str, mounted: &[Mounted], inventory: &mut Inventory) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    // Names of network namespaces are noted as these; where `ip netns` keeps them it mounts the folder over itself, for good.
    let counts = |mount: &&Mounted| mount.kind != "nsfs" && !NAMED.contains(&mount.at.as_str());
    for mount in mounted.iter().filter(counts) {
        let at = word(Path::new(&mount.at));
        let source = source(mount);
        let part = if mount.root == "/" { String::new() } else { format!(" {}", mount.root) };
        let mut name = format!("{} of {whose} ({} {}{part})", mount.at, mount.kind, source.display());
        let count = seen.entry(name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            name = format!("{name} once more ({count})");
        }
        let item = Item {
            state: if mount.writable { "rw" } else { "ro" }.to_owned(),
            reset: format!("{prefix}mount -o remount,{WAS} {at}"),
            remake: remake(mount, &source, mounted).map_or(HEAL.to_owned(), |command| format!("{prefix}{command}")),
            remove: format!("{prefix}umount {at}"),
        };
        inventory.note("mount", name, item);
    }
}

/// Its source; of a loop device the file, because the number changes whenever the file is attached anew.
fn source(mount: &Mounted) -> PathBuf {
    let device = mount.source.strip_prefix("/dev/").filter(|device| device.starts_with("loop"));
    let file = device.and_then(|device| fs::read_to_string(format!("/sys/block/{device}/loop/backing_file")).ok());
    file.map_or(PathBuf::from(&mount.source), |file| {
        let file = file.trim_end_matches('\n');
        PathBuf::from(file.strip_suffix(" (deleted)").unwrap_or(file))
    })
}

/// The command that mounts it again, where a command can.
fn remake(mount: &Mounted, source: &Path, all: &[Mounted]) -> Option<String> {
    let at = word(Path::new(&mount.at));
    let (flags, kind) = (&mount.flags, &mount.kind);
    let mode = mount.options.split(',').find(|option| option.starts_with("mode="));
    let mode = mode.map(|mode| format!(",{mode}")).unwrap_or_default();
    match kind.as_str() {
        _ if kind.starts_with("fuse") || mount.root.contains(":[") => None,
        _ if mount.root != "/" => {
            // The same file system is mounted somewhere else, from further up.
            let below = |other: &&Mounted| {
                other.device == mount.device && other.at != mount.at && Path::new(&mount.root).starts_with(&other.root)
            };
            let whole = all.iter().find(below)?;
            let rest = Path::new(&mount.root).strip_prefix(&whole.root).ok()?;
            Some(format!("mount --bind {} {at}", word(&Path::new(&whole.at).join(rest))))
        }
        "tmpfs" => Some(format!("mount -t tmpfs -o {flags}{mode} {} {at}", word(source))),
        _ if mount.source.starts_with("/dev/loop") => {
            Some(format!("mount -t {kind} -o loop,{flags} {} {at}", word(source)))
        }
        _ => Some(format!("mount -t {kind} -o {flags} {} {at}", word(source))),
    }
}
