//! A client of the simulated ledger. What it is not told for certain, it reports as unknown.

use async_trait::async_trait;
use firedrill_core::cluster::{Epoch, NodeName, Position};
use firedrill_core::history::{Op, Outcome, Reply, Route};
use firedrill_core::platform::{Dialer, Vantage};
use firedrill_core::sim::{Answer, Request};
use firedrill_core::system::{Client, Completion, ConnectError};

use super::wire::{PATIENCE, Wire};

struct SimClient {
    node: NodeName,
    wire: Wire,
    /// Whether it came by the router: then a node that takes no writes is of no use.
    routed: bool,
}

pub(super) async fn connect(
    nodes: &[NodeName],
    dial: &dyn Dialer,
    vantage: Vantage,
    route: &Route,
) -> Result<Box<dyn Client>, ConnectError> {
    let refused = |node: &NodeName, why: String| ConnectError(format!("{node}: {why}"));
    match route {
        Route::Direct(node) => match Wire::open(dial, vantage, node).await {
            Ok(wire) => Ok(Box::new(SimClient { node: node.clone(), wire, routed: false })),
            Err(error) => Err(refused(node, error.to_string())),
        },
        Route::Router => {
            let mut reasons = Vec::new();
            for node in nodes {
                match tokio::time::timeout(PATIENCE, try_primary(dial, vantage, node)).await {
                    Ok(Ok(wire)) => return Ok(Box::new(SimClient { node: node.clone(), wire, routed: true })),
                    Ok(Err(why)) => reasons.push(format!("{node}: {why}")),
                    Err(_) => reasons.push(format!("{node}: no answer")),
                }
            }
            Err(ConnectError(format!("no node takes writes ({})", reasons.join("; "))))
        }
    }
}

async fn try_primary(dial: &dyn Dialer, vantage: Vantage, node: &NodeName) -> Result<Wire, String> {
    let mut wire = Wire::open(dial, vantage, node).await.map_err(|error| error.to_string())?;
    let status = wire.status().await.map_err(|error| error.to_string())?;
    if status.read_write { Ok(wire) } else { Err("read-only node".to_owned()) }
}

#[async_trait]
impl Client for SimClient {
    async fn invoke(&mut self, op: &Op) -> Completion {
        let request = match op {
            Op::CreateLedger => Request::CreateLedger,
            Op::Insert { row } => Request::Insert { row: *row },
            Op::Scan => Request::Scan,
            Op::CreateStore { .. } | Op::Txn(_) => {
                let outcome = Outcome::fail("the simulated store has no transactions");
                return Completion { outcome, served_by: None, epoch: None, receipt: None, usable: true };
            }
        };
        let answer = self.wire.ask(&request).await;
        let told = |outcome, at: Option<(Epoch, Option<Position>)>, usable| Completion {
            outcome,
            served_by: at.map(|_| self.node.clone()),
            epoch: at.map(|(epoch, _)| epoch),
            receipt: at.and_then(|(_, receipt)| receipt),
            usable,
        };
        match answer {
            Ok(Answer::Acknowledged { epoch, position }) => {
                told(Outcome::Ok(Reply::Done), Some((epoch, Some(position))), true)
            }
            Ok(Answer::Rows { epoch, position, rows }) => {
                told(Outcome::Ok(Reply::Rows(rows)), Some((epoch, Some(position))), true)
            }
            Ok(Answer::ReadOnly { epoch }) => {
                told(Outcome::fail(format!("{}: read-only node", self.node)), Some((epoch, None)), !self.routed)
            }
            Ok(Answer::Unknown { why }) => told(Outcome::info(format!("{}: {why}", self.node)), None, false),
            Ok(other @ (Answer::Status(_) | Answer::Switches { .. })) => {
                told(Outcome::info(format!("{}: not an answer to this: {other:?}", self.node)), None, false)
            }
            // What only reads cannot have happened in part: without an answer it has failed.
            Err(error) if !request.writes() => told(Outcome::fail(format!("{}: {error}", self.node)), None, false),
            Err(error) => told(Outcome::info(format!("{}: {error}", self.node)), None, false),
        }
    }
}
