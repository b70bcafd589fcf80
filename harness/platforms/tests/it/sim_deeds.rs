//! What the simulation does beyond the contract of platforms: deadlines, refusals, and its end.

use std::time::Duration;

use firedrill_core::action::{Action, Deed, Presence};
use firedrill_core::cluster::{NodeName, ProcessName};
use firedrill_core::platform::Vantage;

use crate::sim_rig::{Rig, from_clients, from_peers, kill, pause};

async fn rig() -> Rig {
    Rig::start(3, "", 21).await
}

fn actions() -> Vec<Action> {
    let nodes = NodeName::numbered(3);
    vec![from_peers(&nodes[0], &nodes[1..]), from_clients(&nodes[1]), kill(&nodes[2]), pause(&nodes[0])]
}

#[tokio::test(start_paused = true)]
async fn an_action_ends_by_itself_at_its_deadline() {
    let rig = rig().await;
    for action in actions() {
        let (undo, presence) = rig.inject(&action, Some(Duration::from_secs(2))).await;
        assert_eq!(presence, Presence::Full, "{action}");
        rig.clock.sleep(Duration::from_secs(3)).await;
        assert_eq!(rig.platform.probe(&undo).await.presence, Presence::Absent, "{action}");
        let reverted = rig.platform.revert(&undo).await.unwrap();
        let (from, to) = reverted.held.unwrap();
        assert_eq!((to.since(from), reverted.by.as_str()), (Duration::from_secs(2), "deadline"), "{action}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_partial_cut_is_seen_as_partial() {
    let rig = rig().await;
    let nodes = &rig.nodes;
    let (both, _) = rig.inject(&from_peers(&nodes[0], &nodes[1..]), None).await;
    rig.platform.revert(&both).await.unwrap();
    let (_one, _) = rig.inject(&from_peers(&nodes[0], &nodes[1..2]), None).await;
    assert_eq!(rig.platform.probe(&both).await.presence, Presence::Partial);
}

#[tokio::test(start_paused = true)]
async fn there_must_be_something_to_act_on() {
    let rig = rig().await;
    let nowhere = NodeName::new("n9");
    let other = Some(ProcessName("postgres".to_owned()));
    let n1 = NodeName::new("n1");
    for action in [
        kill(&nowhere),
        pause(&nowhere),
        from_clients(&nowhere),
        Action::Cut { links: Vec::new(), port: None },
        Action::Pause { node: n1, process: other },
    ] {
        assert!(rig.platform.prepare(&action).await.is_err(), "{action}");
    }
    let n2 = NodeName::new("n2");
    let (down, _) = rig.inject(&kill(&n2), None).await;
    assert!(rig.platform.prepare(&kill(&n2)).await.is_err(), "it does not run");
    rig.platform.revert(&down).await.unwrap();
    assert!(rig.platform.prepare(&kill(&n2)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_stopped_cluster_refuses_connections_and_can_be_stopped_again() {
    let rig = rig().await;
    assert!(rig.platform.start(false).await.is_err(), "it is already running");
    let n1 = NodeName::new("n1");
    let dialer = rig.platform.dialer();
    assert!(dialer.dial(Vantage::Clients, &n1, firedrill_core::sim::PORT).await.is_ok());
    assert!(dialer.dial(Vantage::Clients, &n1, 1).await.is_err(), "nobody listens there");
    rig.platform.stop().await.unwrap();
    rig.platform.stop().await.unwrap();
    assert!(dialer.dial(Vantage::Clients, &n1, firedrill_core::sim::PORT).await.is_err());
    assert!(!rig.view().await.nodes.iter().any(|node| node.up));
}

#[tokio::test(start_paused = true)]
async fn every_deed_has_a_mechanism() {
    let rig = rig().await;
    let deeds = [Deed::CutLinks, Deed::KillProcess, Deed::PauseProcess];
    assert_eq!(rig.platform.preflight(&deeds).await.unwrap().len(), deeds.len());
}
