//! A simulated cluster under load, for the tests of the simulation: a small stand-in for the engine.

#![expect(clippy::disallowed_methods, reason = "tasks end with their test's runtime")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firedrill_core::action::{Action, Endpoint, Link, Presence, Undo};
use firedrill_core::cluster::{ClusterView, Epoch, NodeName};
use firedrill_core::event::{Event, Stamped};
use firedrill_core::history::{Call, FinalRead, Op, Outcome, ProcessId, Reply, Route};
use firedrill_core::platform::{OpenRequest, Platform, Vantage};
use firedrill_core::seed::Seed;
use firedrill_core::spec::{Fields, Mistakes};
use firedrill_core::system::{Client, Sink, System};
use firedrill_core::time::{Clock, RunTime};
use firedrill_core::wait;
use tokio::task::JoinHandle;
use toml::de::DeTable;

pub(crate) const LIMIT: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_secs(1);

/// Where the watchers put what they see.
#[derive(Default)]
pub(crate) struct Seen(Mutex<Vec<Stamped>>);

impl Sink for Seen {
    fn put(&self, at: RunTime, event: Event) {
        self.0.lock().unwrap().push(Stamped { at, event });
    }
}

impl Seen {
    pub(crate) fn all(&self) -> Vec<Stamped> {
        self.0.lock().unwrap().clone()
    }

    /// The holders of the lease in order, as the watchers saw them.
    pub(crate) fn leaders(&self) -> Vec<Option<String>> {
        let names = |stamped: Stamped| {
            let Event::Leader { holder, .. } = stamped.event else { return None };
            Some(holder.map(|node| node.to_string()))
        };
        self.all().into_iter().filter_map(names).collect()
    }
}

pub(crate) struct Rig {
    pub(crate) clock: Clock,
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) system: Arc<dyn System>,
    pub(crate) nodes: Vec<NodeName>,
    pub(crate) seen: Arc<Seen>,
    calls: Arc<Mutex<Vec<Call>>>,
    watcher: Option<JoinHandle<()>>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(watcher) = &self.watcher {
            watcher.abort();
        }
    }
}

/// Reads the options table `[cluster.sim]`.
pub(crate) fn system(options: &str, nodes: &[NodeName]) -> Option<Arc<dyn System>> {
    let table = DeTable::parse(options).unwrap();
    let mistakes = Mistakes::default();
    let mut fields = Fields::new(table.get_ref(), 0..0, "[cluster.sim]", &mistakes);
    let system = (firedrill_systems::sim::ENTRY.parse)(&mut fields, nodes);
    fields.finish();
    assert_eq!(mistakes.into_sorted(), [], "the options are read without a mistake");
    system
}

impl Rig {
    /// Starts a cluster and waits until it is whole.
    pub(crate) async fn start(count: u32, options: &str, seed: u64) -> Self {
        let nodes = NodeName::numbered(count);
        let clock = Clock::start();
        let system = system(options, &nodes).unwrap();
        let request = OpenRequest {
            run_id: "test".to_owned(),
            nodes: nodes.clone(),
            lab: system.lab(),
            sim: system.sim(),
            needs: firedrill_core::fault::Needs::default(),
            run_dir: std::path::PathBuf::new(),
            lease: Duration::from_secs(10),
            seed: Seed(seed),
            clock,
            against: None,
        };
        let platform = (firedrill_platforms::sim::ENTRY.open)(request).ok().unwrap();
        let calls = Arc::default();
        let mut rig = Self { clock, platform, system, nodes, seen: Arc::default(), calls, watcher: None };
        rig.platform.start(true).await.unwrap();
        rig.whole().await;
        let (system, dialer, sink) = (Arc::clone(&rig.system), rig.platform.dialer(), Arc::clone(&rig.seen));
        rig.watcher = Some(tokio::spawn(async move { system.watch(dialer, clock, sink).await }));
        rig
    }

    pub(crate) async fn view(&self) -> ClusterView {
        self.system.view(&*self.platform.dialer(), self.clock, LIMIT).await
    }

    pub(crate) async fn whole(&self) -> ClusterView {
        let look = async || {
            let view = self.view().await;
            self.system.whole(&view).map(|()| view)
        };
        wait::until("a whole cluster", self.clock, Duration::from_secs(20), Duration::from_millis(20), look)
            .await
            .unwrap()
    }

    pub(crate) async fn primary(&self) -> NodeName {
        self.whole().await.primary().unwrap().name.clone()
    }

    pub(crate) fn others(&self, than: &NodeName) -> Vec<NodeName> {
        self.nodes.iter().filter(|node| *node != than).cloned().collect()
    }

    /// Inserts unique rows for `length`: `clients` through the router and one directly at each node, together `rate` a second
    /// through the router.
    pub(crate) async fn load(&self, clients: u32, rate: u32, length: Duration) {
        let interval = Duration::from_secs(1) * clients / rate;
        let routes = std::iter::repeat_n(Route::Router, usize::try_from(clients).unwrap());
        let routes = routes.chain(self.nodes.iter().cloned().map(Route::Direct));
        let end = self.clock.now().plus(length);
        let tasks: Vec<_> = (0_u32..)
            .zip(routes)
            .map(|(id, route)| {
                let start = self.clock.now().plus(interval * id / (clients + 3));
                let client = LoadClient {
                    id: ProcessId(id),
                    route,
                    clock: self.clock,
                    system: Arc::clone(&self.system),
                    platform: Arc::clone(&self.platform),
                    calls: Arc::clone(&self.calls),
                };
                tokio::spawn(client.run(start, interval, end))
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// Prepares, applies and proves an action; the proof is returned.
    pub(crate) async fn inject(&self, action: &Action, hold: Option<Duration>) -> (Undo, Presence) {
        let undo = self.platform.prepare(action).await.unwrap();
        self.platform.apply(&undo, hold).await.unwrap();
        let presence = self.platform.probe(&undo).await.presence;
        (undo, presence)
    }

    pub(crate) async fn at(&self, millis: u64) {
        self.clock.sleep_until(RunTime::from_millis(millis)).await;
    }

    /// Waits until the cluster is whole and every node has applied what the primary has, and reads them all.
    pub(crate) async fn finals(&self) -> Vec<FinalRead> {
        let look = async || {
            let view = self.view().await;
            self.system.whole(&view)?;
            let caught_up = view.nodes.windows(2).all(|pair| pair[0].position == pair[1].position);
            if caught_up { Ok(()) } else { Err(view.in_words()) }
        };
        let limit = Duration::from_secs(20);
        wait::until("replicas caught up", self.clock, limit, Duration::from_millis(20), look).await.unwrap();
        let mut finals = Vec::new();
        for node in &self.nodes {
            let route = Route::Direct(node.clone());
            let mut client = self.system.connect(self.platform.dialer(), Vantage::Control, &route).await.unwrap();
            let read = client.invoke(&Op::Scan).await;
            let rows = match read.outcome {
                Outcome::Ok(Reply::Rows(rows)) => Ok(rows),
                Outcome::Ok(Reply::Done | Reply::Answers(_)) => Err("no rows".to_owned()),
                Outcome::Fail(why) | Outcome::Info(why) => Err(why.to_string()),
            };
            let at = self.clock.now();
            finals.push(FinalRead { node: node.clone(), at, epoch: read.epoch, position: read.receipt, rows });
        }
        finals
    }

    /// Acknowledged rows that the primary does not hold at the end.
    pub(crate) async fn lost(&self) -> Vec<u64> {
        let finals = self.finals().await;
        let primary = self.primary().await;
        let held = finals.into_iter().find(|read| read.node == primary).unwrap().rows.unwrap();
        acknowledged(&self.calls()).into_iter().filter(|row| held.binary_search(row).is_err()).collect()
    }
}

pub(crate) fn acknowledged(calls: &[Call]) -> Vec<u64> {
    let acked = calls.iter().filter(|call| call.acked().is_some());
    let rows = acked.filter_map(|call| match &call.op {
        Op::Insert { row } => Some(*row),
        Op::CreateLedger | Op::Scan | Op::CreateStore { .. } | Op::Txn(_) => None,
    });
    rows.collect()
}

/// Writes acknowledged on a lower epoch though invoked after another node had completed one on a higher epoch.
pub(crate) fn double_writes(calls: &[Call]) -> usize {
    let mut first_of: BTreeMap<Option<Epoch>, RunTime> = BTreeMap::new();
    for (call, at) in calls.iter().filter_map(|call| call.acked().map(|at| (call, at))) {
        let first = first_of.entry(call.epoch).or_insert(at);
        *first = at.min(*first);
    }
    let later = |call: &Call| first_of.iter().any(|(epoch, first)| *epoch > call.epoch && *first < call.invoked);
    calls.iter().filter(|call| call.acked().is_some() && later(call)).count()
}

struct LoadClient {
    id: ProcessId,
    route: Route,
    clock: Clock,
    system: Arc<dyn System>,
    platform: Arc<dyn Platform>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl LoadClient {
    async fn run(self, start: RunTime, interval: Duration, end: RunTime) {
        let mut client: Option<Box<dyn Client>> = None;
        let mut due = start;
        let mut row = u64::from(self.id.0) * 1_000_000;
        while due < end {
            self.clock.sleep_until(due).await;
            row += 1;
            let mut call = Call {
                process: self.id,
                op: Op::Insert { row },
                due,
                invoked: self.clock.now(),
                completed: None,
                route: self.route.clone(),
                served_by: None,
                epoch: None,
                receipt: None,
            };
            let outcome = tokio::time::timeout(TIMEOUT, self.invoke(&mut client, &mut call)).await;
            let outcome = outcome.unwrap_or_else(|_| Outcome::info("no answer in time"));
            call.completed = Some((self.clock.now(), outcome));
            self.calls.lock().unwrap().push(call);
            due = due.plus(interval).max(self.clock.now());
        }
    }

    async fn invoke(&self, slot: &mut Option<Box<dyn Client>>, call: &mut Call) -> Outcome {
        if slot.is_none() {
            match self.system.connect(self.platform.dialer(), Vantage::Clients, &self.route).await {
                Ok(client) => *slot = Some(client),
                Err(error) => return Outcome::fail(error.to_string()),
            }
        }
        // Taken out while it works, so that a call that is dropped drops the connection.
        let mut client = slot.take().unwrap();
        call.invoked = self.clock.now();
        let done = client.invoke(&call.op).await;
        (call.served_by, call.epoch, call.receipt) = (done.served_by, done.epoch, done.receipt);
        if done.usable {
            *slot = Some(client);
        }
        done.outcome
    }
}

/// Cuts a node from its peers in both directions; clients still reach it.
pub(crate) fn from_peers(node: &NodeName, peers: &[NodeName]) -> Action {
    let link =
        |from: &NodeName, to: &NodeName| Link { from: Endpoint::Node(from.clone()), to: Endpoint::Node(to.clone()) };
    Action::Cut { links: peers.iter().flat_map(|peer| [link(node, peer), link(peer, node)]).collect(), port: None }
}

/// Cuts clients from a node in both directions.
pub(crate) fn from_clients(node: &NodeName) -> Action {
    let node = Endpoint::Node(node.clone());
    let link = |from: &Endpoint, to: &Endpoint| Link { from: from.clone(), to: to.clone() };
    Action::Cut { links: vec![link(&Endpoint::Clients, &node), link(&node, &Endpoint::Clients)], port: None }
}

pub(crate) fn kill(node: &NodeName) -> Action {
    Action::Kill { node: node.clone(), process: None, signal: 9, stay_down: false }
}

pub(crate) fn pause(node: &NodeName) -> Action {
    Action::Pause { node: node.clone(), process: None }
}
