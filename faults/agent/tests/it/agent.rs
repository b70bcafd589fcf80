//! The real agent, asked as its owner asks it.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use firedrill_agent::protocol::{Answer, Ask, By, Held, Line, Notice, Refusal, Request, VERSION};
use firedrill_core::action::{Action, Effect, Presence, Undo};
use firedrill_sys::clock;

use crate::world::{World, wait};

/// A lease that no test outlives.
pub(crate) const LONG: Duration = Duration::from_secs(120);
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Agent {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Line>,
    notices: VecDeque<Notice>,
    next: u64,
    prefix: String,
}

impl Agent {
    /// Starts the agent in the switch and says nothing yet.
    pub(crate) fn silent(world: &World) -> Self {
        Self::failing(world, "")
    }

    /// The same, and it dies at that point; see `failpoint.rs`.
    pub(crate) fn failing(world: &World, point: &str) -> Self {
        let mut command = world.switch.command(env!("CARGO_BIN_EXE_firedrill-agent"));
        command.env("FIREDRILL_FAILPOINT", point);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the agent starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines() {
                // A line cut short is the agent's end in the middle of it.
                let Ok(line) = serde_json::from_str(&line.expect("a line")) else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let stdin = child.stdin.take();
        Self { child, stdin, lines, notices: VecDeque::new(), next: 0, prefix: world.config(LONG).tag_prefix }
    }

    /// Starts the agent and says hello.
    pub(crate) fn start(world: &World, lease: Duration) -> Self {
        Self::silent(world).greeted(world, lease)
    }

    /// Says hello.
    pub(crate) fn greeted(self, world: &World, lease: Duration) -> Self {
        let mut agent = self;
        let answer = agent.ask(Ask::Hello { version: VERSION, config: world.config(lease) });
        assert!(matches!(answer, Answer::Hello { version: VERSION, .. }), "{answer:?}");
        agent
    }

    pub(crate) fn ask(&mut self, ask: Ask) -> Answer {
        self.next += 1;
        let id = self.next;
        let line = serde_json::to_string(&Request { id, ask }).expect("a line");
        self.say(&line);
        let (answered, answer) = self.answer();
        assert_eq!(answered, id);
        answer
    }

    /// Asks an agent that may die at any moment; `None` when it has.
    pub(crate) fn try_ask(&mut self, ask: Ask) -> Option<Answer> {
        self.next += 1;
        let id = self.next;
        let line = serde_json::to_string(&Request { id, ask }).expect("a line");
        writeln!(self.stdin.as_mut()?, "{line}").ok()?;
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(Line::Answer { id: answered, answer }) if answered == id => return Some(answer),
                Ok(Line::Answer { .. } | Line::Notice(_)) => {}
                Err(_) => return None,
            }
        }
    }

    /// What its tags begin with from now on.
    pub(crate) fn call_it(&mut self, prefix: &str) {
        prefix.clone_into(&mut self.prefix);
    }

    /// A fresh tag.
    pub(crate) fn tag(&mut self) -> String {
        self.next += 1;
        format!("{}{}", self.prefix, self.next)
    }

    /// Sends a line as it is.
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().expect("open"), "{line}").expect("the agent reads");
    }

    /// The next answer; notices before it are kept.
    pub(crate) fn answer(&mut self) -> (u64, Answer) {
        loop {
            match self.lines.recv_timeout(PATIENCE).expect("an answer") {
                Line::Answer { id, answer } => return (id, answer),
                Line::Notice(notice) => self.notices.push_back(notice),
            }
        }
    }

    /// The next notice of a revert: tag, by whom, and the interval.
    pub(crate) fn notice(&mut self) -> (String, By, Held) {
        let notice = self.notices.pop_front().unwrap_or_else(|| match self.lines.recv_timeout(PATIENCE) {
            Ok(Line::Notice(notice)) => notice,
            other => panic!("no notice: {other:?}"),
        });
        let Notice::Reverted { tag, by, held, failure } = notice;
        assert_eq!(failure, None);
        (tag, by, held)
    }

    pub(crate) fn try_prepare(&mut self, action: &Action) -> Answer {
        let tag = self.tag();
        self.ask(Ask::Prepare { tag, action: action.clone() })
    }

    pub(crate) fn prepare(&mut self, action: &Action) -> Undo {
        let answer = self.try_prepare(action);
        let Answer::Prepared(undo) = answer else { panic!("not prepared: {answer:?}") };
        undo
    }

    pub(crate) fn apply(&mut self, undo: &Undo, hold: Option<Duration>) -> u64 {
        let hold_nanos = hold.map(|hold| u64::try_from(hold.as_nanos()).expect("a hold"));
        let answer = self.ask(Ask::Apply { undo: undo.clone(), hold_nanos });
        let Answer::Applied { from } = answer else { panic!("not applied: {answer:?}") };
        from
    }

    /// Prepares and applies.
    pub(crate) fn inject(&mut self, action: &Action) -> Undo {
        let undo = self.prepare(action);
        self.apply(&undo, None);
        undo
    }

    pub(crate) fn revert(&mut self, undo: &Undo) -> (Option<Held>, By) {
        let answer = self.ask(Ask::Revert { undo: undo.clone() });
        let Answer::Reverted { held, by } = answer else { panic!("not reverted: {answer:?}") };
        (held, by)
    }

    pub(crate) fn probe(&mut self, undo: &Undo) -> Effect {
        let answer = self.ask(Ask::Probe { undo: undo.clone() });
        let Answer::Probed(effect) = answer else { panic!("not probed: {answer:?}") };
        effect
    }

    #[track_caller]
    pub(crate) fn sees(&mut self, undo: &Undo, presence: Presence) {
        let effect = self.probe(undo);
        assert_eq!(effect.presence, presence, "{}", effect.evidence);
    }

    /// What only a fault can bring into the inventory: kind and name, as one text each.
    pub(crate) fn inventory(&mut self) -> Vec<String> {
        let answer = self.ask(Ask::Inventory);
        let Answer::Inventory(inventory) = answer else { panic!("no inventory: {answer:?}") };
        let of_faults =
            ["nft table", "clock", "disk harm", "lie of the name server", "stopped process", "queueing discipline"];
        let items = inventory.items.iter().filter(|(kind, _)| of_faults.contains(&kind.as_str()));
        let names = items.flat_map(|(kind, names)| names.keys().map(move |name| format!("{kind} {name}")));
        names.filter(|name| !name.starts_with("queueing discipline root of ")).collect()
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// Closes its standard input.
    pub(crate) fn close(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn kill_9(&mut self) {
        self.child.kill().expect("killed");
        self.exit();
    }

    /// Its guard's process id.
    pub(crate) fn guard(&self) -> Option<i32> {
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid())).ok()?;
        let pids = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        pids.into_iter().find(|pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.ends_with(b"\0guard\0")
        })
    }

    pub(crate) fn signal(pid: i32, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("sent");
    }

    /// Whether it ends.
    pub(crate) fn exits(&mut self) -> bool {
        clock::until(PATIENCE, Duration::from_millis(2), || self.child.try_wait().expect("a child")).is_some()
    }

    pub(crate) fn exit(&mut self) -> ExitStatus {
        wait("the agent exits", || self.child.try_wait().expect("a child"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stdin = None;
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[track_caller]
pub(crate) fn refusal(answer: Answer) -> Refusal {
    let Answer::Refused(refusal) = answer else { panic!("not refused: {answer:?}") };
    refusal
}
