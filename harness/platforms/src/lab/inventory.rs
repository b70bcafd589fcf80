//! What a lab's faults could leave behind: inside of it, as its agent finds it, and on the host, where its control groups,
//! volumes and clock are. Looks, and changes nothing.

use std::fs;
use std::path::{Path, PathBuf};

use firedrill_agent::protocol::TAG;
use firedrill_core::inventory::WAS;
use firedrill_core::platform::{Inventory, Item};
use firedrill_sys::cgroup::{Group, Knob};
use firedrill_sys::mounts::{self, Mounted};
use firedrill_sys::{cgroup, clock, dirs, nft, process};

use super::records::{Record, devices_of, remains};
use super::stray;

/// How far the machine's clock may go from where it was during a run, in nanoseconds. A clock that is disciplined slews by
/// half a millisecond a second at most (`adjtimex(2)`); what goes further was set.
const STEP: i128 = 1_000_000_000;
/// Folders in which anybody may leave files.
const ANYBODYS: [&str; 3] = ["/dev/shm", "/tmp", "/var/tmp"];
/// Where `ip netns` keeps its names.
const NAMED: &str = "/run/netns";

/// What is on the host of a lab that runs, for a run of that id.
pub(super) fn beside(record: &Record, lab_dir: &Path, run_id: &str, wall: i128) -> Inventory {
    let mut found = Inventory::default();
    note_clock(clock::wall_offset_nanos(), wall, &mut found);
    note_groups(record, &mut found);
    note_mounts_and_devices(record, lab_dir, &mut found);
    note_tagged(run_id, &mut found);
    found
}

/// Lets mounts go that the lab's namespaces have copied from the host: when their folder is removed there, the kernel takes them
/// away everywhere (`detach_mounts`, fs/namespace.c), and that is no fault's doing.
pub(super) fn let_go_of_the_hosts(found: &mut Inventory) {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let hosts: Vec<Mounted> = mounts::parse(&text);
    let copied = |name: &str| {
        let is_it = |Mounted { at, kind, source, .. }: &Mounted| {
            let rest = name.strip_prefix(at.as_str()).and_then(|rest| rest.strip_prefix(" of "));
            rest.is_some_and(|rest| rest.contains(&format!("({kind} {source}")))
        };
        hosts.iter().any(is_it)
    };
    for (name, items) in found.items.get_mut("mount").into_iter().flatten() {
        if copied(name) {
            for item in items {
                item.remake.clear();
            }
        }
    }
}

/// What a lab that has ended has left on the host.
pub(super) fn left(record: &Record, lab_dir: &Path) -> Inventory {
    let mut found = remains(record, lab_dir);
    note_tagged(&record.run_id, &mut found);
    let tag = format!("{TAG}{}-", record.run_id);
    for own in process::own_processes().unwrap_or_default() {
        if own.tag.as_ref().is_some_and(|theirs| theirs.starts_with(&tag)) {
            let (pid, role) = (own.process.pid, own.role.unwrap_or_else(|| "agent".to_owned()));
            found.note("process", format!("firedrill-agent {role} ({pid})"), Item::stray(format!("kill -9 {pid}")));
        }
    }
    found
}

/// A clock that was set. `/proc/uptime` is `CLOCK_BOOTTIME`, so that the command is right whenever it is run.
fn note_clock(now: i128, before: i128, found: &mut Inventory) {
    let step = now - before;
    if step.abs() > STEP {
        let seconds = |nanos: i128| {
            let sign = if nanos < 0 { "-" } else { "" };
            format!("{sign}{}.{:03}", nanos.abs() / 1_000_000_000, nanos.abs() / 1_000_000 % 1000)
        };
        let name = format!("of the machine, set by {} s", seconds(step / 100_000_000 * 100_000_000));
        let remove = format!("date --set \"@$(awk '{{printf \"%.3f\", $1 + {}}}' /proc/uptime)\"", seconds(before));
        found.note("clock", name, Item::stray(remove));
    }
}

/// The lab's groups, whatever is in them, and how they are set.
fn note_groups(record: &Record, found: &mut Inventory) {
    let name = stray::group_name(&record.run_id);
    let tops = cgroup::roots_with(&stray::CONTROLLERS).into_iter().map(|root| root.join(&name));
    for group in tops.flat_map(|top| groups_below(&top)) {
        let path = group.display();
        let item = Item { remake: format!("mkdir -p {path}"), ..Item::stray(format!("rmdir {path}")) };
        found.note("control group", path.to_string(), item);
        for Knob { path, device, value, open } in Group(group).knobs() {
            let path = path.display();
            let (name, of) = match &device {
                Some(device) => (format!("{path} for {device}"), format!("{device} ")),
                None => (path.to_string(), String::new()),
            };
            let set = |value: &str| format!("echo '{of}{value}' > {path}");
            let item = Item {
                reset: set(WAS),
                // The limit of a device that has none is no line at all.
                remake: if device.is_some() { set(&value) } else { String::new() },
                remove: open.map(set).unwrap_or_default(),
                state: value,
            };
            found.note("knob", name, item);
        }
    }
}

/// A group that there is, and those below it.
fn groups_below(group: &Path) -> Vec<PathBuf> {
    if !group.is_dir() {
        return Vec::new();
    }
    let mut all: Vec<PathBuf> = stray::below(group).iter().flat_map(|group| groups_below(group)).collect();
    all.insert(0, group.to_owned());
    all
}

/// Loop devices with files of the lab, by file and not by number, which changes whenever one is attached anew; and what is
/// mounted from the lab's folder outside of it.
fn note_mounts_and_devices(record: &Record, lab_dir: &Path, found: &mut Inventory) {
    let read = |path: String| mounts::parse(&fs::read_to_string(path).unwrap_or_default());
    let inside = record.init.map(|init| read(format!("/proc/{}/mountinfo", init.pid))).unwrap_or_default();
    let mut devices = devices_of(lab_dir);
    // The one that is in use comes first: another one of the same file is the odd one out.
    let unused = |device: &Path| !inside.iter().any(|mount| Path::new(&mount.source) == device);
    devices.sort_by_key(|(device, file)| (file.clone(), unused(device), device.clone()));
    let mut last = None;
    for (device, file) in devices {
        let again = if last.as_ref() == Some(&file) { " once more" } else { "" };
        let remove = format!("losetup --detach {}", device.display());
        found.note("loop device", format!("with {}{again}", file.display()), Item::stray(remove));
        last = Some(file);
    }
    let ours = |mount: &&Mounted| Path::new(&mount.at).starts_with(lab_dir) || mount.source.contains(&record.run_id);
    for mount in read("/proc/self/mountinfo".to_owned()).iter().filter(ours) {
        found.note("mount", format!("{} of the host", mount.at), Item::stray(format!("umount {}", mount.at)));
    }
}

/// What bears the run's tag outside of the lab.
fn note_tagged(run_id: &str, found: &mut Inventory) {
    let tag = format!("{TAG}{run_id}-");
    let named = |folder: &str| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| name.starts_with(&tag))
    };
    for name in named(NAMED) {
        found.note("network namespace", format!("{NAMED}/{name}"), Item::stray(format!("ip netns del {name}")));
    }
    for folder in ANYBODYS {
        for name in named(folder) {
            found.note("file", format!("{folder}/{name}"), Item::stray(format!("rm -r {folder}/{name}")));
        }
    }
    // An ordinary user sees no tables, and can leave none here.
    let tables = if dirs::is_root() { nft::all_tables().unwrap_or_default() } else { Vec::new() };
    for table in tables.iter().filter(|table| table.name.contains(&format!(" {tag}"))) {
        let remove = match table.owner {
            None | Some(0) => format!("nft delete table {}", table.name),
            Some(owner) => format!("kill -9 {owner}"),
        };
        found.note("nft table", format!("{} of the host", table.name), Item::stray(remove));
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the command that a person is told, with nothing set")]
    fn a_clock_that_was_set_is_told_with_the_command_that_sets_it_back() {
        let now = clock::wall_offset_nanos();
        for (before, want) in
            [(now + 900_000_000, None), (now - 90_000_000_000, Some("90.0")), (now + 5_250_000_000, Some("-5.2"))]
        {
            let mut found = Inventory::default();
            note_clock(now, before, &mut found);
            let told = Inventory::default().differences(&found);
            let Some(want) = want else {
                assert_eq!(told, []);
                continue;
            };
            assert_eq!(told[0].what, format!("clock of the machine, set by {want}00 s"));
            let shown = told[0].remedy.replace("--set", "+%s%N --date");
            let output = Command::new("sh").args(["-c", &shown]).output().unwrap();
            let would: i128 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
            let off = would - i128::from(clock::boottime_nanos()) - before;
            // `/proc/uptime` has hundredths of a second, and a busy machine takes a moment to run two commands.
            assert!((-30_000_000_000..30_000_000).contains(&off), "{shown} is off by {off} ns");
        }
    }
}
