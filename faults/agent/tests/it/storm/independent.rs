//! `ci/inventory`, kept running, for whoever compares what is there with what was there, without any of our code.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use firedrill_sys::clock;

/// `ci/inventory`, kept running.
pub(crate) struct Independent {
    child: Child,
    stdin: ChildStdin,
    lines: BufReader<ChildStdout>,
    /// How long it waits for a file to be written, in whole seconds.
    patience: Duration,
    /// The shortest time that a look has taken.
    look: Duration,
}

impl Independent {
    #[expect(clippy::disallowed_methods, reason = "what the test must not do itself")]
    pub(crate) fn start(places: &[String], patience: Duration) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ci/inventory");
        let mut command = std::process::Command::new(script);
        command
            .args(places)
            .arg(format!("--patience={}", patience.as_secs()))
            .arg("--again")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 runs");
        let stdin = child.stdin.take().expect("a pipe");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut independent = Self { child, stdin, lines, patience, look: Duration::MAX };
        independent.list();
        independent
    }

    fn list(&mut self) -> BTreeSet<String> {
        let lines = (&mut self.lines).lines().map(|line| line.expect("a line")).take_while(|line| !line.is_empty());
        // A volume that is mounted anew may be on another device, as long as it is on one.
        let image = |line: String| match line.strip_prefix("loop ").and_then(|rest| rest.split_whitespace().last()) {
            Some(image) => format!("loop {image}"),
            None => line,
        };
        lines.map(image).collect()
    }

    /// What is there now.
    pub(crate) fn take(&mut self) -> BTreeSet<String> {
        self.look().0
    }

    /// What is there now, and by how much longer than usual it took to see that.
    pub(crate) fn look(&mut self) -> (BTreeSet<String>, Duration) {
        let began = clock::boottime_nanos();
        writeln!(self.stdin).expect("it reads");
        let there = self.list();
        // What stalls is waited for, and that is no fault of the machine.
        let stalls = there.iter().any(|line| line.ends_with(" stalls"));
        let took = Duration::from_nanos(clock::boottime_nanos() - began).saturating_sub(if stalls {
            self.patience
        } else {
            Duration::ZERO
        });
        self.look = self.look.min(took);
        (there, took.saturating_sub(self.look))
    }
}

impl Drop for Independent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
