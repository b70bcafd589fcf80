//! Asking every node at the same time: PostgreSQL, Patroni and etcd, each for its own word.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use firedrill_core::cluster::{Epoch, NodeName, Position};
use firedrill_core::platform::{Dialer, Vantage};
use futures_util::future::join_all;
use tokio_postgres::SimpleQueryRow;

use super::ETCD_PORT;
use super::etcd::{self, Scope, Status};
use super::rest;
use super::session::Session;
use crate::http::Http;

/// Timeline and position of a node, as columns 0 and 1. Of a standby: the timeline it receives, else the one it has
/// replayed. A server leaves recovery once and never goes back while it runs, so that what is asked of a primary is
/// asked after it said it is one.
pub(super) const WHERE: &str = "SELECT \
    CASE WHEN recovering THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver), \
        (SELECT nullif(min_recovery_end_timeline, 0) FROM pg_control_recovery()), \
        (SELECT timeline_id FROM pg_control_checkpoint()))::bigint \
    ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint END, \
    CASE WHEN recovering THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END - '0/0'::pg_lsn, \
    recovering, \
    current_setting('transaction_read_only'), \
    coalesce((SELECT status = 'streaming' FROM pg_stat_wal_receiver), false), \
    (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint, \
    (SELECT string_agg(application_name, ',') FROM pg_stat_replication \
        WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')), \
    (SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL) \
    FROM (SELECT pg_is_in_recovery() AS recovering OFFSET 0) AS self";

/// What PostgreSQL says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Server {
    /// Whether it takes writes.
    pub(super) read_write: bool,
    /// Its timeline.
    pub(super) epoch: Option<Epoch>,
    /// Written on a primary, replayed on a standby.
    pub(super) position: Option<Position>,
    /// Whether it receives the primary's log.
    pub(super) streaming: bool,
    /// When it started, in microseconds of its own clock.
    pub(super) incarnation: Option<u64>,
    /// Transactions that wrote and have not ended.
    pub(super) unfinished: u64,
    /// The standbys its commits wait for.
    pub(super) sync_standbys: BTreeSet<String>,
}

/// What was heard from one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Heard {
    /// Who.
    pub(super) node: NodeName,
    /// PostgreSQL.
    pub(super) server: Result<Server, String>,
    /// Whether Patroni lives.
    pub(super) daemon: Result<(), String>,
    /// etcd's word of itself.
    pub(super) store: Result<Status, String>,
    /// Patroni's keys, as this node's etcd has them.
    pub(super) scope: Result<Scope, String>,
}

/// Connections kept from one view to the next. One that was slow or failed is dropped, not kept.
#[derive(Default)]
pub(super) struct Kept {
    sessions: Mutex<BTreeMap<NodeName, Session>>,
    stores: Mutex<BTreeMap<NodeName, Http>>,
}

type Asking<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Asks all nodes, each for at most `limit`.
pub(super) async fn ask_all(kept: &Kept, nodes: &[NodeName], dial: &dyn Dialer, limit: Duration) -> Vec<Heard> {
    let ask = |node| -> Asking<'_, Heard> { Box::pin(ask_one(kept, node, dial, limit)) };
    join_all(nodes.iter().map(ask)).await
}

async fn ask_one(kept: &Kept, node: &NodeName, dial: &dyn Dialer, limit: Duration) -> Heard {
    let (server, daemon, store) = tokio::join!(
        within(limit, ask_server(kept, node, dial)),
        within(limit, rest::alive(dial, node)),
        within(limit, ask_store(kept, node, dial)),
    );
    let (store, scope) = match store {
        Ok((status, scope)) => (Ok(status), Ok(scope)),
        Err(reason) => (Err(reason.clone()), Err(reason)),
    };
    Heard { node: node.clone(), server, daemon, store, scope }
}

async fn within<T>(limit: Duration, asking: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(limit, asking).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

async fn ask_server(kept: &Kept, node: &NodeName, dial: &dyn Dialer) -> Result<Server, String> {
    let known = take(&kept.sessions, node);
    if let Some(mut session) = known
        && let Ok(row) = session.row(WHERE).await
    {
        put(&kept.sessions, node, session);
        return server(&row);
    }
    // The kept connection may only have outlived its server: ask once more on a fresh one.
    let mut session = Session::open(dial, Vantage::Control, node, "firedrill view").await?;
    let row = session.row(WHERE).await.map_err(|failure| failure.reason())?;
    put(&kept.sessions, node, session);
    server(&row)
}

async fn ask_store(kept: &Kept, node: &NodeName, dial: &dyn Dialer) -> Result<(Status, Scope), String> {
    if let Some(mut http) = take(&kept.stores, node)
        && let Ok(answers) = status_and_scope(&mut http).await
    {
        put(&kept.stores, node, http);
        return Ok(answers);
    }
    let mut http = Http::open(dial, node, ETCD_PORT).await?;
    let answers = status_and_scope(&mut http).await?;
    put(&kept.stores, node, http);
    Ok(answers)
}

async fn status_and_scope(http: &mut Http) -> Result<(Status, Scope), String> {
    let status = etcd::status(http).await?;
    let scope = etcd::scope(http).await?;
    Ok((status, scope))
}

fn take<T>(pool: &Mutex<BTreeMap<NodeName, T>>, node: &NodeName) -> Option<T> {
    pool.lock().unwrap_or_else(PoisonError::into_inner).remove(node)
}

fn put<T>(pool: &Mutex<BTreeMap<NodeName, T>>, node: &NodeName, connection: T) {
    pool.lock().unwrap_or_else(PoisonError::into_inner).insert(node.clone(), connection);
}

fn server(row: &SimpleQueryRow) -> Result<Server, String> {
    let recovering = row.get(2).ok_or("no answer to pg_is_in_recovery()")? == "t";
    let read_only = row.get(3) == Some("on");
    let names = row.get(6).unwrap_or_default().split(',').filter(|name| !name.is_empty());
    Ok(Server {
        read_write: !recovering && !read_only,
        epoch: epoch(row),
        position: position(row),
        streaming: row.get(4) == Some("t"),
        incarnation: row.get(5).and_then(|text| text.parse().ok()),
        unfinished: row.get(7).and_then(|text| text.parse().ok()).unwrap_or_default(),
        sync_standbys: names.map(ToOwned::to_owned).collect(),
    })
}

/// The timeline in an answer to [`WHERE`].
pub(super) fn epoch(row: &SimpleQueryRow) -> Option<Epoch> {
    row.get(0)?.parse().ok().map(Epoch)
}

/// The position in an answer to [`WHERE`].
pub(super) fn position(row: &SimpleQueryRow) -> Option<Position> {
    row.get(1)?.parse().ok().map(Position)
}

/// Versions of the servers, each from the first node that tells.
pub(super) async fn versions(nodes: &[NodeName], dial: &dyn Dialer, limit: Duration) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    for node in nodes {
        let postgres = async {
            let mut session = Session::open(dial, Vantage::Control, node, "firedrill view").await?;
            let row = session.row("SHOW server_version").await.map_err(|failure| failure.reason())?;
            row.get(0).map(ToOwned::to_owned).ok_or_else(|| "no version".to_owned())
        };
        let daemon = rest::version(dial, node);
        let store = async {
            let mut http = Http::open(dial, node, ETCD_PORT).await?;
            etcd::status(&mut http).await.map(|status| status.version)
        };
        let (postgres, daemon, store) =
            tokio::join!(within(limit, postgres), within(limit, daemon), within(limit, store));
        for (name, answer) in [("postgres", postgres), ("patroni", daemon), ("etcd", store)] {
            if let Ok(version) = answer {
                versions.entry(name.to_owned()).or_insert(version);
            }
        }
        if versions.len() == 3 {
            break;
        }
    }
    versions
}
