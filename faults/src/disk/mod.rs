//! Faults of disks. All of them but `freeze` name what they harm with the same keys: `path`, `ops`, `chance` and `nth`.

pub mod corrupt;
pub mod error;
pub mod freeze;
pub mod full;
pub mod latency;
pub mod lost_fsync;
pub mod read_only;
pub mod stall;
pub mod throttle;
pub mod torn_write;

use std::collections::BTreeSet;
use std::time::Duration;

use firedrill_core::action::{Action, Deed};
use firedrill_core::cluster::NodeName;
use firedrill_core::fault::{Fault, FaultPlan, Hold, Needs, PlanError, PlanInput, Step};
use firedrill_core::harm::{Chance, DISK_OPS, DiskHarm, DiskOp, DiskTarget, Occurrence};
use firedrill_core::seed::ChaCha8Rng;
use firedrill_core::spec::{Fields, suggest};
use rand::RngExt as _;

use crate::words::list;

/// A probe must be able to try the n-th itself.
const MOST_NTH: u64 = 1000;

/// A disk harmed in one way.
struct Harm {
    target: DiskTarget,
    how: DiskHarm,
    hold: Hold,
}

/// Reads `path`, `ops`, and either `chance` or `nth`. After a mistake the target is another, but all keys are taken.
fn target(fields: &mut Fields<'_, '_>, how: DiskHarm) -> DiskTarget {
    let mut target = DiskTarget { path: path(fields), ops: ops(fields, how), when: Occurrence::Always };
    let (chance, nth) = (fields.optional::<Chance>("chance"), fields.placed::<u64>("nth"));
    if chance.is_some() && nth.is_some() {
        fields.wrong("nth", "`chance` and `nth` exclude each other", "leave one of them out".to_owned());
    }
    if let Some(nth) = nth {
        if !(1..=MOST_NTH).contains(&nth.value) {
            let help = format!("`nth` counts from 1 to at most {MOST_NTH}");
            fields.wrong("nth", format!("there is no operation number {}", nth.value), help);
        }
        target.when = Occurrence::Nth(nth.value);
    }
    if let Some(chance) = chance {
        target.when = Occurrence::Chance(chance);
    }
    target
}

/// A path that can be part of another one.
fn path(fields: &mut Fields<'_, '_>) -> Option<String> {
    let path = fields.placed::<String>("path")?;
    let parts: Vec<&str> = path.value.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() || parts.iter().any(|part| *part == "." || *part == "..") {
        let help = "write the last part of a folder's path, as `path = \"pg_wal\"`; leave it out for all files";
        fields.wrong("path", format!("`{}` names no folder below a node's home", path.value), help.to_owned());
        return None;
    }
    Some(parts.join("/"))
}

fn ops(fields: &mut Fields<'_, '_>, how: DiskHarm) -> BTreeSet<DiskOp> {
    let possible: Vec<&str> =
        DISK_OPS.iter().filter(|(_, op)| how.possible_ops().contains(op)).map(|(word, _)| *word).collect();
    let mut ops = BTreeSet::new();
    for word in fields.list::<String>("ops") {
        let known = DISK_OPS.iter().find(|(known, _)| *known == word.value && possible.contains(known));
        ops.extend(known.map(|(_, op)| *op));
        if known.is_none() {
            let message = format!("`{}` is no operation that this fault can harm", word.value);
            fields.mistakes().note(word.span, message, "not known", suggest(&word.value, &possible));
        }
    }
    ops
}

/// A fault that harms a disk for as long as it is held.
#[expect(clippy::unnecessary_wraps, reason = "what every entry's parse returns")]
fn held(fields: &mut Fields<'_, '_>, how: DiskHarm) -> Option<Box<dyn Fault>> {
    Some(Box::new(Harm { target: target(fields, how), how, hold: Hold::Held }))
}

/// A fault that harms all writes and syncs, to be seen at a loss of power.
#[expect(clippy::unnecessary_wraps, reason = "what every entry's parse returns")]
fn until_power_loss(fields: &mut Fields<'_, '_>, how: DiskHarm) -> Option<Box<dyn Fault>> {
    let target = DiskTarget { path: path(fields), ..DiskTarget::default() };
    Some(Box::new(Harm { target, how, hold: Hold::Held }))
}

impl Fault for Harm {
    fn plan(&self, input: &PlanInput<'_>, rng: &mut ChaCha8Rng) -> Result<FaultPlan, PlanError> {
        let steps = input.targets.iter().map(|node| Step {
            offset: Duration::ZERO,
            action: Action::HarmDisk {
                node: node.clone(),
                target: self.target.clone(),
                how: self.how,
                seed: rng.random(),
            },
            hold: self.hold,
        });
        let steps = steps.collect();
        let impairs: BTreeSet<_> = input.targets.iter().map(|node: &NodeName| (node.clone(), None)).collect();
        let words = format!("{}: {} of {}", self.how, self.target, list(input.targets));
        Ok(FaultPlan { steps, impairs, words })
    }

    fn needs(&self) -> Needs {
        Needs {
            deeds: BTreeSet::from([Deed::HarmDisk]),
            disk: BTreeSet::from([self.target.path.clone()]),
            ..Needs::default()
        }
    }

    fn waits_for_power_loss(&self) -> bool {
        self.how.bites_at_power_loss()
    }
}
