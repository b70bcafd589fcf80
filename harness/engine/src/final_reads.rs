//! After everything is healed: waits until the cluster is whole and every node has replayed what the primary wrote last,
//! then reads everything through every node.

use std::sync::Arc;
use std::time::Duration;

use firedrill_core::cluster::{ClusterView, NodeName};
use firedrill_core::event::Event;
use firedrill_core::history::{FinalRead, Op, Outcome, Reply, Route};
use firedrill_core::platform::{Dialer, Vantage};
use firedrill_core::scenario::Scenario;
use firedrill_core::system::{Audit, System};
use firedrill_core::time::Clock;
use firedrill_core::wait::{self, TimedOut};

use crate::folder::Finals;
use crate::recorder::Recorder;

const LOOK: Duration = Duration::from_secs(2);
const READ: Duration = Duration::from_secs(60);

/// Waits until the system calls itself whole; `show` is called at every look.
pub(crate) async fn whole(
    scenario: &Scenario,
    dialer: &dyn Dialer,
    clock: Clock,
    limit: Duration,
    show: impl Fn(&ClusterView),
) -> Result<ClusterView, TimedOut> {
    let system = &scenario.cluster.system;
    let show = &show;
    wait::until("a whole cluster", clock, limit, Duration::from_millis(100), || async {
        let view = system.view(dialer, clock, LOOK).await;
        show(&view);
        system.whole(&view).map_err(|why| format!("{why} ({})", view.in_words()))?;
        Ok(view)
    })
    .await
}

/// Waits until no write is unfinished, and every node has replayed at least what the primary had written when the load
/// had ended.
pub(crate) async fn caught_up(
    scenario: &Scenario,
    dialer: &dyn Dialer,
    clock: Clock,
    limit: Duration,
) -> Result<ClusterView, TimedOut> {
    let began = clock.now();
    let settled = whole(scenario, dialer, clock, limit, |_| {}).await?;
    let wanted = settled.primary().and_then(|primary| primary.position);
    let left = limit.saturating_sub(clock.now().since(began)).max(Duration::from_secs(1));
    let system = &scenario.cluster.system;
    wait::until("caught-up replicas", clock, left, Duration::from_millis(100), || async {
        let view = system.view(dialer, clock, LOOK).await;
        system.whole(&view)?;
        if let Some(busy) = view.nodes.iter().find(|node| node.unfinished > 0) {
            return Err(format!("{} has {} unfinished writes: {}", busy.name, busy.unfinished, view.in_words()));
        }
        match view.nodes.iter().find(|node| node.position < wanted) {
            Some(behind) => Err(format!("{} is behind: {}", behind.name, view.in_words())),
            None => Ok(view),
        }
    })
    .await
}

/// Settles, records whether it came about, and reads every node whatever came of it; `reading` is called in between.
pub(crate) async fn take(
    scenario: &Scenario,
    dialer: Arc<dyn Dialer>,
    recorder: &Recorder,
    clock: Clock,
    reading: impl FnOnce(),
    last_log_lines: impl Fn(&NodeName) -> Vec<String>,
) -> Finals {
    let settled = caught_up(scenario, dialer.as_ref(), clock, scenario.cluster.settle).await;
    let (met, seen) = match &settled {
        Ok(view) => {
            recorder.event(Event::View { view: view.clone() });
            (true, view.in_words())
        }
        Err(timed_out) => (false, timed_out.to_string()),
    };
    recorder.event(Event::Settled { met, seen });
    reading();
    let mut finals = Finals::default();
    let scans = scenario.load.workload.open().finale().contains(&Op::Scan);
    for node in scenario.cluster.nodes.iter().filter(|_| scans) {
        finals.reads.push(read(scenario, &dialer, clock, node, settled.as_ref().ok()).await);
    }
    let primary = settled.ok().and_then(|view| view.primary().map(|node| node.name.clone()));
    if scenario.needs_audit() {
        // The primary first: what looking takes (extensions) reaches its standbys through it.
        let rest = scenario.cluster.nodes.iter().filter(|node| Some(*node) != primary.as_ref());
        for node in primary.iter().chain(rest) {
            let mut audit = audit(scenario.cluster.system.as_ref(), dialer.as_ref(), node).await;
            audit.failure = audit.failure.map(|why| [vec![why], last_log_lines(node)].concat().join("\n"));
            recorder.event(Event::Audited { node: node.clone(), audit });
        }
    }
    for node in primary.iter().chain(&scenario.cluster.nodes) {
        let asked = scenario.cluster.system.epoch_switches(dialer.as_ref(), node);
        if let Ok(Ok(switches)) = tokio::time::timeout(LOOK, asked).await {
            finals.switches = switches;
            break;
        }
    }
    let versions = tokio::time::timeout(LOOK, scenario.cluster.system.versions(dialer.as_ref())).await;
    finals.versions = versions.unwrap_or_default();
    finals
}

/// Looks a node's data through, for at most [`READ`].
pub(crate) async fn audit(system: &dyn System, dialer: &dyn Dialer, node: &NodeName) -> Audit {
    let failure = || Audit { failure: Some("no answer within 60s".to_owned()), ..Audit::default() };
    tokio::time::timeout(READ, system.audit(dialer, node)).await.unwrap_or_else(|_| failure())
}

async fn read(
    scenario: &Scenario,
    dialer: &Arc<dyn Dialer>,
    clock: Clock,
    node: &NodeName,
    settled: Option<&ClusterView>,
) -> FinalRead {
    let scan = async {
        let route = Route::Direct(node.clone());
        let connecting = scenario.cluster.system.connect(Arc::clone(dialer), Vantage::Control, &route);
        let mut client = connecting.await.map_err(|error| error.to_string())?;
        let completion = client.invoke(&Op::Scan).await;
        match completion.outcome {
            Outcome::Ok(Reply::Rows(rows)) => Ok((rows, completion.epoch, completion.receipt)),
            Outcome::Ok(Reply::Done | Reply::Answers(_)) => Err("the scan returned no rows".to_owned()),
            Outcome::Fail(why) | Outcome::Info(why) => Err(why.to_string()),
        }
    };
    let answer = tokio::time::timeout(READ, scan).await.unwrap_or_else(|_| Err("no answer within 60s".to_owned()));
    let seen = settled.and_then(|view| view.node(node));
    let (rows, epoch, position) = match answer {
        Ok((rows, epoch, position)) => (Ok(rows), epoch, position),
        Err(why) => (Err(why), None, None),
    };
    FinalRead {
        node: node.clone(),
        at: clock.now(),
        epoch: epoch.or(seen.and_then(|node| node.epoch)),
        position: position.max(seen.and_then(|node| node.position)),
        rows,
    }
}
