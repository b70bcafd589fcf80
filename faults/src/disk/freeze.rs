//! `disk.freeze`: the node's file system takes no changes until the heal, as while a storage or a hypervisor takes a snapshot.
//!
//! The kernel does it, on a volume of the node's own: whoever writes, syncs or makes a file waits, and cannot even be killed;
//! reading goes on. It is the whole volume; `disk.stall` is for parts of it.

use std::collections::BTreeSet;
use std::time::Duration;

use firedrill_core::action::{Action, Deed};
use firedrill_core::fault::{Fault, FaultEntry, FaultPlan, Hold, HoldRule, Needs, PlanError, PlanInput, Step};
use firedrill_core::harm::{FILE_SYSTEMS, FileSystem};
use firedrill_core::seed::ChaCha8Rng;
use firedrill_core::spec::Fields;

use crate::words::list;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "disk.freeze",
    summary: "the file system takes no changes until the heal, as during a snapshot; reading goes on",
    example: r#"
[[fault]]
kind = "disk.freeze"
on   = "primary"
# file-system = "xfs"   # default: ext4
at   = "10s"
for  = "5s"
"#,
    deeds: &[Deed::FreezeDisk],
    hold: HoldRule::Required,
    parse,
};

struct Freeze {
    volume: Option<FileSystem>,
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of every entry's parse")]
fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    Some(Box::new(Freeze { volume: file_system(fields) }))
}

/// The file system that volumes are to have.
pub(crate) fn file_system(fields: &mut Fields<'_, '_>) -> Option<FileSystem> {
    fields.optional_word("file-system", &FILE_SYSTEMS)
}

impl Fault for Freeze {
    fn plan(&self, input: &PlanInput<'_>, _rng: &mut ChaCha8Rng) -> Result<FaultPlan, PlanError> {
        let freeze = |node| Action::FreezeDisk { node };
        let step = |action| Step { offset: Duration::ZERO, action, hold: Hold::Held };
        Ok(FaultPlan {
            steps: input.targets.iter().cloned().map(freeze).map(step).collect(),
            impairs: input.targets.iter().map(|node| (node.clone(), None)).collect(),
            words: format!("freeze the file system of {}", list(input.targets)),
        })
    }

    fn needs(&self) -> Needs {
        Needs {
            deeds: BTreeSet::from([Deed::FreezeDisk]),
            volumes: self.volume.into_iter().collect(),
            ..Needs::default()
        }
    }
}
