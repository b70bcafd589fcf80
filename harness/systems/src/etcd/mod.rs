//! etcd: a replicated key-value store that elects a leader by Raft. Every member takes reads and writes and forwards them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use firedrill_core::cluster::{ClusterView, NodeName, ProcessName};
use firedrill_core::history::{EpochSwitch, OpKind, Route};
use firedrill_core::platform::{Dialer, Vantage, lab_addresses};
use firedrill_core::spec::Fields;
use firedrill_core::system::{Client, ConnectError, LabRecipe, SimRecipe, Sink, System, SystemEntry};
use firedrill_core::time::Clock;

use options::Options;

use crate::route::LastGood;

mod client;
mod gateway;
mod options;
mod recipe;
mod view;

/// Where it listens for clients.
const PORT: u16 = 2379;
/// Where members speak to each other.
const PEER_PORT: u16 = 2380;
/// Longest wait for one question outside a view.
const ASK: Duration = Duration::from_secs(5);

/// The system in the registry.
pub const ENTRY: SystemEntry = SystemEntry {
    name: "etcd",
    summary: "etcd on every node",
    example: r#"[cluster]
system   = "etcd"
platform = "lab"
nodes    = 3

[cluster.etcd]
reads              = "linearizable"   # or "serializable": answered by whichever member is asked, and perhaps stale
heartbeat-interval = "100ms"
election-timeout   = "1s"
names              = false            # default; true: members find each other by name
"#,
    parse,
    performs: &[OpKind::Ledger, OpKind::Register],
    platforms: &["lab"],
    refuses: &[],
};

fn parse(fields: &mut Fields<'_, '_>, nodes: &[NodeName]) -> Option<Arc<dyn System>> {
    let options = options::parse(fields)?;
    Some(Arc::new(Etcd { options, nodes: nodes.to_vec(), last_good: LastGood::default() }))
}

/// One cluster of etcd's.
struct Etcd {
    options: Options,
    nodes: Vec<NodeName>,
    /// A client comes back to the router only when it was not served well.
    last_good: LastGood,
}

#[async_trait]
impl System for Etcd {
    fn processes(&self) -> Vec<ProcessName> {
        vec![ProcessName("etcd".to_owned())]
    }

    async fn view(&self, dial: &dyn Dialer, clock: Clock, limit: Duration) -> ClusterView {
        let heard = view::ask_all(&self.nodes, dial, limit).await;
        view::told(heard, clock.now())
    }

    fn whole(&self, view: &ClusterView) -> Result<(), String> {
        view::whole(view, self.nodes.len())
    }

    async fn watch(&self, dial: Arc<dyn Dialer>, clock: Clock, sink: Arc<dyn Sink>) {
        view::watch(&self.nodes, &dial, clock, &sink).await;
    }

    async fn connect(
        &self,
        dial: Arc<dyn Dialer>,
        vantage: Vantage,
        route: &Route,
    ) -> Result<Box<dyn Client>, ConnectError> {
        let nodes = match route {
            Route::Router => self.last_good.first(&self.nodes),
            Route::Direct(node) => vec![node.clone()],
        };
        let client = client::connect(&dial, vantage, &nodes, self.options.reads).await?;
        if *route == Route::Router {
            self.last_good.note(client.node());
        }
        Ok(Box::new(client))
    }

    /// Raft drops nothing that was committed: there is no fork to tell of.
    async fn epoch_switches(&self, _dial: &dyn Dialer, _node: &NodeName) -> Result<Vec<EpochSwitch>, String> {
        Ok(Vec::new())
    }

    fn uses_names(&self) -> Result<(), &'static str> {
        if self.options.names { Ok(()) } else { Err("write `names = true` under [cluster.etcd]") }
    }

    fn clock_of(&self, _process: &ProcessName) -> Result<(), &'static str> {
        Err("it is written in Go and asks the kernel itself, past the library that changes clocks")
    }

    async fn versions(&self, dial: &dyn Dialer) -> BTreeMap<String, String> {
        let heard = view::ask_all(&self.nodes, dial, ASK).await;
        let versions = heard.into_iter().filter_map(|(_, status)| status.ok());
        versions.map(|status| ("etcd".to_owned(), status.version)).collect()
    }

    fn lab(&self) -> Option<LabRecipe> {
        Some(recipe::recipe(&self.options, recipe::program(), &lab_addresses(&self.nodes)))
    }

    fn sim(&self) -> Option<SimRecipe> {
        None
    }

    /// A follower stands after one to two election timeouts, and may have to stand again.
    fn recovery_bound(&self) -> Duration {
        self.options.election_timeout * 6 + Duration::from_secs(10)
    }

    fn shell_hints(&self) -> Vec<(Option<NodeName>, String)> {
        let places = lab_addresses(&self.nodes);
        let endpoints: Vec<String> = places.iter().map(|place| format!("{}:{PORT}", place.address)).collect();
        let status = "endpoint status --write-out table";
        vec![(None, format!("env ETCDCTL_API=3 etcdctl --endpoints {} {status}", endpoints.join(",")))]
    }
}
