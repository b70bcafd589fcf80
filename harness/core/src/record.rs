//! What is left of a run: the recorded run that checks read, and the record that reports render.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::{Finding, When};
use crate::cluster::NodeName;
use crate::event::{Event, Phase, Stamped};
use crate::history::{Call, EpochSwitch, FinalRead};
use crate::platform::{Mechanism, Residue};
use crate::scenario::{Objective, ObjectiveMeasure};
use crate::seed::Seed;
use crate::time::{RunTime, Wall};
use crate::verdict::Verdict;

/// Everything checks may look at.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// The nodes, in name order.
    pub nodes: Vec<NodeName>,
    /// Every call, in the order of completion; those still open come last.
    pub calls: Vec<Call>,
    /// Every event, in order of recording.
    pub events: Vec<Stamped>,
    /// What each node held at the end.
    pub finals: Vec<FinalRead>,
    /// Switches of epoch, as the servers recorded them.
    pub switches: Vec<EpochSwitch>,
}

/// The life of one fault in a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FaultSpan {
    /// Its id.
    pub fault: String,
    /// Its kind.
    pub kind: String,
    /// The nodes it aimed at.
    pub targets: Vec<NodeName>,
    /// What it did, in words.
    pub words: String,
    /// When its first action took effect (the onset event if none did).
    pub onset: RunTime,
    /// When everything of it was undone.
    pub healed: Option<RunTime>,
}

impl Recorded {
    /// When a phase began, the first time.
    pub fn phase_start(&self, wanted: Phase) -> Option<RunTime> {
        self.events.iter().find_map(|stamped| {
            let Event::Phase { phase, .. } = &stamped.event else { return None };
            (*phase == wanted).then_some(stamped.at)
        })
    }

    /// The faults that were injected, in order of onset.
    pub fn faults(&self) -> Vec<FaultSpan> {
        let mut spans: Vec<FaultSpan> = Vec::new();
        for stamped in &self.events {
            if let Event::FaultOnset { fault, kind, targets, words } = &stamped.event {
                spans.push(FaultSpan {
                    fault: fault.clone(),
                    kind: kind.clone(),
                    targets: targets.clone(),
                    words: words.clone(),
                    onset: stamped.at,
                    healed: None,
                });
            } else if let Event::StepApplied { fault, step: 0, from, .. } = &stamped.event {
                if let Some(span) = spans.iter_mut().rev().find(|span| span.fault == *fault) {
                    span.onset = *from;
                }
            } else if let Event::FaultHealed { fault } = &stamped.event
                && let Some(span) = spans.iter_mut().rev().find(|span| span.fault == *fault)
            {
                span.healed = Some(stamped.at);
            }
        }
        spans
    }

    /// The end of the load: when the phase after the storm that stops it began, or the last thing recorded.
    pub fn load_end(&self) -> RunTime {
        let last = self.calls.iter().filter_map(|call| call.completed.as_ref().map(|(at, _)| *at)).max();
        last.or_else(|| self.events.last().map(|stamped| stamped.at)).unwrap_or_default()
    }

    /// The part of the run that `when` names. `Err` says why there is none.
    pub fn window(&self, when: &When) -> Result<(RunTime, RunTime), String> {
        let find = |id: &String| {
            let found = self.faults().into_iter().find(|span| span.fault == *id);
            found.ok_or_else(|| format!("fault `{id}` was never injected"))
        };
        let end = self.load_end();
        let storm = self.phase_start(Phase::Storm).ok_or_else(|| "the storm never began".to_owned())?;
        match when {
            When::Always => Ok((storm, end)),
            When::Before(id) => Ok((storm, find(id)?.onset)),
            When::During(id) => {
                let span = find(id)?;
                Ok((span.onset, span.healed.unwrap_or(end)))
            }
            When::After(id) => Ok((find(id)?.onset, end)),
            When::AfterHealed(id) => {
                let healed = find(id)?.healed;
                healed.map(|healed| (healed, end)).ok_or_else(|| format!("fault `{id}` was never healed"))
            }
            When::End => Ok((end, end)),
        }
    }

    /// Whether every node was read at the end after the cluster had settled; else why not.
    pub fn finals_settled(&self) -> Result<(), String> {
        let settled = self.events.iter().rev().find_map(|stamped| {
            let Event::Settled { met, seen } = &stamped.event else { return None };
            Some((*met, seen.clone()))
        });
        match settled {
            None => return Err("the run ended before the cluster had settled".to_owned()),
            Some((false, seen)) => return Err(format!("the cluster did not settle: {seen}")),
            Some((true, _)) => {}
        }
        for node in &self.nodes {
            match self.finals.iter().find(|read| read.node == *node) {
                None => return Err(format!("{node} was not read at the end")),
                Some(FinalRead { rows: Err(why), .. }) => return Err(format!("{node} could not be read: {why}")),
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// Version of `run.json`.
pub const RUN_SCHEMA: u32 = 1;

/// What a whole scenario came to, over all its repeats. This is `run.json`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ScenarioRecord {
    /// [`RUN_SCHEMA`].
    pub schema: u32,
    /// Version of firedrill.
    pub version: String,
    /// Id of the run: the name of its folder.
    pub id: String,
    /// The scenario's file.
    pub file: String,
    /// The scenario's name.
    pub name: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Incidents it guards against.
    pub guards: Vec<String>,
    /// The seed.
    pub seed: Seed,
    /// The command that repeats the run.
    pub repeat_command: String,
    /// Name of the system.
    pub system: String,
    /// Name of the platform.
    pub platform: String,
    /// When it began, wall clock.
    pub started: Wall,
    /// How long it took, seconds.
    pub seconds: f64,
    /// What it ran on: kernel, versions of servers, hash of the binary.
    pub environment: BTreeMap<String, String>,
    /// By what each deed was done.
    pub mechanisms: Vec<Mechanism>,
    /// The worst of the runs and the objectives; with `[expect]`, whether it found what it must.
    pub verdict: Verdict,
    /// If the file says what must be found: whether it was, in words.
    pub expectation: Option<Expectation>,
    /// The repeats.
    pub runs: Vec<RunRecord>,
    /// The objectives over the repeats.
    pub objectives: Vec<ObjectiveRecord>,
    /// Recovery over the repeats, per fault and measure.
    pub distributions: Vec<Distribution>,
}

/// How `[expect]` came out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Expectation {
    /// Whether the run found what it must.
    pub met: bool,
    /// In words.
    pub words: String,
    /// The verdict without `[expect]`.
    pub found: Verdict,
}

/// What one repeat came to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RunRecord {
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
    /// The worst of everything below.
    pub verdict: Verdict,
    /// Whether the run itself came through: started, steady, load offered, not halted.
    pub run: Finding,
    /// Each fault: whether it bit, was held and was undone.
    pub faults: Vec<FaultRecord>,
    /// Each invariant.
    pub findings: Vec<Finding>,
    /// Whether anything was left.
    pub clean: CleanRecord,
    /// What the clients saw.
    pub load: LoadRecord,
    /// When each phase began, seconds.
    pub phases: Vec<(String, f64)>,
    /// The last view of the cluster, in words.
    pub cluster: String,
}

/// What became of one fault.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FaultRecord {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// The nodes.
    pub targets: Vec<NodeName>,
    /// What it did.
    pub words: String,
    /// When it took effect, seconds; `None` if never injected.
    pub onset: Option<f64>,
    /// When it was undone, seconds.
    pub healed: Option<f64>,
    /// `Pass` when it bit, was held and is gone; `Invalid` or `Dirty` otherwise.
    pub finding: Finding,
    /// Recovery from it.
    pub recovery: Recovery,
}

/// Recovery from one fault, in time since its onset. `None` did not happen (or does not apply).
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Recovery {
    /// Whether this fault made the cluster fail over or interrupted acknowledgements at all; else nothing is measured.
    pub disrupted: bool,
    /// Seconds by measure, in the order of [`ObjectiveMeasure`].
    pub phases: BTreeMap<ObjectiveMeasure, Option<f64>>,
    /// The longest gap between acknowledgements through the router after the onset, seconds.
    pub outage: Option<f64>,
    /// Until when it was watched, seconds since the onset: what did not happen took longer.
    pub watched: f64,
    /// Acknowledged writes lost that are attributed to this fault.
    pub lost_writes: Option<u64>,
}

/// What was left behind.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CleanRecord {
    /// `Pass` when nothing was; `Dirty` when something was; `Invalid` when nobody looked.
    pub verdict: Verdict,
    /// What was left.
    pub residue: Vec<Residue>,
    /// In words.
    pub summary: String,
}

/// How operations ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Operations invoked.
    pub invoked: u64,
    /// Acknowledged.
    pub ok: u64,
    /// Certainly failed.
    pub fail: u64,
    /// Unknown.
    pub info: u64,
    /// Never made, because the queue was full.
    pub shed: u64,
}

/// What the clients saw.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LoadRecord {
    /// Operations through the router, as applications make them.
    pub router: Tally,
    /// Operations sent to one node each, whoever it is: replicas refuse those that write, and are right.
    pub direct: Tally,
    /// Acknowledged per second over the whole load, router only.
    pub ok_per_second: f64,
    /// Latency from due time of acknowledged router operations, seconds: p50, p99, max.
    pub latency: [f64; 3],
}

/// One objective over the repeats.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ObjectiveRecord {
    /// The bound.
    pub objective: Objective,
    /// `Pass`, `Slow`, or `Invalid` when there is nothing to measure.
    pub verdict: Verdict,
    /// The statistic that was reached; `None` when it is beyond what was watched.
    pub reached: Option<f64>,
    /// How many values it is from.
    pub n: usize,
    /// In words.
    pub summary: String,
}

/// The distribution of one measure of one fault over the repeats, seconds (a count for lost writes).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Distribution {
    /// The fault.
    pub fault: String,
    /// The measure.
    pub measure: ObjectiveMeasure,
    /// How many values.
    pub n: usize,
    /// How many of them never happened while watched; they count as longer than all others.
    pub never: usize,
    /// The smallest.
    pub min: Option<f64>,
    /// The median.
    pub p50: Option<f64>,
    /// The 95th percentile, from twenty runs on.
    pub p95: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
}

/// Seconds of a duration, as reports carry them.
pub fn seconds(span: Duration) -> f64 {
    span.as_secs_f64()
}
