//! Joins equal answers of one node in a row into one event, so that fifty polls a second stay readable. Pure.

use std::time::Duration;

use firedrill_core::cluster::{Epoch, NodeName};
use firedrill_core::event::Event;
use firedrill_core::time::RunTime;

/// The longest time that is joined into one event.
const LONGEST: Duration = Duration::from_secs(1);

/// One answer, or its absence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    /// Whether the node takes writes; `None` if it did not answer.
    pub(crate) read_write: Option<bool>,
    /// Its timeline.
    pub(crate) epoch: Option<Epoch>,
}

/// The answers of one node.
pub(crate) struct Joined {
    node: NodeName,
    last: Option<Answer>,
    /// Answers equal to the last one told, not yet told themselves.
    run: Option<Run>,
}

struct Run {
    first: (RunTime, RunTime),
    last: (RunTime, RunTime),
    count: u32,
}

impl Joined {
    /// Nothing heard yet.
    pub(crate) fn new(node: NodeName) -> Self {
        Self { node, last: None, run: None }
    }

    /// Adds an answer; returns what is to be told now. News is told at once, what is unchanged once a second.
    pub(crate) fn add(&mut self, answer: Answer, asked: RunTime, answered: RunTime) -> Vec<Event> {
        let moment = (asked, answered);
        if self.last != Some(answer) {
            let before = self.flush();
            self.last = Some(answer);
            self.run = Some(Run { first: moment, last: moment, count: 1 });
            return before.into_iter().chain(self.flush()).collect();
        }
        let run = self.run.get_or_insert(Run { first: moment, last: moment, count: 0 });
        run.last = moment;
        run.count = run.count.saturating_add(1);
        if answered.since(run.first.0) >= LONGEST { self.flush().into_iter().collect() } else { Vec::new() }
    }

    fn flush(&mut self) -> Option<Event> {
        let (answer, run) = (self.last?, self.run.take()?);
        Some(Event::NodeSeen {
            node: self.node.clone(),
            read_write: answer.read_write,
            epoch: answer.epoch,
            first_asked: run.first.0,
            first_answered: run.first.1,
            last_asked: run.last.0,
            last_answered: run.last.1,
            count: run.count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_is_told_at_once_and_the_rest_once_a_second() {
        let mut joined = Joined::new(NodeName::new("n1"));
        let replica = Answer { read_write: Some(false), epoch: Some(Epoch(1)) };
        let primary = Answer { read_write: Some(true), epoch: Some(Epoch(2)) };
        let mut told = Vec::new();
        for i in 0..120_u64 {
            let answer = if i < 100 { replica } else { primary };
            let at = RunTime::from_millis(i * 20);
            told.extend(joined.add(answer, at, at.plus(Duration::from_millis(1))));
        }
        let told: Vec<(Option<bool>, u64, u64, u32)> = told
            .into_iter()
            .map(|event| {
                let Event::NodeSeen { read_write, first_asked, last_answered, count, .. } = event else {
                    panic!("{event:?}");
                };
                (read_write, first_asked.as_millis(), last_answered.as_millis(), count)
            })
            .collect();
        let (no, yes) = (Some(false), Some(true));
        assert_eq!(told, [(no, 0, 1, 1), (no, 20, 1021, 51), (no, 1040, 1981, 48), (yes, 2000, 2001, 1)]);
    }
}
