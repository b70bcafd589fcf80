//! Where a test runs a scenario on real servers: a folder of its own, and the machine for itself.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::sync::RwLockWriteGuard;

use firedrill_core::record::ScenarioRecord;

use crate::command::{Ended, FIREDRILL, firedrill_in, machine, program};
use crate::scan::{Lab, Running, control_groups, mounts_below, wait_until};

/// On servers that start fast, with a fault.
const ON_ETCD: &str = r#"
firedrill = 1
name = "A run that something happens to"

[cluster]
system = "etcd"

[workload]
kind    = "ledger"
clients = 2
rate    = "20/s"
timeout = "3s"

[steady]
for     = "1s"
within  = "30s"
require = ["primaries == 1"]

[[fault]]
FAULT

[[invariant]]
check = "single-writer"
"#;

/// A scenario on etcd with this fault.
pub(crate) fn on_etcd(fault: &str) -> String {
    ON_ETCD.replace("FAULT", fault)
}

/// A folder for one test, the scenario in it, and the machine.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
    _machine: RwLockWriteGuard<'static, ()>,
}

impl Bench {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), _machine: machine() }
    }

    /// Whether the lab can run a scenario; it is said loudly if not.
    #[expect(clippy::print_stderr, reason = "a skip must be loud")]
    pub(crate) fn can_run(&self, scenario: &str) -> bool {
        let plan = firedrill_in(&self.state(), &["plan", scenario]);
        assert_eq!(plan.code, 0, "{}", plan.stderr);
        let missing = plan.stdout.split_once("a run would exit with 7");
        if let Some((_, missing)) = missing {
            eprintln!("SKIPPED: the lab cannot run {scenario} here{missing}");
        }
        missing.is_none()
    }

    /// The path of a file in the folder.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Where firedrill keeps its state.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Writes a scenario; where.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let file = self.path(name);
        fs::write(&file, text).unwrap();
        file
    }

    /// A run, to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        let out = self.path("runs");
        firedrill_in(&self.state(), &[&["run", "--out", &out][..], args].concat())
    }

    /// Starts a run as a shell would: in a process group of its own, all of which Ctrl-C reaches.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let out = self.path("runs");
        let mut command = program(FIREDRILL, &self.state());
        command.args(["run", "--out", &out]).args(args).process_group(0);
        Running::start(command)
    }

    /// The one run's folder.
    pub(crate) fn run_folder(&self) -> PathBuf {
        fs::read_dir(self.path("runs")).unwrap().next().unwrap().unwrap().path()
    }

    /// The record of the one run.
    pub(crate) fn record(&self) -> ScenarioRecord {
        serde_json::from_slice(&fs::read(self.run_folder().join("run.json")).unwrap()).unwrap()
    }

    /// The lab that runs now.
    pub(crate) fn lab(&self) -> Lab {
        let labs: Vec<PathBuf> =
            fs::read_dir(self.state().join("labs")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(labs.len(), 1, "{labs:?}");
        Lab::new(&labs[0])
    }

    /// As [`Self::lab`], as soon as there is one that is held.
    pub(crate) fn lab_when_held(&self) -> Lab {
        wait_until("a lab that is held", || {
            let labs = fs::read_dir(self.state().join("labs")).map_err(|error| error.to_string())?;
            let record = labs.flatten().map(|entry| fs::read_to_string(entry.path().join("lab.json"))).next();
            let held = |text: &String| text.contains("\"init\": {");
            match record {
                Some(Ok(text)) if held(&text) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        self.lab()
    }

    /// Looks for what the tool itself may have missed.
    pub(crate) fn assert_nothing_left(&self, lab: &Lab) {
        lab.wait_until_gone();
        let state = self.state();
        assert_eq!(mounts_below(&state), Vec::<String>::new());
        assert_eq!(control_groups(&lab.run_id), Vec::<PathBuf>::new());
        for folder in ["labs", "journal"] {
            let left: Vec<_> = fs::read_dir(state.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}
