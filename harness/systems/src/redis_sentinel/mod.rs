//! Redis with Sentinel: asynchronous replication from a master to replicas, and sentinels that agree on a new master.
//! It may lose acknowledged writes by design; `min-replicas-to-write` bounds how long it goes on alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use firedrill_core::cluster::{ClusterView, NodeName, ProcessName};
use firedrill_core::history::{EpochSwitch, OpKind, Route};
use firedrill_core::platform::{Dialer, NodeAddress, Vantage, lab_addresses};
use firedrill_core::spec::Fields;
use firedrill_core::system::{Client, ConnectError, LabRecipe, SimRecipe, Sink, System, SystemEntry};
use firedrill_core::time::Clock;

use options::Options;

mod client;
mod options;
mod recipe;
mod resp;
mod view;
mod watch;

/// Where Redis listens.
const PORT: u16 = 6379;
/// Where Sentinel listens.
const SENTINEL_PORT: u16 = 26379;
/// What the sentinels call the master.
const MASTER: &str = "firedrill";
/// Longest wait for one question outside a view.
const ASK: Duration = Duration::from_secs(5);

/// The system in the registry.
pub const ENTRY: SystemEntry = SystemEntry {
    name: "redis-sentinel",
    summary: "Redis and Sentinel on every node",
    example: r#"[cluster]
system   = "redis-sentinel"
platform = "lab"
nodes    = 3

[cluster.redis-sentinel]
min-replicas-to-write = 0             # a master with fewer replicas takes no writes
min-replicas-max-lag  = "10s"         # a replica that is silent for longer does not count
down-after            = "1s"          # a sentinel takes a silent master for down
failover-timeout      = "5s"
appendfsync           = "everysec"    # or "always", "no"
"#,
    parse,
    performs: &[OpKind::Ledger, OpKind::Register],
    platforms: &["lab"],
    refuses: &[],
};

fn parse(fields: &mut Fields<'_, '_>, nodes: &[NodeName]) -> Option<Arc<dyn System>> {
    let options = options::parse(fields, nodes.len())?;
    Some(Arc::new(RedisSentinel { options, places: lab_addresses(nodes) }))
}

/// One cluster.
struct RedisSentinel {
    options: Options,
    places: Vec<NodeAddress>,
}

#[async_trait]
impl System for RedisSentinel {
    fn processes(&self) -> Vec<ProcessName> {
        ["redis-sentinel", "redis-server"].map(|name| ProcessName(name.to_owned())).to_vec()
    }

    async fn view(&self, dial: &dyn Dialer, clock: Clock, limit: Duration) -> ClusterView {
        let heard = view::ask_all(&self.places, dial, limit).await;
        view::told(heard, clock.now())
    }

    fn whole(&self, view: &ClusterView) -> Result<(), String> {
        view::whole(view, self.places.len())
    }

    async fn watch(&self, dial: Arc<dyn Dialer>, clock: Clock, sink: Arc<dyn Sink>) {
        watch::watch(&self.places, &dial, clock, &sink).await;
    }

    async fn connect(
        &self,
        dial: Arc<dyn Dialer>,
        vantage: Vantage,
        route: &Route,
    ) -> Result<Box<dyn Client>, ConnectError> {
        let client = match route {
            Route::Router => client::through_sentinels(&dial, vantage, &self.places).await,
            Route::Direct(node) => client::direct(&*dial, vantage, node).await,
        };
        client.map(|client| -> Box<dyn Client> { Box::new(client) }).map_err(ConnectError)
    }

    /// Redis keeps no record of where histories parted.
    async fn epoch_switches(&self, _dial: &dyn Dialer, _node: &NodeName) -> Result<Vec<EpochSwitch>, String> {
        Ok(Vec::new())
    }

    async fn versions(&self, dial: &dyn Dialer) -> BTreeMap<String, String> {
        let heard = view::ask_all(&self.places, dial, ASK).await;
        let servers = heard.into_iter().filter_map(|heard| heard.server.ok());
        servers.map(|server| ("redis".to_owned(), server.version)).collect()
    }

    fn lab(&self) -> Option<LabRecipe> {
        Some(recipe::recipe(&self.options, &self.places))
    }

    fn sim(&self) -> Option<SimRecipe> {
        None
    }

    /// The sentinels agree, elect one of them, and it promotes; a failed attempt is made again after twice the timeout.
    fn recovery_bound(&self) -> Duration {
        self.options.down_after + self.options.failover_timeout * 3 + Duration::from_secs(20)
    }

    fn shell_hints(&self) -> Vec<(Option<NodeName>, String)> {
        let Some(first) = self.places.first() else { return Vec::new() };
        vec![
            (None, format!("redis-cli -h {} -p {SENTINEL_PORT} SENTINEL masters", first.address)),
            (None, format!("redis-cli -h {} -p {PORT} INFO replication", first.address)),
        ]
    }
}
