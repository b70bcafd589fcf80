//! `ci/inventory`, kept running, and how long it may take until it lists what it listed before. For the storms of kills, those
//! of the agent and those of whole runs alike.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use firedrill_sys::clock;

/// What comes on top of a promise that an effect is gone in time: two seconds, because the kernel adds up only every two
/// seconds (`PSI_FREQ`, kernel/sched/psi.c) for how long somebody had to wait, and the time that ending a dozen processes and
/// taking an inventory take.
const SLACK: Duration = Duration::from_secs(6);
/// After so long it has hung, however busy the machine.
const HUNG: Duration = Duration::from_secs(240);

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

/// `ci/inventory`, kept running.
pub(crate) struct Independent {
    child: Child,
    stdin: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Independent {
    #[expect(clippy::disallowed_methods, reason = "what the test must not do itself")]
    pub(crate) fn start(places: &[String]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ci/inventory");
        let mut command = std::process::Command::new(script);
        command.args(places).arg("--again").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 runs");
        let stdin = child.stdin.take().expect("a pipe");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut independent = Self { child, stdin, lines };
        independent.list();
        independent
    }

    fn list(&mut self) -> BTreeSet<String> {
        let lines = (&mut self.lines).lines().map(|line| line.expect("a line"));
        lines.take_while(|line| !line.is_empty()).collect()
    }

    /// What is there now.
    pub(crate) fn take(&mut self) -> BTreeSet<String> {
        writeln!(self.stdin).expect("it reads");
        self.list()
    }

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
        let watch = Stopwatch::start();
        loop {
            let now = self.take();
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
            if fair > promised + SLACK || all > HUNG {
                return Err(format!(
                    "after {fair:?} ({all:?} with others in the way), promised {promised:?}:\n{differs}"
                ));
            }
            clock::until(Duration::from_millis(20), Duration::from_millis(20), || None::<()>);
        }
    }
}

impl Drop for Independent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
