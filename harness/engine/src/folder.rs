//! The folder of a run: `<out>/<id>/` with `scenario.toml`, `run.json` and `junit.xml`, and one numbered folder a repeat
//! with its manifest, history, events, final reads and the nodes' logs. Everything a judge needs is in it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use firedrill_core::cluster::NodeName;
use firedrill_core::codec;
use firedrill_core::event::Stamped;
use firedrill_core::history::{EpochSwitch, FinalRead};
use firedrill_core::platform::Mechanism;
use firedrill_core::record::Recorded;
use firedrill_core::seed::Seed;
use firedrill_core::time::Wall;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Calls, in the format of [`codec`].
pub const HISTORY_FILE: &str = "history.fdh";
/// Events, one JSON object a line.
pub const EVENTS_FILE: &str = "events.jsonl";
/// What each node held at the end.
pub const FINALS_FILE: &str = "finals.json";
/// What was run.
pub const MANIFEST_FILE: &str = "manifest.json";
/// The scenario, verbatim.
pub const SCENARIO_FILE: &str = "scenario.toml";

const MANIFEST_FORMAT: u32 = 1;

/// What was run, enough to judge it again and to run it again.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of this file.
    pub format: u32,
    /// Version of firedrill.
    pub version: String,
    /// Id of the run: the name of the scenario's folder.
    pub id: String,
    /// Short id of this repeat on this machine.
    pub run_id: String,
    /// The scenario's file, as given.
    pub file: String,
    /// Its text, verbatim.
    pub text: String,
    /// The platform it ran on.
    pub platform: String,
    /// The nodes.
    pub nodes: Vec<NodeName>,
    /// The seed of this repeat.
    pub seed: Seed,
    /// Which repeat, from 0, and of how many.
    pub repeat: (u32, u32),
    /// The command that repeats it.
    pub repeat_command: String,
    /// When it began.
    pub started: Wall,
    /// By what each deed was done.
    pub mechanisms: Vec<Mechanism>,
    /// What it ran on.
    pub environment: BTreeMap<String, String>,
}

impl Manifest {
    /// The format this version writes.
    pub const fn current_format() -> u32 {
        MANIFEST_FORMAT
    }
}

/// What was read at the end.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Finals {
    /// One for each node that was asked.
    pub reads: Vec<FinalRead>,
    /// Switches of epoch, as the servers recorded them.
    pub switches: Vec<EpochSwitch>,
    /// Versions of the servers.
    pub versions: BTreeMap<String, String>,
}

/// Why a run's folder could not be read or written.
#[derive(Debug, Error)]
pub enum FolderError {
    /// The file system refused.
    #[error("{}: {doing}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Not a run's folder.
    #[error("{} is not the folder of a run: it has no {MANIFEST_FILE} and no folder `1` with one", path.display())]
    NotARun {
        /// Which folder.
        path: PathBuf,
    },
}

/// Writes a JSON file: to a temporary name first, so that a full disk never leaves half of one.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), FolderError> {
    let io = |doing| move |source| FolderError::Io { path: path.to_owned(), doing, source };
    let json = serde_json::to_vec_pretty(value)
        .map_err(|error| FolderError::Unreadable { path: path.to_owned(), reason: error.to_string() })?;
    let temporary = path.with_extension("tmp");
    let written = fs::write(&temporary, json).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Half a file helps nobody; the first error is the one that tells why.
        drop(fs::remove_file(&temporary));
    }
    written.map_err(io("cannot be written"))
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, FolderError> {
    let bytes =
        fs::read(path).map_err(|source| FolderError::Io { path: path.to_owned(), doing: "cannot be read", source })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| FolderError::Unreadable { path: path.to_owned(), reason: error.to_string() })
}

/// The folders of the repeats of a run, in order. Accepts the run's folder or a repeat's.
pub fn repeats(folder: &Path) -> Result<Vec<PathBuf>, FolderError> {
    if folder.join(MANIFEST_FILE).exists() {
        return Ok(vec![folder.to_owned()]);
    }
    let found: Vec<PathBuf> = (1_u32..=10_000)
        .map(|i| folder.join(i.to_string()))
        .take_while(|repeat| repeat.join(MANIFEST_FILE).exists())
        .collect();
    if found.is_empty() { Err(FolderError::NotARun { path: folder.to_owned() }) } else { Ok(found) }
}

/// Reads the manifest of a repeat.
pub fn manifest(folder: &Path) -> Result<Manifest, FolderError> {
    let path = folder.join(MANIFEST_FILE);
    let manifest: Manifest = read_json(&path)?;
    if manifest.format > MANIFEST_FORMAT {
        let reason = format!("format {} is newer than this firedrill reads ({MANIFEST_FORMAT})", manifest.format);
        return Err(FolderError::Unreadable { path, reason });
    }
    Ok(manifest)
}

/// The bytes of a file, for as long as they are wanted: read, or mapped by who can.
pub type Opened = Box<dyn Deref<Target = [u8]>>;

/// How files of a folder that may be large are opened.
pub type Open = fn(&Path) -> io::Result<Opened>;

/// Reads a recorded repeat, its history as `open` opens it; the third value says what was torn, if anything.
pub fn recorded(folder: &Path, open: Open) -> Result<(Recorded, Finals, Vec<String>), FolderError> {
    let manifest = manifest(folder)?;
    let mut torn = Vec::new();
    let path = folder.join(HISTORY_FILE);
    let bytes =
        open(&path).map_err(|source| FolderError::Io { path: path.clone(), doing: "cannot be read", source })?;
    let history = codec::decode(&bytes)
        .map_err(|error| FolderError::Unreadable { path: path.clone(), reason: error.to_string() })?;
    torn.extend(history.torn.map(|what| format!("{HISTORY_FILE}: {what}")));
    drop(bytes);
    let (events, torn_events) = read_events(&folder.join(EVENTS_FILE), open)?;
    torn.extend(torn_events);
    let finals_path = folder.join(FINALS_FILE);
    let finals: Finals = if finals_path.exists() { read_json(&finals_path)? } else { Finals::default() };
    let recorded = Recorded {
        nodes: manifest.nodes,
        calls: history.calls,
        events,
        finals: finals.reads.clone(),
        switches: finals.switches.clone(),
    };
    Ok((recorded, finals, torn))
}

fn read_events(path: &Path, open: Open) -> Result<(Vec<Stamped>, Option<String>), FolderError> {
    let bytes =
        open(path).map_err(|source| FolderError::Io { path: path.to_owned(), doing: "cannot be read", source })?;
    let mut events = Vec::new();
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    for (number, line) in lines.iter().enumerate() {
        match serde_json::from_slice(line) {
            Ok(event) => events.push(event),
            Err(error) if number + 1 == lines.len() => {
                return Ok((events, Some(format!("{EVENTS_FILE}: the last line is torn ({error})"))));
            }
            Err(error) => {
                let reason = format!("line {}: {error}", number + 1);
                return Err(FolderError::Unreadable { path: path.to_owned(), reason });
            }
        }
    }
    Ok((events, None))
}
