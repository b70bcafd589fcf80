//! Disks of nodes that can be harmed: one process each, started before anything of the node is.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, PipeReader, Read as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use firedrill_agent::disk::{ARGUMENT, READY, Setting};
use firedrill_core::time::Clock;
use firedrill_sys::ready::{self, Want};
use firedrill_sys::spawn::{RunAs, Spawn};

use super::build::home_path;
use crate::lab::doing;
use crate::lab::wire::{DISKS, DiskConfig};

/// How long a process may take until it serves.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where what a node's disk passes through to is mounted, in the lab's own mount namespace.
pub(crate) fn raw_path(name: &str) -> PathBuf {
    Path::new(DISKS).join(name).join("raw")
}

/// Where a node's disk listens for harms.
pub(crate) fn socket_path(name: &str) -> PathBuf {
    Path::new(DISKS).join(name).join("socket")
}

/// Starts the disk that serves a node's home, and waits until it does. Returns its process id.
pub(super) fn start(config: &DiskConfig, name: &str, log: File) -> io::Result<i32> {
    let at = home_path(name);
    fs::create_dir(&at)?;
    let setting = Setting {
        raw: raw_path(name),
        at,
        socket: socket_path(name),
        targets: config.targets.iter().cloned().collect(),
        power: config.power,
    };
    let setting = serde_json::to_string(&setting).map_err(io::Error::other)?;
    let argv = [config.program.to_string_lossy().into_owned(), ARGUMENT.to_owned(), setting];
    let (heard, told) = io::pipe()?;
    let null = File::open("/dev/null")?;
    let spawn = Spawn {
        argv: &argv,
        env: &BTreeMap::new(),
        stdio: [null.as_fd(), told.as_fd(), log.as_fd()],
        cgroups: &[],
        namespaces: Vec::new(),
        directory: Path::new("/"),
        run_as: RunAs::Same,
    };
    let pid = spawn.start().map_err(doing("start the disk"))?;
    drop((told, log));
    await_word(READY, heard).map_err(doing("wait for the disk; see disk.log of the node"))?;
    Ok(pid)
}

/// Waits until a process that was just started says that word.
pub(super) fn await_word(word: &str, mut heard: PipeReader) -> io::Result<()> {
    let clock = Clock::start();
    let begun = clock.now();
    let mut said = Vec::new();
    while clock.now().since(begun) < PATIENCE {
        if !ready::any(&[(heard.as_fd(), Want::Read)], Some(PATIENCE))?.contains(&true) {
            break;
        }
        let mut buffer = [0; 64];
        let count = heard.read(&mut buffer)?;
        said.extend_from_slice(&buffer[..count]);
        if said.starts_with(word.as_bytes()) {
            return Ok(());
        }
        if count == 0 || said.len() > buffer.len() {
            return Err(io::Error::other("it ended"));
        }
    }
    Err(io::Error::other("it does not serve"))
}
