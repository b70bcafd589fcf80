//! Each planted bug shows what it claims, and only under the fault it needs.

use std::time::Duration;

use firedrill_core::action::{Action, Presence};
use firedrill_core::history::FinalRead;

use crate::sim_rig::{Rig, double_writes, from_peers, kill};

/// Loads for 12 s; the action holds from 4 s to 8 s.
async fn drill(rig: &Rig, action: Action) -> Presence {
    let fault = async {
        rig.at(4_000).await;
        let (undo, presence) = rig.inject(&action, None).await;
        rig.at(8_000).await;
        rig.platform.revert(&undo).await.unwrap();
        presence
    };
    tokio::join!(fault, rig.load(8, 200, Duration::from_secs(12))).0
}

fn converged(finals: &[FinalRead]) -> bool {
    finals.windows(2).all(|pair| pair[0].digest() == pair[1].digest())
}

const SEEDS: std::ops::Range<u64> = 0..4;

#[tokio::test(start_paused = true)]
async fn acknowledging_before_replicating_loses_writes_on_a_kill_and_on_isolation() {
    for seed in SEEDS {
        for isolate in [false, true] {
            let rig = Rig::start(3, "bugs = [\"ack-before-replicating\"]", seed).await;
            let old = rig.primary().await;
            let action = if isolate { from_peers(&old, &rig.others(&old)) } else { kill(&old) };
            drill(&rig, action).await;
            let lost = rig.lost().await.len();
            assert!(lost >= 10, "seed {seed}, isolate {isolate}: {lost} lost");
            assert!(converged(&rig.finals().await), "seed {seed}: the nodes agree on what is left");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn stale_reads_after_a_failover_keep_a_replica_from_converging() {
    for seed in SEEDS {
        let rig = Rig::start(3, "bugs = [\"stale-read-after-failover\"]", seed).await;
        let old = rig.primary().await;
        drill(&rig, kill(&old)).await;
        assert_eq!(rig.lost().await, [0; 0], "seed {seed}: the primary has everything");
        assert!(!converged(&rig.finals().await), "seed {seed}: a replica answers from before the failover");
    }
}

#[tokio::test(start_paused = true)]
async fn two_primaries_both_acknowledge() {
    for seed in SEEDS {
        let rig = Rig::start(3, "bugs = [\"two-primaries\"]", seed).await;
        let old = rig.primary().await;
        drill(&rig, from_peers(&old, &rig.others(&old))).await;
        let doubled = double_writes(&rig.calls());
        assert!(doubled >= 10, "seed {seed}: {doubled} writes on the old primary after the new one's");
        assert!(rig.lost().await.len() >= 10, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_loses_what_was_acknowledged_last() {
    for seed in SEEDS {
        let rig = Rig::start(3, "bugs = [\"lost-on-crash\"]", seed).await;
        let old = rig.primary().await;
        drill(&rig, kill(&old)).await;
        let lost = rig.lost().await.len();
        assert!(lost >= 10, "seed {seed}: {lost} lost");
    }
}

#[tokio::test(start_paused = true)]
async fn bugs_sleep_without_the_fault_they_need() {
    for bug in ["two-primaries", "stale-read-after-failover", "ack-before-replicating", "lost-on-crash"] {
        let rig = Rig::start(3, &format!("bugs = [\"{bug}\"]"), 1).await;
        rig.load(8, 200, Duration::from_secs(5)).await;
        assert_eq!(rig.lost().await, [0; 0], "{bug}");
        assert_eq!(double_writes(&rig.calls()), 0, "{bug}");
        assert!(converged(&rig.finals().await), "{bug}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_does_nothing_reports_success_and_is_absent() {
    let rig = Rig::start(3, "bugs = [\"fault-does-nothing\"]", 1).await;
    let old = rig.primary().await;
    for action in [from_peers(&old, &rig.others(&old)), kill(&old), crate::sim_rig::pause(&old)] {
        let (undo, presence) = rig.inject(&action, None).await;
        assert_eq!(presence, Presence::Absent, "{action}");
        assert!(rig.platform.revert(&undo).await.unwrap().held.is_some(), "{action}: it claims to have been held");
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_leaves_something_shows_in_the_inventory() {
    let rig = Rig::start(3, "bugs = [\"undo-leaves-something\"]", 1).await;
    let before = rig.platform.inventory().await.unwrap();
    drill(&rig, kill(&rig.primary().await)).await;
    rig.platform.stop().await.unwrap();
    let after = rig.platform.inventory().await.unwrap();
    let residue = rig.platform.residue(&before, &after);
    assert_eq!(residue.len(), 1, "{residue:?}");
    assert_eq!(residue[0].what, "sim-leftover note of fd-test-0");
    assert!(!residue[0].remedy.is_empty());
}
