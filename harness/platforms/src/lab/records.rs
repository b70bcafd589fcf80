//! Records of labs, one folder each below the state folder: enough for a later command to tell a live lab from the
//! remains of a dead one, and to remove those. Only processes named with their start time and this boot are believed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use firedrill_core::platform::{Inventory, Item, Reach, Residue};
use firedrill_sys::identity::{Identity, boot_id};
use firedrill_sys::{cgroup, clock, dirs, loops, volume};
use serde::{Deserialize, Serialize};

use super::{doing, stray};

/// The file in a lab's folder with its [`Record`].
const RECORD_FILE: &str = "lab.json";
/// What the names of folders begin with that have no record yet.
const UNBORN: &str = ".new-";
/// How long the kernel may take to end a lab whose init was killed.
const END_PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take afterwards to unmount what only the lab had mounted.
const DETACH_PATIENCE: Duration = Duration::from_secs(10);
/// After which a volume that is still there is taken for a frozen one.
pub(crate) const THAW_AFTER: Duration = Duration::from_millis(500);
const DETACH_LOOKS: Duration = Duration::from_millis(10);

/// What a lab is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// A run, which ends it.
    Run,
    /// Play: it lives until `firedrill down`.
    Up,
}

/// A lab, as recorded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Id of the run.
    pub run_id: String,
    /// The boot that all process ids here are of.
    pub boot_id: String,
    /// What it is for.
    pub purpose: Purpose,
    /// The command that made it; `None` once it lives on without.
    pub harness: Option<Identity>,
    /// The process that holds it, outside its namespaces.
    pub holder: Option<Identity>,
    /// Its init, by its number outside.
    pub init: Option<Identity>,
    /// Control groups on the host, children before parents.
    pub cgroups: Vec<PathBuf>,
    /// The run's folder.
    pub run_dir: PathBuf,
    /// How to run a command at each of its places.
    pub reach: Vec<Reach>,
}

impl Record {
    /// Reads the record of the lab in `lab_dir`.
    pub(crate) fn read(lab_dir: &Path) -> io::Result<Self> {
        let text = fs::read(lab_dir.join(RECORD_FILE))?;
        serde_json::from_slice(&text).map_err(io::Error::other)
    }

    /// Replaces the record, whole or not at all.
    pub(crate) fn write(&self, lab_dir: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        let temporary = lab_dir.join(format!(".{RECORD_FILE}-{}", std::process::id()));
        fs::write(&temporary, text)?;
        fs::rename(temporary, lab_dir.join(RECORD_FILE))
    }

    /// Whether one of its processes still runs, and so it is somebody's.
    pub fn is_live(&self) -> bool {
        let of_this_boot = boot_id().is_ok_and(|boot| boot == self.boot_id);
        of_this_boot && [self.harness, self.holder, self.init].into_iter().flatten().any(Identity::is_alive)
    }

    /// Whether it is about to end, and nobody is there who would remove what it leaves: its holder is gone, which its init
    /// does not outlive, and so is the command that made it.
    pub(crate) fn is_ending(&self) -> bool {
        let gone = |process: Option<Identity>| process.is_some_and(|process| !process.is_alive());
        gone(self.holder) && self.harness.is_none_or(|harness| !harness.is_alive())
    }

    /// Waits until what is about to end has ended. What waits in the kernel because its volumes are frozen does so once they
    /// are thawed.
    fn wait_for_the_end(&self, lab_dir: &Path) -> io::Result<()> {
        let Some(init) = self.init.filter(|_| self.is_ending()) else { return Ok(()) };
        if init.wait_gone(THAW_AFTER)? {
            return Ok(());
        }
        thaw_all(lab_dir);
        if init.wait_gone(END_PATIENCE)? {
            return Ok(());
        }
        Err(io::Error::other(format!("its init, process {}, does not end", init.pid)))
    }
}

/// The folder of labs.
pub(crate) fn labs_dir() -> PathBuf {
    dirs::state_dir().join("labs")
}

/// Makes the folder of a new lab, with its record from the first moment it has its name.
pub(crate) fn create(record: &Record) -> io::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let labs = labs_dir();
    fs::create_dir_all(&labs).map_err(doing(&format!("make {}", labs.display())))?;
    let maker = record.harness.ok_or_else(|| io::Error::other("no identity of the harness"))?;
    let unborn = labs.join(format!("{UNBORN}{}-{}-{}", maker.pid, maker.start, record.run_id));
    fs::create_dir(&unborn)?;
    fs::set_permissions(&unborn, fs::Permissions::from_mode(0o700))?;
    record.write(&unborn)?;
    let lab_dir = labs.join(&record.run_id);
    match fs::rename(&unborn, &lab_dir) {
        Ok(()) => Ok(lab_dir),
        Err(error) => {
            fs::remove_dir_all(&unborn)?;
            Err(doing(&format!("claim {}", lab_dir.display()))(error))
        }
    }
}

/// Removes what a lab whose processes are gone left on the host. Succeeds if there is nothing.
pub(crate) fn remove_remains(lab_dir: &Path, record: &Record) -> io::Result<()> {
    // Nothing of a lab is mounted outside of it; what somebody has mounted there must not be emptied with the folder.
    stray::unmount_below(lab_dir)?;
    // Groups are empty once nothing waits for a frozen volume any more.
    let devices = detach_all(lab_dir);
    let groups = cgroup::remove(&record.cgroups);
    let data = match fs::remove_dir_all(lab_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    groups.and(devices).and(data)
}

/// Waits until no loop device has a file of the lab: they go with the mounts, which the kernel takes down when the last
/// process of the lab has ended, and a moment after it. Those of frozen volumes go once they are thawed. What stays is detached.
fn detach_all(lab_dir: &Path) -> io::Result<()> {
    let gone = |patience| clock::until(patience, DETACH_LOOKS, || devices_of(lab_dir).is_empty().then_some(()));
    if gone(THAW_AFTER).is_some() {
        return Ok(());
    }
    thaw_all(lab_dir);
    if gone(DETACH_PATIENCE).is_some() {
        return Ok(());
    }
    devices_of(lab_dir).iter().map(|(device, _)| loops::detach(device)).fold(Ok(()), Result::and)
}

/// Thaws the volumes of a lab that ends: with one that a fault has frozen its processes wait in the kernel, and the lab
/// cannot end. One that fails shows in what is left.
pub(crate) fn thaw_all(lab_dir: &Path) {
    for (device, _) in devices_of(lab_dir) {
        let name = device.file_name().unwrap_or_default().to_string_lossy().into_owned();
        drop(volume::thaw_device(&device, &lab_dir.join(format!(".thaw-{name}"))));
    }
}

/// Loop devices with a file of the lab, which the kernel names by its real path.
pub(super) fn devices_of(lab_dir: &Path) -> Vec<(PathBuf, PathBuf)> {
    let real = lab_dir.parent().and_then(|labs| Some(fs::canonicalize(labs).ok()?.join(lab_dir.file_name()?)));
    loops::below(real.as_deref().unwrap_or(lab_dir))
}

/// Every lab on record that is alive, by run id.
pub fn list() -> Vec<Record> {
    let records = folders().into_iter().filter_map(|folder| Record::read(&folder).ok());
    records.filter(|record| record.is_live() && !record.is_ending()).collect()
}

/// Whether there is anything of a lab whose processes are all gone.
pub fn any_dead() -> bool {
    folders()
        .iter()
        .filter_map(|folder| Record::read(folder).ok())
        .any(|record| !record.is_live() || record.is_ending())
}

/// Removes what labs left behind whose processes are all gone; never touches a live one. Says what it removed and what
/// it could not.
pub fn sweep() -> Vec<String> {
    let mut said = Vec::new();
    for folder in folders() {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (whose, removed) = match Record::read(&folder) {
            Ok(record) if record.is_live() && !record.is_ending() => continue,
            Ok(record) => {
                let removed = record.wait_for_the_end(&folder).and_then(|()| remove_remains(&folder, &record));
                (record.run_id, removed)
            }
            Err(_) if unborn_maker(&name).is_some_and(Identity::is_alive) => continue,
            Err(_) if unborn_maker(&name).is_some() => (name, fs::remove_dir_all(&folder)),
            // It may be disappearing under our eyes, or be none of ours.
            Err(_) => continue,
        };
        said.push(match removed {
            Ok(()) => format!("removed what lab {whose} had left behind"),
            Err(error) => format!("could not remove what lab {whose} had left behind: {error}"),
        });
    }
    said
}

/// Ends the lab of that run and removes it. An error says why it could not.
pub fn down(run_id: &str) -> io::Result<()> {
    let not_found = || io::Error::new(io::ErrorKind::NotFound, format!("no lab {run_id}"));
    let known = folders().into_iter().find(|folder| folder.file_name().is_some_and(|name| name == run_id));
    let lab_dir = known.ok_or_else(not_found)?;
    let record = Record::read(&lab_dir).map_err(doing("read the lab's record"))?;
    // Init first: its end takes everything inside with it, and the holder then cleans up.
    for process in [record.init, record.holder].into_iter().flatten() {
        if record.init == Some(process) {
            process.kill().map_err(doing("end the lab"))?;
            if !process.wait_gone(THAW_AFTER)? {
                thaw_all(&lab_dir);
            }
        }
        if !process.wait_gone(END_PATIENCE)? {
            return Err(io::Error::other(format!("process {} of lab {run_id} does not end", process.pid)));
        }
    }
    remove_remains(&lab_dir, &record)
}

/// What a run's lab has left on the host, its record being `record`; empty when nothing is left.
pub(crate) fn remains(record: &Record, lab_dir: &Path) -> Inventory {
    let mut left = Inventory::default();
    for (name, process) in [("holder", record.holder), ("init", record.init)] {
        if let Some(pid) = process.filter(|process| process.is_alive()).map(|process| process.pid) {
            left.note("process", format!("{pid}, the lab's {name}"), Item::stray(format!("kill -9 {pid}")));
        }
    }
    for group in record.cgroups.iter().filter(|group| group.exists()).map(|group| group.display()) {
        left.note("control group", group.to_string(), Item::stray(format!("rmdir {group}")));
    }
    if lab_dir.exists() {
        let folder = lab_dir.display();
        left.note("folder", format!("{folder} with data of the nodes"), Item::stray(format!("rm -r {folder}")));
    }
    for (device, file) in devices_of(lab_dir) {
        let name = format!("{} with {}", device.display(), file.display());
        left.note("loop device", name, Item::stray(format!("losetup --detach {}", device.display())));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let ours = lab_dir.display().to_string();
    for at in mounts.lines().filter(|line| line.contains(&ours)).filter_map(|line| line.split(' ').nth(4)) {
        left.note("mount", format!("at {at}"), Item::stray(format!("umount {at}")));
    }
    left
}

/// What the lab of that run has left on the host, as far as it is on record.
pub fn leftovers(run_id: &str) -> Vec<Residue> {
    let lab_dir = labs_dir().join(run_id);
    let left = Record::read(&lab_dir).map(|record| remains(&record, &lab_dir)).unwrap_or_default();
    Inventory::default().differences(&left)
}

fn folders() -> Vec<PathBuf> {
    let entries = fs::read_dir(labs_dir()).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// Who was making the folder of that name when it was made.
fn unborn_maker(name: &str) -> Option<Identity> {
    let mut parts = name.strip_prefix(UNBORN)?.split('-');
    Some(Identity { pid: parts.next()?.parse().ok()?, start: parts.next()?.parse().ok()? })
}
