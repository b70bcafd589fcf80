//! The agent's own write-ahead journal: how to undo each action, on disk before it is applied, and when it was in force.
//! It is for whoever comes after an agent that died together with its guard: the next agent of the run.
//!
//! One file for each agent: a header line, then one line an entry, each with a CRC-32, in a file preallocated with zeros so
//! that a disk which an action fills cannot keep an undo from being written. Locked while its agent lives.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use firedrill_core::action::Undo;
use firedrill_core::codec::crc32;
use firedrill_sys::identity::{Identity, boot_id, own_namespace};
use serde::{Deserialize, Serialize};

use crate::protocol::{By, Config, Held};

const FORMAT: u32 = 1;
const SIZE: usize = 512 * 1024;
const SUFFIX: &str = "agent";
const UNBORN: &str = "new";

/// Who wrote a journal, and where it was.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// Format of the file.
    pub format: u32,
    /// The boot: processes and kernel objects do not outlive it.
    pub boot_id: String,
    /// The agent.
    pub agent: Option<Identity>,
    /// The pid namespace that process ids in it are of, as `/proc/self/ns/pid` has it.
    pub pids: String,
    /// The network namespace the agent was in, likewise.
    pub network: String,
    /// Where it was.
    pub config: Config,
}

impl Header {
    fn own(config: &Config) -> io::Result<Self> {
        Ok(Self {
            format: FORMAT,
            boot_id: boot_id()?,
            agent: Identity::own(),
            pids: own_namespace("pid")?,
            network: own_namespace("net")?,
            config: config.clone(),
        })
    }

    /// Whether process ids in the journal are those of the caller's own `/proc`.
    pub fn knows_processes(&self) -> bool {
        boot_id().is_ok_and(|boot| boot == self.boot_id) && own_namespace("pid").is_ok_and(|pids| pids == self.pids)
    }
}

/// One line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Entry {
    /// About to be applied; said again when it concerns more than was known.
    Intent {
        /// How to undo it.
        undo: Undo,
    },
    /// In force.
    Applied {
        /// Tag of the undo.
        tag: String,
        /// Since when, nanoseconds of `CLOCK_BOOTTIME`.
        from: u64,
    },
    /// Undone.
    Released {
        /// Tag of the undo.
        tag: String,
        /// When it was in force, as far as whoever undid it knows.
        held: Option<Held>,
        /// Who undid it; `None` is not its agent.
        by: Option<By>,
    },
}

/// The journal of a living agent.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    header: Header,
    used: usize,
    pending: Vec<Undo>,
}

impl Journal {
    /// Makes and locks the journal of this process in `folder`, which is made if missing.
    pub fn create(folder: &Path, config: &Config) -> io::Result<Self> {
        let header = Header::own(config)?;
        let agent = header.agent.ok_or_else(|| io::Error::other("no identity of the agent"))?;
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("{}{}-{}.{SUFFIX}", config.tag_prefix, agent.pid, agent.start));
        let journal = Self::begin(path, header, Vec::new())?;
        File::open(folder)?.sync_all()?;
        Ok(journal)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes an entry and waits until it is on disk.
    pub fn write(&mut self, entry: &Entry) -> io::Result<()> {
        note(&mut self.pending, entry);
        let line = line(entry)?;
        if self.used + line.len() > SIZE {
            return self.start_over();
        }
        self.append(&line)
    }

    /// Removes it if everything in it is undone; leaves it for whoever comes after otherwise.
    pub fn close(self) -> io::Result<()> {
        if self.pending.is_empty() { fs::remove_file(&self.path) } else { Ok(()) }
    }

    /// Under another name first, so that whoever finds it finds it locked and whole.
    fn begin(path: PathBuf, header: Header, pending: Vec<Undo>) -> io::Result<Self> {
        let unborn = path.with_extension(UNBORN);
        let mut file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&unborn)?;
        file.lock()?;
        file.write_all(&vec![0; SIZE])?;
        file.sync_all()?;
        let mut journal = Self { file, path, header, used: 0, pending };
        journal.append(&line(&journal.header)?)?;
        for undo in journal.pending.clone() {
            journal.append(&line(&Entry::Intent { undo })?)?;
        }
        fs::rename(&unborn, &journal.path)?;
        Ok(journal)
    }

    /// A new file, with what is still in force only, takes the place of the full one.
    fn start_over(&mut self) -> io::Result<()> {
        *self = Self::begin(self.path.clone(), self.header.clone(), self.pending.clone())?;
        Ok(())
    }

    fn append(&mut self, line: &str) -> io::Result<()> {
        if self.used + line.len() > SIZE {
            return Err(io::Error::other("too much is in force for the journal"));
        }
        self.file.seek(SeekFrom::Start(u64::try_from(self.used).map_err(io::Error::other)?))?;
        self.file.write_all(line.as_bytes())?;
        self.file.sync_data()?;
        self.used += line.len();
        Ok(())
    }
}

/// What an agent that is gone left undone, or may have. Holds the lock, so that nobody else undoes it at the same time.
#[derive(Debug)]
pub struct Leftover {
    /// The file.
    pub path: PathBuf,
    /// Who wrote it.
    pub header: Header,
    /// What was applied, or may have been, and was not undone; last first.
    pub pending: Vec<Undo>,
    file: File,
}

impl Leftover {
    /// Of the journal at `path`. `None` while its agent lives, when somebody else is at it, or when not even its header
    /// can be read: nothing was applied then.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        if file.try_lock().is_err() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').map_while(checked);
        let Some(header) = lines.next().and_then(|(json, _)| serde_json::from_str::<Header>(json).ok()) else {
            fs::remove_file(path)?;
            return Ok(None);
        };
        if header.format != FORMAT {
            return Err(io::Error::other(format!("format {} is another version's: use that one", header.format)));
        }
        let mut pending = Vec::new();
        let mut used = bytes.split_inclusive(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len);
        for (json, length) in lines {
            let Ok(entry) = serde_json::from_str(json) else { break };
            note(&mut pending, &entry);
            used += length;
        }
        // What comes after is torn, or of a line that was never whole.
        file.seek(SeekFrom::Start(u64::try_from(used).map_err(io::Error::other)?))?;
        pending.reverse();
        Ok(Some(Self { path: path.to_owned(), header, pending, file }))
    }

    /// To be called when one of them is undone. The file goes with the last.
    pub fn release(&mut self, tag: &str) -> io::Result<()> {
        let line = line(&Entry::Released { tag: tag.to_owned(), held: None, by: None })?;
        self.file.write_all(line.as_bytes())?;
        self.file.sync_data()?;
        self.pending.retain(|undo| undo.tag != tag);
        if self.pending.is_empty() { self.remove() } else { Ok(()) }
    }

    /// Removes the file.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Who wrote the journal at `path`; `None` if there is none, or not even that can be read. Asks for no lock.
pub fn header(path: &Path) -> Option<Header> {
    let bytes = fs::read(path).ok()?;
    let (json, _) = checked(bytes.split_inclusive(|byte| *byte == b'\n').next()?)?;
    serde_json::from_str(json).ok()
}

/// The journals in a folder whose tags begin with `prefix`, in name order; `prefix` may be [`crate::protocol::TAG`].
pub fn find(folder: &Path, prefix: &str) -> io::Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect(),
    };
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    paths.retain(named);
    for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == UNBORN)) {
        remove_unborn(path);
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == SUFFIX));
    paths.sort();
    Ok(paths)
}

/// Removes a journal whose maker died before it had its name. Nothing was applied then.
fn remove_unborn(path: &Path) {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut parts = name.rsplit('-');
    let start = parts.next().and_then(|start| start.parse().ok());
    let pid = parts.next().and_then(|pid| pid.parse().ok());
    let maker = pid.zip(start).map(|(pid, start)| Identity { pid, start });
    let unlocked = File::open(path).is_ok_and(|file| file.try_lock().is_ok());
    if unlocked && maker.is_some_and(|maker| !maker.is_alive()) {
        // One that cannot be removed is empty, and tried again by whoever looks next.
        drop(fs::remove_file(path));
    }
}

/// Follows what is in force; the last begun is last.
fn note(pending: &mut Vec<Undo>, entry: &Entry) {
    match entry {
        Entry::Intent { undo } => match pending.iter_mut().find(|known| known.tag == undo.tag) {
            Some(known) => known.clone_from(undo),
            None => pending.push(undo.clone()),
        },
        Entry::Applied { .. } => {}
        Entry::Released { tag, .. } => pending.retain(|undo| undo.tag != *tag),
    }
}

fn line(what: &impl Serialize) -> io::Result<String> {
    let json = serde_json::to_string(what)?;
    Ok(format!("{:08x} {json}\n", crc32(json.as_bytes())))
}

/// The content of a line, and the line's whole length; `None` if it is torn.
fn checked(line: &[u8]) -> Option<(&str, usize)> {
    let (sum, json) = std::str::from_utf8(line).ok()?.strip_suffix('\n')?.split_once(' ')?;
    (u32::from_str_radix(sum, 16).ok()? == crc32(json.as_bytes())).then_some((json, line.len()))
}

#[cfg(test)]
mod tests {
    use firedrill_core::action::Action;
    use firedrill_core::cluster::NodeName;

    use super::*;

    fn config() -> Config {
        Config {
            tag_prefix: "fd-j-".to_owned(),
            lease_nanos: 1,
            nodes: Vec::new(),
            clients: None,
            starter: None,
            resolver: None,
            journal: None,
        }
    }

    fn undo(tag: &str) -> Undo {
        Undo::new(tag, Action::Pause { node: NodeName::new("n1"), process: None })
    }

    fn tags(undos: &[Undo]) -> Vec<&str> {
        undos.iter().map(|undo| undo.tag.as_str()).collect()
    }

    fn left(folder: &Path) -> Option<Leftover> {
        find(folder, "fd-").unwrap().first().and_then(|path| Leftover::take(path).unwrap())
    }

    #[test]
    fn what_was_not_released_is_left_last_first_and_goes_with_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(folder.path(), &config()).unwrap();
        for tag in ["fd-j-1", "fd-j-2", "fd-j-10"] {
            journal.write(&Entry::Intent { undo: undo(tag) }).unwrap();
            journal.write(&Entry::Applied { tag: tag.to_owned(), from: 7 }).unwrap();
        }
        journal.write(&Entry::Released { tag: "fd-j-2".to_owned(), held: None, by: Some(By::Asked) }).unwrap();
        assert!(left(folder.path()).is_none(), "a living agent's is nobody else's");
        journal.close().unwrap();
        let mut leftover = left(folder.path()).unwrap();
        assert_eq!(tags(&leftover.pending), ["fd-j-10", "fd-j-1"]);
        assert!(leftover.header.knows_processes());
        assert!(left(folder.path()).is_none(), "one undoes at a time");
        leftover.release("fd-j-10").unwrap();
        drop(leftover);
        let mut leftover = left(folder.path()).unwrap();
        assert_eq!(tags(&leftover.pending), ["fd-j-1"]);
        leftover.release("fd-j-1").unwrap();
        assert!(find(folder.path(), "fd-").unwrap().is_empty());
    }

    #[test]
    fn a_torn_tail_loses_only_the_tail() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(folder.path(), &config()).unwrap();
        journal.write(&Entry::Intent { undo: undo("fd-j-1") }).unwrap();
        let used = journal.used;
        journal.write(&Entry::Intent { undo: undo("fd-j-2") }).unwrap();
        let path = journal.path.clone();
        drop(journal);
        let whole = fs::read(&path).unwrap();
        for cut in used..used + 40 {
            let mut torn = whole.clone();
            torn[cut..].fill(0);
            fs::write(&path, torn).unwrap();
            let mut leftover = Leftover::take(&path).unwrap().unwrap();
            assert_eq!(tags(&leftover.pending), ["fd-j-1"], "{cut}");
            leftover.release("fd-j-1").unwrap();
        }
    }

    #[test]
    fn a_full_journal_starts_over_with_what_is_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(folder.path(), &config()).unwrap();
        journal.write(&Entry::Intent { undo: undo("fd-j-first") }).unwrap();
        let mut bulky = undo("fd-j-bulky");
        bulky.saved.insert("bulk".to_owned(), "x".repeat(SIZE / 4));
        for _ in 0..20 {
            journal.write(&Entry::Intent { undo: bulky.clone() }).unwrap();
            journal.write(&Entry::Released { tag: bulky.tag.clone(), held: None, by: None }).unwrap();
        }
        assert!(left(folder.path()).is_none(), "the new file is locked too");
        drop(journal);
        assert_eq!(tags(&left(folder.path()).unwrap().pending), ["fd-j-first"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_journal_of_nothing_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        Journal::create(folder.path(), &config()).unwrap().close().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::write(folder.path().join("fd-j-1-1.agent"), [0; 64]).unwrap();
        assert!(left(folder.path()).is_none());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
