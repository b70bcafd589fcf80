//! How long it may take until `ci/inventory` lists what it listed before. For the storms of kills, those of the agent and those of
//! whole runs alike.

#[path = "independent.rs"]
mod independent;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use firedrill_sys::clock;

pub(crate) use self::independent::Independent;

/// What comes on top of a promise that an effect is gone in time: two seconds, because the kernel adds up only every two
/// seconds (`PSI_FREQ`, kernel/sched/psi.c) for how long somebody had to wait, and the time that ending a dozen processes and
/// taking an inventory take.
const SLACK: Duration = Duration::from_secs(6);
/// Somebody always waits on a machine that is busy enough, so that a [`Stopwatch`] stands still there. An effect hangs, however
/// busy the machine, after so many times of what is allowed, and the time by which looks took longer than on a calm one.
const BUSY: u32 = 3;
/// How long a file may take to be written before it stalls. It is tried again then, for as long as is allowed.
pub(crate) const TRY: Duration = Duration::from_secs(2);

/// A stopwatch that stands still while anybody on this machine waits for a processor or a disk: what a test that shares the
/// machine with others can hold a promise of time against.
pub(crate) struct Stopwatch {
    began: u64,
    waited: Duration,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self { began: clock::boottime_nanos(), waited: waited() }
    }

    /// By the clock on the wall.
    pub(crate) fn all(&self) -> Duration {
        Duration::from_nanos(clock::boottime_nanos().saturating_sub(self.began))
    }

    /// Without the time for which somebody waited. Where the kernel does not say, it is [`Self::all`].
    pub(crate) fn fair(&self) -> Duration {
        self.all().saturating_sub(waited().saturating_sub(self.waited))
    }
}

/// For how long somebody has waited since the machine started (`some total`, in microseconds; accounting/psi.rst).
fn waited() -> Duration {
    let of = |what: &str| {
        let text = std::fs::read_to_string(format!("/proc/pressure/{what}")).unwrap_or_default();
        let some = text.lines().find_map(|line| line.strip_prefix("some ")?.rsplit_once("total=")?.1.parse().ok());
        Duration::from_micros(some.unwrap_or(0))
    };
    of("cpu") + of("io")
}

impl Independent {
    /// Waits until nothing differs from `before`, as long as was promised and [`SLACK`]; `inert` things count too if asked.
    /// A line that is `gone` or `left` does not count when `harmless` says so of that word and the line.
    pub(crate) fn wait_same(
        &mut self,
        before: &BTreeSet<String>,
        inert: bool,
        promised: Duration,
        harmless: impl Fn(&str, &str) -> bool,
    ) -> Result<(), String> {
        let counts = |line: &&String| inert || !line.starts_with("inert ");
        let (watch, mut late, allowed) = (Stopwatch::start(), Duration::ZERO, promised + SLACK);
        loop {
            let (now, by) = self.look();
            late += by;
            let mut differs = String::new();
            for line in before.difference(&now).filter(|line| counts(line) && !harmless("gone", line)) {
                writeln!(differs, "  gone: {line}").expect("text");
            }
            for line in now.difference(before).filter(|line| counts(line) && !harmless("left", line)) {
                writeln!(differs, "  left: {line}").expect("text");
            }
            if differs.is_empty() {
                return Ok(());
            }
            let (fair, all) = (watch.fair(), watch.all());
            if fair > allowed || all > allowed * BUSY + late {
                return Err(format!(
                    "after {fair:?} ({all:?} with others in the way, {late:?} of them in looks), promised {promised:?}:\n{differs}"
                ));
            }
            clock::until(Duration::from_millis(20), Duration::from_millis(20), || None::<()>);
        }
    }
}
