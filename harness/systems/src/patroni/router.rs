//! The route that applications take: every host in turn, and the one that takes writes wins, as libpq does with
//! several hosts and `target_session_attrs=read-write`.

use std::sync::Arc;
use std::time::Duration;

use firedrill_core::cluster::NodeName;
use firedrill_core::platform::{Dialer, Vantage};
use firedrill_core::system::ConnectError;
use tokio::task::JoinSet;

use super::session::Session;

/// How long a host may be silent before the next is tried beside it. libpq would wait out the whole of its
/// `connect_timeout`; a host behind a black hole must not hide a new primary for that long (RFC 8305 says 250 ms).
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to the first of `nodes` that takes writes. Never waits longer than the slowest answer; the caller bounds it.
pub(super) async fn first_read_write(
    dial: &Arc<dyn Dialer>,
    vantage: Vantage,
    nodes: &[NodeName],
) -> Result<Session, ConnectError> {
    let mut refusals: Vec<String> = Vec::new();
    let mut tries: JoinSet<Result<Session, String>> = JoinSet::new();
    let mut left = nodes.iter();
    loop {
        match left.next() {
            Some(node) => {
                tries.spawn(try_one(Arc::clone(dial), vantage, node.clone()));
            }
            None if tries.is_empty() => {
                refusals.sort();
                return Err(ConnectError(format!("no node takes writes ({})", refusals.join(", "))));
            }
            None => {}
        }
        let head_start = if left.len() > 0 { HEAD_START } else { Duration::MAX };
        match tokio::time::timeout(head_start, tries.join_next()).await {
            Ok(Some(Ok(Ok(session)))) => return Ok(session),
            Ok(Some(Ok(Err(refusal)))) => refusals.push(refusal),
            Ok(Some(Err(broken))) => refusals.push(broken.to_string()),
            Ok(None) | Err(_) => {}
        }
    }
}

async fn try_one(dial: Arc<dyn Dialer>, vantage: Vantage, node: NodeName) -> Result<Session, String> {
    let said = |reason: String| format!("{node}: {reason}");
    let mut session = Session::open(&*dial, vantage, &node, "firedrill").await.map_err(said)?;
    match session.is_read_write().await {
        Ok(true) => Ok(session),
        Ok(false) => Err(said("read-only".to_owned())),
        Err(failure) => Err(said(failure.reason())),
    }
}
