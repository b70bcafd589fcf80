//! Watching while a run goes on: every Redis for its role, every Sentinel for whom it takes for the master.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firedrill_core::cluster::NodeName;
use firedrill_core::event::Event;
use firedrill_core::platform::{Dialer, NodeAddress, Vantage};
use firedrill_core::system::Sink;
use firedrill_core::time::Clock;
use tokio::task::JoinSet;

use super::resp::Resp;
use super::view::{self, Watched};
use super::{PORT, SENTINEL_PORT};
use crate::joined::{Answer, Joined};

/// Twenty polls a second.
const PERIOD: Duration = Duration::from_millis(50);
/// A poll without an answer for this long counts as unanswered.
const PATIENCE: Duration = Duration::from_millis(500);

/// What was last told of who is master: by which epoch, and whom.
type Told = Arc<Mutex<Option<(u64, Option<NodeName>)>>>;

/// Watches until dropped.
pub(super) async fn watch(places: &[NodeAddress], dial: &Arc<dyn Dialer>, clock: Clock, sink: &Arc<dyn Sink>) {
    let told = Told::default();
    let mut tasks = JoinSet::new();
    for place in places {
        tasks.spawn(poll_server(place.node.clone(), Arc::clone(dial), clock, Arc::clone(sink)));
        let sentinel = (place.node.clone(), places.to_vec());
        tasks.spawn(poll_sentinel(sentinel, Arc::clone(dial), clock, Arc::clone(sink), Arc::clone(&told)));
    }
    // None of them ends by itself; dropping the set aborts them all.
    while tasks.join_next().await.is_some() {}
}

async fn kept<'a>(kept: &'a mut Option<Resp>, dial: &dyn Dialer, node: &NodeName, port: u16) -> Option<&'a mut Resp> {
    if kept.is_none() {
        *kept = Some(Resp::open(dial, Vantage::Control, node, port).await.ok()?);
    }
    kept.as_mut()
}

async fn poll_server(node: NodeName, dial: Arc<dyn Dialer>, clock: Clock, sink: Arc<dyn Sink>) {
    let mut joined = Joined::new(node.clone());
    let mut connection = None;
    loop {
        let asked = clock.now();
        let role = async { kept(&mut connection, &*dial, &node, PORT).await?.ask(&["ROLE"]).await.ok() };
        let role = tokio::time::timeout(PATIENCE, role).await.ok().flatten();
        let answered = clock.now();
        let read_write = role.as_ref().and_then(|role| Some(role.list().first()?.text()? == "master"));
        if read_write.is_none() {
            connection = None;
        }
        for event in joined.add(Answer { read_write, epoch: None }, asked, answered) {
            sink.put(answered, event);
        }
        clock.sleep_until(asked.plus(PERIOD)).await;
    }
}

async fn poll_sentinel(
    (node, places): (NodeName, Vec<NodeAddress>),
    dial: Arc<dyn Dialer>,
    clock: Clock,
    sink: Arc<dyn Sink>,
    told: Told,
) {
    let mut connection = None;
    loop {
        let asked = clock.now();
        let watched = async {
            let resp = kept(&mut connection, &*dial, &node, SENTINEL_PORT).await?;
            view::watched(resp, &places).await.ok()
        };
        match tokio::time::timeout(PATIENCE, watched).await.ok().flatten() {
            Some(watched) => tell(&told, &watched, |event| sink.put(clock.now(), event)),
            None => connection = None,
        }
        clock.sleep_until(asked.plus(PERIOD)).await;
    }
}

/// Tells when a sentinel knows of a newer master, or of the agreement that the newest one is down.
fn tell(told: &Told, watched: &Watched, put: impl FnOnce(Event)) {
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    let known = told.as_ref().map(|(epoch, _)| *epoch);
    let holder = if watched.down { None } else { watched.master.clone() };
    let news = match (&*told, known) {
        (_, Some(known)) if watched.epoch < known => false,
        (_, Some(known)) if watched.epoch > known => holder.is_some(),
        // Of the same failover: that it is down is news once; that it is up again is not told by a sentinel that has not
        // heard of the agreement.
        (Some((_, Some(_))), _) => holder.is_none(),
        (Some((_, None)), _) => false,
        (None, _) => true,
    };
    if news {
        *told = Some((watched.epoch, holder.clone()));
        put(Event::Leader { holder, revision: Some(watched.epoch) });
    }
}
