//! A disk that can be harmed and can lose its power, as a lab has one for each node, served by the agent's program.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use firedrill_agent::disk::{ARGUMENT, READY, Setting};
use firedrill_sys::mounts;

/// A running disk. Its end is the end of the mount.
pub(crate) struct ServedDisk {
    child: Child,
    pub(crate) raw: PathBuf,
    pub(crate) at: PathBuf,
    pub(crate) socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl ServedDisk {
    /// Serves a folder with a file in it. `None`, said loudly, where there is no `/dev/fuse`.
    #[expect(clippy::print_stderr, reason = "what is skipped is said")]
    #[expect(clippy::disallowed_methods, reason = "the program is what is tested")]
    pub(crate) fn start() -> Option<Self> {
        if !Path::new("/dev/fuse").exists() {
            eprintln!("SKIPPED: this machine has no /dev/fuse, so no disk can be harmed");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let [raw, at, socket] = ["raw", "at", "socket"].map(|name| folder.path().join(name));
        std::fs::create_dir_all(raw.join("data")).expect("a folder");
        std::fs::create_dir(&at).expect("a folder");
        std::fs::write(raw.join("data/file"), [7; 4096]).expect("a file");
        let setting =
            Setting { raw: raw.clone(), at: at.clone(), socket: socket.clone(), targets: vec![None], power: true };
        let setting = serde_json::to_string(&setting).expect("a setting");
        let mut command = std::process::Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_firedrill-agent"), ARGUMENT, &setting]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        output.read_line(&mut line).expect("a line");
        assert_eq!(line.trim(), READY);
        Some(Self { child, raw, at, socket, _folder: folder })
    }

    /// Its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for ServedDisk {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(mounts::detach(&self.at));
    }
}
