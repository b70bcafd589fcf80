//! `node.power-loss`: a node loses its power, and with it everything that its kernel had not brought to the device.
//!
//! `node.crash` takes a node's processes and what they had in their own memory; whatever they had written is in the
//! kernel's cache and outlives them. Here that cache is lost too: only what was synced is there afterwards, so that a
//! server which acknowledges before it syncs is found out. With `on = "all"` no other node can make up for it.
//!
//! The wire goes in the same moment, so that no acknowledgement of what is about to be lost slips out. It is one action,
//! because already a fraction of a second between the wire and the disk would be time to sync what was acknowledged.

use std::time::Duration;

use firedrill_core::action::{Action, Deed};
use firedrill_core::fault::{Fault, FaultEntry, FaultPlan, Hold, HoldRule, Needs, PlanError, PlanInput, Step};
use firedrill_core::harm::FileSystem;
use firedrill_core::seed::ChaCha8Rng;
use firedrill_core::spec::Fields;

use crate::disk::freeze::file_system;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "node.power-loss",
    summary: "nodes lose their power, all at once: what was not synced to the disk is gone; the heal starts them again",
    example: r#"
[[fault]]
kind = "node.power-loss"
on   = "all"            # or "primary"…
# file-system = "xfs"   # default: ext4
at   = "10s"
for  = "5s"
"#,
    deeds: &[Deed::CutLinks, Deed::LosePower],
    hold: HoldRule::Required,
    parse,
};

struct PowerLoss {
    volume: Option<FileSystem>,
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of every entry's parse")]
fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    Some(Box::new(PowerLoss { volume: file_system(fields) }))
}

impl Fault for PowerLoss {
    fn plan(&self, input: &PlanInput<'_>, _rng: &mut ChaCha8Rng) -> Result<FaultPlan, PlanError> {
        let action = Action::LosePower { nodes: input.targets.to_vec() };
        Ok(FaultPlan {
            steps: vec![Step { offset: Duration::ZERO, action, hold: Hold::Held }],
            impairs: input.targets.iter().map(|node| (node.clone(), None)).collect(),
            words: format!("cut the power of {}: what was not synced is gone", crate::words::list(input.targets)),
        })
    }

    fn needs(&self) -> Needs {
        let deeds = ENTRY.deeds.iter().copied().collect();
        Needs { deeds, volumes: self.volume.into_iter().collect(), ..Needs::default() }
    }
}
