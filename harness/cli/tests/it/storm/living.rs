//! A cluster that `up` left running, and one run after the other that is killed while it has everything in force there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::RwLockReadGuard;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use firedrill_sys::clock;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill as send};
use nix::unistd::Pid;

use super::inventory::{Independent, Stopwatch, TRY};
use super::tally::{Chances, Kill, Tally};
use crate::command::{Ended, FIREDRILL, firedrill_in, is_root, program, repository, shared_machine};
use crate::scan::{control_groups, mounts_below};

/// The lease of the scenarios.
const LEASE: Duration = Duration::from_secs(1);
/// How long a guard lets an agent be that is silent in the middle of a deed (`guard/heart.rs` of the agent).
const DEED: Duration = Duration::from_secs(20);
/// How long the servers may take to acknowledge a write again: an election, and for PostgreSQL's the lease of its leader.
const RECOVERY: Duration = Duration::from_secs(40);
/// How long a run whose agent died may take to end, and one at whose point nobody dies.
const END: Duration = Duration::from_secs(180);
/// How long a run may take to begin its storm.
const BEGIN: Duration = Duration::from_secs(180);
/// The inventory is taken so often while a cut is in force before it counts as one that sees nothing.
const LOOKS: usize = 4;
/// Every so manieth kill the next command is another run, and not `heal`.
const ANOTHER_RUN: usize = 5;

/// Who dies, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Victim {
    Harness,
    Agent,
    /// Alone: the agent replaces it, and the run goes on to its end.
    Guard,
    AgentAndGuard,
    HarnessAndAgent,
    HarnessAndGuard,
    /// Harness, agent, guard, and whatever else the agent has started.
    Everything,
    StoppedHarness,
    StoppedAgent,
    /// The harness, by itself, at a point of its own.
    Point,
}

impl Victim {
    /// How long after it the last effect is gone at the latest.
    const fn promised(self) -> Duration {
        match self {
            Self::StoppedAgent => DEED,
            Self::Harness
            | Self::Agent
            | Self::Guard
            | Self::AgentAndGuard
            | Self::HarnessAndAgent
            | Self::HarnessAndGuard
            | Self::Everything
            | Self::StoppedHarness
            | Self::Point => LEASE,
        }
    }
}

/// The cluster, and what was there before anything was done to it.
pub(super) struct Living {
    folder: tempfile::TempDir,
    scenario: String,
    id: String,
    init: i32,
    patroni: bool,
    independent: Independent,
    before: BTreeSet<String>,
    /// Servers that no fault of the scenario kills, and so nobody may: process id and start time.
    servers: BTreeSet<(i32, String)>,
    chances: Chances,
    pub(super) tally: Tally,
    kill: Kill,
    down: bool,
    _machine: RwLockReadGuard<'static, ()>,
}

impl Living {
    /// `None`, said loudly, where that cannot be done.
    #[expect(clippy::print_stderr, reason = "what is skipped is said")]
    pub(super) fn start(storm: &'static str, scenario: &str, seed: u64) -> Option<Self> {
        let (folder, machine) = (tempfile::tempdir().unwrap(), shared_machine());
        let file = repository().join(format!("harness/cli/tests/it/storm/{scenario}.toml"));
        let (state, scenario_file) = (folder.path().join("state"), file.to_str().unwrap().to_owned());
        let plan = firedrill_in(&state, &["plan", &scenario_file]);
        assert_eq!(plan.code, 0, "{}", plan.stderr);
        if !is_root() || plan.stdout.contains("a run would exit with 7") {
            eprintln!(
                "SKIPPED: the storm on {scenario} cannot be had here, or not by an ordinary user\n{}",
                plan.stdout
            );
            return None;
        }
        let up = firedrill_in(&state, &["up", &scenario_file]);
        assert_eq!(up.code, 0, "{}{}", up.stdout, up.stderr);
        let id = up.stdout.split_whitespace().nth(1).unwrap().to_owned();
        let record = fs::read(state.join("labs").join(&id).join("lab.json")).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        let init = i32::try_from(record["init"]["pid"].as_i64().unwrap()).unwrap();
        let mut independent = Independent::start(&places(&state, &id, init), TRY);
        let before = independent.take();
        let patroni = scenario == "postgres";
        let servers = servers(init);
        assert!(!servers.is_empty(), "no server is seen");
        Some(Self {
            folder,
            scenario: scenario_file,
            id,
            init,
            patroni,
            independent,
            before,
            servers,
            chances: Chances(seed | 1),
            tally: Tally::new(storm, seed),
            kill: Kill::default(),
            down: false,
            _machine: machine,
        })
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// One run and its death, at a random instant of the window that begins with the storm, or once `fault` is in force; and what
    /// must be true afterwards.
    pub(super) fn cycle(&mut self, victim: Victim, point: &str, fault: &str, window: Duration) {
        let asked = point.split('@').next().unwrap().to_owned();
        self.kill = Kill { victim: format!("{victim:?}"), point: asked, ..Kill::default() };
        self.tally.at(&format!("begins {point}"), &self.kill);
        let mut run = Run::start(self, point);
        if victim == Victim::Point {
            self.kill.unpassed = !run.dies();
        } else {
            run.wait_for(fault);
            let millis = usize::try_from(window.as_millis()).unwrap();
            run.read_for(Duration::from_millis(u64::try_from(self.chances.below(millis)).unwrap()));
            self.strike(victim, &run);
        }
        self.kill.in_force = run.in_force.iter().cloned().collect();
        if victim == Victim::Guard {
            run.read_for(END);
        }
        let struck = Stopwatch::start();
        self.kill.applied = run.applied.clone();
        self.tally.at("has died", &self.kill);
        self.effects_vanish(victim);
        let took = (struck.all(), struck.fair());
        self.tally.at("effects are gone", &self.kill);
        if matches!(victim, Victim::StoppedHarness) {
            kill_all(&[run.pid()], Signal::SIGKILL);
        }
        let ended = run.end();
        assert_ne!(ended.code, 70, "{:?}: {}{}", self.kill, ended.stdout, ended.stderr);
        self.answers();
        self.next_command();
        self.nothing_is_left();
        let now = servers(self.init);
        assert!(self.servers.is_subset(&now), "{:?}: servers were killed: {:?}, {now:?}", self.kill, self.servers);
        drop(fs::remove_dir_all(self.folder.path().join("runs")));
        self.tally.note(&self.kill, took.0, took.1);
    }

    fn strike(&self, victim: Victim, run: &Run) {
        let all = ours(self.init);
        let of = |role: &str| all.iter().filter(|(_, its)| its == role).map(|(pid, _)| *pid).collect::<Vec<_>>();
        let (agent, guard, harness) = (of(""), of("guard"), vec![run.pid()]);
        let everything = all.iter().map(|(pid, _)| *pid).collect();
        let pids = match victim {
            Victim::Harness | Victim::StoppedHarness => harness,
            Victim::Agent | Victim::StoppedAgent => agent,
            Victim::Guard => guard,
            Victim::AgentAndGuard => [agent, guard].concat(),
            Victim::HarnessAndAgent => [harness, agent].concat(),
            Victim::HarnessAndGuard => [guard, harness].concat(),
            Victim::Everything => [harness, everything].concat(),
            Victim::Point => Vec::new(),
        };
        let stopped = matches!(victim, Victim::StoppedAgent | Victim::StoppedHarness);
        kill_all(&pids, if stopped { Signal::SIGSTOP } else { Signal::SIGKILL });
    }

    /// Every effect is gone in time, whoever is still there.
    fn effects_vanish(&mut self, victim: Victim) {
        let harmless = harmless(&self.before, self.patroni);
        let same = self.independent.wait_same(&self.before, false, victim.promised(), harmless);
        assert_eq!(same, Ok(()), "an effect outlasts its run ({:?})", self.kill);
        // What a name server says no inventory lists.
        let told = self.inside("n1", "getent ahostsv4 n2 || echo 10.77.0.2");
        assert!(told.starts_with("10.77.0.2"), "{:?}: n1 believes of n2: {told}", self.kill);
    }

    /// A write is acknowledged, by the servers' own client.
    fn answers(&self) {
        let (place, write) = if self.patroni {
            (
                "n1",
                "export PGCONNECT_TIMEOUT=2 PGOPTIONS='-c statement_timeout=3s'; for n in 1 2 3; do psql -h 10.77.0.$n -U postgres -c 'create table if not exists storm (i int); insert into storm values (1)' && exit; done",
            )
        } else {
            let all = "10.77.0.1:2379,10.77.0.2:2379,10.77.0.3:2379";
            let write = "etcdctl --command-timeout=2s --dial-timeout=1s --endpoints";
            ("clients", &*format!("ETCDCTL_API=3 {write} {all} put storm 1"))
        };
        let watch = Stopwatch::start();
        loop {
            let said = self.inside(place, &format!("({write}) 2>&1"));
            if said.contains("OK") || said.contains("INSERT 0 1") {
                return;
            }
            assert!(watch.fair() < RECOVERY && watch.all() < END, "{:?}: no write is acknowledged: {said}", self.kill);
        }
    }

    /// What a command at a place of the cluster says.
    fn inside(&self, place: &str, command: &str) -> String {
        let mut enter = program("nsenter", &self.state());
        enter.args(["--target", &self.init.to_string(), "--mount", "nsenter"]);
        enter.arg(format!("--net=/run/firedrill/ns/{place}"));
        if place != "clients" {
            enter.arg(format!("--mount=/run/firedrill/ns/{place}.mounts"));
        }
        let output = enter.args(["timeout", "10", "sh", "-c", command]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The next command is `heal`, or another run.
    fn next_command(&mut self) {
        if self.tally.kills % ANOTHER_RUN == ANOTHER_RUN - 1 {
            self.kill.healed_by.push("another run");
            let out = self.folder.path().join("runs").to_str().unwrap().to_owned();
            let quiet = repository().join("harness/cli/tests/it/storm/quiet.toml");
            let quiet = if self.patroni { quiet.with_file_name("quiet-postgres.toml") } else { quiet };
            let args = ["run", quiet.to_str().unwrap(), "--against", &self.id, "--out", &out];
            let ended = firedrill_in(&self.state(), &args);
            assert_eq!(ended.code, 0, "{:?}: {}{}", self.kill, ended.stdout, ended.stderr);
        } else {
            self.kill.healed_by.push("heal");
            let healed = firedrill_in(&self.state(), &["heal", "--all"]);
            assert_eq!(healed.code, 0, "{:?}: {}{}", self.kill, healed.stdout, healed.stderr);
        }
    }

    /// What the servers have said last, before it is gone.
    #[expect(clippy::print_stderr, reason = "a storm that breaks says what it can")]
    fn tell_logs(&self) {
        let logs = self.state().join("up").join(&self.id).join("nodes");
        for file in ["n1", "n2", "n3"].iter().flat_map(|node| fs::read_dir(logs.join(node))).flatten().flatten() {
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            for line in text.lines().rev().take(5) {
                let line: String = line.chars().take(300).collect();
                eprintln!("LOG {}: {line}", file.path().display());
            }
        }
    }

    /// Whether its nodes have volumes that are frozen for long enough to be seen so.
    fn has_volumes(&self) -> bool {
        self.scenario.ends_with("/volumes.toml")
    }

    /// One run at a time uses a cluster, and only one that finds there what it needs.
    fn refuses_others(&self) {
        if !self.scenario.ends_with("/steps.toml") {
            return;
        }
        let run = Run::with(self, "cut");
        // It stays as long as it is stopped.
        kill_all(&[run.pid()], Signal::SIGSTOP);
        for (file, why) in [("quiet.toml", "another run uses it"), ("etcd.toml", "its disks cannot be harmed so")] {
            let (file, out) = (Path::new(&self.scenario).with_file_name(file), self.folder.path().join("runs"));
            let args = ["run", file.to_str().unwrap(), "--against", &self.id, "--out", out.to_str().unwrap()];
            let refused = firedrill_in(&self.state(), &args);
            assert_eq!(refused.code, 4, "{}{}", refused.stdout, refused.stderr);
            assert!(refused.stdout.contains(why), "{}", refused.stdout);
        }
    }

    fn nothing_is_left(&mut self) {
        let harmless = harmless(&self.before, self.patroni);
        let same = self.independent.wait_same(&self.before, true, Duration::ZERO, harmless);
        assert_eq!(same, Ok(()), "left after the next command ({:?})", self.kill);
    }

    /// Kills who holds the cluster, too, while everything is in force; then nothing of it all is left on this machine.
    pub(super) fn end(mut self) {
        let state = self.state();
        self.kill = Kill { victim: "Holder".to_owned(), ..Kill::default() };
        self.tally.at("begins", &self.kill);
        self.refuses_others();
        // What it found nothing of after every other kill it does see, unless it comes too late for what was held.
        let (fault, sign) = if self.has_volumes() { ("freeze", " stalls") } else { ("cut", " nft ") };
        let seen = (0..LOOKS).find_map(|_| {
            let run = Run::with(&self, fault);
            let there = self.independent.take();
            there.difference(&self.before).any(|line| line.contains(sign)).then_some(run)
        });
        let run = seen.unwrap_or_else(|| panic!("a {fault} is in force, and nothing of it is seen"));
        self.kill.in_force = run.in_force.iter().cloned().collect();
        let record = fs::read(state.join("labs").join(&self.id).join("lab.json")).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        let holder = i32::try_from(record["holder"]["pid"].as_i64().unwrap()).unwrap();
        let all = ours(self.init).into_iter().map(|(pid, _)| pid);
        let struck = Stopwatch::start();
        kill_all(&[run.pid(), holder].into_iter().chain(all).collect::<Vec<_>>(), Signal::SIGKILL);
        run.end();
        self.down = true;
        self.kill.healed_by.push("heal");
        let healed = firedrill_in(&state, &["heal", "--all"]);
        assert_eq!(healed.code, 0, "{}{}", healed.stdout, healed.stderr);
        let took = (struck.all(), struck.fair());
        for folder in ["labs", "journal"] {
            let left: Vec<_> = fs::read_dir(state.join(folder)).unwrap().flatten().map(|entry| entry.path()).collect();
            assert!(left.is_empty(), "{left:?}");
        }
        assert_eq!(mounts_below(&state), Vec::<String>::new());
        assert_eq!(control_groups(&self.id), Vec::<PathBuf>::new());
        assert!(ours(self.init).is_empty());
        self.tally.note(&self.kill, took.0, took.1);
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell_logs();
        }
        if !self.down {
            let down = firedrill_in(&self.state(), &["down", "--all"]);
            assert!(down.code == 0 || std::thread::panicking(), "{}{}", down.stdout, down.stderr);
        }
    }
}

/// What `ci/inventory` is to be asked about.
fn places(state: &Path, id: &str, init: i32) -> Vec<String> {
    let inside = |path: &str| format!("/proc/{init}/root{path}");
    let mut places = vec![format!("--net=switch=/proc/{init}/ns/net"), format!("--run={id}")];
    for name in ["n1", "n2", "n3", "clients", "control"] {
        places.push(format!("--net={name}={}", inside(&format!("/run/firedrill/ns/{name}"))));
    }
    let labs = state.join("labs").join(id);
    places.push(format!("--tree={}", labs.join("journals").display()));
    places.push(format!("--tree={}", state.join("journal").display()));
    places.push(format!("--tree={}", inside("/run/firedrill/clock")));
    for node in ["n1", "n2", "n3"] {
        places.push(format!("--try={}", inside(&format!("/run/firedrill/nodes/{node}/home"))));
    }
    places.extend(control_groups(id).iter().map(|group| format!("--tree={}", group.display())));
    places
}

/// Processes in the cluster's pid namespace.
fn inside(init: i32) -> Vec<i32> {
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(there) = namespace(init) else { return Vec::new() };
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| *pid != init && namespace(*pid).is_some_and(|its| its == there)).collect()
}

fn words(pid: i32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).split('\0').map(ToOwned::to_owned).collect()
}

/// Processes of runs in the cluster: agents, whose role is empty, and what they have started. What the cluster itself has of
/// our program, its disks and its name server, is none of theirs.
fn ours(init: i32) -> Vec<(i32, String)> {
    let all = inside(init).into_iter().map(|pid| (pid, words(pid)));
    let ours = all.filter(|(_, words)| words[0].ends_with("firedrill-agent"));
    let roles = ours.map(|(pid, words)| (pid, words.get(1).cloned().unwrap_or_default()));
    roles.filter(|(_, role)| role != "disk" && role != "names").collect()
}

/// The main servers of the nodes whose servers no fault of the scenario kills: etcd, and where there is PostgreSQL who
/// supervises it, which starts and stops it as it sees fit.
fn servers(init: i32) -> BTreeSet<(i32, String)> {
    let network = |path: String| fs::metadata(path).ok().map(|file| file.ino());
    let there = ["n2", "n3"].map(|node| network(format!("/proc/{init}/root/run/firedrill/ns/{node}")));
    let is_server = |pid: &i32| {
        let words = words(*pid);
        let supervisor = words.iter().any(|word| word.ends_with("patroni.yml"));
        (words[0].ends_with("etcd") || supervisor) && there.contains(&network(format!("/proc/{pid}/ns/net")))
    };
    let started = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.to_owned()))
    };
    inside(init).into_iter().filter(is_server).filter_map(started).collect()
}

/// What of a process is no effect of a fault: a program that the servers have started meanwhile, with the limits that they
/// have, and PostgreSQL while its supervisor stops and starts it.
fn harmless(before: &BTreeSet<String>, patroni: bool) -> impl Fn(&str, &str) -> bool + use<> {
    let limits = |line: &str| line.split_once(" process ")?.1.split_once(' ').map(|(_, limits)| limits.to_owned());
    let usual: BTreeSet<String> = before.iter().filter_map(|line| limits(line)).collect();
    move |what, line| {
        let is_usual = limits(line).is_some_and(|limits| usual.contains(&limits));
        patroni && !line.starts_with("inert ") && is_usual && (what == "left" || line.contains(" process postgres "))
    }
}

/// Sends a signal; what has ended meanwhile is gone already.
fn kill_all(pids: &[i32], signal: Signal) {
    for pid in pids {
        let sent = send(Pid::from_raw(*pid), signal);
        assert!(matches!(sent, Ok(()) | Err(Errno::ESRCH)), "{sent:?}");
    }
}

/// A run against the cluster, and what it has said so far.
struct Run {
    child: Child,
    lines: Receiver<String>,
    said: String,
    /// Faults that are in force.
    in_force: BTreeSet<String>,
    applied: BTreeMap<String, usize>,
}

impl Run {
    /// Starts one; returns when it has begun its storm, or has ended.
    fn start(storm: &Living, point: &str) -> Self {
        let mut command = program(FIREDRILL, &storm.state());
        command.args(["run", &storm.scenario, "--against", &storm.id, "--out"]).arg(storm.folder.path().join("runs"));
        command.env("FIREDRILL_FAILPOINT", point).process_group(0);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let (in_force, applied) = (BTreeSet::new(), BTreeMap::new());
        let mut run = Self { child, lines, said: String::new(), in_force, applied };
        if point.is_empty() {
            let watch = Stopwatch::start();
            while !run.said.contains("\n   ") || !run.said.contains("s  storm\n") {
                assert!(run.hear(Duration::from_secs(1)) && watch.all() < BEGIN, "no storm begins: {}", run.said);
            }
        }
        run
    }

    /// Starts one; returns when it has that fault in force, and said so.
    fn with(storm: &Living, fault: &str) -> Self {
        let mut run = Self::start(storm, "");
        run.wait_for(fault);
        run
    }

    /// Waits until a fault is in force, if it names one.
    fn wait_for(&mut self, fault: &str) {
        let watch = Stopwatch::start();
        while !(fault.is_empty() || self.in_force.contains(fault)) {
            assert!(self.hear(Duration::from_secs(1)) && watch.all() < BEGIN, "no {fault} is injected: {}", self.said);
        }
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Reads a line, if there is one in time; `false` at the end.
    fn hear(&mut self, patience: Duration) -> bool {
        match self.lines.recv_timeout(patience) {
            Ok(line) => {
                let told = line.trim_start().split_once("s  ").and_then(|(_, told)| told.split_once(": "));
                if let Some((fault, what)) = told {
                    if what.starts_with("at onset: ") {
                        self.in_force.insert(fault.to_owned());
                        *self.applied.entry(fault.to_owned()).or_default() += 1;
                    } else if what.starts_with("undone (") {
                        self.in_force.remove(fault);
                    }
                }
                self.said.push_str(&line);
                self.said.push('\n');
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => false,
        }
    }

    /// Reads for so long, or to its end.
    fn read_for(&mut self, span: Duration) {
        let until = clock::boottime_nanos() + u64::try_from(span.as_nanos()).unwrap();
        loop {
            let left = until.saturating_sub(clock::boottime_nanos());
            if left == 0 || !self.hear(Duration::from_nanos(left)) {
                return;
            }
        }
    }

    /// Waits until it ends; whether by the death that was asked for.
    fn dies(&mut self) -> bool {
        use std::os::unix::process::ExitStatusExt as _;
        self.read_for(END);
        let ended = clock::until(END, Duration::from_millis(2), || self.child.try_wait().unwrap());
        let ended = ended.unwrap_or_else(|| panic!("the run does not end: {}", self.said));
        ended.signal().and_then(|signal| Signal::try_from(signal).ok()) == Some(Signal::SIGABRT)
    }

    /// Waits until it ends.
    fn end(mut self) -> Ended {
        self.read_for(END);
        if self.child.try_wait().unwrap().is_none()
            && clock::until(END, Duration::from_millis(2), || self.child.try_wait().unwrap()).is_none()
        {
            panic!("the run does not end: {}", self.said);
        }
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        let mut stderr = String::new();
        std::io::Read::read_to_string(&mut self.child.stderr.take().unwrap(), &mut stderr).unwrap();
        Ended { code, stdout: std::mem::take(&mut self.said), stderr }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
