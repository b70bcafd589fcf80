//! `process.restart-loop`: processes that end again each time they have been up for a while, as a server that crashes at
//! every start, or one that its supervisor finds too slow and kills.
//!
//! What no supervisor of the system's own starts again (as Patroni starts PostgreSQL) is started by the platform, as an
//! init system with `Restart=always` would.

use std::time::Duration;

use firedrill_core::action::{Action, Deed};
use firedrill_core::cluster::ProcessName;
use firedrill_core::fault::{Fault, FaultEntry, FaultPlan, Hold, HoldRule, PlanError, PlanInput, Step};
use firedrill_core::seed::ChaCha8Rng;
use firedrill_core::spec::Fields;
use firedrill_core::units::human;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "process.restart-loop",
    summary: "kills processes of a node again each time they have been up for a while",
    example: r#"
[[fault]]
kind    = "process.restart-loop"
on      = "primary"
process = "postgres"   # default: all of the node
every   = "2s"         # default: how long they may be up
at      = "10s"
for     = "20s"
"#,
    deeds: &[Deed::KillProcess],
    hold: HoldRule::Required,
    parse,
};

const EVERY: Duration = Duration::from_secs(2);
/// What may be up for longer than this cannot be told in time from what is left alone.
const LONGEST: Duration = Duration::from_secs(5);
const SHORTEST: Duration = Duration::from_millis(100);

struct RestartLoop {
    process: Option<ProcessName>,
    every: Duration,
}

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let process = super::process(fields);
    let every = fields.or("every", EVERY);
    if !(SHORTEST..=LONGEST).contains(&every) {
        let help = format!("`every` is a duration from {} to {}", human(SHORTEST), human(LONGEST));
        fields.wrong("every", "this is no loop that could be told from a server left alone", help);
        return None;
    }
    Some(Box::new(RestartLoop { process, every }))
}

impl Fault for RestartLoop {
    fn plan(&self, input: &PlanInput<'_>, _rng: &mut ChaCha8Rng) -> Result<FaultPlan, PlanError> {
        let steps = input.targets.iter().map(|node| Step {
            offset: Duration::ZERO,
            action: Action::RestartLoop { node: node.clone(), process: self.process.clone(), every: self.every },
            hold: Hold::Held,
        });
        let whose = super::whose(self.process.as_ref(), input.targets);
        Ok(FaultPlan {
            steps: steps.collect(),
            impairs: super::impairs(self.process.as_ref(), input.targets),
            words: format!("kill {whose} each time it has been up for {}", human(self.every)),
        })
    }

    fn process(&self) -> Option<&ProcessName> {
        self.process.as_ref()
    }
}
