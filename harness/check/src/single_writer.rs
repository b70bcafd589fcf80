//! Never two nodes that take writes: once a node on a higher epoch has answered, the old one must not acknowledge a
//! write that began after that. Overlapping intervals alone prove nothing, so only strict order is a violation.

use firedrill_core::check::{Check, CheckEntry, Finding, Question};
use firedrill_core::cluster::{Epoch, NodeName};
use firedrill_core::event::Event;
use firedrill_core::history::Call;
use firedrill_core::record::Recorded;
use firedrill_core::spec::Fields;
use firedrill_core::time::RunTime;
use firedrill_core::verdict::Verdict;

use crate::calls::{is_write, number};
use crate::seen::faults_words;

pub(crate) const ENTRY: CheckEntry = CheckEntry {
    name: "single-writer",
    summary: "no node acknowledges a write after another on a higher epoch has",
    example: "[[invariant]]\ncheck = \"single-writer\"\n",
    takes_when: false,
    anomalies: Vec::new,
    parse,
};

/// Lines of evidence of each kind.
const EXAMPLES: usize = 10;

struct SingleWriter;

#[expect(clippy::unnecessary_wraps, reason = "the signature of every check's parse")]
fn parse(_fields: &mut Fields<'_, '_>) -> Option<Box<dyn Check>> {
    Some(Box::new(SingleWriter))
}

impl Check for SingleWriter {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn check(&self, run: &Recorded, _question: &Question<'_>) -> Finding {
        let writes = writes(run);
        let answers = answers(run);
        let (late, overtaken) = (late_writes(&writes), overtaken(&answers));
        let (verdict, summary) = if !late.is_empty() || !overtaken.is_empty() {
            let (late, overtaken) = (late.len(), overtaken.len());
            let words = format!(
                "{late} writes were acknowledged on an epoch that had been left; {overtaken} times watchers saw a new \
                 writer while the old one still was"
            );
            (Verdict::Fail, words)
        } else if writes.is_empty() {
            let why = "no acknowledged write says which node answered on which epoch";
            (Verdict::Invalid, format!("cannot tell: {why}"))
        } else {
            (Verdict::Pass, format!("{} acknowledged writes, none on an epoch that had been left", writes.len()))
        };
        let mut finding = Finding::new(ENTRY.name, verdict, summary)
            .figure("writes-judged", number(writes.len()))
            .figure("late-writes", number(late.len()))
            .figure("overtaken", number(overtaken.len()));
        if let Some(first) = late.iter().map(|(old, _)| old.invoked).min() {
            finding = finding.figure("at", first.since(RunTime::ZERO).as_secs_f64());
        }
        for (old, new) in late.iter().take(EXAMPLES) {
            let faults = faults_words(run, old.invoked);
            finding = finding.evidence(format!("{old}, after {new}{faults}"));
        }
        for line in overtaken.iter().take(EXAMPLES) {
            finding = finding.evidence(line);
        }
        finding
    }
}

/// An acknowledged write that says who answered on which epoch.
#[derive(Clone, Copy)]
struct Write<'a> {
    node: &'a NodeName,
    epoch: Epoch,
    invoked: RunTime,
    acked: RunTime,
    call: &'a Call,
}

impl std::fmt::Display for Write<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { node, epoch, invoked, acked, call } = self;
        write!(f, "{node} (epoch {epoch}) acknowledged `{}` through {}, {invoked} to {acked}", call.op, call.route)
    }
}

fn writes(run: &Recorded) -> Vec<Write<'_>> {
    run.calls.iter().filter(|call| is_write(call)).filter_map(write).collect()
}

fn write(call: &Call) -> Option<Write<'_>> {
    let (node, epoch) = (call.served_by.as_ref()?, call.epoch?);
    Some(Write { node, epoch, invoked: call.invoked, acked: call.acked()?, call })
}

/// The write of the highest epoch so far, and the one of the highest epoch on any other node.
#[derive(Clone, Copy, Default)]
struct Highest<'a> {
    first: Option<Write<'a>>,
    other: Option<Write<'a>>,
}

impl<'a> Highest<'a> {
    fn add(&mut self, write: Write<'a>) {
        let higher = |than: Option<Write<'_>>| than.is_none_or(|than| write.epoch > than.epoch);
        if higher(self.first) {
            if self.first.is_some_and(|first| first.node != write.node) {
                self.other = self.first;
            }
            self.first = Some(write);
        } else if self.first.is_some_and(|first| first.node != write.node) && higher(self.other) {
            self.other = Some(write);
        }
    }

    fn not_of(&self, node: &NodeName) -> Option<Write<'a>> {
        if self.first.is_some_and(|first| first.node != node) { self.first } else { self.other }
    }
}

/// Writes that were invoked after another node on a higher epoch had completed one, with that one. One sweep in order
/// of time over invocations and completions: O(n log n).
fn late_writes<'a>(writes: &[Write<'a>]) -> Vec<(Write<'a>, Write<'a>)> {
    let mut by_invoked: Vec<Write<'a>> = writes.to_vec();
    by_invoked.sort_by_key(|write| write.invoked);
    let mut by_acked: Vec<Write<'a>> = writes.to_vec();
    by_acked.sort_by_key(|write| write.acked);
    let mut completed = by_acked.into_iter().peekable();
    let mut highest = Highest::default();
    let mut late = Vec::new();
    for write in by_invoked {
        while let Some(before) = completed.next_if(|before| before.acked < write.invoked) {
            highest.add(before);
        }
        if let Some(new) = highest.not_of(write.node).filter(|new| new.epoch > write.epoch) {
            late.push((write, new));
        }
    }
    late
}

/// One answer to a watcher: this node took writes on this epoch at some moment between asked and answered.
#[derive(Clone, Copy)]
struct Answer<'a> {
    node: &'a NodeName,
    epoch: Epoch,
    asked: RunTime,
    answered: RunTime,
}

fn answers(run: &Recorded) -> Vec<Answer<'_>> {
    let mut found = Vec::new();
    for stamped in &run.events {
        if let Event::NodeSeen {
            node,
            read_write: Some(true),
            epoch: Some(epoch),
            first_asked,
            first_answered,
            last_asked,
            last_answered,
            count: _,
        } = &stamped.event
        {
            found.push(Answer { node, epoch: *epoch, asked: *first_asked, answered: *first_answered });
            found.push(Answer { node, epoch: *epoch, asked: *last_asked, answered: *last_answered });
        }
    }
    found
}

/// For each node and epoch whose answers lie around an answer of another node on a higher epoch: the first such, in
/// words. There are few nodes and epochs, so each is compared with every answer.
fn overtaken(answers: &[Answer<'_>]) -> Vec<String> {
    let mut pairs: Vec<(&NodeName, Epoch)> = answers.iter().map(|answer| (answer.node, answer.epoch)).collect();
    pairs.sort_unstable();
    pairs.dedup();
    let mut lines = Vec::new();
    for (node, epoch) in pairs {
        let its = || answers.iter().filter(|answer| answer.node == node && answer.epoch == epoch);
        let (Some(first), Some(last)) = (its().map(|a| a.answered).min(), its().map(|a| a.asked).max()) else {
            continue;
        };
        let between = |answer: &&Answer<'_>| {
            answer.node != node && answer.epoch > epoch && first < answer.asked && answer.answered < last
        };
        if let Some(new) = answers.iter().filter(between).min_by_key(|answer| answer.answered) {
            lines.push(format!(
                "{} took writes on epoch {} between {} and {}; {node} still took them on epoch {epoch} when asked \
                 before ({first}) and after ({last})",
                new.node, new.epoch, new.asked, new.answered
            ));
        }
    }
    lines
}
