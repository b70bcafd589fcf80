//! The way to whichever node takes writes.

use std::sync::Arc;

use firedrill_core::cluster::NodeName;
use firedrill_core::platform::{Dialer, Vantage};
use firedrill_core::system::ConnectError;

use super::session::Session;
use crate::route;

/// Connects to the first of `nodes` that takes writes.
pub(super) async fn first_read_write(
    dial: &Arc<dyn Dialer>,
    vantage: Vantage,
    nodes: &[NodeName],
) -> Result<Session, ConnectError> {
    let first = route::first_good(nodes, |node| try_one(Arc::clone(dial), vantage, node)).await;
    first.map_err(|refusals| ConnectError(format!("no node takes writes ({})", refusals.join(", "))))
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
