//! A small world: a switch with a bridge, three nodes and the clients, each in a network namespace that only open files of
//! this process keep in being, so that nothing outlives the test.

mod names;

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use firedrill_agent::protocol::{Config, Ground, NodeSite, Reach, Site};
use firedrill_core::action::{Action, Endpoint, Link};
use firedrill_core::cluster::{NodeName, ProcessName};
use firedrill_sys::cgroup::{self, Group};
use firedrill_sys::clock;
use firedrill_sys::process::{NetnsId, Process, State, in_netns};
use nix::sched::{CloneFlags, setns, unshare};

use crate::served::ServedDisk;

/// Nodes of the world.
const NODES: u8 = 3;

/// Where others find a file that this process has open.
fn own_path(file: &File) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into()
}

/// A network namespace kept in being by an open file.
pub(crate) struct Netns(File);

impl Netns {
    fn new() -> Self {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            File::open("/proc/thread-self/ns/net").expect("its file")
        };
        Self(thread::spawn(make).join().expect("a thread"))
    }

    /// Does something on a thread inside.
    fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let file = self.0.try_clone().expect("a file");
        let enter = move || {
            setns(file, CloneFlags::CLONE_NEWNET).expect("entered");
            work()
        };
        thread::spawn(enter).join().expect("a thread")
    }

    fn path(&self) -> PathBuf {
        own_path(&self.0)
    }

    /// A command inside, killed when this thread ends.
    #[expect(clippy::disallowed_methods, reason = "tests build their world with the system's tools")]
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter"]).arg(format!("--net={}", self.path().display()));
        command.arg(program).stdin(Stdio::null());
        command
    }

    /// A UDP socket inside.
    pub(crate) fn socket(&self) -> UdpSocket {
        self.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket"))
    }

    fn ip(&self, arguments: &str) {
        let status = self.command("ip").args(arguments.split(' ')).status().expect("ip runs");
        assert!(status.success(), "ip {arguments}: {status}");
    }
}

pub(crate) struct World {
    pub(crate) switch: Netns,
    ends: Vec<Netns>,
    children: RefCell<Vec<Child>>,
    run: String,
    starter: Option<PathBuf>,
    resolver: Option<PathBuf>,
    /// The mounts of the nodes, where they have their own.
    mounts: Option<File>,
    groups: Vec<PathBuf>,
    /// What serves the home of node 3, if anything does.
    pub(crate) disk: Option<ServedDisk>,
    /// Whether links are reached at the nodes' own ends.
    at_ends: bool,
    folder: tempfile::TempDir,
}

/// The world, or `None`, said loudly, without root.
#[expect(clippy::print_stderr, reason = "what is skipped is said")]
pub(crate) fn world() -> Option<World> {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: the agent's tests need root, for network namespaces");
        return None;
    }
    let switch = Netns::new();
    switch.ip("link add sw0 type bridge");
    switch.ip("link set sw0 up");
    let mut ends = Vec::new();
    for number in 1..=NODES + 1 {
        let (end, link) = (Netns::new(), link_name(number));
        switch.ip(&format!("link add {link} type veth peer name eth0 netns {}", end.path().display()));
        switch.ip(&format!("link set {link} master sw0 up"));
        end.ip("link set lo up");
        end.ip(&format!("addr add {}/24 dev eth0", address(number)));
        end.ip("link set eth0 up");
        ends.push(end);
    }
    let run = format!("t{}x{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
    let folder = tempfile::tempdir().expect("a folder");
    let (starter, resolver, mounts) = (None, None, None);
    Some(World {
        switch,
        ends,
        children: RefCell::default(),
        run,
        starter,
        resolver,
        mounts,
        groups: Vec::new(),
        disk: None,
        at_ends: false,
        folder,
    })
}

/// The same, where links are reached at the nodes' own ends.
#[expect(clippy::print_stderr, reason = "what is skipped is said")]
pub(crate) fn world_at_ends() -> Option<World> {
    let mut world = world()?;
    if !firedrill_sys::nft::has_egress() || !std::path::Path::new(firedrill_sys::tap::DEVICE).exists() {
        eprintln!("SKIPPED: links at hosts' ends need Linux 5.16 and {}", firedrill_sys::tap::DEVICE);
        return None;
    }
    world.at_ends = true;
    Some(world)
}

/// The clients come after the nodes.
fn link_name(number: u8) -> String {
    if number > NODES { "vc".to_owned() } else { format!("vn{number}") }
}

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, number)
}

pub(crate) fn node(number: u8) -> NodeName {
    NodeName::new(format!("n{number}"))
}

pub(crate) fn link(from: u8, to: u8) -> Link {
    Link { from: Endpoint::Node(node(from)), to: Endpoint::Node(node(to)) }
}

/// A cut in both directions.
pub(crate) fn cut(one: u8, other: u8) -> Action {
    Action::Cut { links: vec![link(one, other), link(other, one)], port: None }
}

pub(crate) fn pause(number: u8, process: Option<&str>) -> Action {
    Action::Pause { node: node(number), process: process.map(|name| ProcessName(name.to_owned())) }
}

pub(crate) fn kill(number: u8, process: Option<&str>, stay_down: bool) -> Action {
    let process = process.map(|name| ProcessName(name.to_owned()));
    Action::Kill { node: node(number), process, signal: 9, stay_down }
}

impl World {
    pub(crate) fn config(&self, lease: Duration) -> Config {
        let reach = |number: u8| match (self.at_ends, number > NODES) {
            (false, _) => Reach::Switch,
            (true, false) => Reach::OwnEnd("eth0".to_owned()),
            (true, true) => Reach::OtherEnd,
        };
        let site = |number: u8| Site {
            netns: self.end(number).path(),
            link: link_name(number),
            address: address(number),
            reach: reach(number),
        };
        Config {
            tag_prefix: format!("fd-{}-", self.run),
            lease_nanos: u64::try_from(lease.as_nanos()).expect("a lease"),
            nodes: (1..=NODES)
                .map(|number| NodeSite { name: node(number), site: site(number), ground: self.ground(number) })
                .collect(),
            clients: Some(site(NODES + 1)),
            starter: self.starter.clone(),
            resolver: self.resolver.clone(),
            journal: Some(self.folder.path().join("journals")),
        }
    }

    /// A folder of clocks, where a test has made one.
    fn ground(&self, number: u8) -> Ground {
        let cgroups = self.groups.iter().filter(|group| group.ends_with(format!("n{number}"))).cloned();
        let disk = self.disk.as_ref().filter(|_| number == NODES);
        Ground {
            clock: Some(self.clocks(number)).filter(|folder| folder.is_dir()),
            home: Some(disk.map_or_else(|| self.folder.path().to_owned(), |disk| disk.raw.clone())),
            disk: disk.map(|disk| disk.socket.clone()),
            served: disk.map(|disk| disk.at.clone()),
            cgroups: cgroups.collect(),
            mounts: self.mounts.as_ref().map(own_path),
            ..Ground::default()
        }
    }

    /// Gives node 1 control groups with limits, as the lab does, for what is started on it from now on. `false`, said
    /// loudly, where this machine has none.
    #[expect(clippy::print_stderr, reason = "what is skipped is said")]
    pub(crate) fn limit(&mut self, memory: u64, pids: u64) -> bool {
        if !cgroup::has("memory") || !cgroup::has("pids") {
            eprintln!("SKIPPED: this machine has no control groups that limit memory and process numbers");
            return false;
        }
        for root in cgroup::roots_with(&["memory", "cpu"]) {
            // Not called as labs call theirs: `firedrill heal --all` removes those that are empty and whose lab is gone.
            let lab = root.join(format!("fdtest-{}", self.run));
            let group = Group(lab.join("n1"));
            cgroup::create(&group.0).expect("a group");
            if group.has(&["memory.max", "memory.limit_in_bytes"]) {
                group.limit_memory(memory).expect("a limit");
            }
            if group.has(&["pids.max"]) {
                group.limit_pids(pids).expect("a limit");
            }
            self.groups.extend([group.0, lab]);
        }
        true
    }

    /// Where a test may make the clocks of a node.
    pub(crate) fn clocks(&self, number: u8) -> PathBuf {
        self.folder.path().join(format!("clock{number}"))
    }

    /// Where the world keeps its files: journals, clocks.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// What `ci/inventory` is to be asked about.
    pub(crate) fn places(&self) -> Vec<String> {
        let net = |label: &str, netns: &Netns| format!("--net={label}={}", netns.path().display());
        let ends = (1..=NODES).map(|number| net(&format!("n{number}"), self.end(number)));
        let mut places: Vec<String> = ends.collect();
        places.push(net("clients", self.end(NODES + 1)));
        places.push(net("switch", &self.switch));
        places.push(format!("--tree={}", self.folder.path().display()));
        places.extend(self.groups.iter().map(|group| format!("--tree={}", group.display())));
        if let Some(disk) = &self.disk {
            places.push(format!("--content={}", disk.raw.display()));
            places.push(format!("--try={}", disk.at.join("data").display()));
        }
        places.push(format!("--run=fd-{}-", self.run));
        places
    }

    pub(crate) fn end(&self, number: u8) -> &Netns {
        &self.ends[usize::from(number) - 1]
    }

    /// Starts a program on a node and waits until it runs there under its own name.
    pub(crate) fn start(&self, number: u8, program: &str, arguments: &[&str]) {
        self.runs(number, program, self.end(number).command(program).args(arguments).spawn().expect("it starts"));
    }

    /// The same, as the user and group of that number.
    pub(crate) fn start_as(&self, user: u32, number: u8, program: &str, arguments: &[&str]) {
        let mut command = self.end(number).command("setpriv");
        command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()]);
        self.runs(number, program, command.arg(program).args(arguments).spawn().expect("it starts"));
    }

    fn runs(&self, number: u8, program: &str, child: Child) {
        let pid = i32::try_from(child.id()).expect("a pid");
        self.children.borrow_mut().push(child);
        join(&self.groups_of(number), pid);
        let runs = || self.processes(number).iter().any(|process| process.pid == pid && process.name == program);
        wait("it runs", || runs().then_some(()));
    }

    fn groups_of(&self, number: u8) -> Vec<PathBuf> {
        self.groups.iter().filter(|group| group.ends_with(format!("n{number}"))).cloned().collect()
    }

    /// Ends a child with the world.
    pub(crate) fn keep(&self, child: Child) {
        self.children.borrow_mut().push(child);
    }

    pub(crate) fn processes(&self, number: u8) -> Vec<Process> {
        let id = NetnsId::of_file(&self.end(number).path()).expect("the namespace");
        in_netns(id).expect("processes")
    }

    /// Whether what starters start runs on a node.
    pub(crate) fn serves(&self, number: u8) -> bool {
        self.processes(number).iter().any(is_server)
    }

    /// Ends what runs on a node.
    pub(crate) fn end_all(&self, number: u8) {
        for process in self.processes(number) {
            firedrill_sys::process::signal(process.pid, process.start, 9).expect("killed");
        }
        wait("all have ended", || self.processes(number).is_empty().then_some(()));
    }

    /// Who is in the switch: the agent and its guard.
    pub(crate) fn switch_processes(&self) -> impl Fn() -> Vec<Process> {
        let id = NetnsId::of_file(&self.switch.path()).expect("the namespace");
        move || in_netns(id).expect("processes")
    }

    /// Has `ensure` asked of a socket, which starts `sleep` on node 1 if there is none, unless `refusal` is its answer; and
    /// does so too when a connection that said `down` breaks off. Returns what was asked and what broke off.
    pub(crate) fn with_starter(&mut self, refusal: Option<&'static str>) -> Arc<Mutex<Vec<String>>> {
        let path = self.folder.path().join("starter");
        let listener = UnixListener::bind(&path).expect("a socket");
        self.starter = Some(path);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let nodes: Vec<(Netns, Vec<PathBuf>)> = (1..=NODES)
            .map(|number| (Netns(self.end(number).0.try_clone().expect("a file")), self.groups_of(number)))
            .collect();
        let (starts, wanted) = channel();
        thread::spawn(move || start_when_asked(&nodes, &wanted));
        let starter = Arc::new(Starter { refusal, starts: Mutex::new(starts), log: Arc::clone(&asked) });
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, starter) = (stream.expect("a connection"), Arc::clone(&starter));
                thread::spawn(move || starter.serve(stream));
            }
        });
        asked
    }

    /// Whether a TCP connection from one node to another can be made, found without the agent.
    pub(crate) fn passes(&self, from: u8, to: u8) -> bool {
        let listener = self.end(to).inside(move || TcpListener::bind((address(to), 0)).expect("a listener"));
        let there = listener.local_addr().expect("its address");
        self.end(from).inside(move || TcpStream::connect_timeout(&there, Duration::from_millis(500)).is_ok())
    }

    /// A TCP connection from one place to another, both of its ends.
    pub(crate) fn connection(&self, from: u8, to: u8) -> [TcpStream; 2] {
        let listener = self.end(to).inside(move || TcpListener::bind((address(to), 0)).expect("a listener"));
        let there = listener.local_addr().expect("its address");
        let near = self.end(from).inside(move || TcpStream::connect(there).expect("a connection"));
        let (far, _) = listener.accept().expect("accepted");
        [near, far].map(|stream| {
            stream.set_nodelay(true).expect("an option");
            stream
        })
    }

    /// What `nft` lists at the nodes' ends, and the devices of ours there.
    pub(crate) fn at_ends(&self) -> Vec<String> {
        let look = |number: u8| {
            let script = "nft list ruleset; ip -o link | grep -o 'fdtap[0-9]*'";
            let output = self.end(number).command("sh").args(["-c", script]).output().expect("a shell runs");
            String::from_utf8(output.stdout).expect("text")
        };
        (1..=NODES + 1).map(look).filter(|found| !found.is_empty()).collect()
    }

    /// What `nft` lists in the switch.
    pub(crate) fn ruleset(&self) -> String {
        let output = self.switch.command("nft").args(["list", "ruleset"]).output().expect("nft runs");
        String::from_utf8(output.stdout).expect("text")
    }
}

/// Has node 1 started again.
struct Starter {
    refusal: Option<&'static str>,
    starts: Mutex<Sender<Wish>>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Starter {
    fn serve(&self, mut stream: UnixStream) {
        let mut down = None;
        for line in BufReader::new(stream.try_clone().expect("a stream")).lines() {
            // A connection may be reset when its agent is killed.
            let Ok(line) = line else { break };
            match line.split_once(' ') {
                Some(("down", _)) => down = Some(line.clone()),
                Some(("stop", node)) => self.ask(node, true),
                None if line == "forget" => {
                    down = None;
                    continue;
                }
                Some(_) | None => {
                    self.log.lock().expect("the log").push(line.clone());
                    if let (None, Some((_, node))) = (self.refusal, line.split_once(' ')) {
                        self.ask(node, false);
                    }
                }
            }
            let answer = match self.refusal {
                Some(refusal) if down.is_none() => format!("error {refusal}\n"),
                Some(_) | None => "ok\n".to_owned(),
            };
            if stream.write_all(answer.as_bytes()).is_err() {
                break;
            }
        }
        if let Some(down) = down {
            self.log.lock().expect("the log").push(format!("{down} broke off"));
            self.ask(down.strip_prefix("down ").expect("a node"), false);
        }
    }

    /// Has a node started, or asked to end.
    fn ask(&self, node: &str, end: bool) {
        let (done, started) = channel();
        let number: usize = node.strip_prefix('n').and_then(|number| number.parse().ok()).expect("a node");
        let wish = Wish { node: number - 1, end, done };
        self.starts.lock().expect("the starter").send(wish).expect("it starts");
        started.recv().expect("it has started");
    }
}

/// A node is to be started, or asked to end.
struct Wish {
    /// From 0.
    node: usize,
    end: bool,
    done: Sender<()>,
}

/// Whether it is what units run: not the agent's, nor what only looks.
fn is_server(process: &Process) -> bool {
    ["bash", "sleep"].contains(&process.name.as_str())
}

/// On one thread, because what a thread starts ends with it.
fn start_when_asked(nodes: &[(Netns, Vec<PathBuf>)], wanted: &Receiver<Wish>) {
    let mut children: Vec<Child> = Vec::new();
    for Wish { node, end, done } in wanted {
        let (netns, groups) = &nodes[node];
        let id = NetnsId::of_file(&netns.path()).expect("the namespace");
        let mut servers = in_netns(id).expect("processes");
        servers.retain(is_server);
        if end {
            for process in &servers {
                firedrill_sys::process::signal(process.pid, process.start, 15).expect("asked");
            }
        } else if servers.is_empty() {
            // Ended children are waited for when there are more.
            children.retain_mut(|child| child.try_wait().expect("a child").is_none());
            let child = netns.command("sleep").arg("600").spawn().expect("it starts");
            let pid = i32::try_from(child.id()).expect("a pid");
            children.push(child);
            let runs =
                || in_netns(id).expect("processes").iter().any(|process| process.pid == pid && process.name == "sleep");
            // It may be killed at once by whoever keeps the node down.
            let ended = || Process::read(pid).is_none_or(|process| process.state == State::Ended);
            wait("the unit runs", || (runs() || ended()).then_some(()));
            join(groups, pid);
        }
        done.send(()).expect("somebody waits");
    }
}

/// Has a process join control groups. One that has ended joins none.
fn join(groups: &[PathBuf], pid: i32) {
    for group in groups {
        let joined = std::fs::write(cgroup::door(group), pid.to_string());
        let ended = Process::read(pid).is_none_or(|process| process.state == State::Ended);
        assert!(joined.is_ok() || ended, "{joined:?}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for child in self.children.get_mut() {
            drop(child.kill());
            drop(child.wait());
        }
        for number in 1..=NODES {
            for process in self.processes(number) {
                drop(firedrill_sys::process::signal(process.pid, process.start, 9));
            }
        }
        drop(cgroup::remove(&self.groups));
    }
}

/// Waits at most ten seconds.
pub(crate) fn wait<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    clock::until(Duration::from_secs(10), Duration::from_millis(2), look).unwrap_or_else(|| panic!("never: {what}"))
}
