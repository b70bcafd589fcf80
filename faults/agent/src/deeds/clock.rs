//! Changing the wall clock that servers read. The library loaded into them takes its offset from a file; that file is a link
//! to the name of a thread of this agent (`/proc/PID/task/TID/comm`), which is the offset. When the thread ends, however the
//! agent ends, there is no such file any more, and the library falls back to the one beside it that says `+0`.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use firedrill_core::action::{Action, Effect, Presence, ProcessRef, Undo};
use firedrill_core::cluster::{NodeName, ProcessName};
use firedrill_core::harm::ClockChange;
use firedrill_sys::clock;

use super::{Grip, Scene, Work, not_mine};
use crate::ends::Ends;
use crate::failpoint;
use crate::protocol::{Refusal, RefusalKind};
use crate::world::{World, is_tag};

/// How often an offset that grows is brought up to date.
const GROWS_EVERY: Duration = Duration::from_millis(10);
/// The longest name of a thread, in bytes (`prctl(2)`, `PR_SET_NAME`).
const LONGEST_NAME: usize = 15;
/// How long the thread may take to begin.
const PATIENCE: Duration = Duration::from_secs(2);

/// Changing clocks.
#[derive(Clone, Copy, Debug)]
pub struct ShiftClock;

fn whom(action: &Action) -> Result<(&NodeName, Option<&ProcessName>, ClockChange), Refusal> {
    let Action::ShiftClock { node, process, change } = action else { return Err(not_mine(action)) };
    Ok((node, process.as_ref(), *change))
}

/// The files that the clocks of an action are read from: those of the process, or all of the node.
fn files(world: &World, undo: &Undo) -> Result<Vec<PathBuf>, Refusal> {
    let (node, process, _) = whom(&undo.action)?;
    let site = world.config.nodes.iter().find(|site| site.name == *node);
    let folder = site.and_then(|site| site.ground.clock.as_ref());
    let folder = folder.ok_or_else(|| {
        let what = format!("the servers of {node} were not started with a clock that can be changed");
        Refusal::new(RefusalKind::NotOffered, what)
    })?;
    let listed = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let listed = listed.map_err(|error| Refusal::system(format!("listing {}", folder.display()), &error))?;
    let names = listed.iter().map(fs::DirEntry::path).filter(|path| path.is_dir());
    let chosen: Vec<PathBuf> = names
        .filter(|path| process.is_none_or(|process| path.file_name().is_some_and(|name| *name == *process.0)))
        .map(|path| path.join(OFFSET))
        .collect();
    if chosen.is_empty() {
        let what = format!("no such clock can be changed ({})", undo.action);
        return Err(Refusal::new(RefusalKind::NoTarget, what));
    }
    Ok(chosen)
}

/// The file an offset is read from, in the folder of a process.
pub const OFFSET: &str = "offset";
/// The file that is read when there is no [`OFFSET`]; the library looks for it in its home directory.
pub const NO_OFFSET: &str = ".faketimerc";

/// What the links are called in an undo.
const CREATES: &str = "clock ";

/// The link of a tag, beside the file, so that the file says whose it is.
fn tagged(file: &Path, tag: &str) -> PathBuf {
    file.with_file_name(tag)
}

impl Work for ShiftClock {
    fn prepare(&self, world: &World, undo: Undo) -> Result<Undo, Refusal> {
        let files = files(world, &undo)?;
        let creates = files.iter().map(|file| format!("{CREATES}{}", tagged(file, &undo.tag).display())).collect();
        Ok(Undo { creates, ..undo })
    }

    fn apply(&self, scene: &mut Scene<'_>, undo: &Undo) -> Result<(Box<dyn Grip>, u64), Refusal> {
        let (_, _, change) = whom(&undo.action)?;
        let files = files(scene.world, undo)?;
        if let Some(taken) = files.iter().find(|file| fs::symlink_metadata(file).is_ok()) {
            let what = format!("{} is there: another fault changes this clock", taken.display());
            return Err(Refusal::new(RefusalKind::Order, what));
        }
        let told = Teller::start(change).map_err(|error| Refusal::system("a thread that tells the offset", &error))?;
        for file in &files {
            let link = |from: &Path, to: &Path| {
                symlink(from, to).map_err(|error| Refusal::system(format!("linking {}", to.display()), &error))
            };
            link(&told.name, &tagged(file, &undo.tag))?;
            failpoint::at("mid-apply");
            failpoint::within("clock-mid-apply")?;
            link(Path::new(&undo.tag), file)?;
        }
        let from = clock::boottime_nanos();
        Ok((Box::new(told), from))
    }

    fn undo(&self, _world: &World, undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        if !is_tag(&undo.tag) {
            return Err(Refusal::new(RefusalKind::Order, format!("`{}` is not a tag of ours", undo.tag)));
        }
        let remove = |path: &Path| match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Refusal::system(format!("removing {}", path.display()), &error))
            }
            Ok(()) | Err(_) => Ok(()),
        };
        let mut result = Ok(());
        // By what was recorded: the folders may have gone with the lab, and the links with them.
        let links = undo.creates.iter().filter_map(|created| created.strip_prefix(CREATES)).map(Path::new);
        for link in links.filter(|link| link.file_name().is_some_and(|name| *name == *undo.tag)) {
            let file = link.with_file_name(OFFSET);
            let ours = fs::read_link(&file).is_ok_and(|target| target == Path::new(&undo.tag));
            let removed = if ours { remove(&file) } else { Ok(()) };
            result = result.and(removed).and(remove(link));
        }
        result
    }

    /// Only the servers themselves can tell what they read.
    fn probe(&self, _ends: &Ends, _world: &World, _undo: &Undo) -> Effect {
        let evidence = "only the servers themselves can tell what their clock is".to_owned();
        Effect { presence: Presence::Unknown, evidence }
    }
}

/// A thread whose name is the offset.
#[derive(Debug)]
struct Teller {
    name: PathBuf,
    /// Dropped, it ends the thread.
    goes_on: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Teller {
    fn start(change: ClockChange) -> io::Result<Self> {
        let (goes_on, ended) = channel::<()>();
        let (began, first_word) = sync_channel::<io::Result<PathBuf>>(1);
        let thread = thread::Builder::new().spawn(move || tell(change, &began, &ended))?;
        let name = first_word.recv_timeout(PATIENCE).map_err(io::Error::other)??;
        Ok(Self { name, goes_on: Some(goes_on), thread: Some(thread) })
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        drop(self.goes_on.take());
        // It does nothing that could fail, and has nothing to say.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

impl Grip for Teller {
    fn let_go(self: Box<Self>, world: &World, undo: &Undo, held: &[ProcessRef]) -> Result<(), Refusal> {
        // First, because it is what undoes; the links are only tidied up.
        drop(self);
        ShiftClock.undo(world, undo, held)
    }
}

/// Names this thread by the offset, again and again, until `ended`.
fn tell(change: ClockChange, began: &SyncSender<io::Result<PathBuf>>, ended: &std::sync::mpsc::Receiver<()>) {
    let onset = clock::boottime_nanos();
    // A link to `thread-self` would be the reader's own.
    let own = fs::read_link("/proc/thread-self").map(|own| Path::new("/proc").join(own).join("comm"));
    let named = own.and_then(|own| fs::write(&own, words(change.offset_after(Duration::ZERO))).map(|()| own));
    let file = named.as_ref().ok().cloned();
    drop(began.send(named));
    let Some(file) = file else { return };
    let mut last = String::new();
    loop {
        let elapsed = Duration::from_nanos(clock::boottime_nanos().saturating_sub(onset));
        match ended.recv_timeout(until_next(change, elapsed)) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
        let elapsed = Duration::from_nanos(clock::boottime_nanos().saturating_sub(onset));
        let now = words(change.offset_after(elapsed));
        // The kernel takes every name; a thread may always name itself.
        if now != last && fs::write(&file, &now).is_ok() {
            last = now;
        }
    }
}

/// From then until the offset is another one.
fn until_next(change: ClockChange, elapsed: Duration) -> Duration {
    match change {
        ClockChange::Offset { .. } => Duration::from_secs(3600),
        ClockChange::Slew { over, .. } if elapsed > over => Duration::from_secs(3600),
        ClockChange::Slew { .. } | ClockChange::Drift { .. } => GROWS_EVERY,
        ClockChange::Strobe { every, .. } => {
            let every = every.max(Duration::from_millis(1));
            let into = elapsed.as_nanos() % every.as_nanos();
            every.saturating_sub(Duration::from_nanos(u64::try_from(into).unwrap_or(0)))
        }
    }
}

/// An offset as the library reads it: seconds with a sign, as precise as a thread's name is long.
fn words(nanos: i64) -> String {
    let sign = if nanos < 0 { '-' } else { '+' };
    let (seconds, rest) = (nanos.unsigned_abs() / 1_000_000_000, nanos.unsigned_abs() % 1_000_000_000);
    let mut text = format!("{sign}{seconds}.{rest:09}");
    text.truncate(LONGEST_NAME);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_fit_into_a_name() {
        for (nanos, want) in [
            (0, "+0.000000000"),
            (-50, "-0.000000050"),
            (1_500_000_000, "+1.500000000"),
            (-315_360_000_000_000_000, "-315360000.0000"),
            (86_400_123_456_789, "+86400.12345678"),
        ] {
            assert_eq!(words(nanos), want);
        }
    }

    #[test]
    fn a_strobe_turns_on_its_beat() {
        let strobe = ClockChange::Strobe { nanos: 1, every: Duration::from_millis(200) };
        assert_eq!(until_next(strobe, Duration::from_millis(450)), Duration::from_millis(150));
        assert_eq!(until_next(strobe, Duration::ZERO), Duration::from_millis(200));
    }
}
