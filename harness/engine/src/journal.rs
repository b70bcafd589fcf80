//! The write-ahead record of every undo. An action is applied only once its undo is on disk.
//!
//! One file a run in a fixed state directory (not the run's folder, which CI wipes): a header line, then one line an entry,
//! each with a CRC-32, in a file preallocated with zeros so that a full disk cannot keep an undo from being written.
//! The file is locked while its run lives, so that `heal --all` spares live runs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use firedrill_core::action::Undo;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::failpoint;

const FORMAT: u32 = 1;
const SIZE: usize = 1 << 20;
const SUFFIX: &str = "journal";

/// Who wrote a journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// Format of the file.
    pub format: u32,
    /// Version of firedrill.
    pub version: String,
    /// Short id of the run.
    pub run_id: String,
    /// The platform its actions were for.
    pub platform: String,
    /// The run's folder.
    pub folder: PathBuf,
    /// The id of the running cluster that its actions were for, if that is not the run's own.
    #[serde(default)]
    pub against: Option<String>,
    /// `/proc/sys/kernel/random/boot_id`: kernel objects do not outlive a boot.
    pub boot_id: String,
    /// The harness's process id.
    pub pid: u32,
    /// Its start time in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub pid_start: u64,
}

/// One line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Entry {
    /// About to be applied.
    Intent {
        /// How to undo it.
        undo: Undo,
    },
    /// In force.
    Applied {
        /// Tag of the undo.
        tag: String,
    },
    /// Undone.
    Reverted {
        /// Tag of the undo.
        tag: String,
    },
}

/// Why a journal could not be written or read.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The file system refused.
    #[error("journal {}: {doing}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// More actions than the preallocated file holds.
    #[error("journal {} is full", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
}

/// The journal of a live run.
pub struct Journal {
    file: File,
    path: PathBuf,
    used: usize,
    open: u32,
}

impl Journal {
    /// Makes and locks the journal of a run: `<state>/journal/<run_id>.journal`. `against` is the running cluster that it is
    /// run against, if it has none of its own.
    pub fn create(
        state: &Path,
        platform: &str,
        run_id: &str,
        folder: &Path,
        against: Option<&str>,
    ) -> Result<Self, JournalError> {
        let directory = state.join("journal");
        let path = directory.join(format!("{run_id}.{SUFFIX}"));
        let failed = |doing| {
            let path = path.clone();
            move |source| JournalError::Io { path, doing, source }
        };
        fs::create_dir_all(&directory).map_err(failed("cannot make its directory"))?;
        let mut file =
            OpenOptions::new().create_new(true).read(true).write(true).open(&path).map_err(failed("cannot be made"))?;
        file.lock().map_err(failed("cannot be locked"))?;
        failpoint::at("harness-journal-made");
        file.write_all(&vec![0; SIZE]).map_err(failed("cannot be preallocated"))?;
        file.sync_all().map_err(failed("cannot be flushed"))?;
        let header = Header {
            format: FORMAT,
            version: firedrill_core::VERSION.to_owned(),
            run_id: run_id.to_owned(),
            platform: platform.to_owned(),
            folder: folder.to_owned(),
            against: against.map(ToOwned::to_owned),
            boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned(),
            pid: std::process::id(),
            pid_start: start_time_of("self").unwrap_or_default(),
        };
        let mut journal = Self { file, path: path.clone(), used: 0, open: 0 };
        journal.append(&serde_json::to_string(&header).unwrap_or_default())?;
        File::open(&directory)
            .and_then(|directory| directory.sync_all())
            .map_err(failed("cannot flush its directory"))?;
        failpoint::at("harness-journal-headed");
        Ok(journal)
    }

    /// Writes an entry and waits until it is on disk.
    pub fn write(&mut self, entry: &Entry) -> Result<(), JournalError> {
        self.append(&serde_json::to_string(entry).unwrap_or_default())?;
        match entry {
            Entry::Intent { .. } => {
                self.open += 1;
                failpoint::at("harness-intent-synced");
            }
            Entry::Applied { .. } => failpoint::at("harness-applied-synced"),
            Entry::Reverted { .. } => {
                self.open = self.open.saturating_sub(1);
                failpoint::at("harness-released");
            }
        }
        Ok(())
    }

    /// Removes the journal if everything in it was undone; otherwise leaves it for `firedrill heal`.
    pub fn close(self) -> Result<(), JournalError> {
        failpoint::at("harness-before-close");
        if self.open == 0 {
            let path = self.path;
            fs::remove_file(&path).map_err(|source| JournalError::Io { path, doing: "cannot be removed", source })?;
            failpoint::at("harness-closed");
        }
        Ok(())
    }

    fn append(&mut self, json: &str) -> Result<(), JournalError> {
        let line = format!("{:08x} {json}\n", crc32(json.as_bytes()));
        if self.used + line.len() > SIZE {
            return Err(JournalError::Full { path: self.path.clone() });
        }
        let io = |source| JournalError::Io { path: self.path.clone(), doing: "cannot be written", source };
        let at = u64::try_from(self.used).unwrap_or(u64::MAX);
        self.file.seek(SeekFrom::Start(at)).map_err(io)?;
        self.file.write_all(line.as_bytes()).map_err(io)?;
        if self.used > 0 {
            failpoint::at("harness-entry-written");
        }
        self.file.sync_data().map_err(io)?;
        self.used += line.len();
        Ok(())
    }
}

/// A journal found on disk.
#[derive(Debug)]
pub struct Found {
    /// The file.
    pub path: PathBuf,
    /// Who wrote it; `None` if not even that was readable.
    pub header: Option<Header>,
    /// Whether its run is alive.
    pub live: bool,
    /// What was applied, or may have been, and was not undone; last first.
    pub pending: Vec<Undo>,
}

/// Every journal in the state directory, in name order.
pub fn find(state: &Path) -> Result<Vec<Found>, JournalError> {
    let directory = state.join("journal");
    let mut paths: Vec<PathBuf> = match fs::read_dir(&directory) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(JournalError::Io { path: directory, doing: "cannot be listed", source }),
        Ok(entries) => entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect(),
    };
    paths.retain(|path| path.extension().is_some_and(|extension| extension == SUFFIX));
    paths.sort();
    paths.into_iter().map(read).collect()
}

/// Removes the journal of a run that was healed.
pub fn discard(found: &Found) -> Result<(), JournalError> {
    let io = |source| JournalError::Io { path: found.path.clone(), doing: "cannot be removed", source };
    fs::remove_file(&found.path).map_err(io)
}

fn read(path: PathBuf) -> Result<Found, JournalError> {
    let io = |source| JournalError::Io { path: path.clone(), doing: "cannot be read", source };
    let mut file = File::open(&path).map_err(io)?;
    let live = file.try_lock_shared().is_err();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io)?;
    let mut lines = bytes.split(|byte| *byte == b'\n').map_while(checked);
    let header = lines.next().and_then(|line| serde_json::from_str(line).ok());
    let mut pending: Vec<Undo> = Vec::new();
    for entry in lines.map_while(|line| serde_json::from_str(line).ok()) {
        match entry {
            Entry::Intent { undo } => pending.insert(0, undo),
            Entry::Applied { .. } => {}
            Entry::Reverted { tag } => pending.retain(|undo| undo.tag != tag),
        }
    }
    Ok(Found { path, header, live, pending })
}

fn checked(line: &[u8]) -> Option<&str> {
    let (sum, json) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    (u32::from_str_radix(sum, 16).ok()? == crc32(json.as_bytes())).then_some(json)
}

fn crc32(bytes: &[u8]) -> u32 {
    firedrill_core::codec::crc32(bytes)
}

/// Start time of a process in clock ticks since boot; `who` is a pid or `self`.
pub fn start_time_of(who: &str) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{who}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use firedrill_core::action::Action;
    use firedrill_core::cluster::NodeName;

    use super::*;

    fn undo(tag: &str) -> Undo {
        let action = Action::Pause { node: NodeName::new("n1"), process: None };
        Undo::new(tag, action)
    }

    #[test]
    fn what_was_not_reverted_is_pending_last_first() {
        let state = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(state.path(), "sim", "r1", Path::new("/tmp/x"), None).unwrap();
        for tag in ["a", "b", "c"] {
            journal.write(&Entry::Intent { undo: undo(tag) }).unwrap();
        }
        journal.write(&Entry::Reverted { tag: "b".into() }).unwrap();
        let found = find(state.path()).unwrap();
        assert!(found[0].live, "the lock of a live run is seen");
        journal.close().unwrap();
        let found = find(state.path()).unwrap();
        assert!(!found[0].live);
        assert_eq!(found[0].header.as_ref().unwrap().run_id, "r1");
        let tags: Vec<&str> = found[0].pending.iter().map(|undo| undo.tag.as_str()).collect();
        assert_eq!(tags, ["c", "a"]);
    }

    #[test]
    fn a_torn_line_loses_only_itself() {
        let state = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(state.path(), "sim", "r2", Path::new("/tmp/x"), None).unwrap();
        journal.write(&Entry::Intent { undo: undo("a") }).unwrap();
        let used = journal.used;
        journal.write(&Entry::Intent { undo: undo("b") }).unwrap();
        let path = journal.path.clone();
        drop(journal);
        let mut bytes = fs::read(&path).unwrap();
        bytes[used + 20] ^= 1;
        fs::write(&path, bytes).unwrap();
        let found = find(state.path()).unwrap();
        assert_eq!(found[0].pending.len(), 1);
    }

    #[test]
    fn a_journal_with_nothing_pending_is_removed() {
        let state = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(state.path(), "sim", "r3", Path::new("/tmp/x"), None).unwrap();
        journal.write(&Entry::Intent { undo: undo("a") }).unwrap();
        journal.write(&Entry::Reverted { tag: "a".into() }).unwrap();
        journal.close().unwrap();
        assert!(find(state.path()).unwrap().is_empty());
    }
}
