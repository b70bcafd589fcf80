//! One recorded run to its record. The engine and `firedrill judge` share it, so that both come to the same.

use firedrill_core::check::{Finding, Question};
use firedrill_core::cluster::ClusterView;
use firedrill_core::event::Event;
use firedrill_core::record::{Recorded, RunRecord, seconds};
use firedrill_core::scenario::{FaultSpec, InvariantSpec, Scenario};
use firedrill_core::seed::Seed;
use firedrill_core::time::{RunTime, Wall};
use firedrill_core::verdict::Verdict;

use crate::faults::{PlannedFault, fault_findings};
use crate::losses::losses;
use crate::run::{clean, load_record, run_finding};
use crate::seen::views;

/// What is judged besides what was recorded.
pub struct JudgeInput<'a> {
    /// Which repeat, from 0.
    pub repeat: u32,
    /// Its seed.
    pub seed: Seed,
    /// Its folder, relative to the scenario's.
    pub folder: String,
    /// When it began, wall clock.
    pub started: Wall,
    /// How long it took, seconds.
    pub seconds: f64,
    /// The faults of the scenario, in file order.
    pub faults: Vec<PlannedFault>,
    /// What of the record could not be read back, in words; such a run proves nothing.
    pub torn: Vec<String>,
    /// What must hold.
    pub invariants: &'a [InvariantSpec],
}

impl<'a> JudgeInput<'a> {
    /// A repeat of a scenario; the caller fills in folder and times.
    pub fn of(scenario: &'a Scenario, repeat: u32, seed: Seed) -> Self {
        let planned = |fault: &FaultSpec| PlannedFault { id: fault.id.clone(), kind: fault.entry.kind.to_owned() };
        Self {
            repeat,
            seed,
            folder: String::new(),
            started: Wall { unix_nanos: 0 },
            seconds: 0.0,
            faults: scenario.faults.iter().map(planned).collect(),
            torn: Vec::new(),
            invariants: &scenario.invariants,
        }
    }
}

/// Judges one run: itself, its faults, every invariant, and what was left. The worst of them is its verdict.
pub fn judge(run: &Recorded, input: &JudgeInput<'_>) -> RunRecord {
    let losses = losses(run);
    let came_through = run_finding(run, &losses, &input.torn);
    let faults = fault_findings(run, &input.faults, &losses);
    let ask = |invariant: &InvariantSpec| {
        let question = Question { when: &invariant.when, grace: invariant.grace };
        invariant.check.check(run, &question)
    };
    let findings: Vec<Finding> = input.invariants.iter().map(ask).collect();
    let clean = clean(run);
    let parts = [came_through.verdict, clean.verdict].into_iter();
    let parts = parts.chain(faults.iter().map(|fault| fault.finding.verdict));
    let verdict = Verdict::worst(parts.chain(findings.iter().map(|finding| finding.verdict)));
    RunRecord {
        repeat: input.repeat,
        seed: input.seed,
        folder: input.folder.clone(),
        started: input.started,
        seconds: input.seconds,
        verdict,
        run: came_through,
        faults,
        findings,
        clean,
        load: load_record(run),
        phases: phases(run),
        cluster: views(run).last().map_or_else(|| "never seen".to_owned(), ClusterView::in_words),
    }
}

fn phases(run: &Recorded) -> Vec<(String, f64)> {
    let begun = run.events.iter().filter_map(|stamped| {
        let Event::Phase { phase, .. } = &stamped.event else { return None };
        Some((phase.word().to_owned(), seconds(stamped.at.since(RunTime::ZERO))))
    });
    begun.collect()
}
