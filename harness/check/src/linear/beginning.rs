//! A history of which a limit left the rest unread: how far it was verified.

use super::models::Calls;
use super::{Limits, Model, Part, Refusal, Report, Stop, Telling, Verdict, decide_part, nothing_read, pairs};
use crate::history::{Packed, Pair, Value};

#[cfg(test)]
mod tests;

/// So many events are decided first, and each time so many times more.
const FIRST: usize = 1 << 12;
const TIMES: usize = 4;

/// Decides what was read of a history before a limit `why` was reached, in ever longer parts from the beginning on, as far as
/// these limits allow. It is violated if a part is, whatever follows. Otherwise the verdict is unknown, with the calls of the
/// longest part that was verified. What calls answered that end after a part is known to it as far as it was read.
pub fn explain_beginning(
    history: &Packed,
    asked: (Model, &Value),
    why: Stop,
    limits: &Limits<'_>,
) -> Result<Report, Refusal> {
    explain_parts(history, asked, why, (FIRST, limits))
}

/// [`explain_beginning`] with so many events in the first part, at least one.
fn explain_parts(
    history: &Packed,
    asked: (Model, &Value),
    why: Stop,
    (first, limits): (usize, &Limits<'_>),
) -> Result<Report, Refusal> {
    let mut best = nothing_read(why);
    let Ok(all) = pairs(history, limits)? else { return Ok(best) };
    let answered = answered(&all, history.len());
    let mut until = first.min(answered);
    loop {
        let calls = Calls { history, all: &all, until };
        let Part { report, completed, is_sure } = decide_part(calls, asked, Telling::Full, limits)?;
        let report = Report { only_first: Some(until), ..report };
        let (verified, of, key) = match &report.verdict {
            // It may rest on what was answered later.
            Verdict::Violated(_) if is_sure => return Ok(Report { only_first: Some(history.len()), ..report }),
            // What follows may show that the operations mean something else.
            Verdict::Violated(found) => (found.verified, completed, found.key.clone()),
            Verdict::Valid => (completed, completed, None),
            Verdict::Nothing => (0, 0, None),
            Verdict::Unknown { verified, of, key, .. } => (*verified, *of, key.clone()),
        };
        let is_through = matches!(report.verdict, Verdict::Valid | Verdict::Nothing);
        if verified > verified_in(&best) {
            best = Report { verdict: Verdict::Unknown { why, verified, of, key }, ..report };
        }
        if !is_through || until == history.len() {
            return Ok(best);
        }
        let end = if until < answered { answered } else { history.len() };
        until = until.saturating_mul(TIMES).max(first).min(end);
    }
}

/// How many first events have no call in flight that was answered only after what was read; calls that began in the first half
/// are not waited for. Of these events the results are known, which makes them much easier to decide than all.
fn answered(calls: &[Pair], read: usize) -> usize {
    let cut = calls.iter().find(|call| call.ends().is_none() && call.begins() >= read / 2);
    cut.map_or(read, |call| call.begins())
}

fn verified_in(report: &Report) -> usize {
    if let Verdict::Unknown { verified, .. } = &report.verdict { *verified } else { 0 }
}
