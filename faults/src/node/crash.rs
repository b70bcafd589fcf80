//! `node.crash`: a node whose processes end at once, without a word to anybody.
//!
//! A kill alone is kinder than a crash: the kernel closes the dead process's sockets properly and still sends what was
//! in their buffers, so that little is lost. Here the wire is cut first, in every direction and to the clients too, and
//! only then is everything killed: what had not left the node never leaves it.
//!
//! Reverts run last first: the processes are started behind the cut wire, and a moment later the wire is back. A machine
//! that boots behind a switch port still coming up lives through the same, and it is the harder order for the system:
//! a node that was primary wakes up hearing nobody, and must not lead by its own memory. It also lets the kernel's
//! left-over sockets of the dead processes retry a little longer into the void.

use std::time::Duration;

use firedrill_core::action::{Action, Deed, Endpoint};
use firedrill_core::fault::{Fault, FaultEntry, FaultPlan, Hold, HoldRule, PlanError, PlanInput, Step};
use firedrill_core::seed::ChaCha8Rng;
use firedrill_core::spec::Fields;
use firedrill_core::units::human;

use crate::net::grudge;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "node.crash",
    summary: "a node ends at once: its wire is cut first, then everything on it is killed; the heal starts it again",
    example: r#"
[[fault]]
kind = "node.crash"
on   = "primary"
at   = "10s"
for  = "15s"
"#,
    deeds: &[Deed::CutLinks, Deed::KillProcess],
    hold: HoldRule::Required,
    parse,
};

/// From the cut to the kill: long enough that no reply to what arrives before the kill can leave, short enough that
/// nothing on the node notices the silence.
pub const KILL_AFTER: Duration = Duration::from_millis(50);

struct Crash;

#[expect(clippy::unnecessary_wraps, reason = "the signature of every entry's parse")]
fn parse(_fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    Some(Box::new(Crash))
}

impl Fault for Crash {
    fn plan(&self, input: &PlanInput<'_>, _rng: &mut ChaCha8Rng) -> Result<FaultPlan, PlanError> {
        if input.hold.is_some_and(|hold| hold <= KILL_AFTER) {
            return Err(PlanError(format!("a crash takes {} before the kill: hold it longer", human(KILL_AFTER))));
        }
        let ends = grudge::ends(input.view, true);
        let targets: Vec<Endpoint> = input.targets.iter().cloned().map(Endpoint::Node).collect();
        let links = grudge::isolate(&ends, &targets).links(&ends);
        let cut = Step { offset: Duration::ZERO, action: Action::Cut { links, port: None }, hold: Hold::Held };
        let kills = input.targets.iter().map(|node| Step {
            offset: KILL_AFTER,
            action: Action::Kill { node: node.clone(), process: None, signal: 9, stay_down: true },
            hold: Hold::Held,
        });
        Ok(FaultPlan {
            steps: std::iter::once(cut).chain(kills).collect(),
            impairs: input.targets.iter().map(|node| (node.clone(), None)).collect(),
            words: format!(
                "crash {}: cut its wire, {} later kill everything on it",
                crate::words::list(input.targets),
                human(KILL_AFTER)
            ),
        })
    }
}
