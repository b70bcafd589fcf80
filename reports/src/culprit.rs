//! What the last screen of a failed run is about: the case that decided, and what was going on then.

use firedrill_core::record::{FaultRecord, RunRecord, ScenarioRecord};
use firedrill_core::verdict::Verdict;

use crate::cases::Case;
use crate::figures::seconds;

/// The first of the worst cases. `None` when everything holds.
pub(crate) fn culprit(cases: &[Case]) -> Option<&Case> {
    let worst = Verdict::worst(cases.iter().map(|case| case.verdict));
    cases.iter().find(|case| case.verdict == worst && worst != Verdict::Pass)
}

/// The run a case was worst in; for what is computed over all of them the worst, or the first.
pub(crate) fn run_of<'a>(record: &'a ScenarioRecord, case: Option<&Case>) -> Option<&'a RunRecord> {
    let of_case = case.and_then(|case| case.repeat);
    let found = of_case.and_then(|repeat| record.runs.iter().find(|run| run.repeat == repeat));
    let worst = || Verdict::worst(record.runs.iter().map(|run| run.verdict));
    found.or_else(|| record.runs.iter().find(|run| run.verdict == worst()))
}

/// The faults that were in force at a moment of the run, one line each; without a moment, all that were injected.
pub(crate) fn active(run: &RunRecord, at: Option<f64>) -> Vec<String> {
    let injected: Vec<&FaultRecord> = run.faults.iter().filter(|fault| fault.onset.is_some()).collect();
    let in_force = |fault: &&&FaultRecord| {
        let Some(moment) = at else { return true };
        fault.onset.is_some_and(|onset| onset <= moment) && fault.healed.is_none_or(|healed| moment <= healed)
    };
    let lines: Vec<String> = injected.iter().filter(in_force).map(|fault| described(fault)).collect();
    if !lines.is_empty() {
        return lines;
    }
    match (at, injected.last()) {
        (Some(moment), Some(last)) => vec![format!("none at {}; the last was {}", seconds(moment), described(last))],
        (Some(_) | None, _) => vec!["none was injected".to_owned()],
    }
}

/// `isolate: net.partition on n1, 10.012 s to 30.015 s`.
pub(crate) fn described(fault: &FaultRecord) -> String {
    let (id, kind) = (&fault.id, &fault.kind);
    format!("{id}: {kind} on {}, {}", targets(fault), interval(fault))
}

/// The nodes, or that there were none.
pub(crate) fn targets(fault: &FaultRecord) -> String {
    let names: Vec<&str> = fault.targets.iter().map(firedrill_core::cluster::NodeName::as_str).collect();
    if names.is_empty() { "no node".to_owned() } else { names.join(", ") }
}

/// When it was in force.
pub(crate) fn interval(fault: &FaultRecord) -> String {
    match (fault.onset, fault.healed) {
        (None, _) => "never injected".to_owned(),
        (Some(onset), None) => format!("from {}, its end was not recorded", seconds(onset)),
        (Some(onset), Some(healed)) if healed - onset < 0.0005 => format!("at {}", seconds(onset)),
        (Some(onset), Some(healed)) => {
            format!("{} to {}, held {}", seconds(onset), seconds(healed), seconds(healed - onset))
        }
    }
}
