//! Watches every node of the simulated cluster, and who the nodes say leads.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use firedrill_core::cluster::{Epoch, NodeName};
use firedrill_core::event::Event;
use firedrill_core::platform::{Dialer, Vantage};
use firedrill_core::sim::Status;
use firedrill_core::system::Sink;
use firedrill_core::time::{Clock, RunTime};

use super::seen;
use super::wire::{PATIENCE, Wire, join_all};

/// How often each node is asked.
const INTERVAL: Duration = Duration::from_millis(20);
/// Equal answers are joined, but put into the sink at least so often.
const JOINED: Duration = Duration::from_millis(500);

pub(super) async fn watch(nodes: &[NodeName], dial: &dyn Dialer, clock: Clock, sink: &dyn Sink) {
    let leader = Leadership { sink, clock, quorum: nodes.len() / 2 + 1, told: Mutex::default() };
    join_all(nodes.iter().map(|node| watch_node(node, dial, clock, sink, &leader))).await;
}

async fn watch_node(node: &NodeName, dial: &dyn Dialer, clock: Clock, sink: &dyn Sink, leader: &Leadership<'_>) {
    let mut wire: Option<Wire> = None;
    let mut joined = Joined { node, clock, sink, open: None };
    let mut due = clock.now();
    loop {
        clock.sleep_until(due).await;
        let asked = clock.now();
        let status = async {
            let mut taken = match wire.take() {
                Some(wire) => wire,
                None => Wire::open(dial, Vantage::Control, node).await?,
            };
            let status = taken.status().await?;
            wire = Some(taken);
            std::io::Result::Ok(status)
        };
        let status = tokio::time::timeout(PATIENCE, status).await.ok().and_then(Result::ok);
        joined.add(asked, status.as_ref());
        leader.hear(node, status);
        due = due.plus(INTERVAL).max(clock.now());
    }
}

/// Equal answers of one node in a row. The first of a row is put at once, so that a change is seen when it happens.
struct Joined<'a> {
    node: &'a NodeName,
    clock: Clock,
    sink: &'a dyn Sink,
    open: Option<Row>,
}

struct Row {
    said: (Option<bool>, Option<Epoch>),
    first: (RunTime, RunTime),
    last: (RunTime, RunTime),
    count: u32,
}

impl Joined<'_> {
    fn add(&mut self, asked: RunTime, status: Option<&Status>) {
        let said = (status.map(|status| status.read_write), status.map(|status| status.epoch));
        let now = (asked, self.clock.now());
        match &mut self.open {
            Some(row) if row.said == said => {
                row.last = now;
                row.count += 1;
                if row.count == 1 {
                    row.first = now;
                }
                if row.last.1.since(row.first.1) >= JOINED {
                    self.put();
                }
            }
            Some(_) | None => {
                self.put();
                self.open = Some(Row { said, first: now, last: now, count: 1 });
                self.put();
            }
        }
    }

    /// Puts what is joined so far and goes on with an empty row of the same answer.
    fn put(&mut self) {
        let Some(row) = self.open.as_mut().filter(|row| row.count > 0) else { return };
        let event = Event::NodeSeen {
            node: self.node.clone(),
            read_write: row.said.0,
            epoch: row.said.1,
            first_asked: row.first.0,
            first_answered: row.first.1,
            last_asked: row.last.0,
            last_answered: row.last.1,
            count: row.count,
        };
        row.count = 0;
        self.sink.put(row.last.1, event);
    }
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        self.put();
    }
}

/// Who holds the lease, by what the nodes say: whom a majority of all nodes names as primary on one epoch. A node that does
/// not answer names nobody.
struct Leadership<'a> {
    sink: &'a dyn Sink,
    clock: Clock,
    quorum: usize,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    names: BTreeMap<NodeName, (NodeName, Epoch)>,
    holder: Option<NodeName>,
}

impl Leadership<'_> {
    fn hear(&self, node: &NodeName, status: Option<Status>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match status.and_then(|status| status.primary.map(|primary| (primary, status.epoch))) {
            Some(named) => told.names.insert(node.clone(), named),
            None => told.names.remove(node),
        };
        let votes = |named: &(NodeName, Epoch)| told.names.values().filter(|other| *other == named).count();
        let holder = told.names.values().find(|named| votes(named) >= self.quorum).map(|(name, _)| name.clone());
        if holder != told.holder {
            told.holder.clone_from(&holder);
            seen(self.sink, self.clock, Event::Leader { holder, revision: None });
        }
    }
}
