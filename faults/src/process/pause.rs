//! `process.pause`: processes stop running without ending, as a machine that swaps, migrates or is suspended.
//!
//! The kernel goes on acknowledging at TCP level for a paused server, so that peers and clients see silence and no
//! error. At the heal it goes on where it was, believing what it believed: a paused primary wakes up as primary.

use std::time::Duration;

use firedrill_core::action::{Action, Deed};
use firedrill_core::cluster::ProcessName;
use firedrill_core::fault::{Fault, FaultEntry, FaultPlan, Hold, HoldRule, PlanError, PlanInput, Step};
use firedrill_core::seed::ChaCha8Rng;
use firedrill_core::spec::Fields;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "process.pause",
    summary: "stops processes of a node without ending them, and lets them go on at the heal",
    example: r#"
[[fault]]
kind    = "process.pause"
on      = "primary"
process = "postgres"   # default: all of the node
at      = "10s"
for     = "15s"
"#,
    deeds: &[Deed::PauseProcess],
    hold: HoldRule::Required,
    parse,
};

struct Pause {
    process: Option<ProcessName>,
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of every entry's parse")]
fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    Some(Box::new(Pause { process: super::process(fields) }))
}

impl Fault for Pause {
    fn plan(&self, input: &PlanInput<'_>, _rng: &mut ChaCha8Rng) -> Result<FaultPlan, PlanError> {
        let steps = input.targets.iter().map(|node| Step {
            offset: Duration::ZERO,
            action: Action::Pause { node: node.clone(), process: self.process.clone() },
            hold: Hold::Held,
        });
        Ok(FaultPlan {
            steps: steps.collect(),
            impairs: super::impairs(self.process.as_ref(), input.targets),
            words: format!("pause {}", super::whose(self.process.as_ref(), input.targets)),
        })
    }

    fn process(&self) -> Option<&ProcessName> {
        self.process.as_ref()
    }
}
