//! How the lab starts one cluster: on every node a Redis and a Sentinel; the first node is the first master.

use std::collections::BTreeMap;
use std::path::PathBuf;

use firedrill_core::platform::NodeAddress;
use firedrill_core::system::{HomeFile, LabRecipe, NODE_HOME, Program, TemplateEnd, Unit};

use super::options::Options;
use super::{MASTER, PORT, SENTINEL_PORT};
use crate::programs;

const USER: &str = "redis";

/// The recipe for these places.
pub(super) fn recipe(options: &Options, places: &[NodeAddress]) -> LabRecipe {
    let find = |name: &str| programs::in_path(&programs::path(), name);
    let (server, sentinel) = (find("redis-server"), find("redis-sentinel"));
    let unit = |place: &NodeAddress, name: &str, program: &Option<PathBuf>, config: &str| {
        let program = program.as_ref().map_or_else(|| name.to_owned(), |program| program.display().to_string());
        let pairs = [("PATH", "/usr/bin:/bin"), ("HOME", NODE_HOME), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC")];
        Unit {
            node: place.node.clone(),
            name: name.to_owned(),
            argv: vec![program, format!("{NODE_HOME}/redis/{config}")],
            env: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect::<BTreeMap<_, _>>(),
            user: USER.to_owned(),
            // A sentinel that finds no master at its start takes longer to learn of the replicas.
            needs_port: (name == "redis-sentinel").then_some(PORT),
            for_template: TemplateEnd::Terminate,
        }
    };
    let mut units: Vec<Unit> = places.iter().map(|place| unit(place, "redis-server", &server, "redis.conf")).collect();
    units.extend(places.iter().map(|place| unit(place, "redis-sentinel", &sentinel, "sentinel.conf")));
    let file = |place: &NodeAddress, path: &str, content: Option<String>, mode| HomeFile {
        node: place.node.clone(),
        path: path.to_owned(),
        content,
        mode,
        user: USER.to_owned(),
    };
    let files = places.iter().flat_map(|place| {
        vec![
            file(place, "redis", None, 0o700),
            file(place, "redis/redis.conf", Some(redis_conf(options, place, places)), 0o644),
            file(place, "redis/sentinel.conf", Some(sentinel_conf(options, place, places)), 0o644),
        ]
    });
    let program = |name: &str, path: Option<PathBuf>| Program { name: name.to_owned(), path, package: name.to_owned() };
    LabRecipe {
        files: files.collect(),
        programs: vec![program("redis-server", server), program("redis-sentinel", sentinel)],
        units,
        clocks: BTreeMap::new(),
        names: false,
    }
}

fn redis_conf(options: &Options, place: &NodeAddress, places: &[NodeAddress]) -> String {
    let first = places.first().filter(|first| first.node != place.node);
    let replica = first.map(|first| format!("replicaof {} {PORT}\n", first.address)).unwrap_or_default();
    format!(
        "bind {address}\nport {PORT}\nprotected-mode no\ndaemonize no\ndir {NODE_HOME}/redis\nsave \"\"\n\
         appendonly yes\nappendfsync {fsync}\nrepl-diskless-sync yes\nrepl-diskless-sync-delay 0\n\
         replica-announce-ip {address}\nmin-replicas-to-write {least}\nmin-replicas-max-lag {lag}\n{replica}",
        address = place.address,
        fsync = options.appendfsync,
        least = options.min_replicas_to_write,
        lag = options.min_replicas_max_lag.as_secs(),
    )
}

fn sentinel_conf(options: &Options, place: &NodeAddress, places: &[NodeAddress]) -> String {
    let first = places.first().unwrap_or(place);
    format!(
        "bind {address}\nport {SENTINEL_PORT}\nprotected-mode no\ndaemonize no\ndir {NODE_HOME}/redis\n\
         sentinel announce-ip {address}\nsentinel monitor {MASTER} {first} {PORT} {quorum}\n\
         sentinel down-after-milliseconds {MASTER} {down}\nsentinel failover-timeout {MASTER} {failover}\n\
         sentinel parallel-syncs {MASTER} 1\n",
        address = place.address,
        first = first.address,
        quorum = places.len() / 2 + 1,
        down = options.down_after.as_millis(),
        failover = options.failover_timeout.as_millis(),
    )
}
