//! A history of which a limit left the rest unread: how far it was verified.

use super::models::Calls;
use super::{Limits, Model, Part, Refusal, Report, Stop, Telling, Verdict, decide_part, nothing_read, pairs};
use crate::history::{Packed, Pair, Value};

#[cfg(test)]
mod tests;

/// So many events are decided first, and each time so many times more.
const FIRST: usize = 1 << 12;
const TIMES: usize = 4;

/// In so many times as many events the answers are looked for of calls in flight where a part ends.
const AHEAD: usize = 2;

/// Decides what was read of a history before a limit `why` was reached, in ever longer parts from the beginning on, as far as
/// these limits allow. It is violated if a part is, whatever follows. Otherwise the verdict is unknown, with the calls of the
/// longest part that was verified. What was answered soon after a part is known to it.
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
    let mut until = first.min(history.len());
    loop {
        let seen = until.saturating_mul(AHEAD).min(history.len());
        let Ok(all) = pairs(history, seen, limits)? else { return Ok(best) };
        let answered = answered(&all, until);
        let is_last = until == history.len();
        for end in [Some(answered), (is_last && answered < until).then_some(until)].into_iter().flatten() {
            let part = decide_part(Calls { history, all: &all, until: end }, asked, Telling::Full, limits)?;
            match claim(part, end) {
                // It may rest on what was answered later.
                Claim::Violated(report) => return Ok(Report { only_first: Some(seen), ..report }),
                Claim::Verified { is_through, report, verified: (verified, of, key) } => {
                    if verified > verified_in(&best) {
                        best = Report { verdict: Verdict::Unknown { why, verified, of, key }, ..report };
                    }
                    if !is_through {
                        return Ok(best);
                    }
                }
            }
        }
        if is_last {
            return Ok(best);
        }
        until = until.saturating_mul(TIMES).min(history.len());
    }
}

/// What can be said of the whole when this was found of a part.
enum Claim {
    /// It is violated, too.
    Violated(Report),
    /// So many calls were verified, of so many, of this key.
    Verified { is_through: bool, report: Report, verified: (usize, usize, Option<Value>) },
}

fn claim(Part { report, completed, is_sure }: Part, end: usize) -> Claim {
    let report = Report { only_first: Some(end), ..report };
    let verified = match &report.verdict {
        Verdict::Violated(_) if is_sure => return Claim::Violated(report),
        // What follows may show that the operations mean something else.
        Verdict::Violated(found) => (found.verified, completed, found.key.clone()),
        Verdict::Valid => (completed, completed, None),
        Verdict::Nothing => (0, 0, None),
        Verdict::Unknown { verified, of, key, .. } => (*verified, *of, key.clone()),
    };
    let is_through = matches!(report.verdict, Verdict::Valid | Verdict::Nothing);
    Claim::Verified { is_through, report, verified }
}

/// How many of the first events, so many, have no call in flight whose answer is unknown; calls that began in the first half of
/// them are not waited for. With all answers known a part is much easier to decide.
fn answered(calls: &[Pair], until: usize) -> usize {
    let is_recent = |call: &&Pair| (until / 2..until).contains(&call.begins());
    calls.iter().find(|call| is_recent(call) && call.ends().is_none()).map_or(until, |call| call.begins())
}

fn verified_in(report: &Report) -> usize {
    if let Verdict::Unknown { verified, .. } = &report.verdict { *verified } else { 0 }
}
