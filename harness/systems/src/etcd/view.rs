//! Asking every member at the same time, and what their answers amount to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firedrill_core::cluster::{ClusterView, NodeName, NodeView, Role};
use firedrill_core::event::Event;
use firedrill_core::platform::Dialer;
use firedrill_core::system::Sink;
use firedrill_core::time::{Clock, RunTime};
use futures_util::future::join_all;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::PORT;
use super::gateway::{self, Status};
use crate::http::Http;
use crate::joined::{Answer, Joined};

/// Twenty polls a second.
const PERIOD: Duration = Duration::from_millis(50);
/// A poll without an answer for this long counts as unanswered.
const PATIENCE: Duration = Duration::from_millis(500);

/// A member and its word, or why it gave none.
pub(super) type Heard = (NodeName, Result<Status, String>);

/// Asks all nodes, each for at most `limit`.
pub(super) async fn ask_all(nodes: &[NodeName], dial: &dyn Dialer, limit: Duration) -> Vec<Heard> {
    join_all(nodes.iter().map(async |node| {
        let asked = async {
            let mut http = Http::open(dial, node, PORT).await?;
            gateway::status(&mut http).await
        };
        let answer = tokio::time::timeout(limit, asked).await;
        (node.clone(), answer.unwrap_or_else(|_| Err("no answer in time".to_owned())))
    }))
    .await
}

fn leads(status: &Status) -> bool {
    status.leader != 0 && status.leader == status.stamp.member
}

/// The view that these answers make. The leader is the primary; who follows the same leader streams.
pub(super) fn told(heard: Vec<Heard>, at: RunTime) -> ClusterView {
    let leaders: BTreeSet<(u64, u64)> =
        heard.iter().filter_map(|(_, status)| status.as_ref().ok()).map(|s| (s.stamp.term, s.leader)).collect();
    let newest = leaders.last().copied();
    let mut nodes: Vec<NodeView> = heard.into_iter().map(|(node, status)| seen(node, status, newest)).collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let disagreement = (leaders.len() > 1).then(|| {
        let words: Vec<String> =
            nodes.iter().filter(|node| node.up).map(|n| format!("{}: {}", n.name, n.detail)).collect();
        words.join("; ")
    });
    ClusterView { at, nodes, disagreement }
}

fn seen(node: NodeName, status: Result<Status, String>, newest: Option<(u64, u64)>) -> NodeView {
    let status = match status {
        Ok(status) => status,
        Err(why) => return NodeView::down(node, why),
    };
    let leading = leads(&status);
    let detail = match status.leader {
        0 => format!("knows no leader in term {}", status.stamp.term),
        _ if leading => format!("leads in term {}", status.stamp.term),
        leader => format!("follows {leader:x} in term {}", status.stamp.term),
    };
    let role = if leading { Role::Primary } else { Role::Replica };
    NodeView {
        up: true,
        roles: BTreeSet::from([role]),
        read_write: leading,
        epoch: Some(status.stamp.epoch()),
        position: Some(status.stamp.position()),
        streaming: !leading && status.leader != 0 && newest == Some((status.stamp.term, status.leader)),
        labels: BTreeMap::new(),
        ..NodeView::down(node, detail)
    }
}

/// One leader, whom all others follow.
pub(super) fn whole(view: &ClusterView, nodes: usize) -> Result<(), String> {
    if let Some(node) = view.nodes.iter().find(|node| !node.up) {
        return Err(format!("{} does not answer: {}", node.name, node.detail));
    }
    if let Some(disagreement) = &view.disagreement {
        return Err(disagreement.clone());
    }
    let following = view.streaming();
    match view.primaries() {
        1 if following + 1 == nodes => Ok(()),
        1 => Err(format!("{following} of {} members follow the leader", nodes.saturating_sub(1))),
        leaders => Err(format!("{leaders} members lead")),
    }
}

/// What the members were last heard to say of who leads.
#[derive(Default)]
struct Led {
    told: Option<(u64, Option<NodeName>)>,
    /// Those that know no leader.
    leaderless: BTreeSet<NodeName>,
}

/// Watches until dropped.
pub(super) async fn watch(nodes: &[NodeName], dial: &Arc<dyn Dialer>, clock: Clock, sink: &Arc<dyn Sink>) {
    let led: Arc<Mutex<Led>> = Arc::default();
    let majority = nodes.len() / 2 + 1;
    let mut tasks = JoinSet::new();
    for node in nodes {
        tasks.spawn(poll(node.clone(), Arc::clone(dial), clock, Arc::clone(sink), (Arc::clone(&led), majority)));
    }
    // None of them ends by itself; dropping the set aborts them all.
    while tasks.join_next().await.is_some() {}
}

async fn poll(node: NodeName, dial: Arc<dyn Dialer>, clock: Clock, sink: Arc<dyn Sink>, led: (Arc<Mutex<Led>>, usize)) {
    let mut joined = Joined::new(node.clone());
    let mut kept: Option<Http> = None;
    loop {
        let asked = clock.now();
        let until = clock.instant(asked.plus(PATIENCE));
        let status = timeout_at(until, ask(&mut kept, &*dial, &node)).await.ok().flatten();
        let read_write = match &status {
            Some(status) if leads(status) => timeout_at(until, serves(&mut kept, status)).await.ok().flatten(),
            Some(_) => Some(false),
            None => None,
        };
        let answered = clock.now();
        if read_write.is_none() {
            // An answer may still be on its way.
            kept = None;
        }
        let answer = Answer { read_write, epoch: status.as_ref().map(|status| status.stamp.epoch()) };
        for event in joined.add(answer, asked, answered) {
            sink.put(answered, event);
        }
        if let Some(status) = &status {
            tell(&led, &node, status, |event| sink.put(answered, event));
        }
        clock.sleep_until(asked.plus(PERIOD)).await;
    }
}

async fn ask(kept: &mut Option<Http>, dial: &dyn Dialer, node: &NodeName) -> Option<Status> {
    if kept.is_none() {
        *kept = Some(Http::open(dial, node, PORT).await.ok()?);
    }
    gateway::status(kept.as_mut()?).await.ok()
}

/// Whether a member that says that it leads still does: a majority confirms it before a linearizable read is answered (Raft's
/// read index). One that is cut off from the others says for an election timeout that it leads, and takes no writes.
async fn serves(kept: &mut Option<Http>, status: &Status) -> Option<bool> {
    let any = json!({ "key": gateway::encoded("firedrill/leads"), "count_only": true });
    let good = gateway::ask(kept.as_mut()?, "/v3/kv/range", &any).await.ok()?.ok()?;
    (good.stamp.term == status.stamp.term).then_some(true)
}

/// Tells when somebody leads, and when a majority has lost its leader: one that is cut off says nothing about the others.
fn tell(led: &(Arc<Mutex<Led>>, usize), node: &NodeName, status: &Status, put: impl FnOnce(Event)) {
    let (led, majority) = led;
    let mut led = led.lock().unwrap_or_else(PoisonError::into_inner);
    if status.leader == 0 {
        led.leaderless.insert(node.clone());
    } else {
        led.leaderless.remove(node);
    }
    let term = status.stamp.term;
    let known = led.told.as_ref().map_or(0, |(term, _)| *term);
    let news = if leads(status) && term >= known {
        Some(Some(node.clone()))
    } else {
        (led.leaderless.len() >= *majority).then_some(None)
    };
    let Some(holder) = news else { return };
    if led.told.as_ref().is_some_and(|(_, before)| *before == holder) {
        return;
    }
    led.told = Some((term.max(known), holder.clone()));
    put(Event::Leader { holder, revision: Some(term) });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::gateway::Stamp;

    /// Members 1 to 3; each with its term and leader, `None` if it does not answer.
    fn view(said: [Option<(u64, u64)>; 3]) -> ClusterView {
        let status = |(member, said): (u64, Option<(u64, u64)>)| {
            let (term, leader) = said.ok_or_else(|| "gone".to_owned())?;
            Ok(Status { version: String::new(), stamp: Stamp { member, term, revision: 9 }, leader })
        };
        let heard = NodeName::numbered(3).into_iter().zip((1..).zip(said).map(status));
        told(heard.collect(), RunTime::ZERO)
    }

    #[test]
    fn a_cluster_is_whole_when_all_follow_one_leader() {
        assert_eq!(whole(&view([Some((2, 1)), Some((2, 1)), Some((2, 1))]), 3), Ok(()));
        for said in [
            [Some((2, 1)), Some((2, 1)), None],
            [Some((2, 1)), Some((3, 2)), Some((3, 2))],
            [Some((2, 1)), Some((2, 1)), Some((2, 0))],
            [Some((2, 0)), Some((2, 0)), Some((2, 0))],
        ] {
            let seen = view(said);
            assert!(whole(&seen, 3).is_err(), "{seen:?}");
        }
    }
}
