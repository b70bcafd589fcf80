//! The harms in force, and what they make of each operation.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use firedrill_core::harm::{DiskHarm, DiskOp, DiskTarget, Occurrence};
use firedrill_core::seed::fnv1a;
use firedrill_sys::{clock, files};

use super::held::{Held, Holds};
use super::places::{Parts, own_name};

/// Harms in force at once, at most.
const MOST: usize = 64;
/// Own files whose operations are counted, at most.
const OWN_FILES: usize = 4096;

/// An operation about to be done.
pub(super) struct Deed<'a> {
    /// Which.
    pub(super) op: DiskOp,
    /// Where it is; only asked for when something is in force.
    pub(super) place: &'a dyn Fn() -> Vec<OsString>,
    /// How many bytes are read or written.
    pub(super) bytes: u64,
    /// Whether it needs more room than the file has.
    pub(super) grows: &'a dyn Fn() -> bool,
    /// Whether an [`DiskOp::Open`] is for reading only.
    pub(super) only_reads: bool,
    /// Whether only attributes are changed.
    pub(super) attributes: bool,
}

/// What becomes of an operation.
#[derive(Default)]
pub(super) struct Fate {
    /// It fails with this number.
    pub(super) fail: Option<i32>,
    /// It waits for all of these.
    pub(super) holds: Holds,
    /// A bit of what it reads is flipped, drawn from this.
    pub(super) flips: Vec<u64>,
    /// It reports success and does nothing.
    pub(super) swallow: bool,
    /// What it writes may be torn.
    pub(super) tear: bool,
}

/// A harm in force.
#[derive(Debug)]
pub(crate) struct Active {
    /// Its number.
    pub(super) id: u64,
    /// The tag of the action.
    pub(super) tag: String,
    pub(super) target: DiskTarget,
    pub(super) parts: Parts,
    pub(super) how: DiskHarm,
    ops: BTreeSet<DiskOp>,
    pub(super) seed: u64,
    since: u64,
    /// Operations of servers that it was asked about, and those it harmed.
    seen: AtomicU64,
    harmed: AtomicU64,
    /// Operations on each of our own files, by name.
    own: Mutex<BTreeMap<OsString, u64>>,
    own_harmed: AtomicU64,
    /// Until when, by `CLOCK_BOOTTIME`, the bytes let through so far have the disk busy.
    busy: AtomicU64,
}

/// How often a harm has bitten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Count {
    pub(super) harmed: u64,
    pub(super) own: u64,
    /// How long it has been in force.
    pub(super) age: Duration,
}

impl Active {
    fn wants(&self, deed: &Deed<'_>, place: &[OsString]) -> bool {
        let about = match self.how {
            DiskHarm::ReadOnly if deed.op == DiskOp::Open => !deed.only_reads && self.ops.contains(&deed.op),
            DiskHarm::ReadOnly => self.ops.contains(&deed.op),
            DiskHarm::Full if deed.op != DiskOp::Create => {
                !deed.attributes && self.ops.contains(&deed.op) && (deed.grows)()
            }
            DiskHarm::Stall
            | DiskHarm::Latency { .. }
            | DiskHarm::Error
            | DiskHarm::Full
            | DiskHarm::Throttle { .. }
            | DiskHarm::CorruptRead
            | DiskHarm::TornWrite
            | DiskHarm::LostFsync
            | DiskHarm::CorruptAtRest { .. } => !deed.attributes && self.ops.contains(&deed.op),
        };
        about && self.parts.cover(place)
    }

    /// Whether it is this operation's turn. Each of our own files is counted apart.
    fn strikes(&self, own: Option<&OsString>) -> Option<u64> {
        let (seed, turn) = match own {
            Some(name) => {
                let mut files = self.own.lock().unwrap_or_else(PoisonError::into_inner);
                if files.len() >= OWN_FILES {
                    files.clear();
                }
                let turn = files.entry(name.clone()).or_default();
                *turn += 1;
                (self.seed ^ fnv1a(name.as_encoded_bytes()), *turn)
            }
            None => (self.seed, self.seen.fetch_add(1, Ordering::Relaxed) + 1),
        };
        let drawn = draw(seed, turn);
        let strikes = match self.target.when {
            Occurrence::Always => true,
            Occurrence::Chance(chance) => drawn % 1_000_000 < u64::from(chance.parts()),
            Occurrence::Nth(nth) => turn == nth,
        };
        strikes.then_some(drawn)
    }

    /// Counts an operation that was harmed.
    fn mark(&self, own: bool) {
        if own { &self.own_harmed } else { &self.harmed }.fetch_add(1, Ordering::Relaxed);
    }

    fn apply(&self, deed: &Deed<'_>, (drawn, own): (u64, bool), fate: &mut Fate) {
        match self.how {
            DiskHarm::Stall => fate.holds.add(self.id, None),
            DiskHarm::Latency { delay } => fate.holds.add(self.id, Some(after(clock::boottime_nanos(), delay))),
            DiskHarm::Throttle { bytes_per_second } => {
                fate.holds.add(self.id, Some(self.queue(deed.bytes, bytes_per_second)));
            }
            DiskHarm::Error => fate.fail = fate.fail.or(Some(files::EIO)),
            DiskHarm::Full => fate.fail = fate.fail.or(Some(files::ENOSPC)),
            DiskHarm::ReadOnly => fate.fail = fate.fail.or(Some(files::EROFS)),
            DiskHarm::CorruptRead => fate.flips.push(drawn),
            // Our own files tell of a loss of power what servers' files would without such a harm.
            DiskHarm::LostFsync => fate.swallow |= !own,
            DiskHarm::TornWrite => fate.tear |= !own,
            DiskHarm::CorruptAtRest { .. } => {}
        }
    }

    /// When the bytes are through, behind those before them.
    fn queue(&self, bytes: u64, per_second: u64) -> u64 {
        let takes = Duration::from_secs_f64(seconds(bytes) / seconds(per_second.max(1)));
        let now = clock::boottime_nanos();
        let through = |busy: u64| after(busy.max(now), takes);
        let before = self.busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |busy| Some(through(busy)));
        through(before.unwrap_or(now))
    }

    /// How often it has bitten.
    pub(super) fn count(&self) -> Count {
        Count {
            harmed: self.harmed.load(Ordering::Relaxed),
            own: self.own_harmed.load(Ordering::Relaxed),
            age: Duration::from_nanos(clock::boottime_nanos().saturating_sub(self.since)),
        }
    }
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "rates need no more than 53 bits")]
fn seconds(number: u64) -> f64 {
    number as f64
}

fn after(moment: u64, delay: Duration) -> u64 {
    moment.saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX))
}

/// The n-th number of a seed (`SplitMix64`; Steele, Lea, Flood 2014).
pub(crate) fn draw(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// All harms in force, and the operations they hold.
pub(crate) struct Harms {
    active: RwLock<Vec<Arc<Active>>>,
    /// How many are in force: what an operation looks at first.
    count: AtomicUsize,
    next: AtomicU64,
    pub(super) held: Held,
}

impl Harms {
    /// None in force.
    pub(super) fn start() -> io::Result<Self> {
        let (active, count, next) = (RwLock::default(), AtomicUsize::new(0), AtomicU64::new(1));
        Ok(Self { active, count, next, held: Held::start()? })
    }

    /// Puts one in force.
    pub(super) fn add(&self, tag: String, target: DiskTarget, how: DiskHarm, seed: u64) -> Result<Arc<Active>, String> {
        let mut active = self.active.write().unwrap_or_else(PoisonError::into_inner);
        if active.len() >= MOST {
            return Err(format!("{MOST} harms are in force already"));
        }
        if active.iter().any(|other| other.tag == tag) {
            return Err(format!("{tag} is in force already"));
        }
        let usual = || how.usual_ops().iter().copied().collect();
        let harm = Arc::new(Active {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            tag,
            parts: Parts::of(target.path.as_deref()),
            ops: if target.ops.is_empty() { usual() } else { target.ops.clone() },
            target,
            how,
            seed,
            since: clock::boottime_nanos(),
            seen: AtomicU64::new(0),
            harmed: AtomicU64::new(0),
            own: Mutex::default(),
            own_harmed: AtomicU64::new(0),
            busy: AtomicU64::new(0),
        });
        active.push(Arc::clone(&harm));
        self.count.store(active.len(), Ordering::Release);
        Ok(harm)
    }

    /// Takes one out of force; what it holds goes on at once.
    pub(super) fn remove(&self, id: u64) {
        let mut active = self.active.write().unwrap_or_else(PoisonError::into_inner);
        active.retain(|harm| harm.id != id);
        self.count.store(active.len(), Ordering::Release);
        // With the lock, so that no operation judged before is held after.
        self.held.release(id);
    }

    /// All in force.
    pub(super) fn all(&self) -> Vec<Arc<Active>> {
        self.active.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has `work` done with what becomes of an operation: at once, or when nothing holds it any more. `keep` makes of
    /// `work`, which may borrow, something that can wait.
    pub(super) fn meet(&self, deed: &Deed<'_>, work: impl FnOnce(Fate, Pass<'_>)) {
        if self.none() {
            return work(Fate::default(), Pass(None));
        }
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        let mut fate = Fate::default();
        let place = (deed.place)();
        let own = own_name(&place);
        for harm in active.iter().filter(|harm| harm.wants(deed, &place)) {
            if let Some(drawn) = harm.strikes(own) {
                harm.mark(own.is_some());
                harm.apply(deed, (drawn, own.is_some()), &mut fate);
            }
        }
        if fate.holds.is_empty() {
            drop(active);
            return work(fate, Pass(None));
        }
        // The lock is kept until the operation is held, so that the end of a harm cannot slip in between.
        work(fate, Pass(Some(&self.held)));
    }

    /// Whether none is in force.
    pub(super) fn none(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Whether a harm says that there is no room anywhere.
    pub(super) fn nothing_free(&self) -> bool {
        !self.none() && self.all().iter().any(|harm| harm.how == DiskHarm::Full && harm.target.path.is_none())
    }
}

/// Where an operation goes that must wait.
pub(super) struct Pass<'a>(Option<&'a Held>);

impl<'a> Pass<'a> {
    /// Where to hold it; `None` when it goes on at once.
    pub(super) fn held(self) -> Option<&'a Held> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use firedrill_core::harm::Chance;

    use super::*;

    fn fails(harms: &Harms, op: DiskOp, name: &str) -> bool {
        let place = || vec!["pg_wal".into(), name.into()];
        let grows = || false;
        let deed = Deed { op, place: &place, bytes: 10, grows: &grows, only_reads: false, attributes: false };
        let mut failed = false;
        harms.meet(&deed, |fate, _| failed = fate.fail.is_some());
        failed
    }

    fn target(when: Occurrence) -> DiskTarget {
        DiskTarget { path: Some("pg_wal".to_owned()), ops: BTreeSet::from([DiskOp::Write]), when }
    }

    #[test]
    fn the_nth_is_counted_apart_for_our_own_files() {
        let harms = Harms::start().unwrap();
        harms.add("fd-1".to_owned(), target(Occurrence::Nth(3)), DiskHarm::Error, 1).unwrap();
        let own: Vec<bool> = (0..4).map(|_| fails(&harms, DiskOp::Write, ".fd-1")).collect();
        assert_eq!(own, [false, false, true, false]);
        let servers = ["a", "b", "a", "a"].map(|name| fails(&harms, DiskOp::Write, name));
        assert_eq!(servers, [false, false, true, false]);
        let count = harms.all()[0].count();
        assert_eq!((count.harmed, count.own), (1, 1));
        assert!(!fails(&harms, DiskOp::Read, "wal"));
    }

    #[test]
    fn chances_are_drawn_from_the_seed() {
        let strikes = |seed: u64| -> Vec<bool> {
            let harms = Harms::start().unwrap();
            let when = Occurrence::Chance(Chance::per_million(300_000));
            harms.add("fd-1".to_owned(), target(when), DiskHarm::Error, seed).unwrap();
            (0..1000).map(|_| fails(&harms, DiskOp::Write, "wal")).collect()
        };
        let first = strikes(7);
        assert_eq!(first, strikes(7));
        assert_ne!(first, strikes(8));
        let count = first.iter().filter(|struck| **struck).count();
        assert!((230..370).contains(&count), "{count} of 1000 at 30%");
    }

    #[test]
    fn a_harm_that_is_gone_harms_nothing() {
        let harms = Harms::start().unwrap();
        let harm = harms.add("fd-1".to_owned(), target(Occurrence::Always), DiskHarm::Error, 1).unwrap();
        assert!(harms.add("fd-1".to_owned(), target(Occurrence::Always), DiskHarm::Error, 1).is_err());
        assert!(fails(&harms, DiskOp::Write, "wal"));
        harms.remove(harm.id);
        assert!(!fails(&harms, DiskOp::Write, "wal"));
    }
}
