//! Hogs: processes of their own that take a resource away from a node. The agent keeps a pipe to each; when that ends, and at
//! the latest when the agent does, the hog ends and the kernel takes back what it had. The one that lowers limits of others
//! first puts them back.

use std::io::{self, BufRead as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin};
use std::thread;
use std::time::Duration;

use firedrill_core::action::ProcessRef;
use firedrill_sys::cgroup::{self, Group};
use firedrill_sys::namespaces;
use firedrill_sys::press::{self, FileLimit, PIECE, Taken};
use firedrill_sys::{clock, process, ready, spawn};
use serde::{Deserialize, Serialize};

use crate::protocol::{Refusal, RefusalKind};
use crate::world;

/// The argument by which the program becomes a hog.
pub const ARGUMENT: &str = "hog";
/// What a hog is called, so that it is not taken for one of the node's servers.
pub const NAME: &str = "firedrill-hog";
/// How long a hog may take until it has what it is to take.
const BEGINS_WITHIN: Duration = Duration::from_secs(15);
/// How long a hog that was let go may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(3);
/// How often a hog that fills up a number looks whether there is room again.
const REFILL: Duration = Duration::from_millis(50);
/// Processes, or threads, that one hog has at most.
const MOST_SLEEPERS: usize = 20_000;
/// Size of the file that a writer writes again and again, in bytes, and of each of its writes.
const FILE: u64 = 64 << 20;
const BLOCK: usize = 1 << 20;

/// What a hog is told, as one JSON line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Its network namespace, so that it is one of the node's processes.
    pub netns: Option<PathBuf>,
    /// The control groups it joins.
    pub cgroups: Vec<PathBuf>,
    /// What it takes.
    pub take: Take,
}

/// What a hog takes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Take {
    /// The processor.
    Cpu,
    /// So many bytes of memory.
    Memory(u64),
    /// All memory of its group, until the kernel's killer has come once.
    AllMemory {
        /// The group that counts its kills.
        group: PathBuf,
        /// Not more than this, in bytes.
        most: u64,
    },
    /// The disk of this folder.
    Io(PathBuf),
    /// All process numbers of a group but so many.
    Pids {
        /// The group.
        group: PathBuf,
        /// How many are left.
        spare: u64,
    },
    /// File descriptors of these processes, all of one user. Put back at the end.
    Files {
        /// User and group.
        owner: (u32, u32),
        /// The processes.
        limits: Vec<Lowered>,
        /// Only put them back.
        only_back: bool,
    },
}

/// A process whose limit of open files is lowered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lowered {
    /// Which.
    pub process: ProcessRef,
    /// What it is held to from now on.
    pub to: u64,
    /// What it was held to.
    pub from: u64,
}

/// The agent's end of a hog.
#[derive(Debug)]
pub struct Hog {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Hog {
    /// Starts one and waits until it has what it is to take.
    pub fn start(order: &Order) -> Result<Self, Refusal> {
        let failed = |error: &io::Error| Refusal::system("starting a process that takes a resource", error);
        let mut child = process::start_self(&[ARGUMENT]).map_err(|error| failed(&error))?;
        let pipe = child.stdin.take();
        let mut hog = Self { child, pipe };
        match hog.begin(order).map_err(|error| failed(&error))? {
            answer if answer == "ok" => Ok(hog),
            answer => Err(Refusal::new(RefusalKind::System, answer)),
        }
    }

    /// Its answer: `ok`, or why not.
    fn begin(&mut self, order: &Order) -> io::Result<String> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        self.pipe.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write_all(&line)?;
        let output = self.child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let until = clock::boottime_nanos().saturating_add(u64::try_from(BEGINS_WITHIN.as_nanos()).unwrap_or(u64::MAX));
        let mut heard = Vec::new();
        loop {
            let left = Duration::from_nanos(until.saturating_sub(clock::boottime_nanos()));
            if left.is_zero() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it takes too long"));
            }
            match ready::read_some(&output, left)? {
                Some(bytes) => heard.extend(bytes),
                None => return Err(io::Error::other("it ended")),
            }
            if heard.ends_with(b"\n") {
                return Ok(String::from_utf8_lossy(&heard).trim().to_owned());
            }
        }
    }
}

impl Hog {
    /// Tells it to end, and does not wait for that.
    pub fn let_go(&mut self) {
        drop(self.pipe.take());
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        self.let_go();
        let ended = clock::until(ENDS_WITHIN, Duration::from_millis(1), || self.child.try_wait().transpose());
        if ended.is_none() {
            // What it was to put back is put back by the undo.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Is a hog: takes what it is told until its standard input ends.
pub fn run() -> io::Result<()> {
    std::fs::write("/proc/self/comm", NAME)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let order: Order = serde_json::from_str(&line)?;
    let taken = begin(&order);
    let answer = taken.as_ref().map_or_else(|error| format!("{}: {error}", words(&order.take)), |_| "ok".to_owned());
    let said = writeln!(io::stdout(), "{answer}");
    let Ok(taken) = taken else { return said };
    // Nothing more is said: whatever comes, and the end, mean the end. An agent that died before it heard the answer must
    // not keep limits of others from being put back: its guard may have looked before they were lowered.
    if said.is_ok() {
        drop(io::stdin().lock().read_line(&mut line));
    }
    taken.give_back()
}

const fn words(take: &Take) -> &'static str {
    match take {
        Take::Cpu => "keeping a processor busy",
        Take::Memory(_) | Take::AllMemory { .. } => "taking memory",
        Take::Io(_) => "keeping the disk busy",
        Take::Pids { .. } => "taking process numbers",
        Take::Files { .. } => "limiting open files",
    }
}

/// What a hog has.
enum Has {
    /// What goes with the process.
    Mine(Option<Taken>),
    /// Limits of others.
    Limits(Vec<Lowered>),
}

impl Has {
    fn give_back(self) -> io::Result<()> {
        match self {
            Self::Mine(taken) => {
                drop(taken);
                Ok(())
            }
            Self::Limits(limits) => restore(&limits),
        }
    }
}

fn begin(order: &Order) -> io::Result<Has> {
    if !matches!(order.take, Take::Files { .. }) {
        spawn::die_with_parent()?;
    }
    for group in &order.cgroups {
        std::fs::write(cgroup::door(group), "0")?;
    }
    if let Some(netns) = &order.netns {
        namespaces::enter(std::fs::File::open(netns)?.as_fd())?;
    }
    match &order.take {
        Take::Cpu => thread::Builder::new().spawn(|| press::spin()).map(|_| Has::Mine(None)),
        Take::Memory(bytes) => {
            let mut taken = Taken::new()?;
            while taken.bytes() < *bytes {
                taken.more()?;
            }
            Ok(Has::Mine(Some(taken)))
        }
        Take::AllMemory { group, most } => all_memory(&Group(group.clone()), *most).map(|()| Has::Mine(None)),
        Take::Io(folder) => {
            let file = press::nameless_file(folder)?;
            press::write_through(&file, &vec![1; PIECE], 0)?;
            thread::Builder::new().spawn(move || write_for_ever(&file)).map(|_| Has::Mine(None))
        }
        Take::Pids { group, spare } => {
            let group = Group(group.clone());
            let spare = *spare;
            let mut sleepers = 0;
            fill(&group, spare, &mut sleepers)?;
            thread::Builder::new().spawn(move || keep_full(&group, spare, sleepers)).map(|_| Has::Mine(None))
        }
        Take::Files { owner, limits, only_back } => {
            press::become_user(owner.0, owner.1)?;
            if *only_back {
                return restore(limits).map(|()| Has::Mine(None));
            }
            for (done, lowered) in limits.iter().enumerate() {
                if let Err(error) = limit(&lowered.process, lowered.to) {
                    restore(limits.get(..done).unwrap_or_default())?;
                    return Err(error);
                }
            }
            Ok(Has::Limits(limits.clone()))
        }
    }
}

/// Takes memory until the group counts one kill more; then gives all of it back at once, so that there is one only.
fn all_memory(group: &Group, most: u64) -> io::Result<()> {
    let before = group.oom_kills()?;
    let mut taken = Taken::new()?;
    while group.oom_kills()? == before {
        if taken.bytes() >= most {
            return Err(io::Error::other(format!("{most} bytes were taken and the kernel's killer did not come")));
        }
        taken.more()?;
    }
    Ok(())
}

/// A disk that is full, or gone, is pressed no more: there is nobody to tell, and the probe sees it.
fn write_for_ever(file: &std::fs::File) {
    let block = vec![7; BLOCK];
    let length = u64::try_from(BLOCK).unwrap_or(1);
    let mut offset = 0;
    while press::write_through(file, &block, offset).is_ok() {
        offset = (offset + length) % FILE;
    }
}

/// Starts threads that sleep until only `spare` numbers are left.
fn fill(group: &Group, spare: u64, sleepers: &mut usize) -> io::Result<()> {
    while group.free_pids()? > spare && *sleepers < MOST_SLEEPERS {
        // The small stack is never touched.
        let sleeper = thread::Builder::new().stack_size(PIECE).spawn(|| {
            loop {
                thread::park();
            }
        });
        match sleeper {
            Ok(_) => *sleepers += 1,
            // Somebody else was quicker: there is no room, which is what was wanted.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Servers that end leave room, which is taken too.
fn keep_full(group: &Group, spare: u64, mut sleepers: usize) {
    while fill(group, spare, &mut sleepers).is_ok() {
        let _nothing: Option<()> = clock::until(REFILL, REFILL, || None);
    }
}

fn limit(process: &ProcessRef, soft: u64) -> io::Result<()> {
    if world::find(process).is_none() {
        return Ok(());
    }
    let hard = press::file_limit(process.pid)?.hard;
    press::limit_files(process.pid, FileLimit { soft: soft.min(hard), hard })
}

/// Puts limits back, those that children have inherited too. The first failure is the answer.
fn restore(limits: &[Lowered]) -> io::Result<()> {
    let mut result = Ok(());
    for Lowered { process, to, from } in limits {
        result = result.and(limit(process, *from));
        for child in process::descendants(process.pid) {
            let inherited = press::file_limit(child).is_ok_and(|limit| limit.soft == *to);
            if inherited && let Ok(limit) = press::file_limit(child) {
                result = result.and(press::limit_files(child, FileLimit { soft: *from, hard: limit.hard }));
            }
        }
    }
    result
}

/// Puts limits back by a process that does nothing else, for the undo of an agent that died together with its hog.
pub fn put_back(owner: (u32, u32), limits: Vec<Lowered>) -> Result<(), Refusal> {
    let take = Take::Files { owner, limits, only_back: true };
    Hog::start(&Order { netns: None, cgroups: Vec::new(), take }).map(drop)
}

/// The path of a group among those of a node that has this file.
pub fn group_with(cgroups: &[PathBuf], files: &[&str]) -> Option<Group> {
    let has = |group: &&PathBuf| files.iter().any(|file| Path::new(group).join(file).exists());
    cgroups.iter().find(has).cloned().map(Group)
}
