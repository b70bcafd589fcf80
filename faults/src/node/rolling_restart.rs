//! `node.rolling-restart`: node after node is shut down in good order and started again, as for an upgrade.
//!
//! The targets come in name order, but those that take writes last, as operators do it. Each has its moment, whatever has
//! become of the one before: whether the cluster is whole again by then is the question. For `max-impaired` all of them
//! count, because a fault that comes on top may meet any.

use std::time::Duration;

use firedrill_core::action::{Action, Deed};
use firedrill_core::cluster::NodeName;
use firedrill_core::fault::{Fault, FaultEntry, FaultPlan, Hold, HoldRule, PlanError, PlanInput, Step};
use firedrill_core::seed::ChaCha8Rng;
use firedrill_core::spec::Fields;
use firedrill_core::units::human;

use super::stop;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "node.rolling-restart",
    summary: "restarts nodes in good order, one after the other, the primary last",
    example: r#"
[[fault]]
kind  = "node.rolling-restart"
on    = "all"
every = "15s"          # from one node to the next; default: `for`, shared among them
down  = "3s"           # default
grace = "8s"           # default: what has not ended by then is killed
at    = "10s"
for   = "45s"
"#,
    deeds: &[Deed::KillProcess],
    hold: HoldRule::Required,
    parse,
};

/// How long a node stays down by default.
const DOWN: Duration = Duration::from_secs(3);

struct RollingRestart {
    every: Option<Duration>,
    down: Duration,
    grace: Duration,
}

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let every = fields.optional::<Duration>("every");
    let down = fields.or("down", DOWN);
    let grace = stop::grace(fields)?;
    Some(Box::new(RollingRestart { every, down, grace }))
}

impl Fault for RollingRestart {
    fn plan(&self, input: &PlanInput<'_>, _rng: &mut ChaCha8Rng) -> Result<FaultPlan, PlanError> {
        let count = u32::try_from(input.targets.len()).unwrap_or(u32::MAX);
        let hold = input.hold.unwrap_or_default();
        let every = self.every.unwrap_or(hold / count.max(1));
        if every <= self.down {
            let (every, down) = (human(every), human(self.down));
            return Err(PlanError(format!("a turn of {every} is too short for a node that is down for {down}")));
        }
        if every.saturating_mul(count) > hold {
            let (need, every) = (human(every.saturating_mul(count)), human(every));
            let nodes = if count == 1 { "node" } else { "nodes" };
            return Err(PlanError(format!("{count} {nodes}, one every {every}, take {need}: hold it longer")));
        }
        let writes = |node: &&NodeName| input.view.node(node).is_some_and(|seen| seen.read_write);
        let (last, first): (Vec<&NodeName>, Vec<&NodeName>) = input.targets.iter().partition(writes);
        let nodes: Vec<NodeName> = first.into_iter().chain(last).cloned().collect();
        let words = format!("restart {} in turn, one every {}", crate::words::list(&nodes), human(every));
        let action = Action::Roll { nodes, every, down: self.down, grace: self.grace };
        Ok(FaultPlan {
            steps: vec![Step { offset: Duration::ZERO, action, hold: Hold::Held }],
            impairs: input.targets.iter().map(|node| (node.clone(), None)).collect(),
            words,
        })
    }
}
