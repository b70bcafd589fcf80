//! One life of a real cluster: start, load, a cancelled wait for the standby, the death of the primary, and what the
//! view, the watch and the history say of it.

#![expect(clippy::disallowed_methods, reason = "tasks end with their test's runtime")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use firedrill_core::cluster::{ClusterView, Epoch, NodeName, Position, Role};
use firedrill_core::event::Event;
use firedrill_core::history::{EpochSwitch, Op, Outcome, Reply, Route};
use firedrill_core::platform::{Dialer, Vantage};
use firedrill_core::system::{Client, Completion, Sink, System};
use firedrill_core::time::{Clock, RunTime};
use firedrill_core::units::Bytes;
use firedrill_core::wait;
use firedrill_systems::patroni::{Options, Patroni, SynchronousMode};
use nix::sys::signal::Signal;

use crate::cluster::{Cluster, Loopback, run};

const LIMIT: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(90);
const TICK: Duration = Duration::from_millis(50);

fn options(ttl: u64, loop_wait: u64, retry: u64) -> Options {
    Options {
        synchronous_mode: SynchronousMode::Strict,
        ttl: Duration::from_secs(ttl),
        loop_wait: Duration::from_secs(loop_wait),
        retry_timeout: Duration::from_secs(retry),
        maximum_lag_on_failover: Bytes(1 << 20),
        postgres_version: None,
        data_checksums: true,
        isolation: firedrill_systems::patroni::Isolation::Serializable,
        writes: firedrill_systems::patroni::Writes::Atomic,
        names: false,
        parameters: std::collections::BTreeMap::new(),
    }
}

#[derive(Default)]
struct Seen(Mutex<Vec<(RunTime, Event)>>);

impl Sink for Seen {
    fn put(&self, at: RunTime, event: Event) {
        self.0.lock().unwrap().push((at, event));
    }
}

impl Seen {
    fn leaders(&self) -> Vec<Option<NodeName>> {
        let seen = self.0.lock().unwrap();
        let holders =
            seen.iter().filter_map(
                |(_, event)| {
                    if let Event::Leader { holder, .. } = event { Some(holder.clone()) } else { None }
                },
            );
        holders.collect()
    }

    /// Whether the node was seen taking writes on this epoch, and when first.
    fn promoted(&self, epoch: Epoch) -> Option<(NodeName, RunTime)> {
        self.0.lock().unwrap().iter().find_map(|(_, event)| {
            let Event::NodeSeen { node, read_write: Some(true), epoch: on, first_answered, .. } = event else {
                return None;
            };
            (*on == Some(epoch)).then(|| (node.clone(), *first_answered))
        })
    }
}

async fn whole(system: &Patroni, dialer: &Loopback, clock: Clock) -> ClusterView {
    wait::until("whole cluster", clock, SOON, TICK, async || {
        let view = system.view(dialer, clock, LIMIT).await;
        system.whole(&view).map(|()| view.clone()).map_err(|reason| format!("{reason} ({})", view.in_words()))
    })
    .await
    .unwrap()
}

async fn client(system: &Patroni, dialer: &Loopback, route: Route) -> Box<dyn Client> {
    system.connect(Arc::new(dialer.clone()), Vantage::Clients, &route).await.unwrap()
}

async fn insert(client: &mut Box<dyn Client>, row: u64) -> Completion {
    tokio::time::timeout(Duration::from_secs(20), client.invoke(&Op::Insert { row })).await.unwrap()
}

async fn sql(dialer: &Loopback, node: &NodeName, sql: &str) -> Vec<tokio_postgres::SimpleQueryMessage> {
    let stream = dialer.dial(Vantage::Control, node, 5432).await.unwrap();
    let mut config = tokio_postgres::Config::new();
    let (client, connection) =
        config.user("postgres").dbname("postgres").connect_raw(stream, tokio_postgres::NoTls).await.unwrap();
    let driver = tokio::spawn(async move { drop(connection.await) });
    let answer = client.simple_query(sql).await.unwrap();
    driver.abort();
    answer
}

#[test]
fn a_cluster_lives_fails_over_and_tells_of_it() {
    let nodes = NodeName::numbered(3);
    let options = options(5, 1, 2);
    let mut cluster = match Cluster::new(&options, &nodes) {
        Ok(cluster) => cluster,
        Err(reason) => return eprintln!("SKIPPED: a_cluster_lives_fails_over_and_tells_of_it: {reason}"),
    };
    run(async {
        let clock = Clock::start();
        let system = Patroni::new(options, &nodes);
        cluster.start(&nodes, clock).await;
        let dialer = cluster.dialer();
        let view = whole(&system, &dialer, clock).await;
        eprintln!("cold start to whole: {} ({})", clock.now(), view.in_words());
        assert_eq!(view.with_role(Role::DcsLeader).len(), 1);
        assert_eq!(view.with_role(Role::SyncStandby).len(), 1);
        let versions = system.versions(&dialer).await;
        assert_eq!(versions.keys().collect::<Vec<_>>(), ["etcd", "patroni", "postgres"]);

        let seen = Arc::new(Seen::default());
        let watching = {
            let system = Patroni::new(self::options(5, 1, 2), &nodes);
            let (dialer, sink) = (Arc::new(dialer.clone()), Arc::clone(&seen));
            tokio::spawn(async move { system.watch(dialer, clock, sink).await })
        };
        let before = load(&system, &dialer, &view).await;
        cancelled_wait(&system, &dialer, &cluster, &view).await;
        let view = whole(&system, &dialer, clock).await;
        failover(&system, &dialer, &mut cluster, &view, clock, &seen).await;
        let view = whole(&system, &dialer, clock).await;
        after(&system, &dialer, &view, before).await;
        damage(&system, &dialer, &cluster, &view).await;
        watching.abort();
        restart(&system, &mut cluster, clock).await;
    });
}

/// Writes through the router; a replica refuses, a scan on it answers.
async fn load(system: &Patroni, dialer: &Loopback, view: &ClusterView) -> Completion {
    let mut router = client(system, dialer, Route::Router).await;
    assert_eq!(router.invoke(&Op::CreateLedger).await.outcome, Outcome::Ok(Reply::Done));
    assert_eq!(router.invoke(&Op::CreateLedger).await.outcome, Outcome::Ok(Reply::Done), "safe to repeat");
    let first = insert(&mut router, 1).await;
    let second = insert(&mut router, 2).await;
    let primary = view.primary().unwrap();
    assert_eq!((&first.outcome, first.epoch), (&Outcome::Ok(Reply::Done), primary.epoch));
    assert_eq!(first.served_by.as_ref(), Some(&primary.name));
    assert!(first.receipt < second.receipt && first.receipt >= primary.position, "{first:?} {second:?}");
    let again = insert(&mut router, 1).await;
    assert!(matches!(&again.outcome, Outcome::Fail(why) if why.starts_with("23505")), "{again:?}");
    let replica = view.nodes.iter().find(|node| !node.read_write).unwrap().name.clone();
    let mut direct = client(system, dialer, Route::Direct(replica.clone())).await;
    let refused = insert(&mut direct, 3).await;
    assert_eq!((refused.outcome, refused.usable), (Outcome::fail("read-only node"), true));
    let scan = direct.invoke(&Op::Scan).await;
    assert_eq!(scan.outcome, Outcome::Ok(Reply::Rows(vec![1, 2])));
    assert_eq!((scan.epoch, scan.served_by), (primary.epoch, Some(replica)));
    second
}

/// A backend whose wait for the standby is cancelled answers with success, and that is no acknowledgement.
async fn cancelled_wait(system: &Patroni, dialer: &Loopback, cluster: &Cluster, view: &ClusterView) {
    let primary = &view.primary().unwrap().name;
    let replicas: Vec<&NodeName> = view.nodes.iter().map(|node| &node.name).filter(|name| *name != primary).collect();
    let mut direct = client(system, dialer, Route::Direct(primary.clone())).await;
    for replica in &replicas {
        cluster.signal_postgres(replica, Signal::SIGSTOP);
    }
    let cancel = async {
        let clock = Clock::start();
        wait::until("a backend that waits for its standby", clock, SOON, TICK, async || {
            let waiting = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
            let answer = sql(dialer, primary, waiting).await;
            let cancelled = answer.iter().any(|one| matches!(one, tokio_postgres::SimpleQueryMessage::Row(_)));
            if cancelled { Ok(()) } else { Err("none".to_owned()) }
        })
        .await
        .unwrap();
    };
    let (answer, ()) = tokio::join!(insert(&mut direct, 4), cancel);
    for replica in &replicas {
        cluster.signal_postgres(replica, Signal::SIGCONT);
    }
    assert!(matches!(&answer.outcome, Outcome::Info(why) if why.starts_with("warning 01000")), "{answer:?}");
    assert!(answer.usable);
}

/// Kills every process of the primary.
async fn failover(
    system: &Patroni,
    dialer: &Loopback,
    cluster: &mut Cluster,
    view: &ClusterView,
    clock: Clock,
    seen: &Seen,
) {
    let old = view.primary().unwrap().name.clone();
    let epoch = view.primary().unwrap().epoch.unwrap();
    let mut idle = client(system, dialer, Route::Direct(old.clone())).await;
    assert!(insert(&mut idle, 5).await.outcome.is_ok());
    let killed = clock.now();
    cluster.end(&old, Signal::SIGKILL);
    let down = system.view(dialer, clock, LIMIT).await;
    assert!(!down.node(&old).unwrap().up && system.whole(&down).is_err());
    // The end of a connection whose server was killed is on its way for a moment.
    clock.sleep(Duration::from_secs(1)).await;
    let lost = insert(&mut idle, 6).await;
    assert!(matches!(lost.outcome, Outcome::Fail(_)) && !lost.usable, "closed before anything was sent: {lost:?}");
    let acked = wait::until("a write through the router", clock, SOON, TICK, async || {
        let route = system.connect(Arc::new(dialer.clone()), Vantage::Clients, &Route::Router);
        let mut router = route.await.map_err(|error| error.to_string())?;
        let answer = router.invoke(&Op::Insert { row: 7 }).await;
        if answer.outcome.is_ok() { Ok(answer) } else { Err(format!("{:?}", answer.outcome)) }
    })
    .await
    .unwrap();
    eprintln!("failover: first acknowledged write {} ms after the kill", clock.now().since(killed).as_millis());
    assert!(acked.epoch.unwrap() > epoch && acked.served_by != Some(old.clone()));
    let promoted = seen.promoted(acked.epoch.unwrap()).expect("the watch saw the promotion");
    eprintln!("failover: promoted {} ms after the kill", promoted.1.since(killed).as_millis());
    assert_eq!(Some(promoted.0.clone()), acked.served_by);
    assert_eq!(seen.leaders(), [Some(old.clone()), None, Some(promoted.0)], "each change is told once");
    cluster.start(&[old], clock).await;
}

/// Every node holds the same rows, and tells of the switch.
async fn after(system: &Patroni, dialer: &Loopback, view: &ClusterView, before: Completion) {
    let primary = view.primary().unwrap();
    for node in &view.nodes {
        let switches = system.epoch_switches(dialer, &node.name).await.unwrap();
        let last = switches.last().expect("one switch at least");
        assert_eq!(Some(last.to), primary.epoch);
        assert_eq!(Some(switches[0].from), before.epoch);
        assert!(switches.iter().all(|EpochSwitch { fork, .. }| *fork > before.receipt.unwrap_or(Position(u64::MAX))));
        let mut direct = client(system, dialer, Route::Direct(node.name.clone())).await;
        let rows = direct.invoke(&Op::Scan).await.outcome;
        assert_eq!(rows, Outcome::Ok(Reply::Rows(vec![1, 2, 4, 5, 7])), "{}", node.name);
    }
}

/// A page that is changed on a standby's disk is found, although the server goes on with its copy in memory.
async fn damage(system: &Patroni, dialer: &Loopback, cluster: &Cluster, view: &ClusterView) {
    let primary = view.primary().unwrap().name.clone();
    let standby = view.nodes.iter().find(|node| !node.read_write).unwrap().name.clone();
    sql(dialer, &primary, "CHECKPOINT").await;
    for node in [&primary, &standby] {
        let audit = system.audit(dialer, node).await;
        assert_eq!((audit.damage.as_slice(), audit.failure.as_deref()), ([].as_slice(), None), "{node}: {audit:?}");
        assert!(audit.looked_at.contains("pages and their checksums, "), "{}", audit.looked_at);
    }
    sql(dialer, &standby, "CHECKPOINT").await;
    let answer = sql(dialer, &standby, "SELECT pg_relation_filepath('firedrill_ledger')").await;
    let path = answer.iter().find_map(|one| {
        let tokio_postgres::SimpleQueryMessage::Row(row) = one else { return None };
        row.get(0).map(ToOwned::to_owned)
    });
    let place = cluster.places.iter().find(|place| place.node == standby).unwrap();
    let file = std::path::Path::new(&place.home).join("postgres/data").join(path.unwrap());
    let sound = std::fs::read(&file).unwrap();
    let mut spoilt = sound.clone();
    spoilt[8000] ^= 1;
    write_over(&file, &spoilt);
    let found = system.audit(dialer, &standby).await;
    write_over(&file, &sound);
    assert!(found.damage.iter().any(|what| what.starts_with("page 0 of firedrill_ledger ")), "{found:?}");
    let healed = system.audit(dialer, &standby).await;
    assert_eq!(healed.damage, [""; 0], "{healed:?}");
}

/// Keeps owner and inode.
fn write_over(file: &std::path::Path, content: &[u8]) {
    use std::io::Write as _;
    std::fs::OpenOptions::new().write(true).open(file).unwrap().write_all(content).unwrap();
}

/// Stops everything as the lab does before it saves a template, and starts it again.
async fn restart(system: &Patroni, cluster: &mut Cluster, clock: Clock) {
    let nodes: Vec<NodeName> = cluster.places.iter().map(|place| place.node.clone()).collect();
    let stopping = clock.now();
    for node in nodes.iter().rev() {
        cluster.end(node, Signal::SIGTERM);
    }
    let starting = clock.now();
    cluster.start(&nodes, clock).await;
    whole(system, &cluster.dialer(), clock).await;
    eprintln!(
        "stop {} ms, restart to whole {} ms",
        starting.since(stopping).as_millis(),
        clock.now().since(starting).as_millis()
    );
    assert!(cluster.folder().exists());
}
