//! The contract of platforms, kept by the simulation; and each clause, broken on purpose and found.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use firedrill_core::action::Deed;
use firedrill_core::cluster::{NodeName, ProcessName};
use firedrill_core::platform::{Offer, Platform, Vantage};
use firedrill_core::sim::{PORT, PROCESS};
use firedrill_core::time::Clock;
use firedrill_core::wait;

use crate::contract::{Clause, Place, Report, Stand, all, deeds, keeps};
use crate::sim_breakers::{Breaker, Broken};
use crate::sim_rig::Rig;

/// How long an election may take, and everything else.
const PATIENCE: Duration = Duration::from_secs(5);

/// A simulated cluster. Its deeds are one step each; [`Broken`] has them fail after it.
struct SimStand {
    rig: Rig,
    platform: Arc<Broken>,
}

#[async_trait]
impl Stand for SimStand {
    fn platform(&self) -> Arc<dyn Platform> {
        let platform: Arc<Broken> = Arc::clone(&self.platform);
        platform
    }

    fn offers(&self, deed: Deed) -> Offer {
        (firedrill_platforms::sim::ENTRY.offers)(deed)
    }

    fn clock(&self) -> Clock {
        self.rig.clock
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    async fn whole(&self) -> Result<(), String> {
        let look = async || self.rig.system.whole(&self.rig.view().await);
        let whole = wait::until("a whole cluster", self.rig.clock, PATIENCE, Duration::from_millis(20), look);
        whole.await.map_err(|timed_out| timed_out.to_string())
    }

    /// Which nodes answer, and to whom.
    async fn independent(&self) -> Option<BTreeSet<String>> {
        let view = self.rig.view().await;
        let mut lines: BTreeSet<String> =
            view.nodes.iter().map(|node| format!("{} up {}", node.name, node.up)).collect();
        for node in &self.rig.nodes {
            let dialer = self.rig.platform.dialer();
            let asked = tokio::time::timeout(Duration::from_millis(100), dialer.dial(Vantage::Clients, node, PORT));
            let answers = matches!(asked.await, Ok(Ok(_)));
            lines.insert(format!("{node} answers clients {answers}"));
        }
        Some(lines)
    }

    async fn stop_at(&self, point: Option<&str>) -> bool {
        self.platform.stop_at(point.map(str::to_owned));
        true
    }
}

/// The report on a simulation of this breaker, with these planted bugs.
async fn report(options: &str, breaker: Option<Breaker>) -> Report {
    let rig = Rig::start(3, options, 21).await;
    let platform = Arc::new(Broken::new(Arc::clone(&rig.platform), breaker));
    let nodes = NodeName::numbered(3).try_into().unwrap();
    let place = Place { nodes, server: ProcessName(PROCESS.to_owned()), other: None };
    let stand = SimStand { rig, platform };
    let mut report = Report::default();
    for case in all(&place) {
        report.add(keeps(&stand, &place, &case).await);
        // What comes after it may come of it.
        if !report.breaches.is_empty() {
            break;
        }
    }
    report
}

#[tokio::test(start_paused = true)]
async fn the_simulation_keeps_the_contract() {
    let report = report("", None).await;
    println!("{report}{}", report.counts());
    assert_eq!(report.breaches, []);
    // A cut of all ports, a pause and three kills. A cut of one port, restart loop, stop and rolling restart are refused by
    // `prepare`; the rest is never offered.
    assert_eq!(report.kept.len(), 5, "{report}");
    let refused = report.not_offered.iter().filter(|(deed, _)| *deed == Deed::CutLinks || *deed == Deed::KillProcess);
    assert_eq!(refused.count(), 4, "{report}");
    let known: BTreeSet<Deed> = report.not_offered.iter().map(|(deed, _)| *deed).collect();
    assert!(deeds().into_iter().all(|deed| deed == Deed::PauseProcess || known.contains(&deed)), "{report}");
}

#[tokio::test(start_paused = true)]
async fn whoever_breaks_a_clause_is_found() {
    for (breaker, clause) in Breaker::ALL {
        let report = report("", Some(breaker)).await;
        let first = report.breaches.first().map(|breach| breach.clause);
        assert_eq!(first, Some(clause), "{breaker:?}: {report}");
    }
}

#[tokio::test(start_paused = true)]
async fn planted_bugs_of_the_simulation_are_found() {
    for (bug, clause) in [("fault-does-nothing", Clause::Apply), ("undo-leaves-something", Clause::Revert)] {
        let report = report(&format!("bugs = [\"{bug}\"]"), None).await;
        assert_eq!(report.breaches.first().map(|breach| breach.clause), Some(clause), "{bug}: {report}");
    }
}
