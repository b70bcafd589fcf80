//! The contract of platforms, kept by the lab: a cheap cluster of three nodes for each group of deeds that need the same from
//! the start, each in a process of its own, because what stops its agent half-way is told by the environment. All at once:
//! most of the time is spent waiting.

#[path = "../../../../faults/agent/tests/it/storm/independent.rs"]
mod independent;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use firedrill_agent::failpoint;
use firedrill_core::action::{Action, Deed, Effect, Presence, Undo};
use firedrill_core::cluster::{NodeName, ProcessName};
use firedrill_core::fault::{LabLinks, Needs};
use firedrill_core::platform::{Offer, OpenRequest, Platform, Vantage};
use firedrill_core::seed::Seed;
use firedrill_core::system::{HomeFile, LabRecipe, Program, TemplateEnd, Unit};
use firedrill_core::time::{Clock, Wall};
use firedrill_core::units::human;
use firedrill_core::wait;
use firedrill_platforms::lab::{self, Lab};
use tokio::io::AsyncReadExt as _;

use self::independent::Independent;
use crate::contract::{Place, Report, Stand, all, deeds, keeps};
use crate::rig::{PYTHON, block_on, nothing_left, run_id};

/// The group whose lab harms links at the nodes' own ends.
const ENDS: &str = "ends";
/// Deeds that one lab can do. A loss of power is another thing where a disk that can be harmed serves the homes.
const GROUPS: [(&str, &[Deed]); 7] = [
    ("links", &[Deed::CutLinks, Deed::ImpairLinks]),
    (ENDS, &[Deed::CutLinks, Deed::ImpairLinks]),
    ("processes", &[Deed::KillProcess, Deed::MisleadNames, Deed::OomProcess, Deed::PauseProcess]),
    ("disks", &[Deed::HarmDisk, Deed::LosePower]),
    ("volumes", &[Deed::FreezeDisk, Deed::LosePower, Deed::ShiftClock]),
    ("processors", &[Deed::PressCpu, Deed::PressMemory, Deed::PressPids]),
    ("writers", &[Deed::PressFds, Deed::PressIo]),
];

/// The file, in the folder of a group, that says where deeds are to stop.
const POINT: &str = "point";
/// Where the server tells what its clock says, in nanoseconds since 1970.
const PORT: u16 = 8000;
/// How long servers may take to be up, and everything else.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a file may take to be written, synced and read.
const TRY: Duration = Duration::from_secs(5);
/// A clock that is off by more is a wrong one.
const OFF: Duration = Duration::from_millis(500);

/// Writes, syncs and reads the same bytes again and again, and tells the time to whoever connects.
const SERVER: &str = r"
import os, socket, threading, time

def beat():
    page, file = b'beat' * 1024, os.open('data/beat', os.O_RDWR | os.O_CREAT, 0o644)
    while True:
        try:
            os.pwrite(file, page, 0)
            os.fsync(file)
            os.pread(file, len(page), 0)
        except OSError:
            pass
        time.sleep(0.1)

threading.Thread(target=beat, daemon=True).start()
door = socket.create_server(('0.0.0.0', 8000))
while True:
    try:
        guest, _ = door.accept()
        with guest:
            guest.sendall(str(time.time_ns()).encode())
    except OSError:
        time.sleep(0.02)
";

/// Every group in a process of its own, all at the same time.
#[expect(clippy::disallowed_methods, reason = "this very program, with a failpoint")]
pub(crate) fn the_lab_keeps_the_contract(work: &Path) {
    for deed in deeds() {
        assert!(GROUPS.iter().any(|(_, deeds)| deeds.contains(&deed)), "no lab does {deed}");
    }
    let start = |(name, _): &(&'static str, _)| {
        let work = work.join(name);
        fs::create_dir_all(&work).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("keep").arg(&work).arg(name);
        command.env(failpoint::VARIABLE, format!("@{}", work.join(POINT).display()));
        (*name, command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    };
    let started: Vec<_> = GROUPS.iter().map(start).collect();
    let mut broken = Vec::new();
    for (name, child) in started {
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        println!("-- {name}\n{}", String::from_utf8_lossy(&said));
        if !output.status.success() {
            broken.push(name);
        }
    }
    assert!(broken.is_empty(), "the contract is broken: {broken:?}");
}

/// One group.
pub(crate) fn keep(work: &Path, group: &str) -> ExitCode {
    let links = if group == ENDS { LabLinks::Ends } else { LabLinks::Switch };
    let all_deeds = GROUPS.iter().find(|(name, _)| *name == group).unwrap().1;
    let kept = block_on(async {
        let run = run_id(&group[..2]);
        let deeds = possible(&open(work, &run, all_deeds, links), all_deeds).await;
        if deeds.is_empty() {
            return true;
        }
        let place = place();
        let cases = all(&place).into_iter().filter(|case| deeds.contains(&case.action.deed()));
        let lab = Arc::new(open(work, &run, &deeds, links));
        lab.start(false).await.unwrap();
        let stand = LabStand::new(Arc::clone(&lab), work, &run);
        stand.whole().await.unwrap();
        let mut report = Report::default();
        for case in cases {
            let found = keeps(&stand, &place, &case).await;
            print!("{found}");
            report.add(found);
        }
        println!("{}", report.counts());
        drop(stand);
        lab.stop().await.unwrap();
        nothing_left(&run);
        report.breaches.is_empty()
    });
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Those of the deeds that this machine does not lack something for, which is said loudly.
async fn possible(lab: &Lab, deeds: &[Deed]) -> Vec<Deed> {
    let mut possible = Vec::new();
    for (deed, found) in lab.survey(deeds).await.deeds {
        match found {
            Ok(_) => possible.push(deed),
            Err(missing) => eprintln!("SKIPPED: the contract for {deed}: {}", missing.what),
        }
    }
    possible
}

fn place() -> Place {
    let nodes = NodeName::numbered(3).try_into().unwrap();
    let [server, other] = ["python3", "sleep"].map(|name| ProcessName(name.to_owned()));
    Place { nodes, server, other: Some(other) }
}

fn open(work: &Path, run: &str, deeds: &[Deed], links: LabLinks) -> Lab {
    let mut needs = Needs { links, ..Needs::default() };
    needs.deeds.extend(deeds);
    if deeds.contains(&Deed::HarmDisk) {
        needs.disk.extend(["data", "rest"].map(|path| Some(path.to_owned())));
    }
    if deeds.contains(&Deed::ShiftClock) {
        needs.clocks.insert(None);
    }
    let request = OpenRequest {
        run_id: run.to_owned(),
        nodes: NodeName::numbered(3),
        lab: Some(recipe(deeds.contains(&Deed::MisleadNames))),
        sim: None,
        needs,
        run_dir: work.to_owned(),
        lease: Duration::from_secs(20),
        seed: Seed(1),
        clock: Clock::start(),
        against: None,
    };
    Lab::open(request).unwrap()
}

fn recipe(names: bool) -> LabRecipe {
    let program = |name: &str, path: &str, package: &str| Program {
        name: name.into(),
        path: Some(path.into()),
        package: package.into(),
    };
    let mut recipe = LabRecipe {
        programs: vec![program("python3", PYTHON, "python3"), program("sleep", "/usr/bin/sleep", "coreutils")],
        units: Vec::new(),
        files: Vec::new(),
        clocks: BTreeMap::from([(ProcessName("python3".to_owned()), PathBuf::from(PYTHON))]),
        names,
    };
    for node in NodeName::numbered(3) {
        // The server last: once it answers, both run.
        for (name, argv) in [("other", ["/usr/bin/sleep", "100000"]), ("server", [PYTHON, "server.py"])] {
            recipe.units.push(Unit {
                node: node.clone(),
                name: name.into(),
                argv: argv.map(Into::into).to_vec(),
                env: BTreeMap::from([("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned())]),
                user: "nobody".into(),
                needs_port: None,
                for_template: TemplateEnd::default(),
            });
        }
        let files = [("server.py", Some(SERVER.to_owned())), ("data", None), ("rest", None)];
        let page = ("rest/page", Some("at rest ".repeat(8192)));
        for (path, content) in files.into_iter().chain([page]) {
            let mode = if content.is_none() { 0o755 } else { 0o644 };
            recipe.files.push(HomeFile { node: node.clone(), path: path.into(), content, mode, user: "nobody".into() });
        }
    }
    recipe
}

/// A lab, and who else looks at it.
struct LabStand {
    lab: Arc<Lab>,
    point: PathBuf,
    independent: Option<Arc<Mutex<Independent>>>,
    clock: Clock,
}

impl LabStand {
    fn new(lab: Arc<Lab>, work: &Path, run: &str) -> Self {
        let record = lab::list().into_iter().find(|record| record.run_id == run).unwrap();
        let independent = if firedrill_sys::dirs::is_root() {
            Some(Arc::new(Mutex::new(independent(&record))))
        } else {
            eprintln!("SKIPPED: an independent inventory: ci/inventory needs root");
            None
        };
        Self { lab, point: work.join(POINT), independent, clock: Clock::start() }
    }

    /// How far off the clock of a node's server is.
    async fn off(&self, node: &NodeName) -> Result<Duration, String> {
        let asked = async {
            let mut stream = self.lab.dialer().dial(Vantage::Control, node, PORT).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = tokio::time::timeout(Duration::from_secs(2), asked).await.map_err(|_| "no answer".to_owned())?;
        let answer = answer.map_err(|error| error.to_string())?;
        let told: u64 = answer.parse().map_err(|_| format!("it said `{answer}`"))?;
        Ok(Duration::from_nanos(told.abs_diff(Wall::now().unix_nanos)))
    }
}

#[async_trait]
impl Stand for LabStand {
    fn platform(&self) -> Arc<dyn Platform> {
        let lab: Arc<Lab> = Arc::clone(&self.lab);
        lab
    }

    fn offers(&self, deed: Deed) -> Offer {
        (lab::ENTRY.offers)(deed)
    }

    fn clock(&self) -> Clock {
        self.clock
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    async fn whole(&self) -> Result<(), String> {
        for node in NodeName::numbered(3) {
            let look = || self.off(&node);
            let answer = wait::until("the server's answer", self.clock, PATIENCE, Duration::from_millis(20), look);
            answer.await.map_err(|timed_out| format!("{node}: {timed_out}"))?;
        }
        Ok(())
    }

    async fn independent(&self) -> Option<BTreeSet<String>> {
        let independent = Arc::clone(self.independent.as_ref()?);
        let taken = tokio::task::spawn_blocking(move || independent.lock().unwrap().take());
        // What has an effect.
        Some(taken.await.unwrap().into_iter().filter(|line| !line.starts_with("inert ")).collect())
    }

    async fn stop_at(&self, point: Option<&str>) -> bool {
        fs::write(&self.point, point.map(|point| format!("{point},refuse")).unwrap_or_default()).unwrap();
        true
    }

    /// Only the servers can tell what their clock says.
    async fn look(&self, undo: &Undo) -> Effect {
        let Action::ShiftClock { node, .. } = &undo.action else { return self.lab.probe(undo).await };
        match self.off(node).await {
            Ok(off) => {
                let presence = if off > OFF { Presence::Full } else { Presence::Absent };
                Effect { presence, evidence: format!("the clock of {node} is {} off", human(off)) }
            }
            Err(why) => Effect { presence: Presence::Unknown, evidence: why },
        }
    }
}

/// `ci/inventory`, asked about the lab.
fn independent(record: &lab::Record) -> Independent {
    let init = record.init.unwrap().pid;
    let below = |path: &str| format!("/proc/{init}/root/run/firedrill/{path}");
    let mut places = vec![format!("--run={}", record.run_id), format!("--net=switch=/proc/{init}/ns/net")];
    places.extend(["n1", "n2", "n3", "clients"].map(|name| format!("--net={name}={}", below(&format!("ns/{name}")))));
    for node in NodeName::numbered(3) {
        let home = below(&format!("nodes/{node}/home"));
        places.extend([format!("--content={home}"), format!("--try={home}/data")]);
    }
    places.push(format!("--tree={}", below("clock")));
    places.extend(record.cgroups.iter().map(|group| format!("--tree={}", group.display())));
    Independent::start(&places, TRY)
}
