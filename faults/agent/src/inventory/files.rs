//! Files of ours, files that nodes are told the truth by, and what disks and the name server hold in force for somebody.

use std::fs;
use std::io;
use std::path::Path;

use firedrill_core::inventory::WAS;
use firedrill_core::platform::{Inventory, Item};
use firedrill_sys::namespaces::{self, Kind};
use firedrill_sys::volume;

use super::{HEAL, quoted, shell, word};
use crate::deeds;
use crate::deeds::clock::NO_OFFSET;
use crate::deeds::freeze::{home_on_volume, thaw_by_hand};
use crate::disk::control::{Order, Reply, ask};
use crate::heal::tagged;
use crate::protocol::{NodeSite, Refusal};
use crate::world::World;

/// By what a node finds others (`resolv.conf(5)`, `hosts(5)`, `nsswitch.conf(5)`).
const NAMES: [&str; 3] = ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"];

pub(super) fn note(world: &World, inventory: &mut Inventory) -> Result<(), Refusal> {
    for site in &world.config.nodes {
        note_clocks(site, inventory);
        note_freeze(site, inventory);
        for file in site.ground.home.iter().flat_map(|home| tagged::files(home, &world.config.tag_prefix)) {
            inventory.note("file", file.display().to_string(), Item::stray(format!("rm -f {}", word(&file))));
        }
        let harms = site.ground.disk.as_deref().map_or(Ok(Vec::new()), harms);
        let harms = harms.map_err(|error| Refusal::system(format!("asking the disk of {}", site.name), &error))?;
        note_held("disk harm", &format!(" of {}", site.name), harms, inventory);
        // The files of a host are the host's, and may change.
        if let (Some(mounts), Some(_)) = (&site.ground.mounts, &world.config.resolver) {
            note_names(site, mounts, inventory)?;
        }
    }
    let lies = deeds::names::in_force(world).map_err(|error| Refusal::system("asking the name server", &error))?;
    note_held("lie of the name server", "", lies, inventory);
    Ok(())
}

/// A clock is off while its folder has anything but the file of no offset.
fn note_clocks(site: &NodeSite, inventory: &mut Inventory) {
    let folders = site.ground.clock.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    for folder in folders.map(|entry| entry.path()) {
        let entries =
            fs::read_dir(&folder).into_iter().flatten().flatten().filter(|entry| *entry.file_name() != *NO_OFFSET);
        let mut files: Vec<String> = entries.map(|entry| word(&entry.path())).collect();
        files.sort();
        if !files.is_empty() {
            let process = folder.file_name().unwrap_or_default().to_string_lossy();
            let remove = format!("rm -f {}", files.join(" "));
            inventory.note("clock", format!("of {process} of {}", site.name), Item::stray(remove));
        }
    }
}

/// A volume on which every change waits. One that has been cut off from its device can be neither read nor frozen.
fn note_freeze(site: &NodeSite, inventory: &mut Inventory) {
    if let Some(home) = home_on_volume(site).filter(|home| volume::is_frozen(home).unwrap_or(false)) {
        inventory.note(
            "frozen volume",
            format!("{} of {}", home.display(), site.name),
            Item::stray(thaw_by_hand(home)),
        );
    }
}

/// What is in force as long as a connection lasts goes with the process that has it.
fn note_held(kind: &str, whose: &str, held: Vec<(String, i32)>, inventory: &mut Inventory) {
    for (tag, owner) in held {
        let remove = if owner == 0 { HEAL.to_owned() } else { format!("kill {owner}") };
        inventory.note(kind, format!("{tag}{whose}"), Item::stray(remove));
    }
}

fn harms(socket: &Path) -> io::Result<Vec<(String, i32)>> {
    match ask(socket, &Order::List) {
        Ok((_, Reply::Listed { held })) => Ok(held),
        Ok((_, reply)) => Err(io::Error::other(format!("it answered {reply:?}"))),
        // One that has ended harms nothing, and its end is an incident.
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

fn note_names(site: &NodeSite, mounts: &Path, inventory: &mut Inventory) -> Result<(), Refusal> {
    let read = || Ok(NAMES.map(|path| (path, fs::read_to_string(path).ok())));
    let found = namespaces::visit(mounts, Kind::Mount, read)
        .map_err(|error| Refusal::system(format!("looking at the files of {}", site.name), &error))?;
    for (path, text) in found {
        let Some(text) = text else { continue };
        // As printf(1) takes it, in one line.
        let state = text.replace('\\', r"\\").replace('%', "%%").replace('\n', r"\n");
        let there = format!("nsenter --mount={} ", word(mounts));
        let print = |state: &str| format!("{there}{}", shell(&format!("printf {} > {path}", quoted(state))));
        let item = Item { reset: print(WAS), remake: print(&state), remove: String::new(), state };
        inventory.note("file", format!("{path} of {}", site.name), item);
    }
    Ok(())
}
