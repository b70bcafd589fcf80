//! What befalls volumes, two faults on one at a time.

use std::path::Path;
use std::time::Duration;

use firedrill_core::action::{Action, Deed, Presence, Undo};
use firedrill_core::platform::Platform as _;
use firedrill_platforms::lab::Lab;

use crate::rig::{block_on, can_have_volumes, nodes, open_for, recipe, run_id, stop_and_find_nothing, whole};

/// An agent that waits for a frozen file system waits for good.
const HUNG: Duration = Duration::from_secs(60);

async fn injected(lab: &Lab, action: Action) -> Undo {
    let undo = lab.prepare(&action).await.unwrap();
    let applied = tokio::time::timeout(HUNG, lab.apply(&undo, None)).await;
    applied.unwrap_or_else(|_| panic!("{action} hangs")).unwrap();
    assert_eq!(lab.probe(&undo).await.presence, Presence::Full, "{action}");
    undo
}

pub(crate) fn a_loss_of_power_takes_a_frozen_volume_along(work: &Path) {
    if !can_have_volumes() {
        return eprintln!("SKIPPED: only root has volumes that can be frozen, where there are loop devices");
    }
    block_on(async {
        let run = run_id("cold");
        let lab = open_for(work, &run, recipe(), &[Deed::FreezeDisk, Deed::LosePower]);
        lab.start(false).await.unwrap();
        whole(&lab).await;
        let node = nodes()[0].clone();
        for first in 0..2 {
            let freeze = injected(&lab, Action::FreezeDisk { node: node.clone() }).await;
            let power = injected(&lab, Action::LosePower { nodes: vec![node.clone()] }).await;
            assert_eq!(lab.probe(&freeze).await.presence, Presence::Absent, "what has no power is not frozen");
            let both = [&freeze, &power];
            for undo in [both[first], both[1 - first]] {
                let reverted = tokio::time::timeout(HUNG, lab.revert(undo)).await;
                reverted.unwrap_or_else(|_| panic!("taking back {} hangs", undo.action)).unwrap();
            }
            whole(&lab).await;
            assert_eq!(lab.probe(&power).await.presence, Presence::Absent);
        }
        stop_and_find_nothing(&lab, &run).await;
    });
}
