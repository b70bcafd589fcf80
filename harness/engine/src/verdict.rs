//! From what was recorded to what it came to; the judging itself is the crate `check`'s.

use std::collections::BTreeMap;

use firedrill_check::{Conclusion, JudgeInput, conclude, judge};
use firedrill_core::platform::Mechanism;
use firedrill_core::record::{RUN_SCHEMA, Recorded, RunRecord, ScenarioRecord};
use firedrill_core::scenario::Scenario;
use firedrill_core::seed::Seed;
use firedrill_core::time::Wall;
use firedrill_core::verdict::Verdict;

use crate::folder::Manifest;

/// What a scenario's record says beside its verdict.
pub(crate) struct Header {
    pub(crate) id: String,
    pub(crate) seed: Seed,
    pub(crate) repeat_command: String,
    pub(crate) started: Wall,
    pub(crate) seconds: f64,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) mechanisms: Vec<Mechanism>,
    /// How many repeats there were to be.
    pub(crate) wanted: u32,
}

/// Judges one recorded repeat.
pub(crate) fn run(
    scenario: &Scenario,
    manifest: &Manifest,
    seconds: f64,
    recorded: &Recorded,
    torn: &[String],
) -> RunRecord {
    let (repeat, _) = manifest.repeat;
    let mut input = JudgeInput::of(scenario, repeat, manifest.seed);
    input.folder = (repeat + 1).to_string();
    input.started = manifest.started;
    input.seconds = seconds;
    input.torn = torn.to_vec();
    judge(recorded, &input)
}

/// Draws the conclusion over all repeats. When some were not run, somebody ended it before its time.
pub(crate) fn scenario(scenario: &Scenario, header: Header, runs: Vec<RunRecord>) -> ScenarioRecord {
    let Conclusion { verdict, expectation, objectives, distributions } =
        conclude(&runs, &scenario.objectives.bounds, scenario.expect.as_ref());
    let all_run = runs.len() >= usize::try_from(header.wanted).unwrap_or(usize::MAX);
    let verdict = if all_run { verdict } else { verdict.max(Verdict::Aborted) };
    ScenarioRecord {
        schema: RUN_SCHEMA,
        version: firedrill_core::VERSION.to_owned(),
        id: header.id,
        file: scenario.file.clone(),
        name: scenario.name.clone(),
        tags: scenario.tags.clone(),
        guards: scenario.guards.clone(),
        seed: header.seed,
        repeat_command: header.repeat_command,
        system: scenario.cluster.system_name.to_owned(),
        platform: scenario.cluster.platform.name.to_owned(),
        started: header.started,
        seconds: header.seconds,
        environment: header.environment,
        mechanisms: header.mechanisms,
        verdict,
        expectation,
        runs,
        objectives,
        distributions,
    }
}
