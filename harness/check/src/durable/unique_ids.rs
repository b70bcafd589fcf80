//! Jepsen's `unique-ids`: `generate` answers a new value each time.

use super::calls::Calls;
use super::{Anomaly, Asked, Ended, Findings};
use crate::intern::{Interner, at};

pub(super) fn check(asked: &mut Asked<'_, '_>, calls: &Calls<'_>, findings: &mut Findings) -> Result<(), Ended> {
    let mut names = Interner::default();
    let mut first: Vec<usize> = Vec::new();
    for call in &calls.all {
        asked.watch.spend(1)?;
        if call.f != "generate" {
            return Err(asked.alien(calls.op(call.shown)));
        }
        let Some(answer) = call.answered else { continue };
        findings.looked_at += 1;
        let (number, _, is_new) = names.any(0, answer);
        if is_new {
            first.push(call.shown);
            continue;
        }
        findings.add(Anomaly::Duplicate, &[first[at(number)], call.shown], || format!("{answer} was given twice"));
    }
    findings.count("attempts", calls.all.len());
    findings.count("acknowledged", findings.looked_at);
    Ok(())
}
