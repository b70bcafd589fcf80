//! Asking for names on a node as its servers do: a process of its own, because a C library that has begun to wait for a
//! name server cannot be told to stop. Its first thread stays outside, so that nobody takes it for one of the node's.

use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use firedrill_sys::resolve::{self, Resolved};
use firedrill_sys::{clock, process};
use serde::{Deserialize, Serialize};

/// The argument by which the program asks for names. A [`Setting`] as JSON follows.
pub const ARGUMENT: &str = "lookup";
/// How long all names of a node may take. The lab's `resolv.conf` has the C library give up after a second.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is asked, and where.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// A file that is the network namespace.
    pub netns: PathBuf,
    /// A file that is the mount namespace, if it is another one.
    pub mounts: Option<PathBuf>,
    /// The names, asked for at the same time.
    pub names: Vec<String>,
}

/// What came of it, and after how many nanoseconds.
pub type Found = Result<(Resolved, u64), String>;

/// Asks, and prints what was [`Found`], in the order of the names.
pub fn run(setting: &str) -> io::Result<()> {
    let setting: Setting = serde_json::from_str(setting)?;
    let ask = |name: &str| -> io::Result<(Resolved, u64)> {
        resolve::enter(&setting.netns, setting.mounts.as_deref())?;
        let begun = clock::boottime_nanos();
        let resolved = resolve::addresses(name)?;
        Ok((resolved, clock::boottime_nanos().saturating_sub(begun)))
    };
    let found: Vec<Found> = thread::scope(|scope| {
        let asking: Vec<_> = setting.names.iter().map(|name| scope.spawn(|| ask(name))).collect();
        let join = |asked: thread::ScopedJoinHandle<'_, io::Result<(Resolved, u64)>>| {
            let answered = asked.join().map_err(|_| "the thread that asked has panicked".to_owned())?;
            answered.map_err(|error| error.to_string())
        };
        asking.into_iter().map(join).collect()
    });
    let mut output = io::stdout();
    serde_json::to_writer(&mut output, &found)?;
    output.flush()
}

/// Has a process ask; one that takes too long is killed.
pub fn ask(setting: &Setting) -> io::Result<Vec<Found>> {
    let text = serde_json::to_string(setting)?;
    let mut child = process::start_self_to_hear(&[ARGUMENT, &text])?;
    let ended = clock::until(PATIENCE, Duration::from_millis(2), || child.try_wait().transpose());
    if ended.is_none() {
        child.kill()?;
        child.wait()?;
        return Err(io::Error::other("asking for names took too long"));
    }
    let mut answer = Vec::new();
    // A few hundred bytes, which the pipe has held until now.
    child.stdout.take().map_or(Ok(0), |mut output| output.read_to_end(&mut answer))?;
    Ok(serde_json::from_slice(&answer)?)
}
