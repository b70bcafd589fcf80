//! Processes as `/proc` shows them: who is in a network namespace, what state they are in, and signals to them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::Pid;

/// A network namespace, by the device and inode of its nsfs file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NetnsId {
    device: u64,
    inode: u64,
}

impl NetnsId {
    /// Of the namespace that a file is (an nsfs mount or `/proc/PID/ns/net`).
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// What a process is doing, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Stopped by a signal (`T`).
    Stopped,
    /// Stopped by whoever holds it as a debugger does (`t`).
    Held,
    /// Ended, and not yet waited for (`Z`, `X`).
    Ended,
    /// Anything else.
    Alive,
}

/// One process, as it was when it was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Process {
    /// Process id, in the pid namespace of `/proc`.
    pub pid: i32,
    /// Its parent.
    pub parent: i32,
    /// Start in clock ticks since boot.
    pub start: u64,
    /// Command name, at most 15 bytes.
    pub name: String,
    /// What it is doing.
    pub state: State,
}

impl Process {
    /// Reads one; `None` if there is none of that number.
    pub fn read(pid: i32) -> Option<Self> {
        parse_stat(&String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?))
    }

    /// Whether people would call it `name`: its command name, or, for a script, the file that is interpreted.
    pub fn is_called(&self, name: &str) -> bool {
        let short: String = name.chars().take(15).collect();
        self.name == short || fs::read(format!("/proc/{}/cmdline", self.pid)).is_ok_and(|line| runs_script(&line, name))
    }
}

const INTERPRETERS: [&str; 7] = ["bash", "dash", "java", "perl", "python", "ruby", "sh"];

/// Whether a command line (separated by zeros) is the program `name` or an interpreter running a file called so.
fn runs_script(command_line: &[u8], name: &str) -> bool {
    let words: Vec<String> =
        command_line.split(|byte| *byte == 0).take(2).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let base = |word: &str| Path::new(word).file_name().map(|base| base.to_string_lossy().into_owned());
    let Some(program) = words.first().and_then(|word| base(word)) else { return false };
    let version = |rest: &str| rest.chars().all(|c| c.is_ascii_digit() || c == '.');
    let interprets = INTERPRETERS.iter().any(|known| program.strip_prefix(known).is_some_and(version));
    program == name || interprets && words.get(1).and_then(|word| base(word)).is_some_and(|script| script == name)
}

/// `pid (name) state ppid … start`, see `proc_pid_stat(5)`. The name may hold anything, brackets too.
fn parse_stat(text: &str) -> Option<Process> {
    let (open, close) = (text.find('(')?, text.rfind(')')?);
    let fields: Vec<&str> = text.get(close + 1..)?.split_ascii_whitespace().collect();
    let state = match *fields.first()? {
        "T" => State::Stopped,
        "t" => State::Held,
        "Z" | "X" | "x" => State::Ended,
        _ => State::Alive,
    };
    Some(Process {
        pid: text.get(..open)?.trim().parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
        name: text.get(open + 1..close)?.to_owned(),
        state,
    })
}

/// The living processes in a network namespace, parents before their children; without this process and pid 1.
pub fn in_netns(netns: NetnsId) -> io::Result<Vec<Process>> {
    let own = Pid::this().as_raw();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if pid == 1 || pid == own {
            continue;
        }
        // A process that ends meanwhile has neither a namespace nor a line.
        let theirs = NetnsId::of_file(Path::new(&format!("/proc/{pid}/ns/net")));
        if theirs.is_ok_and(|theirs| theirs == netns) {
            found.extend(Process::read(pid).filter(|process| process.state != State::Ended));
        }
    }
    Ok(parents_first(found))
}

fn parents_first(processes: Vec<Process>) -> Vec<Process> {
    let parents: BTreeMap<i32, i32> = processes.iter().map(|process| (process.pid, process.parent)).collect();
    let depth = |pid: i32| {
        let ancestors = std::iter::successors(Some(pid), |pid| parents.get(pid).copied());
        ancestors.take(parents.len() + 1).count()
    };
    let mut ordered: Vec<(usize, Process)> =
        processes.into_iter().map(|process| (depth(process.pid), process)).collect();
    ordered.sort_by_key(|(depth, process)| (*depth, process.start, process.pid));
    ordered.into_iter().map(|(_, process)| process).collect()
}

/// The processes of this program that were started with these last arguments, see [`start_self`].
pub fn started_self(arguments: &[&str]) -> io::Result<Vec<Process>> {
    let wanted: Vec<u8> = arguments.iter().flat_map(|argument| [b"\0", argument.as_bytes()].concat()).collect();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if line.starts_with(OWN_NAME.as_bytes()) && line.strip_suffix(b"\0").is_some_and(|line| line.ends_with(&wanted))
        {
            found.extend(Process::read(pid).filter(|process| process.state != State::Ended));
        }
    }
    Ok(found)
}

/// What the parts of this program are called, first word of their command line.
const OWN_NAME: &str = "firedrill-agent";
/// The variable by which processes that this program starts say whose they are.
const OWN_TAG: &str = "FIREDRILL_TAG";

/// What [`OWN_TAG`] says in processes that are started from now on.
static TAG: OnceLock<String> = OnceLock::new();

/// Has everything that [`start_self`] starts from now on bear this tag, so that it can be told whose it was when its owner
/// is gone. The first call counts.
pub fn tag_started(tag: &str) {
    TAG.get_or_init(|| tag.to_owned());
}

/// A process of this program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnProcess {
    /// The process.
    pub process: Process,
    /// What it was started to be, its first argument; `None` is the agent itself.
    pub role: Option<String>,
    /// The tag it bears, see [`tag_started`]; also of those that were started by one that bears it.
    pub tag: Option<String>,
}

/// The living processes of this program that `/proc` shows, but for the calling one: by their name, or by their file.
pub fn own_processes() -> io::Result<Vec<OwnProcess>> {
    let mut found = Vec::new();
    let file = |pid: &str| fs::metadata(format!("/proc/{pid}/exe")).map(|file| (file.dev(), file.ino())).ok();
    let own = file("self");
    for (pid, _) in crate::children::all()? {
        let words = |file: &str| {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let words = bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
            words.filter(|word| !word.is_empty()).collect::<Vec<String>>()
        };
        let line = words("cmdline");
        let program = line.first().and_then(|word| Path::new(word).file_name());
        let same = || own.is_some() && own == file(&pid.to_string());
        let ours = program.is_some_and(|program| program == OWN_NAME || same());
        if !ours || pid == Pid::this().as_raw() {
            continue;
        }
        let tag =
            words("environ").iter().find_map(|word| word.strip_prefix(OWN_TAG)?.strip_prefix('=').map(str::to_owned));
        let living = Process::read(pid).filter(|process| process.state != State::Ended);
        found.extend(living.map(|process| OwnProcess { process, role: line.get(1).cloned(), tag }));
    }
    Ok(found)
}

/// The processes that descend from one, children before theirs.
pub fn descendants(pid: i32) -> Vec<i32> {
    let all = crate::children::all().unwrap_or_default();
    let mut found = vec![pid];
    // A generation at a time; no process is its own ancestor, so that this ends.
    let mut generation = vec![pid];
    while !generation.is_empty() && found.len() <= all.len() {
        generation = all.iter().filter(|(_, parent)| generation.contains(parent)).map(|(child, _)| *child).collect();
        found.extend(&generation);
    }
    found.split_off(1)
}

/// How long a process's threads have run, in nanoseconds since they began; `None` when it is gone, or this kernel does not
/// count that. Source: `schedstat` in the kernel's documentation of the scheduler's statistics.
pub fn ran_nanos(pid: i32) -> Option<u64> {
    let of_task = |task: io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    fs::read_dir(format!("/proc/{pid}/task")).ok()?.map(of_task).sum()
}

/// Whether a thread of a process runs or waits for a processor now (`R`); `None` when it is gone.
pub fn wants_processor(pid: i32) -> Option<bool> {
    let mut tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    Some(tasks.any(|task| {
        let text = task.and_then(|task| fs::read(task.path().join("stat"))).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('R'))
    }))
}

/// How many bytes a process has handed to the kernel to write; `None` when it is gone or hidden.
pub fn written(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok())
}

/// How eager the kernel's out-of-memory killer is to choose a process, from -1000 to 1000.
pub fn oom_score_adj(pid: i32) -> io::Result<i32> {
    fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))?.trim().parse().map_err(io::Error::other)
}

/// Sets that. Raising it takes no privilege, and neither does going back to where it was.
pub fn set_oom_score_adj(pid: i32, value: i32) -> io::Result<()> {
    fs::write(format!("/proc/{pid}/oom_score_adj"), value.to_string())
}

/// Sends a signal by number to the process of that number and start. `Ok(false)` if it is gone or is another one by now.
pub fn signal(pid: i32, start: u64, number: i32) -> io::Result<bool> {
    let signal = Signal::try_from(number)?;
    if Process::read(pid).is_none_or(|process| process.start != start || process.state == State::Ended) {
        return Ok(false);
    }
    match nix::sys::signal::kill(Pid::from_raw(pid), signal) {
        Ok(()) => Ok(true),
        Err(Errno::ESRCH) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// The process that made the other end of a connection, by its number here; 0 when it is in no pid namespace that is seen
/// from here.
pub fn peer(stream: &UnixStream) -> io::Result<i32> {
    Ok(getsockopt(stream, PeerCredentials)?.pid())
}

/// Who holds a process as a debugger does; `None` if nobody.
pub fn tracer(pid: i32) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let tracer = text.lines().find_map(|line| line.strip_prefix("TracerPid:"))?.trim().parse().ok()?;
    (tracer != 0).then_some(tracer)
}

/// Whether a process was killed and has not ended yet, or is gone: one that waits for something uninterruptibly may be
/// so for as long as it waits. Process 0 is not known to.
pub fn is_dying(pid: i32) -> bool {
    if pid == 0 {
        return false;
    }
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map_or("", str::trim);
    // Pending signals, as hexadecimal masks; SIGKILL is number 9 (proc_pid_status(5)).
    let killed = |name| u64::from_str_radix(value(name), 16).is_ok_and(|mask| mask >> 8 & 1 == 1);
    value("State:").starts_with(['Z', 'X']) || killed("SigPnd:") || killed("ShdPnd:")
}

/// The signals by which a process is asked to end: blocked in this thread and those it starts, to be waited for.
#[derive(Debug)]
pub struct EndSignals(SigSet);

impl EndSignals {
    /// Blocks SIGTERM, SIGINT and SIGHUP. To be called before the first thread is started.
    pub fn block() -> io::Result<Self> {
        let set: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
        Ok(Self(set))
    }

    /// Waits for SIGTERM. SIGINT and SIGHUP go to a whole terminal's processes; whoever owns this one answers them.
    pub fn wait_for_term(&self) -> io::Result<()> {
        while self.0.wait()? != Signal::SIGTERM {}
        Ok(())
    }
}

/// Starts the program of this process once more, with `arguments` and pipes as its standard input and output, in a process
/// group of its own.
#[expect(clippy::disallowed_methods, reason = "this crate is where commands belong")]
pub fn start_self(arguments: &[&str]) -> io::Result<Child> {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("/proc/self/exe");
    command.arg0(OWN_NAME).args(arguments).process_group(0);
    command.envs(TAG.get().map(|tag| (OWN_TAG, tag)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
}

/// Ends the calling process at once with SIGKILL, as somebody else might at any moment.
pub fn die() -> ! {
    // SIGKILL of oneself cannot be refused, and is taken before the call returns.
    let sent = nix::sys::signal::kill(Pid::this(), Signal::SIGKILL);
    unreachable!("the kernel has let a killed process go on: {sent:?}")
}

/// Has the calling thread woken when it asked to be, not up to 50 microseconds later, and preferred by the scheduler, as
/// far as it is permitted to ask for that.
#[expect(unsafe_code, reason = "nix has no setpriority")]
pub fn prefer_self() -> io::Result<()> {
    nix::sys::prctl::set_timerslack(1)?;
    // SAFETY: three numbers; nothing of ours is read or written.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the calling thread, and those it will start, run before all ordinary ones as soon as there is something to do, as a
/// kernel's own work does (`sched(7)`, the lowest priority of `SCHED_RR`).
#[expect(unsafe_code, reason = "nix has no sched_setscheduler")]
pub fn precede_others() -> io::Result<()> {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: `lowest` is read during the call only.
    let set = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const lowest) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Starts the program of this process once more, with `arguments`, no standard input, and a pipe as its standard output.
#[expect(clippy::disallowed_methods, reason = "this crate is where commands belong")]
pub fn start_self_to_hear(arguments: &[&str]) -> io::Result<Child> {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("/proc/self/exe");
    command.arg0(OWN_NAME).args(arguments).process_group(0);
    command.envs(TAG.get().map(|tag| (OWN_TAG, tag)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_brackets_and_blanks() {
        let line = "42 (a) (b c) T 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 1234 0 0";
        let process = parse_stat(line).expect("parses");
        assert_eq!((process.pid, process.parent, process.start), (42, 7, 1234));
        assert_eq!((process.name.as_str(), process.state), ("a) (b c", State::Stopped));
        assert_eq!(parse_stat("42 (a"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn scripts_are_called_by_their_file() {
        for (line, name, want) in [
            ("/usr/bin/python3\0/usr/bin/patroni\0/etc/p.yml", "patroni", true),
            ("/usr/bin/python3.11\0/usr/bin/patroni\0", "patroni", true),
            ("/usr/bin/psql\0postgres\0", "postgres", false),
            ("/usr/lib/postgresql/15/bin/postgres\0-D\0", "postgres", true),
            ("python3\0-c\0patroni", "patroni", false),
            ("pythonic\0patroni", "patroni", false),
            ("", "patroni", false),
        ] {
            assert_eq!(runs_script(line.as_bytes(), name), want, "{line:?}");
        }
    }

    #[test]
    fn parents_come_before_children_whatever_their_numbers() {
        let process = |pid, parent| Process { pid, parent, start: 1, name: String::new(), state: State::Alive };
        let ordered = parents_first(vec![process(3, 9), process(9, 1), process(5, 3), process(20, 9)]);
        assert_eq!(ordered.iter().map(|process| process.pid).collect::<Vec<_>>(), [9, 3, 20, 5]);
    }

    #[test]
    fn a_later_process_of_the_same_number_is_not_signalled() {
        let own = Process::read(Pid::this().as_raw()).expect("this process");
        assert_eq!(signal(own.pid, own.start + 1, 15).ok(), Some(false));
        assert!(signal(own.pid, own.start + 1, 10_000).is_err());
    }
}
