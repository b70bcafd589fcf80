//! A ledger on a file, Jepsen's `set`: the last read has all that was acknowledged, and nothing that nobody wrote. Every read
//! that no other one follows is a last one.

use super::calls::Calls;
use super::sets::Sets;
use super::{Anomaly, Asked, Ended, Findings};
use crate::intern::at;

pub(super) fn check(asked: &mut Asked<'_, '_>, calls: &Calls<'_>, findings: &mut Findings) -> Result<(), Ended> {
    let sets = Sets::read(asked, calls, findings)?;
    let Some(latest) = sets.reads.iter().map(|read| read.begins).max() else { return Ok(()) };
    let mut is_there = vec![0_u32; sets.elements.len()];
    for (read, number) in sets.reads.iter().filter(|read| read.ends >= latest).zip(1..) {
        asked.watch.spend(read.elements.len() + sets.elements.len())?;
        for element in &read.elements {
            is_there[at(*element)] = number;
        }
        for (element, seen) in sets.elements.iter().zip(&is_there).filter(|(_, seen)| **seen != number) {
            // What was acknowledged after the read began may be missing there, and what is told once is told.
            let Some(known) = element.acked.filter(|known| *known < read.begins && *seen != TOLD) else { continue };
            findings.add(Anomaly::Lost, &[known, calls.all[read.call].shown], || {
                format!("{} was acknowledged, and is missing in the last read", element.value)
            });
        }
        for seen in is_there.iter_mut().filter(|seen| **seen != number) {
            *seen = TOLD;
        }
    }
    let recovered = sets.elements.iter().zip(&is_there);
    let recovered = recovered.filter(|(element, seen)| element.acked.is_none() && element.may_be && **seen != TOLD);
    findings.count("recovered", recovered.count());
    findings.count("acknowledged", sets.elements.iter().filter(|element| element.acked.is_some()).count());
    Ok(())
}

/// Missing in a last read.
const TOLD: u32 = u32::MAX;
