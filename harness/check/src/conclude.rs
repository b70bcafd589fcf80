//! All repeats of a scenario to one verdict, with `[objectives]` and `[expect]`.

use firedrill_core::check::{Finding, anomaly_figure};
use firedrill_core::record::{Distribution, Expectation, ObjectiveRecord, RunRecord};
use firedrill_core::scenario::{Expect, Objective};
use firedrill_core::verdict::Verdict;

use crate::objectives::{distributions, objectives};
use crate::run::LOST_ACKNOWLEDGED;

/// What a scenario came to.
#[derive(Clone, PartialEq, Debug)]
pub struct Conclusion {
    /// The worst of the runs and the objectives; with `[expect]`, whether it found what it must.
    pub verdict: Verdict,
    /// How `[expect]` came out, if the file has one.
    pub expectation: Option<Expectation>,
    /// The objectives over the repeats.
    pub objectives: Vec<ObjectiveRecord>,
    /// Recovery over the repeats.
    pub distributions: Vec<Distribution>,
}

/// Draws the conclusion. A scenario that checked nothing is `Invalid`.
pub fn conclude(runs: &[RunRecord], bounds: &[Objective], expect: Option<&Expect>) -> Conclusion {
    let objectives = objectives(bounds, runs);
    let verdicts = runs.iter().map(|run| run.verdict).chain(objectives.iter().map(|objective| objective.verdict));
    let mut found = Verdict::worst(verdicts);
    if runs.iter().all(|run| run.findings.is_empty()) && objectives.is_empty() {
        found = found.max(Verdict::Invalid);
    }
    let (verdict, expectation) = match expect {
        None => (found, None),
        Some(expect) => {
            let (verdict, expectation) = expectation(expect, found, runs);
            (verdict, Some(expectation))
        }
    };
    Conclusion { verdict, expectation, objectives, distributions: distributions(runs) }
}

/// Whether a known-bad scenario found what it must: `Pass` if so, `Fail` ("no longer finds it") if not. A run that was
/// aborted, proves nothing or left something behind cannot tell either way, and keeps that verdict, unless exactly
/// that is what was expected.
fn expectation(expect: &Expect, found: Verdict, runs: &[RunRecord]) -> (Verdict, Expectation) {
    let wanted = wanted(expect);
    let outcome = |verdict, met, words| (verdict, Expectation { met, words, found });
    if let Some(spoilt) = spoilt(runs).filter(|spoilt| *spoilt != expect.verdict) {
        return outcome(spoilt, false, format!("cannot tell whether it still finds {wanted}: the run is {spoilt}"));
    }
    if found == expect.verdict && runs.iter().any(|run| shows(expect, run)) {
        return outcome(Verdict::Pass, true, format!("found {wanted}, as it must"));
    }
    outcome(Verdict::Fail, false, format!("no longer finds {wanted}: it came to {found}"))
}

fn wanted(expect: &Expect) -> String {
    let check = expect.check.as_ref().map(|check| format!(" of {check}")).unwrap_or_default();
    let lost = expect.min_lost.map(|lost| format!(" with at least {lost} lost writes")).unwrap_or_default();
    let anomaly = expect.anomaly.as_ref().map(|anomaly| format!(" with {anomaly}")).unwrap_or_default();
    format!("{}{check}{anomaly}{lost}", expect.verdict)
}

/// The worst thing that keeps the runs from telling anything, judged on what is not an invariant.
fn spoilt(runs: &[RunRecord]) -> Option<Verdict> {
    let parts = runs.iter().flat_map(|run| {
        let faults = run.faults.iter().map(|fault| fault.finding.verdict);
        faults.chain([run.run.verdict, run.clean.verdict])
    });
    parts.max().filter(|verdict| *verdict != Verdict::Pass)
}

fn shows(expect: &Expect, run: &RunRecord) -> bool {
    let names = |finding: &Finding| {
        expect.anomaly.as_ref().is_none_or(|anomaly| finding.figures.contains_key(&anomaly_figure(anomaly)))
    };
    let check = expect.check.as_ref().is_none_or(|check| {
        let says = |finding: &&Finding| finding.check == *check && finding.verdict == expect.verdict;
        run.findings.iter().filter(says).any(names)
    });
    let lost = expect.min_lost.is_none_or(|min| {
        run.run.figures.get(LOST_ACKNOWLEDGED).is_some_and(|lost| *lost >= crate::calls::number64(min))
    });
    check && lost
}
