//! A run in the background, and what of its lab is there: asked of the kernel, not of firedrill.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::command::Ended;

/// How long the slowest thing that is waited for may take.
const PATIENCE: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_millis(50);

/// Looks until it is so; panics with what was seen last when it takes too long.
#[expect(clippy::disallowed_methods, reason = "a test that waits for another process")]
pub(crate) fn wait_until(what: &str, mut look: impl FnMut() -> Result<(), String>) {
    let mut last = String::new();
    for _ in 0..PATIENCE.as_millis() / EVERY.as_millis() {
        match look() {
            Ok(()) => return,
            Err(seen) => last = seen,
        }
        std::thread::sleep(EVERY);
    }
    panic!("{what} did not happen within {PATIENCE:?}; last seen: {last}");
}

/// A command that runs, in a process group of its own.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    seen: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout, seen: String::new() }
    }

    /// Reads on until a line contains `text`.
    pub(crate) fn read_until(&mut self, text: &str) {
        loop {
            let mut line = String::new();
            let read = self.stdout.read_line(&mut line).unwrap();
            self.seen.push_str(&line);
            if line.contains(text) {
                return;
            }
            if read == 0 {
                let mut stderr = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
                panic!("it ended before {text:?}:\n{}{stderr}", self.seen);
            }
        }
    }

    /// As Ctrl-C in a terminal: every process of the group gets the signal.
    pub(crate) fn interrupt(&self) {
        killpg(self.group(), Signal::SIGINT).unwrap();
    }

    fn group(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// `kill -9` of the command alone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Fills the disk that the command sees at `disk`.
    pub(crate) fn fill(&self, disk: &Path) {
        let seen = Path::new("/proc").join(self.child.id().to_string()).join("root");
        let mut file = fs::File::create(seen.join(disk.strip_prefix("/").unwrap()).join("filler")).unwrap();
        let error = loop {
            // One byte at last, so that not even a line of a log fits.
            if let Err(error) = file.write_all(&[0; 4096]).and_then(|()| file.sync_data()) {
                break error;
            }
        };
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    }

    pub(crate) fn end(mut self) -> Ended {
        self.stdout.read_to_string(&mut self.seen).unwrap();
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        Ended { code, stdout: std::mem::take(&mut self.seen), stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // When a test fails half-way; otherwise it has ended, and was waited for.
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// A process that cannot be taken for another.
type Process = (u32, String);

/// Everything of a lab that the kernel knew at a moment.
pub(crate) struct Lab {
    pub(crate) run_id: String,
    processes: BTreeSet<Process>,
    namespaces: BTreeSet<PathBuf>,
}

const NAMESPACES: [&str; 5] = ["mnt", "net", "pid", "ipc", "uts"];

impl Lab {
    /// The lab whose record is in `folder`: its holder, and everything below its init.
    pub(crate) fn new(folder: &Path) -> Self {
        let record: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("lab.json")).unwrap()).unwrap();
        let pid = |name: &str| u32::try_from(record[name]["pid"].as_u64().unwrap()).unwrap();
        let own: BTreeSet<PathBuf> = namespaces_of(std::process::id()).into_iter().collect();
        let namespace = fs::read_link(format!("/proc/{}/ns/pid", pid("init"))).unwrap();
        assert!(!own.contains(&namespace), "the lab has no pid namespace of its own");
        let inside = |pid: &u32| fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|its| its == namespace);
        let pids: BTreeSet<u32> = all_pids().into_iter().filter(inside).chain([pid("holder")]).collect();
        let namespaces = pids.iter().flat_map(|pid| namespaces_of(*pid)).filter(|each| !own.contains(each)).collect();
        let processes = pids.into_iter().filter_map(process).collect();
        Self { run_id: record["run_id"].as_str().unwrap().to_owned(), processes, namespaces }
    }

    pub(crate) fn processes(&self) -> usize {
        self.processes.len()
    }

    /// `kill -9` of the one process of it that was started with an argument that contains `word`.
    pub(crate) fn kill(&self, word: &str) {
        assert_eq!(self.kill_all(word), 1, "{word}");
    }

    /// `kill -9` of those of it that were started with an argument that contains `word`; how many there were.
    pub(crate) fn kill_all(&self, word: &str) -> usize {
        let started_so = |pid: &u32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| contains(&line, word));
        let found: Vec<u32> = self.processes.iter().map(|(pid, _)| *pid).filter(started_so).collect();
        for pid in &found {
            kill(Pid::from_raw(i32::try_from(*pid).unwrap()), Signal::SIGKILL).unwrap();
        }
        found.len()
    }

    /// Waits until no process of it is there, and nobody is in a namespace of it.
    pub(crate) fn wait_until_gone(&self) {
        wait_until("the end of the lab", || {
            let pids = all_pids();
            let living: Vec<Process> = pids
                .iter()
                .filter_map(|pid| process(*pid))
                .filter(|process| self.processes.contains(process))
                .collect();
            let inside: Vec<u32> = pids
                .into_iter()
                .filter(|pid| namespaces_of(*pid).iter().any(|each| self.namespaces.contains(each)))
                .collect();
            if living.is_empty() && inside.is_empty() { Ok(()) } else { Err(format!("{living:?} {inside:?}")) }
        });
    }
}

fn contains(line: &[u8], word: &str) -> bool {
    String::from_utf8_lossy(line).contains(word)
}

fn all_pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Its id and its start time (`/proc/PID/stat`, field 22); `None` when it has ended, also if nobody has waited for it.
fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    (*fields.first()? != "Z").then(|| (pid, fields[19].to_owned()))
}

fn namespaces_of(pid: u32) -> Vec<PathBuf> {
    NAMESPACES.iter().filter_map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()).collect()
}

/// Files below a folder that a loop device of this machine has.
pub(crate) fn loops_below(folder: &Path) -> Vec<String> {
    let devices = fs::read_dir("/sys/block").unwrap().flatten();
    let files = devices.filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
    files.filter(|file| Path::new(file).starts_with(folder)).collect()
}

/// Mounts of this machine below a folder.
pub(crate) fn mounts_below(folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().filter(|line| line.contains(&folder)).map(ToOwned::to_owned).collect()
}

/// Control groups of a run, in every hierarchy of this machine.
pub(crate) fn control_groups(run_id: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let mut groups = vec![root.to_owned()];
    for _ in 0..2 {
        let inner: Vec<PathBuf> = groups
            .iter()
            .flat_map(|group| fs::read_dir(group).into_iter().flatten().flatten())
            .map(|entry| entry.path())
            .filter(|path| path.is_dir() && !path.is_symlink())
            .collect();
        groups.extend(inner);
    }
    groups.sort();
    groups.dedup();
    groups.retain(|group| group.file_name().is_some_and(|name| name.to_string_lossy().contains(run_id)));
    groups
}
