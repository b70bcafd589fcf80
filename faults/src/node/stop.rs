//! `node.stop`: a node is shut down in good order, as for maintenance, and started again at the heal.
//!
//! The servers are asked to end (SIGTERM), those started last first, so that each can hand over what it holds: a failover
//! should be quicker than after a crash, and lose nothing even without synchronous replication.

use std::time::Duration;

use firedrill_core::action::{Action, Deed};
use firedrill_core::fault::{Fault, FaultEntry, FaultPlan, Hold, HoldRule, PlanError, PlanInput, Step};
use firedrill_core::seed::ChaCha8Rng;
use firedrill_core::spec::Fields;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "node.stop",
    summary: "shuts a node down in good order, and starts it again at the heal",
    example: r#"
[[fault]]
kind  = "node.stop"
on    = "primary"
grace = "8s"           # default: what has not ended by then is killed
at    = "10s"
for   = "20s"
"#,
    deeds: &[Deed::KillProcess],
    hold: HoldRule::Required,
    parse,
};

/// How long servers may take to end: less than a proof waits for it.
pub(super) const GRACE: Duration = Duration::from_secs(8);

struct Stop {
    grace: Duration,
}

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    Some(Box::new(Stop { grace: grace(fields)? }))
}

/// Reads `grace`.
pub(super) fn grace(fields: &mut Fields<'_, '_>) -> Option<Duration> {
    let grace = fields.or("grace", GRACE);
    if grace > GRACE {
        let help = "what is stopped must be down by the time its effect is proven: at most \"8s\"".to_owned();
        fields.wrong("grace", "this is too long to end in", help);
        return None;
    }
    Some(grace)
}

impl Fault for Stop {
    fn plan(&self, input: &PlanInput<'_>, _rng: &mut ChaCha8Rng) -> Result<FaultPlan, PlanError> {
        let steps = input.targets.iter().map(|node| Step {
            offset: Duration::ZERO,
            action: Action::Stop { node: node.clone(), grace: self.grace },
            hold: Hold::Held,
        });
        Ok(FaultPlan {
            steps: steps.collect(),
            impairs: input.targets.iter().map(|node| (node.clone(), None)).collect(),
            words: format!("shut {} down in good order", crate::words::list(input.targets)),
        })
    }
}
