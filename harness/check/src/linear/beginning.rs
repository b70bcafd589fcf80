//! A history of which a limit left the rest unread: how far it was verified.

use super::{Limits, Model, Part, Refusal, Report, Stop, Telling, Verdict, decide_part, nothing_read};
use crate::history::{Packed, Value};

/// So many events are decided first, and each time so many times more.
const FIRST: usize = 1 << 12;
const TIMES: usize = 4;

/// Decides what was read of a history before a limit `why` was reached, in ever longer parts from the beginning on, as far as
/// these limits allow. It is violated if a part is, whatever follows. Otherwise the verdict is unknown, with the calls of the
/// longest part that was verified.
pub fn explain_beginning(
    history: &Packed,
    asked: (Model, &Value),
    why: Stop,
    limits: &Limits<'_>,
) -> Result<Report, Refusal> {
    let mut best = nothing_read(why);
    let mut until = FIRST.min(history.len());
    loop {
        let Part { report, completed, is_sure } = decide_part((history, until), asked, Telling::Full, limits)?;
        let report = Report { only_first: Some(until), ..report };
        let (verified, of, key) = match &report.verdict {
            Verdict::Violated(_) if is_sure => return Ok(report),
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
        until = until.saturating_mul(TIMES).min(history.len());
    }
}

fn verified_in(report: &Report) -> usize {
    if let Verdict::Unknown { verified, .. } = &report.verdict { *verified } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::check;
    use super::*;
    use crate::history::{load_packed, load_packed_text_until};
    use crate::limits::Watch;

    /// Writes and reads by turns, three events for both, the read with this number stale.
    fn text(calls: usize, stale: usize) -> String {
        let call = |number: usize| {
            let read = if number == stale { 0 } else { number };
            format!(
                "{{\"process\":0,\"type\":\"ok\",\"f\":\"write\",\"value\":{number}}}\n\
                 {{\"process\":0,\"type\":\"invoke\",\"f\":\"read\",\"value\":null}}\n\
                 {{\"process\":0,\"type\":\"ok\",\"f\":\"read\",\"value\":{read}}}\n"
            )
        };
        (1..=calls).map(call).collect()
    }

    const FREE: Limits<'static> = Limits { exceeded: &|_| None, memory: 1 << 30 };
    const ASKED: (Model, &Value) = (Model::Register, &Value::Nil);

    #[test]
    fn what_was_read_is_verified() {
        let text = text(40_000, 0);
        let asked = AtomicUsize::new(0);
        let exceeded = |_| (asked.fetch_add(1, Ordering::Relaxed) > 2).then_some(Stop::Memory);
        let (mut history, stop) = load_packed_text_until(&text, &mut Watch::new(&exceeded)).unwrap();
        assert!(stop == Some(Stop::Memory) && (3..120_000).contains(&history.len()), "{} events", history.len());
        history.truncate(history.len() / 3 * 3);
        let report = explain_beginning(&history, ASKED, Stop::Memory, &FREE).unwrap();
        let calls = history.len() / 3 * 2;
        let verdict = Verdict::Unknown { why: Stop::Memory, verified: calls, of: calls, key: None };
        assert_eq!(report, Report { verdict, calls, objects: 1, only_first: Some(history.len()) });
    }

    #[test]
    fn the_longest_part_counts_that_was_verified() {
        let history = load_packed(text(30_000, 0).as_bytes()).unwrap();
        let mut last = 0;
        for questions in [0, 1, 5, 12, 1000] {
            let asked = AtomicUsize::new(0);
            let exceeded = |_| (asked.fetch_add(1, Ordering::Relaxed) >= questions).then_some(Stop::Time);
            let limits = Limits { exceeded: &exceeded, memory: 1 << 30 };
            let report = explain_beginning(&history, ASKED, Stop::Memory, &limits).unwrap();
            let Verdict::Unknown { why: Stop::Memory, verified, .. } = report.verdict else { panic!("{report:?}") };
            assert!(verified >= last && report.only_first >= Some(verified), "{report:?}");
            last = verified;
        }
        assert_eq!(last, 60_000);
    }

    #[test]
    fn a_violation_in_what_was_read_is_one_of_the_whole() {
        let mut history = load_packed(text(20_000, 9000).as_bytes()).unwrap();
        let whole = check(&history, ASKED.0, ASKED.1, &FREE).unwrap();
        let Verdict::Violated(found) = whole.verdict else { panic!("{whole:?}") };
        history.truncate(30_000);
        assert_eq!(history.len(), 30_000);
        let report = explain_beginning(&history, ASKED, Stop::Time, &FREE).unwrap();
        let Verdict::Violated(again) = &report.verdict else { panic!("{report:?}") };
        assert_eq!((again.begins, again.ends, report.only_first), (found.begins, found.ends, Some(30_000)));
        history.truncate(24_000);
        let report = explain_beginning(&history, ASKED, Stop::Time, &FREE).unwrap();
        assert!(matches!(report.verdict, Verdict::Unknown { verified: 16_000, .. }), "{report:?}");
    }

    #[test]
    fn without_a_read_nobody_knows_what_a_pair_is() {
        // Of one object this has no order. Reads that follow may show that there are two, which have.
        let text = "{:process 0 :type :ok :f :write :value [1 1]}
            {:process 0 :type :ok :f :write :value [2 2]}
            {:process 0 :type :ok :f :read :value [1 1]}";
        let history = load_packed(text.as_bytes()).unwrap();
        assert!(matches!(check(&history, ASKED.0, ASKED.1, &FREE).unwrap().verdict, Verdict::Violated(_)));
        let report = explain_beginning(&history, ASKED, Stop::Time, &FREE).unwrap();
        assert_eq!(report.verdict, Verdict::Unknown { why: Stop::Time, verified: 2, of: 3, key: None });
    }
}
