//! Patroni over etcd: PostgreSQL with a leader key. Knows roles, clients and health, and how the lab starts it; reaches
//! nodes only through a dialer, and never knows which platform is behind it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use firedrill_core::action::{Action, Effect};
use firedrill_core::cluster::{ClusterView, NodeName, ProcessName};
use firedrill_core::history::{EpochSwitch, OpKind, Route};
use firedrill_core::platform::{Dialer, Vantage, lab_addresses};
use firedrill_core::spec::Fields;
use firedrill_core::system::{Audit, Client, ConnectError, LabRecipe, NODE_HOME, SimRecipe, Sink, System, SystemEntry};
use firedrill_core::time::Clock;

pub use options::{Options, SynchronousMode};
pub use programs::Programs;
pub use recipe::{Place, recipe};
pub use transactions::{Isolation, Writes};

mod client;
mod clock;
mod config;
mod etcd;
mod integrity;
mod options;
mod programs;
mod recipe;
mod rest;
mod router;
mod session;
mod story;
mod switches;
mod transactions;
mod view;
mod watch;

use crate::route::LastGood;

/// The name of the cluster, in Patroni's configuration and below `/service/` in etcd.
const SCOPE: &str = "firedrill";
/// Where PostgreSQL listens.
const POSTGRES_PORT: u16 = 5432;
/// Where Patroni's REST interface listens.
const REST_PORT: u16 = 8008;
/// Where etcd listens for its clients.
const ETCD_PORT: u16 = 2379;
/// Longest wait for one question outside a view.
const ASK: Duration = Duration::from_secs(5);

/// The system in the registry.
pub const ENTRY: SystemEntry = SystemEntry {
    name: "patroni",
    summary: "PostgreSQL with Patroni and etcd on every node",
    example: r#"[cluster]
system   = "patroni"
platform = "lab"
nodes    = 3

[cluster.patroni]
synchronous-mode        = "strict"    # or "on", "off"
ttl                     = "20s"
loop-wait               = "5s"
retry-timeout           = "5s"
maximum-lag-on-failover = "1MiB"
isolation               = "serializable"  # of transactions; or "repeatable-read", "read-committed"
writes                  = "atomic"        # or "separate": read, then write what follows from it
data-checksums          = true        # default
names                   = false       # default; true: servers find each other by name

[cluster.patroni.parameters]
wal_receiver_timeout = "10s"
"#,
    parse,
    performs: &[OpKind::Bank, OpKind::Ledger, OpKind::Lists, OpKind::Register, OpKind::Registers],
    platforms: &["lab"],
    refuses: &[],
};

fn parse(fields: &mut Fields<'_, '_>, nodes: &[NodeName]) -> Option<Arc<dyn System>> {
    let options = options::parse(fields, nodes.len())?;
    Some(Arc::new(Patroni::new(options, nodes)))
}

/// One cluster of Patroni's.
pub struct Patroni {
    options: Options,
    nodes: Vec<NodeName>,
    kept: view::Kept,
    last_good: LastGood,
}

impl Patroni {
    /// A cluster of these nodes. Reaches nobody yet.
    pub fn new(options: Options, nodes: &[NodeName]) -> Self {
        Self { options, nodes: nodes.to_vec(), kept: view::Kept::default(), last_good: LastGood::default() }
    }

    fn waits_for_standby(&self) -> bool {
        self.nodes.len() > 1 && self.options.synchronous_mode != SynchronousMode::Off
    }
}

#[async_trait]
impl System for Patroni {
    fn processes(&self) -> Vec<ProcessName> {
        ["etcd", "patroni", "postgres"].map(|name| ProcessName(name.to_owned())).to_vec()
    }

    async fn view(&self, dial: &dyn Dialer, clock: Clock, limit: Duration) -> ClusterView {
        let heard = view::ask_all(&self.kept, &self.nodes, dial, limit).await;
        story::told(&heard, clock.now(), self.waits_for_standby())
    }

    fn whole(&self, view: &ClusterView) -> Result<(), String> {
        story::whole(view, self.nodes.len(), self.waits_for_standby())
    }

    async fn watch(&self, dial: Arc<dyn Dialer>, clock: Clock, sink: Arc<dyn Sink>) {
        watch::watch(&self.nodes, &dial, clock, &sink).await;
    }

    async fn connect(
        &self,
        dial: Arc<dyn Dialer>,
        vantage: Vantage,
        route: &Route,
    ) -> Result<Box<dyn Client>, ConnectError> {
        let session = match route {
            Route::Router => {
                let session = router::first_read_write(&dial, vantage, &self.last_good.first(&self.nodes)).await?;
                self.last_good.note(session.node());
                session
            }
            Route::Direct(node) => {
                session::Session::open(&*dial, vantage, node, "firedrill").await.map_err(ConnectError)?
            }
        };
        let (isolation, writes) = (self.options.isolation, self.options.writes);
        Ok(Box::new(client::PostgresClient::new(session, isolation, writes)))
    }

    async fn epoch_switches(&self, dial: &dyn Dialer, node: &NodeName) -> Result<Vec<EpochSwitch>, String> {
        let asked = switches::ask(dial, node);
        tokio::time::timeout(ASK, asked).await.map_err(|_| format!("{node} did not answer"))?
    }

    async fn witness(&self, dial: &dyn Dialer, action: &Action) -> Option<Effect> {
        let Action::ShiftClock { node, change, .. } = action else { return None };
        Some(clock::witness(dial, node, *change).await)
    }

    fn clock_of(&self, process: &ProcessName) -> Result<(), &'static str> {
        match process.0.as_str() {
            "postgres" => Ok(()),
            "etcd" => Err("it is written in Go and asks the kernel itself, past the library that changes clocks"),
            "patroni" => Err("Python's sleep (3.11) fails under the library that changes clocks"),
            _ => Err("it is not known how it reads its clock"),
        }
    }

    fn uses_names(&self) -> Result<(), &'static str> {
        if self.options.names { Ok(()) } else { Err("write `names = true` under [cluster.patroni]") }
    }

    async fn audit(&self, dial: &dyn Dialer, node: &NodeName) -> Audit {
        integrity::audit(dial, node).await
    }

    async fn versions(&self, dial: &dyn Dialer) -> BTreeMap<String, String> {
        view::versions(&self.nodes, dial, ASK).await
    }

    fn lab(&self) -> Option<LabRecipe> {
        let places = Place::in_lab(lab_addresses(&self.nodes));
        Some(recipe(&self.options, &Programs::find(self.options.postgres_version), &places))
    }

    fn sim(&self) -> Option<SimRecipe> {
        None
    }

    /// The leader key runs out (Patroni 4 lets no ttl be below 20 s), each Patroni looks twice, retries once, and
    /// PostgreSQL starts, rewinds or copies.
    fn recovery_bound(&self) -> Duration {
        let ttl = self.options.ttl.max(Duration::from_secs(20));
        ttl + self.options.loop_wait * 2 + self.options.retry_timeout + Duration::from_secs(20)
    }

    fn shell_hints(&self) -> Vec<(Option<NodeName>, String)> {
        let places = lab_addresses(&self.nodes);
        let every = |port: u16| {
            let hosts: Vec<String> = places.iter().map(|place| format!("{}:{port}", place.address)).collect();
            hosts.join(",")
        };
        let hosts: Vec<String> = places.iter().map(|place| place.address.to_string()).collect();
        let first = hosts.first().map_or("", String::as_str);
        let patronictl = format!("patronictl --config-file {NODE_HOME}/patroni.yml list");
        let mut hints = vec![
            format!("psql 'host={} user=postgres target_session_attrs=read-write'", hosts.join(",")),
            format!("curl -s http://{first}:{REST_PORT}/cluster"),
            format!("env ETCDCTL_API=3 etcdctl --endpoints {} endpoint status --write-out table", every(ETCD_PORT)),
        ]
        .into_iter()
        .map(|command| (None, command))
        .collect::<Vec<_>>();
        hints.extend(self.nodes.first().map(|node| (Some(node.clone()), patronictl)));
        hints
    }
}

#[cfg(test)]
mod tests {
    use firedrill_core::spec::Mistakes;
    use toml::de::DeTable;

    use super::*;

    #[test]
    fn the_example_parses() {
        let table = DeTable::parse(ENTRY.example).unwrap();
        let mistakes = Mistakes::default();
        let mut file = Fields::new(table.get_ref(), 0..0, "the file", &mistakes);
        let mut cluster = file.table("cluster", "[cluster]").unwrap();
        let mut options = cluster.table("patroni", "[cluster.patroni]").unwrap();
        let system = (ENTRY.parse)(&mut options, &NodeName::numbered(3)).unwrap();
        options.finish();
        assert_eq!(mistakes.into_sorted(), []);
        assert_eq!(system.recovery_bound(), Duration::from_secs(55));
        assert!(system.shell_hints()[0].1.contains("host=10.77.0.1,10.77.0.2,10.77.0.3"));
        let recipe = system.lab().unwrap();
        assert_eq!((recipe.programs.len(), recipe.units.len()), (3, 6));
    }
}
