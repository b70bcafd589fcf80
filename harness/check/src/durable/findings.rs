//! What a model finds while it looks.

use super::{Anomaly, Options, Report, Verdict};
use crate::limits::Stop;

/// So many examples of an anomaly are kept.
const EXAMPLES: usize = 8;

/// One anomaly.
#[derive(Clone, PartialEq, Debug)]
pub struct Found {
    /// Which.
    pub anomaly: Anomaly,
    /// How often.
    pub count: usize,
    /// The first few.
    pub examples: Vec<Example>,
}

/// One time.
#[derive(Clone, PartialEq, Debug)]
pub struct Example {
    /// What is wrong, in a sentence.
    pub why: String,
    /// The operations that show it, by their places in the history, in its order.
    pub ops: Vec<usize>,
}

/// A number with its name, which says the unit unless it is a count.
#[derive(Clone, PartialEq, Debug)]
pub struct Figure {
    /// What was counted or measured.
    pub name: &'static str,
    /// How much.
    pub value: i64,
}

#[derive(Default)]
pub(super) struct Findings {
    found: Vec<Found>,
    figures: Vec<Figure>,
    /// Answers that were looked at.
    pub(super) looked_at: usize,
    /// Calls of clients.
    pub(super) operations: usize,
}

impl Findings {
    /// Notes an anomaly; the sentence is made only when it is kept.
    pub(super) fn add(&mut self, anomaly: Anomaly, ops: &[usize], why: impl FnOnce() -> String) {
        let place = self.found.iter().position(|found| found.anomaly == anomaly).unwrap_or_else(|| {
            self.found.push(Found { anomaly, count: 0, examples: Vec::new() });
            self.found.len() - 1
        });
        let Some(found) = self.found.get_mut(place) else { return };
        found.count += 1;
        if found.examples.len() < EXAMPLES {
            let mut ops = ops.to_vec();
            ops.sort_unstable();
            ops.dedup();
            found.examples.push(Example { why: why(), ops });
        }
    }

    pub(super) fn figure(&mut self, name: &'static str, value: i64) {
        self.figures.push(Figure { name, value });
    }

    pub(super) fn count(&mut self, name: &'static str, count: usize) {
        self.figure(name, i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn report(mut self, options: &Options, stop: Option<Stop>) -> Report {
        self.found.sort_by_key(|found| found.anomaly);
        let counts = |found: &Found| match &options.anomalies {
            Some(asked) => asked.contains(&found.anomaly),
            None => !found.anomaly.is_note(),
        };
        let (violated, noted): (Vec<Found>, Vec<Found>) = self.found.into_iter().partition(counts);
        let verdict = match (violated.is_empty(), stop) {
            (false, _) => Verdict::Violated,
            (true, Some(stop)) => Verdict::Unknown(stop),
            (true, None) if self.looked_at == 0 => Verdict::Nothing,
            (true, None) => Verdict::Valid,
        };
        Report { verdict, violated, noted, figures: self.figures, operations: self.operations }
    }
}

/// The median, the 99th of a hundred and the worst of durations, in nanoseconds.
pub(super) fn spread(mut all: Vec<i64>) -> Option<[i64; 3]> {
    all.sort_unstable();
    let rank = |hundredths: usize| all.get((all.len() * hundredths / 100).min(all.len().checked_sub(1)?)).copied();
    Some([rank(50)?, rank(99)?, rank(100)?])
}
