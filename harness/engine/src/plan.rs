//! The dry run: what the faults of a scenario would do, without a cluster (role words and draws stay words) or against a
//! view of a living one (exact targets).

use std::time::Duration;

use firedrill_core::action::Deed;
use firedrill_core::cluster::{ClusterView, resolve, symbolic_view};
use firedrill_core::fault::PlanInput;
use firedrill_core::scenario::{FaultSpec, Scenario};
use firedrill_core::seed::Seed;

/// What one fault would do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedFault {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: &'static str,
    /// The deeds it needs.
    pub deeds: &'static [Deed],
    /// Its earliest onset after the start of the storm, and how the file says it.
    pub onset: (Duration, String),
    /// How long it is held.
    pub hold: Option<Duration>,
    /// Its selector as written, and whom it names.
    pub targets: (String, Vec<String>),
    /// What it does, in words.
    pub words: String,
    /// Its actions with their offsets.
    pub actions: Vec<(Duration, String)>,
    /// Why it could not be planned.
    pub problem: Option<String>,
}

/// Plans every fault of a scenario, in order of onset. With a `view` of a living cluster the targets are exact.
pub fn plan(scenario: &Scenario, seed: Seed, view: Option<&ClusterView>) -> Vec<PlannedFault> {
    let mut planned: Vec<PlannedFault> =
        scenario.timeline().into_iter().map(|(spec, slot)| one(scenario, spec, slot.onset, seed, view)).collect();
    planned.sort_by_key(|fault| fault.onset.0);
    planned
}

fn one(scenario: &Scenario, spec: &FaultSpec, onset: Duration, seed: Seed, view: Option<&ClusterView>) -> PlannedFault {
    let mut planned = PlannedFault {
        id: spec.id.clone(),
        kind: spec.entry.kind,
        deeds: spec.entry.deeds,
        onset: (onset, spec.start.to_string()),
        hold: spec.hold,
        targets: (spec.on.to_string(), Vec::new()),
        words: String::new(),
        actions: Vec::new(),
        problem: None,
    };
    let symbolic = symbolic_view(&spec.on, &scenario.cluster.nodes);
    let view = view.unwrap_or(&symbolic);
    let mut rng = seed.stream(&format!("fault:{}", spec.id));
    let decided = resolve(&spec.on, view, &mut rng).and_then(|targets| {
        let input = PlanInput { view, targets: &targets, hold: spec.hold };
        let plan = spec.fault.plan(&input, &mut rng).map_err(|error| error.to_string())?;
        Ok((targets, plan))
    });
    match decided {
        Ok((targets, plan)) => {
            planned.targets.1 = targets.iter().map(ToString::to_string).collect();
            planned.words = plan.words;
            planned.actions = plan.steps.iter().map(|step| (step.offset, step.action.to_string())).collect();
        }
        Err(problem) => planned.problem = Some(problem),
    }
    planned
}
