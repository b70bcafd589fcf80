//! Joins equal answers of one node in a row into one event, so that fifty polls a second stay readable. Pure.

use std::time::Duration;

use firedrill_core::cluster::{Epoch, NodeName};
use firedrill_core::event::Event;
use firedrill_core::time::RunTime;

/// The longest time that is joined into one event.
const LONGEST: Duration = Duration::from_secs(1);

/// One answer, or its absence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    /// Whether the node takes writes; `None` if it did not answer.
    pub(super) read_write: Option<bool>,
    /// Its timeline.
    pub(super) epoch: Option<Epoch>,
}

/// Answers of one node that are equal so far.
pub(super) struct Joined {
    node: NodeName,
    run: Option<Run>,
}

struct Run {
    answer: Answer,
    first: (RunTime, RunTime),
    last: (RunTime, RunTime),
    count: u32,
    /// Whether a part of it was already told.
    told: bool,
}

impl Joined {
    /// Nothing heard yet.
    pub(super) fn new(node: NodeName) -> Self {
        Self { node, run: None }
    }

    /// Adds an answer; returns what is to be told now. The first answer that differs is told at once, so that nobody
    /// waits for news, and an unchanged one once a second.
    pub(super) fn add(&mut self, answer: Answer, asked: RunTime, answered: RunTime) -> Vec<Event> {
        let mut events = Vec::new();
        match &mut self.run {
            Some(run) if run.answer == answer => {
                run.last = (asked, answered);
                run.count = run.count.saturating_add(1);
                if !run.told {
                    run.told = answered.since(run.first.1) >= LONGEST;
                }
                if !run.told {
                    return events;
                }
                events.extend(self.take());
            }
            Some(_) => {
                events.extend(self.take());
                events.push(self.event(&Run::of(answer, asked, answered)));
                self.run = None;
            }
            None => {}
        }
        events
    }
}
