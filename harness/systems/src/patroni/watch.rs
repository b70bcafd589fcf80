//! Watching while a run goes on: every node is polled for its own word on who it is, and every etcd is watched for the
//! leader key. What two etcds tell is told once, by whichever told first.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firedrill_core::cluster::{Epoch, NodeName};
use firedrill_core::event::Event;
use firedrill_core::platform::{Dialer, Vantage};
use firedrill_core::system::Sink;
use firedrill_core::time::Clock;
use http_body_util::BodyExt as _;
use hyper::Method;
use tokio::task::JoinSet;
use tokio_postgres::Statement;

use super::ETCD_PORT;
use super::etcd::{self, Change};
use super::session::Session;
use crate::http::Http;
use crate::joined::{Answer, Joined};

/// Fifty polls a second.
const PERIOD: Duration = Duration::from_millis(20);
/// A poll without an answer for this long counts as unanswered.
const PATIENCE: Duration = Duration::from_millis(500);
/// Waits between attempts to watch an etcd again, from the first to the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Longest message of a watch that is kept.
const LONGEST_MESSAGE: usize = 1 << 20;

/// Whether a node takes writes, and its timeline. Cheaper than a view, because it is asked fifty times a second.
const POLL: &str = "SELECT recovering OR current_setting('transaction_read_only')::bool, \
    CASE WHEN recovering THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver), \
        (SELECT timeline_id FROM pg_control_checkpoint()))::bigint \
    ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint END \
    FROM (SELECT pg_is_in_recovery() AS recovering OFFSET 0) AS self";

/// Watches until dropped.
pub(super) async fn watch(nodes: &[NodeName], dial: &Arc<dyn Dialer>, clock: Clock, sink: &Arc<dyn Sink>) {
    let leadership = Arc::new(Leadership { told: Mutex::default(), clock, sink: Arc::clone(sink) });
    let mut tasks = JoinSet::new();
    for node in nodes {
        tasks.spawn(poll_node(node.clone(), Arc::clone(dial), clock, Arc::clone(sink)));
        tasks.spawn(watch_store(node.clone(), Arc::clone(dial), clock, Arc::clone(&leadership)));
    }
    // None of them ends by itself; dropping the set aborts them all.
    while tasks.join_next().await.is_some() {}
}

async fn poll_node(node: NodeName, dial: Arc<dyn Dialer>, clock: Clock, sink: Arc<dyn Sink>) {
    let mut joined = Joined::new(node.clone());
    let mut session = None;
    loop {
        let asked = clock.now();
        let answer = tokio::time::timeout(PATIENCE, poll(&mut session, &*dial, &node)).await;
        let answered = clock.now();
        let answer = answer.ok().flatten().unwrap_or_else(|| {
            session = None;
            Answer { read_write: None, epoch: None }
        });
        for event in joined.add(answer, asked, answered) {
            sink.put(answered, event);
        }
        clock.sleep_until(asked.plus(PERIOD)).await;
    }
}

/// Asks with a prepared statement: to parse and plan it anew fifty times a second would be a load of its own.
async fn poll(session: &mut Option<(Session, Statement)>, dial: &dyn Dialer, node: &NodeName) -> Option<Answer> {
    if session.is_none() {
        let mut open = Session::open(dial, Vantage::Control, node, "firedrill watch").await.ok()?;
        let statement = open.ask(async |client| client.prepare(POLL).await).await.ok()?;
        *session = Some((open, statement));
    }
    let (session, statement) = session.as_mut()?;
    let row = session.ask(async |client| client.query_one(&*statement, &[]).await).await.ok()?;
    let read_only: bool = row.try_get(0).ok()?;
    let epoch: Option<i64> = row.try_get(1).ok()?;
    Some(Answer { read_write: Some(!read_only), epoch: epoch.and_then(|epoch| u64::try_from(epoch).ok()).map(Epoch) })
}

/// What was last told of the leader key, by all etcds together.
struct Leadership {
    told: Mutex<Option<Change>>,
    clock: Clock,
    sink: Arc<dyn Sink>,
}

impl Leadership {
    /// Tells a change unless it, or a later one, was told already, or nothing changes by it.
    fn tell(&self, change: Change) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref().is_some_and(|last| change.revision <= last.revision) {
            return;
        }
        if told.as_ref().is_none_or(|last| last.holder != change.holder) {
            let holder = change.holder.as_ref().map(NodeName::new);
            self.sink.put(self.clock.now(), Event::Leader { holder, revision: Some(change.revision) });
        }
        *told = Some(change);
    }
}

async fn watch_store(node: NodeName, dial: Arc<dyn Dialer>, clock: Clock, leadership: Arc<Leadership>) {
    let mut pause = BACKOFF.0;
    let mut known = None;
    loop {
        let before = known;
        // How a watch ended does not matter: it is begun again from the last revision it told.
        drop(follow(&node, &*dial, &leadership, &mut known).await);
        pause = if known == before { (pause * 2).min(BACKOFF.1) } else { BACKOFF.0 };
        clock.sleep(pause).await;
    }
}

/// Follows the leader key through one etcd until the connection or the watch ends. `known` is the revision up to which
/// everything was told.
async fn follow(
    node: &NodeName,
    dial: &dyn Dialer,
    leadership: &Leadership,
    known: &mut Option<u64>,
) -> Result<(), String> {
    let late = |_| "no answer in time".to_owned();
    let open = async {
        let mut http = Http::open(dial, node, ETCD_PORT).await?;
        let revision = if let Some(revision) = *known {
            revision
        } else {
            let scope = etcd::scope(&mut http).await?;
            let (holder, revision) = scope.leader.map_or((None, scope.revision), |(name, at)| (Some(name), at));
            leadership.tell(Change { holder, revision });
            scope.revision
        };
        *known = Some(revision);
        let answer = http.send(Method::POST, "/v3/watch", etcd::watch_request(revision)).await?;
        Ok::<_, String>((http, answer.into_body()))
    };
    // Until a majority elects a leader a member may not answer at all; another try costs nothing.
    let (_http, mut body) = tokio::time::timeout(PATIENCE * 4, open).await.map_err(late)??;
    let mut buffer: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| error.to_string())?.into_data() else { continue };
        buffer.extend_from_slice(&data);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let notice = etcd::notice(line.trim_ascii())?;
            if notice.ended {
                // Compacted, or the member gave up: begin again from what is there.
                *known = None;
                return Ok(());
            }
            for change in notice.changes {
                *known = (*known).max(Some(change.revision));
                leadership.tell(change);
            }
        }
        if buffer.len() > LONGEST_MESSAGE {
            return Err("a message of the watch is too long".to_owned());
        }
    }
    Ok(())
}
