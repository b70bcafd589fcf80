//! Asking every Redis and every Sentinel at the same time, and what their answers amount to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use firedrill_core::cluster::{ClusterView, Epoch, NodeName, NodeView, Position, Role};
use firedrill_core::platform::{Dialer, NodeAddress, Vantage};
use firedrill_core::seed::fnv1a;
use firedrill_core::time::RunTime;
use futures_util::future::join_all;

use super::resp::{Resp, Said};
use super::{MASTER, PORT, SENTINEL_PORT};

/// What a Redis says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Server {
    pub(super) version: String,
    pub(super) is_master: bool,
    link_up: bool,
    offset: u64,
    run_id: String,
}

/// What a Sentinel says of the master.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Watched {
    /// Whom it takes for the master; nobody it knows, if `None`.
    pub(super) master: Option<NodeName>,
    /// How many failovers it knows of.
    pub(super) epoch: u64,
    /// Whether the sentinels agree that it is down.
    pub(super) down: bool,
    replicas: u64,
    sentinels: u64,
}

/// What was heard from one node.
pub(super) struct Heard {
    pub(super) node: NodeName,
    pub(super) server: Result<Server, String>,
    sentinel: Result<Watched, String>,
}

/// Asks all nodes, each for at most `limit`.
pub(super) async fn ask_all(places: &[NodeAddress], dial: &dyn Dialer, limit: Duration) -> Vec<Heard> {
    let late = || "no answer in time".to_owned();
    join_all(places.iter().map(async |place| {
        let server = async {
            let mut resp = Resp::open(dial, Vantage::Control, &place.node, PORT).await?;
            server(&mut resp).await
        };
        let sentinel = async {
            let mut resp = Resp::open(dial, Vantage::Control, &place.node, SENTINEL_PORT).await?;
            watched(&mut resp, places).await
        };
        let (server, sentinel) =
            tokio::join!(tokio::time::timeout(limit, server), tokio::time::timeout(limit, sentinel));
        Heard {
            node: place.node.clone(),
            server: server.unwrap_or_else(|_| Err(late())),
            sentinel: sentinel.unwrap_or_else(|_| Err(late())),
        }
    }))
    .await
}

async fn server(resp: &mut Resp) -> Result<Server, String> {
    let mut facts = BTreeMap::new();
    for section in ["server", "replication"] {
        let answer = resp.ask(&["INFO", section]).await?;
        let text = answer.text().ok_or_else(|| format!("INFO {section}: {answer:?}"))?.to_owned();
        facts.extend(text.lines().filter_map(|line| {
            let (name, value) = line.trim_end().split_once(':')?;
            Some((name.to_owned(), value.to_owned()))
        }));
    }
    let fact = |name: &str| facts.get(name).cloned().unwrap_or_default();
    let is_master = fact("role") == "master";
    let offset = fact(if is_master { "master_repl_offset" } else { "slave_repl_offset" });
    Ok(Server {
        version: fact("redis_version"),
        is_master,
        link_up: fact("master_link_status") == "up",
        offset: offset.parse().unwrap_or_default(),
        run_id: fact("run_id"),
    })
}

/// Asks a sentinel about the master.
pub(super) async fn watched(resp: &mut Resp, places: &[NodeAddress]) -> Result<Watched, String> {
    let answer = resp.ask(&["SENTINEL", "MASTER", MASTER]).await?;
    if let Said::Error(why) = answer {
        return Err(why);
    }
    let texts: Vec<&str> = answer.list().iter().filter_map(Said::text).collect();
    let facts: BTreeMap<&str, &str> = texts.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let fact = |name: &str| facts.get(name).copied().unwrap_or_default();
    let number = |name: &str| fact(name).parse().unwrap_or_default();
    let master = places.iter().find(|place| place.address.to_string() == fact("ip"));
    Ok(Watched {
        master: master.map(|place| place.node.clone()),
        epoch: number("config-epoch"),
        down: fact("flags").split(',').any(|flag| flag == "o_down"),
        replicas: number("num-slaves"),
        sentinels: number("num-other-sentinels"),
    })
}

/// The view that these answers make.
pub(super) fn told(heard: Vec<Heard>, at: RunTime) -> ClusterView {
    let others = u64::try_from(heard.len().saturating_sub(1)).unwrap_or(u64::MAX);
    let masters: Vec<&NodeName> = heard
        .iter()
        .filter(|one| one.server.as_ref().is_ok_and(|server| server.is_master))
        .map(|one| &one.node)
        .collect();
    let mut points: Vec<String> = Vec::new();
    if let [first, second, ..] = masters.as_slice() {
        points.push(format!("{first} and {second} both take writes"));
    }
    for one in &heard {
        let node = &one.node;
        match &one.sentinel {
            Err(why) => points.push(format!("sentinel of {node}: {why}")),
            Ok(watched) if watched.down => points.push(format!("sentinel of {node}: the master is down")),
            Ok(watched) if watched.master.as_ref() != masters.first().copied() => {
                let name = |node: Option<&NodeName>| node.map_or("nobody", NodeName::as_str).to_owned();
                let (watched, master) = (name(watched.master.as_ref()), name(masters.first().copied()));
                points.push(format!("sentinel of {node}: {watched} is the master, {master} takes writes"));
            }
            // Until it knows them it cannot fail over.
            Ok(watched) if watched.replicas < others || watched.sentinels < others => {
                points.push(format!(
                    "sentinel of {node} knows {} replicas, {} sentinels",
                    watched.replicas, watched.sentinels
                ));
            }
            Ok(_) => {}
        }
    }
    let mut nodes: Vec<NodeView> = heard.into_iter().map(seen).collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    ClusterView { at, nodes, disagreement: (!points.is_empty()).then(|| points.join("; ")) }
}

fn seen(heard: Heard) -> NodeView {
    let sentinel = match &heard.sentinel {
        Ok(watched) => format!("sentinel: epoch {}", watched.epoch),
        Err(why) => format!("sentinel: {why}"),
    };
    let server = match heard.server {
        Ok(server) => server,
        Err(why) => return NodeView::down(heard.node, format!("redis: {why}; {sentinel}")),
    };
    // The word of its sentinel, for a server has no count of its own; a master that its sentinel takes for a replica goes
    // on from before the failover.
    let agreed = |watched: &Watched| (watched.master.as_ref() == Some(&heard.node)) == server.is_master;
    let epoch = heard.sentinel.ok().filter(agreed).map(|watched| Epoch(watched.epoch));
    let role = if server.is_master { Role::Primary } else { Role::Replica };
    NodeView {
        up: true,
        roles: BTreeSet::from([role]),
        read_write: server.is_master,
        epoch,
        position: Some(Position(server.offset)),
        streaming: !server.is_master && server.link_up,
        incarnation: Some(fnv1a(server.run_id.as_bytes())),
        ..NodeView::down(heard.node, sentinel)
    }
}

/// One master, whom all others follow, and sentinels that know it.
pub(super) fn whole(view: &ClusterView, nodes: usize) -> Result<(), String> {
    if let Some(node) = view.nodes.iter().find(|node| !node.up) {
        return Err(format!("{} does not answer: {}", node.name, node.detail));
    }
    if let Some(disagreement) = &view.disagreement {
        return Err(disagreement.clone());
    }
    let following = view.streaming();
    if view.primaries() == 1 && following + 1 == nodes {
        Ok(())
    } else {
        Err(format!("{} masters, {following} of {} replicas follow", view.primaries(), nodes.saturating_sub(1)))
    }
}
