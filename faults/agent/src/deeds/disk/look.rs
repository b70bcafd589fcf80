//! Whether a harm is there: a file of ours in the target is written, synced and read, and timed, by a process of its own.
//! What shows only now and then, or only at a loss of power, is counted where it bites, and tried on a file of ours too.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use firedrill_core::action::{Effect, Presence, Undo};
use firedrill_core::harm::{DiskHarm, DiskOp, Occurrence};
use firedrill_core::units::{Bytes, human};
use firedrill_sys::{clock, files, process};

use super::{FOLDER, Harm, Served};
use crate::disk::OWN_FILE;
use crate::disk::control::{Order, Reply};
use crate::disk::trial::{self, Said, Trial};
use crate::protocol::{Refusal, RefusalKind};

/// How long a trial goes on.
const LASTS: Duration = Duration::from_millis(300);
/// How long it is listened to while a harm is said to be in force: the last look is taken shortly before the heal.
const PATIENCE: Duration = Duration::from_millis(520);
/// How long else: a disk may be slow all by itself.
const CALM: Duration = Duration::from_secs(3);
/// What has not returned for so long is halted.
const HALTED: Duration = Duration::from_millis(250);
/// How long after its onset a harm need not have struck the servers yet.
const ONSET: Duration = Duration::from_secs(1);
/// What is written at once, in bytes.
const BYTES: usize = 4096;
/// How much faster than it may be a throttled disk may seem.
const TOLERANCE: f64 = 1.25;

static TRIALS: AtomicU64 = AtomicU64::new(0);

/// What a trial has shown.
#[derive(Default, Debug)]
struct Shown {
    ended: Vec<(DiskOp, Duration, Option<i32>, bool)>,
    /// What it has begun and not ended, and since when it is known to wait.
    halted: Option<(DiskOp, Duration)>,
    bytes: usize,
}

/// How often a harm has bitten, as counted where it bites.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Count {
    harmed: u64,
    own: u64,
    age: Duration,
}

/// Tries the disk.
pub(super) fn look(served: &Served<'_>, undo: &Undo, harm: Harm<'_>) -> Result<Effect, Refusal> {
    let folder = undo.saved.get(FOLDER).map_or("", String::as_str);
    let rare = harm.target.when != Occurrence::Always;
    let usual = || harm.how.usual_ops().iter().copied().collect();
    let trial = Trial {
        file: own_file(&served.at.join(folder), &undo.tag),
        ops: if harm.target.ops.is_empty() { usual() } else { harm.target.ops.clone() },
        rounds: rounds(harm),
        nanos: u64::try_from(LASTS.as_nanos()).unwrap_or(u64::MAX),
        bytes: bytes(harm.how),
        rare,
    };
    let before = count(served, &undo.tag)?;
    let shown = shown(&trial, if before.is_some() { PATIENCE } else { CALM })?;
    let after = count(served, &undo.tag)?;
    if rare || harm.how.bites_at_power_loss() {
        return Ok(counted(harm, before, after));
    }
    Ok(judge(harm.how, &shown))
}

/// Whether changes on the file system at `at` wait, as on a frozen one. `in_force` is whether they should.
pub(in crate::deeds) fn changes(at: &Path, tag: &str, in_force: bool) -> Result<Effect, Refusal> {
    let trial = Trial {
        file: own_file(at, tag),
        ops: BTreeSet::from([DiskOp::Create, DiskOp::Write, DiskOp::Fsync]),
        rounds: 1,
        nanos: u64::try_from(LASTS.as_nanos()).unwrap_or(u64::MAX),
        bytes: BYTES,
        rare: false,
    };
    Ok(judge(DiskHarm::Stall, &shown(&trial, if in_force { PATIENCE } else { CALM })?))
}

/// A file of ours for a trial.
fn own_file(folder: &Path, tag: &str) -> PathBuf {
    let number = TRIALS.fetch_add(1, Ordering::Relaxed);
    folder.join(format!("{}{}-{number}", own_files(tag), std::process::id()))
}

/// What the names of files for trials of an action begin with.
fn own_files(tag: &str) -> String {
    format!("{OWN_FILE}{}-", tag.trim_start_matches(crate::protocol::TAG))
}

/// Removes files of trials, which could not do it themselves through a disk that is gone.
pub(super) fn remove_trials(served: &Served<'_>, undo: &Undo) -> io::Result<()> {
    let Some(folder) = undo.saved.get(FOLDER) else { return Ok(()) };
    let ours = own_files(&undo.tag);
    for entry in fs::read_dir(served.home.join(folder))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&ours) {
            match fs::remove_file(entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
    }
    Ok(())
}

/// So often that what strikes with a chance strikes almost surely (once in a million it does not), and the n-th is reached.
fn rounds(harm: Harm<'_>) -> u64 {
    match (harm.target.when, harm.how) {
        (Occurrence::Chance(chance), _) => 14_000_000_u64.div_ceil(u64::from(chance.parts().max(1))),
        (Occurrence::Nth(nth), _) => nth,
        (Occurrence::Always, DiskHarm::Throttle { .. }) => 100_000,
        (Occurrence::Always, _) => 3,
    }
}

fn bytes(how: DiskHarm) -> usize {
    let DiskHarm::Throttle { bytes_per_second } = how else { return BYTES };
    usize::try_from(bytes_per_second / 20).unwrap_or(usize::MAX).clamp(BYTES, 256 << 10)
}

fn count(served: &Served<'_>, tag: &str) -> Result<Option<Count>, Refusal> {
    let reply = served.ask(&Order::Count { tag: tag.to_owned() })?.1;
    let Reply::Counted { harmed, own, age_nanos } = reply else { return Ok(None) };
    Ok(Some(Count { harmed, own, age: Duration::from_nanos(age_nanos) }))
}

/// Runs a trial and listens to it. One that is halted is left: it ends when the disk lets it go on.
fn shown(trial: &Trial, patience: Duration) -> Result<Shown, Refusal> {
    let setting = serde_json::to_string(trial).map_err(|error| Refusal::system("a trial", &error.into()))?;
    let failed = |error: std::io::Error| Refusal::system("starting a trial of the disk", &error);
    let mut child = process::start_self_to_hear(&[trial::ARGUMENT, &setting]).map_err(failed)?;
    let Some(output) = child.stdout.take() else {
        return Err(Refusal::new(RefusalKind::System, "a trial of the disk has no output"));
    };
    let (sender, lines) = channel();
    let listening = thread::Builder::new().name("trial".to_owned()).spawn(move || {
        for line in BufReader::new(output).lines() {
            let Some(said) = line.ok().and_then(|line| serde_json::from_str::<Said>(&line).ok()) else { break };
            // Whoever listened may have heard enough; the trial still is to be waited for.
            drop(sender.send(said));
        }
        drop(child.wait());
    });
    listening.map_err(failed)?;
    let deadline = clock::boottime_nanos().saturating_add(u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX));
    let mut shown = Shown { bytes: trial.bytes, ..Shown::default() };
    let mut begun = None;
    loop {
        let now = clock::boottime_nanos();
        match lines.recv_timeout(Duration::from_nanos(deadline.saturating_sub(now))) {
            Ok(Said::Begins(op)) => begun = Some((op, clock::boottime_nanos())),
            Ok(Said::Ended { op, nanos, errno, wrong }) => {
                begun = None;
                shown.ended.push((op, Duration::from_nanos(nanos), errno, wrong));
            }
            Ok(Said::Done) => return Ok(shown),
            Err(RecvTimeoutError::Timeout) => {
                let waited = |since| Duration::from_nanos(clock::boottime_nanos().saturating_sub(since));
                shown.halted = begun.map(|(op, since)| (op, waited(since)));
                return Ok(shown);
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Refusal::new(RefusalKind::System, "a trial of the disk ended early"));
            }
        }
    }
}

fn word(op: DiskOp) -> &'static str {
    firedrill_core::harm::DISK_OPS.iter().find(|(_, known)| *known == op).map_or("?", |(word, _)| word)
}

/// By what was counted: our own file was struck just now, and the servers' files have been, unless it has only begun.
fn counted(harm: Harm<'_>, before: Option<Count>, after: Option<Count>) -> Effect {
    let (Some(before), Some(after)) = (before, after) else {
        return Effect { presence: Presence::Absent, evidence: "nothing was struck".to_owned() };
    };
    let own = after.own - before.own;
    let certain = matches!(harm.target.when, Occurrence::Nth(_)) || harm.how.bites_at_power_loss();
    let due = certain && after.age > ONSET;
    let presence = match (own > 0, after.harmed > 0 || !due) {
        (true, true) => Presence::Full,
        (true, false) => Presence::Partial,
        (false, _) => Presence::Absent,
    };
    let evidence =
        format!("struck {own} times on a file of ours just now, {} times on the servers' files", after.harmed);
    Effect { presence, evidence }
}

/// By what the trial has shown.
fn judge(how: DiskHarm, shown: &Shown) -> Effect {
    let effect = |presence, evidence: String| Effect { presence, evidence };
    let halted = shown.halted.filter(|(_, waited)| *waited >= HALTED);
    let waits = |(op, waited)| format!("a {} of ours has not returned within {}", word(op), human(waited));
    if shown.ended.is_empty() && halted.is_none() {
        return effect(Presence::Unknown, "nothing could be tried in time".to_owned());
    }
    match how {
        DiskHarm::Stall => match halted {
            Some(halted) => effect(Presence::Full, waits(halted)),
            None => effect(Presence::Absent, format!("{} operations of ours returned", shown.ended.len())),
        },
        DiskHarm::Latency { delay } => {
            let fastest = shown.ended.iter().map(|(op, took, ..)| (*took, *op)).min();
            match (fastest, halted) {
                (Some((took, op)), _) => {
                    let presence = if took >= delay { Presence::Full } else { Presence::Absent };
                    effect(presence, format!("the fastest operation of ours, a {}, took {}", word(op), human(took)))
                }
                (None, Some(halted)) => effect(Presence::Full, waits(halted)),
                (None, None) => effect(Presence::Unknown, "nothing could be tried in time".to_owned()),
            }
        }
        DiskHarm::Throttle { bytes_per_second } => throttled(bytes_per_second, shown),
        DiskHarm::Error => failing(files::EIO, "EIO", shown),
        DiskHarm::Full => failing(files::ENOSPC, "ENOSPC", shown),
        DiskHarm::ReadOnly => failing(files::EROFS, "EROFS", shown),
        DiskHarm::CorruptRead => {
            let reads = shown.ended.iter().filter(|(op, ..)| *op == DiskOp::Read).count();
            let wrong = shown.ended.iter().filter(|(.., wrong)| *wrong).count();
            effect(part(wrong, reads), format!("{wrong} of {reads} reads gave something else than was written"))
        }
        DiskHarm::TornWrite | DiskHarm::LostFsync | DiskHarm::CorruptAtRest { .. } => {
            effect(Presence::Unknown, "this cannot be tried".to_owned())
        }
    }
}

const fn part(some: usize, all: usize) -> Presence {
    match some {
        0 => Presence::Absent,
        some if some == all => Presence::Full,
        _ => Presence::Partial,
    }
}

fn failing(number: i32, name: &str, shown: &Shown) -> Effect {
    let failed = shown.ended.iter().filter(|(_, _, errno, _)| *errno == Some(number)).count();
    let all = shown.ended.len();
    let words: Vec<&str> = shown.ended.iter().map(|(op, ..)| word(*op)).take(8).collect();
    let evidence = format!("{failed} of {all} operations of ours ({}) failed with {name}", words.join(", "));
    Effect { presence: part(failed, all), evidence }
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "rates need no more than 53 bits")]
fn throttled(limit: u64, shown: &Shown) -> Effect {
    let moved = shown.ended.len() * shown.bytes;
    let took: Duration = shown.ended.iter().map(|(_, took, ..)| *took).sum();
    // What has not returned yet has taken as long as was waited.
    let (moved, took) = match (moved, shown.halted) {
        (0, Some((_, waited))) => (shown.bytes, waited),
        _ => (moved, took),
    };
    let rate = moved as f64 / took.as_secs_f64().max(1e-9);
    let presence = if rate <= limit as f64 * TOLERANCE { Presence::Full } else { Presence::Absent };
    let bytes = Bytes(u64::try_from(moved).unwrap_or(u64::MAX));
    Effect { presence, evidence: format!("{bytes} of ours took {}", human(took)) }
}

#[cfg(test)]
mod tests {
    use firedrill_core::cluster::NodeName;
    use firedrill_core::harm::DiskTarget;

    use super::*;

    const SHORT: Duration = Duration::from_micros(20);
    const LONG: Duration = Duration::from_millis(30);

    fn shown(ended: &[(DiskOp, Duration, Option<i32>, bool)], halted: Option<DiskOp>) -> Shown {
        Shown { ended: ended.to_vec(), halted: halted.map(|op| (op, PATIENCE)), bytes: 1000 }
    }

    #[test]
    fn a_trial_is_judged_by_what_it_has_shown() {
        let fine = |op, took| (op, took, None, false);
        let (write, fsync, read) = (DiskOp::Write, DiskOp::Fsync, DiskOp::Read);
        let latency = DiskHarm::Latency { delay: Duration::from_millis(20) };
        let throttle = DiskHarm::Throttle { bytes_per_second: 50_000 };
        for (how, shown, want) in [
            (DiskHarm::Stall, shown(&[fine(write, SHORT)], Some(fsync)), Presence::Full),
            (DiskHarm::Stall, shown(&[fine(write, LONG)], None), Presence::Absent),
            (DiskHarm::Stall, shown(&[], None), Presence::Unknown),
            (latency, shown(&[fine(write, LONG), fine(fsync, LONG)], None), Presence::Full),
            // A slow disk alone makes syncs slow, but not writes.
            (latency, shown(&[fine(write, SHORT), fine(fsync, LONG)], None), Presence::Absent),
            (throttle, shown(&[fine(write, LONG)], None), Presence::Full),
            (throttle, shown(&[fine(write, SHORT)], None), Presence::Absent),
            (throttle, shown(&[], Some(write)), Presence::Full),
            (DiskHarm::Error, shown(&[(write, SHORT, Some(5), false)], None), Presence::Full),
            (DiskHarm::Error, shown(&[fine(write, SHORT), (fsync, SHORT, Some(5), false)], None), Presence::Partial),
            (DiskHarm::Full, shown(&[(write, SHORT, Some(5), false)], None), Presence::Absent),
            (DiskHarm::ReadOnly, shown(&[(write, SHORT, Some(30), false)], None), Presence::Full),
            (DiskHarm::CorruptRead, shown(&[(read, SHORT, None, true)], None), Presence::Full),
            (DiskHarm::CorruptRead, shown(&[fine(read, SHORT)], None), Presence::Absent),
        ] {
            assert_eq!(judge(how, &shown).presence, want, "{how} {shown:?}");
        }
    }

    #[test]
    fn what_was_counted_must_have_struck_the_servers_too() {
        let node = NodeName::new("n1");
        let target = DiskTarget { when: Occurrence::Nth(3), ..DiskTarget::default() };
        let harm = Harm { node: &node, target: &target, how: DiskHarm::Error, seed: 1 };
        let count = |harmed, own, age| Some(Count { harmed, own, age: Duration::from_millis(age) });
        for (before, after, want) in [
            (count(0, 0, 5), count(0, 1, 900), Presence::Full),
            (count(0, 1, 5000), count(0, 2, 5900), Presence::Partial),
            (count(1, 1, 5000), count(1, 2, 5900), Presence::Full),
            (count(1, 1, 5000), count(1, 1, 5900), Presence::Absent),
            (None, None, Presence::Absent),
        ] {
            assert_eq!(counted(harm, before, after).presence, want, "{before:?} {after:?}");
        }
    }
}
