//! The cases of a scenario: everything that can hold or not, each with the worst of its repeats.
//!
//! The console and `JUnit` show the same cases, so that a red line in one is a red line in the other.

use std::collections::BTreeMap;

use firedrill_core::check::Finding;
use firedrill_core::record::{ObjectiveRecord, RunRecord, ScenarioRecord};
use firedrill_core::verdict::Verdict;

/// What a case is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The run itself: started, steady, load offered, not halted.
    Run,
    /// A fault: bit, was held, is gone.
    Fault,
    /// An invariant.
    Invariant,
    /// An objective.
    Objective,
    /// Nothing was left behind.
    Clean,
}

/// One thing that holds or does not.
#[derive(Clone, PartialEq, Debug)]
pub struct Case {
    /// What it is about.
    pub kind: Kind,
    /// `run`, `fault:<id>`, the check's name, `failover.p50`, `clean`. Unique in the scenario.
    pub name: String,
    /// The worst of the repeats.
    pub verdict: Verdict,
    /// Which repeat that was, from 0; `None` for what is computed over all repeats.
    pub repeat: Option<u32>,
    /// The verdict of each repeat, in order.
    pub verdicts: Vec<Verdict>,
    /// The worst repeat's result in one sentence.
    pub summary: String,
    /// Its figures.
    pub figures: BTreeMap<String, f64>,
    /// Its evidence.
    pub evidence: Vec<String>,
    /// When it was broken, seconds of that repeat, if the check says so (its figure `at`).
    pub at: Option<f64>,
}

/// The cases in the order `run`, faults, invariants, objectives, `clean`.
pub fn cases(record: &ScenarioRecord) -> Vec<Case> {
    let mut all = vec![over_runs(record, Kind::Run, "run", |run| Some(&run.run))];
    let faults = names(record, |run| run.faults.iter().map(|fault| fault.id.clone()).collect());
    for (id, nth) in &faults {
        let find = |run: &RunRecord| run.faults.iter().filter(|fault| fault.id == *id).nth(*nth).cloned();
        let findings: Vec<Option<Finding>> =
            record.runs.iter().map(|run| find(run).map(|fault| fault.finding)).collect();
        all.push(worst(record, Kind::Fault, format!("fault:{}", numbered(id, *nth)), &findings));
    }
    let checks = names(record, |run| run.findings.iter().map(|finding| finding.check.clone()).collect());
    for (check, nth) in &checks {
        all.push(over_runs(record, Kind::Invariant, &numbered(check, *nth), |run| {
            run.findings.iter().filter(|finding| finding.check == *check).nth(*nth)
        }));
    }
    all.extend(record.objectives.iter().map(|objective| of_objective(record, objective)));
    all.push(clean(record));
    all
}

/// The names that occur in any repeat, in the order of first sight; the n-th of the same name within one repeat is
/// another case.
fn names(record: &ScenarioRecord, of: impl Fn(&RunRecord) -> Vec<String>) -> Vec<(String, usize)> {
    let mut seen: Vec<(String, usize)> = Vec::new();
    for run in &record.runs {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for name in of(run) {
            let nth = counts.entry(name.clone()).or_default();
            let key = (name, *nth);
            *nth += 1;
            if !seen.contains(&key) {
                seen.push(key);
            }
        }
    }
    seen
}

fn numbered(name: &str, nth: usize) -> String {
    if nth == 0 { name.to_owned() } else { format!("{name}#{}", nth + 1) }
}

fn over_runs<'a>(
    record: &'a ScenarioRecord,
    kind: Kind,
    name: &str,
    of: impl Fn(&'a RunRecord) -> Option<&'a Finding>,
) -> Case {
    let findings: Vec<Option<Finding>> = record.runs.iter().map(|run| of(run).cloned()).collect();
    worst(record, kind, name.to_owned(), &findings)
}

/// A case from one finding per repeat. A repeat without one is a repeat that ended before it could be judged: invalid.
fn worst(record: &ScenarioRecord, kind: Kind, name: String, findings: &[Option<Finding>]) -> Case {
    let absent = Finding::new(name.clone(), Verdict::Invalid, "the run ended before this could be judged");
    let judged: Vec<&Finding> = findings.iter().map(|finding| finding.as_ref().unwrap_or(&absent)).collect();
    let verdicts: Vec<Verdict> = judged.iter().map(|finding| finding.verdict).collect();
    let mut at_worst: Option<usize> = None;
    for (i, verdict) in verdicts.iter().enumerate() {
        if at_worst.is_none_or(|best| verdicts.get(best).is_none_or(|so_far| verdict > so_far)) {
            at_worst = Some(i);
        }
    }
    let finding = at_worst.and_then(|i| judged.get(i).copied()).unwrap_or(&absent);
    Case {
        kind,
        name,
        verdict: finding.verdict,
        repeat: at_worst.and_then(|i| record.runs.get(i)).map(|run| run.repeat),
        verdicts,
        summary: finding.summary.clone(),
        figures: finding.figures.clone(),
        evidence: finding.evidence.clone(),
        at: finding.figures.get("at").copied(),
    }
}

/// The name of an objective's case: it does not change with the bound, so that CI can follow it.
pub fn objective_name(objective: &ObjectiveRecord) -> String {
    format!("{}.{}", objective.objective.measure.word(), objective.objective.statistic.word())
}

fn of_objective(record: &ScenarioRecord, objective: &ObjectiveRecord) -> Case {
    let mut evidence = Vec::new();
    let mut figures = BTreeMap::from([("at-most".to_owned(), objective.objective.at_most)]);
    figures.extend(objective.reached.map(|reached| ("reached".to_owned(), reached)));
    for distribution in record.distributions.iter().filter(|each| each.measure == objective.objective.measure) {
        evidence.push(format!("{}: {}", distribution.fault, crate::console::distribution_words(distribution)));
    }
    Case {
        kind: Kind::Objective,
        name: objective_name(objective),
        verdict: objective.verdict,
        repeat: None,
        verdicts: Vec::new(),
        summary: objective.summary.clone(),
        figures,
        evidence,
        at: None,
    }
}

fn clean(record: &ScenarioRecord) -> Case {
    let findings: Vec<Option<Finding>> = record
        .runs
        .iter()
        .map(|run| {
            let mut finding = Finding::new("clean", run.clean.verdict, run.clean.summary.clone());
            for residue in &run.clean.residue {
                finding = finding.evidence(format!("{}; remove it with: {}", residue.what, residue.remedy));
            }
            Some(finding)
        })
        .collect();
    worst(record, Kind::Clean, "clean".to_owned(), &findings)
}
