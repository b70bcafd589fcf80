//! `process.oom`: the kernel's out-of-memory killer ends a process, because the node has no memory left.
//!
//! It is the kernel that chooses, by size; `process` makes it choose among those. What it kills gets no chance to say
//! goodbye, and the memory is there again at once. Nothing restarts it but its own supervisor or the heal: PostgreSQL starts
//! all of its processes again when one of them is killed, and Patroni starts PostgreSQL.

use std::time::Duration;

use firedrill_core::action::{Action, Deed};
use firedrill_core::cluster::ProcessName;
use firedrill_core::fault::{Fault, FaultEntry, FaultPlan, Hold, HoldRule, PlanError, PlanInput, Step};
use firedrill_core::seed::ChaCha8Rng;
use firedrill_core::spec::Fields;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "process.oom",
    summary: "the kernel's out-of-memory killer ends a process of a node",
    example: r#"
[[fault]]
kind    = "process.oom"
on      = "primary"
process = "postgres"   # default: the largest of the node
at      = "10s"
"#,
    deeds: &[Deed::OomProcess],
    hold: HoldRule::Optional,
    parse,
};

struct Oom {
    process: Option<ProcessName>,
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of every entry's parse")]
fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    Some(Box::new(Oom { process: super::process(fields) }))
}

impl Fault for Oom {
    fn plan(&self, input: &PlanInput<'_>, _rng: &mut ChaCha8Rng) -> Result<FaultPlan, PlanError> {
        let steps = input.targets.iter().map(|node| Step {
            offset: Duration::ZERO,
            action: Action::Oom { node: node.clone(), process: self.process.clone() },
            hold: Hold::OneShot,
        });
        let whose = self.process.as_ref().map_or("the largest process", |process| process.0.as_str());
        Ok(FaultPlan {
            steps: steps.collect(),
            impairs: super::impairs(self.process.as_ref(), input.targets),
            words: format!("out of memory for {whose} of {}", crate::words::list(input.targets)),
        })
    }

    fn process(&self) -> Option<&ProcessName> {
        self.process.as_ref()
    }
}
