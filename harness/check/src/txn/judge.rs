//! A text, or a history, judged with what shows its anomalies.

use std::collections::BTreeMap;

use super::ops::Transactions;
use super::part::Asked;
use super::{Concluded, Model, Options, Report, TxnError, Witness, conclude, scan};
use crate::crew::Crew;
use crate::evidence::{self, Evidence};
use crate::history::{self, Format, Loaded, RawOp, Unloaded};
use crate::limits::{Stop, Watch};

/// A report, and what it speaks of.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The answer.
    pub report: Report,
    /// Of each anomaly the smallest part of the history that shows it, as far as it was found within limits.
    pub evidence: Vec<Evidence>,
    /// How the text was written.
    pub format: Format,
    /// How many events it has.
    pub events: usize,
    /// The events that witnesses name.
    pub ops: BTreeMap<usize, RawOp>,
}

impl Judged {
    /// What shows each anomaly, in lines for a person.
    pub fn words(&self) -> String {
        let bare = |witness: &Witness| {
            let ops = witness.transactions.iter().filter_map(|place| self.ops.get(place));
            (witness.anomaly.to_string(), ops.map(ToString::to_string).collect(), witness.reasons.clone())
        };
        evidence::words(&self.evidence, self.report.witnesses.iter().map(bare))
    }
}

/// Reads a history in whatever format it is and checks it, in less time and memory than [`history::load`] and
/// [`check_within`] take where it is Jepsen's, one operation a line, with whole numbers as keys and values.
pub fn judge(text: &str, model: Model, options: &Options, watch: &mut Watch<'_>) -> Result<Judged, TxnError> {
    judge_by(text, model, options, Crew::of_machine(text.len()), watch)
}

/// [`judge`] with so many threads that read. What is said does not depend on them.
pub fn judge_by(
    text: &str,
    model: Model,
    options: &Options,
    crew: Crew,
    watch: &mut Watch<'_>,
) -> Result<Judged, TxnError> {
    let (read, format, events) = match scan::scan(text, model, crew, watch) {
        Ok(Some(read)) => (Ok(read.all), read.format, read.events),
        Ok(None) => {
            return match history::load_text_by(text, crew, watch) {
                Ok(history) => judge_loaded(&history, model, options, watch),
                Err(Unloaded::Mistake(error)) => Err(error.into()),
                Err(Unloaded::Stopped(stop)) => {
                    let format = history::format_of(text).unwrap_or(Format::JepsenEdn);
                    Ok(Judged { format, ..nothing_read(stop) })
                }
            };
        }
        Err(unread) => (Err(unread), history::format_of(text).unwrap_or(Format::JepsenEdn), 0),
    };
    let concluded = conclude(read, format.has_realtime(), model, options, watch)?;
    // Each event is a line.
    let evidence = concluded.evidence((format, model, options), &|place| place + 1, watch);
    let report = concluded.report;
    let mut wanted = places(&report).into_iter().peekable();
    let mut ops = BTreeMap::new();
    for (place, line) in text.lines().enumerate() {
        let Some(last) = wanted.peek() else { break };
        if place < *last {
            continue;
        }
        wanted.next();
        let map = line.find('{').zip(line.rfind('}')).and_then(|(start, end)| line.get(start..=end));
        let read = map.and_then(|map| history::load(map.as_bytes()).ok());
        ops.extend(
            read.and_then(|read| read.ops.into_iter().next()).map(|op| (place, RawOp { line: place + 1, ..op })),
        );
    }
    Ok(Judged { report, evidence, format, events, ops })
}

/// Checks a history as [`check_within`] does, and looks for evidence.
pub fn judge_loaded(
    history: &Loaded,
    model: Model,
    options: &Options,
    watch: &mut Watch<'_>,
) -> Result<Judged, TxnError> {
    let format = history.format;
    let read = Transactions::read(history, model, watch);
    let concluded = conclude(read, format.has_realtime(), model, options, watch)?;
    let line = |place: usize| history.ops.get(place).map_or(0, |op| op.line);
    let evidence = concluded.evidence((format, model, options), &line, watch);
    let op = |place: &usize| Some((*place, history.ops.get(*place)?.clone()));
    let ops = places(&concluded.report).iter().filter_map(op).collect();
    Ok(Judged { report: concluded.report, evidence, format, events: history.ops.len(), ops })
}

/// The events that witnesses name, sorted.
fn places(report: &Report) -> Vec<usize> {
    let mut all: Vec<usize> =
        report.witnesses.iter().flat_map(|witness| witness.transactions.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The answer when a limit was reached before anything was read.
pub fn nothing_read(stop: Stop) -> Judged {
    let report = Concluded::stopped(stop).report;
    Judged { report, evidence: Vec::new(), format: Format::JepsenJson, events: 0, ops: BTreeMap::new() }
}

impl Concluded {
    fn evidence(
        &self,
        (format, model, options): (Format, Model, &Options),
        line: &dyn Fn(usize) -> usize,
        watch: &mut Watch<'_>,
    ) -> Vec<Evidence> {
        Asked { all: &self.all, format, model, options, line }.evidence(&self.report, watch)
    }
}
