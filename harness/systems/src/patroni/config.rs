//! Patroni's configuration file for one node, as operators write it, each choice with its reason.

use std::fmt::Write as _;

use super::options::{Options, SynchronousMode};
use super::programs::Programs;
use super::recipe::Place;
use super::{ETCD_PORT, POSTGRES_PORT, REST_PORT, SCOPE};

/// Parameters that a scenario may override, with the reason for each.
const DEFAULTS: [(&str, &str, &str); 9] = [
    ("max_connections", "100", "PostgreSQL's default"),
    ("shared_buffers", "64MB", "three servers share one machine"),
    ("wal_level", "replica", "what streaming replication needs"),
    ("max_wal_senders", "10", "PostgreSQL's default"),
    ("max_replication_slots", "10", "PostgreSQL's default"),
    ("wal_keep_size", "128MB", "Patroni's default, so that pg_rewind finds the log since the fork"),
    (
        "wal_retrieve_retry_interval",
        "1s",
        "PostgreSQL's 5s makes a standby that asked before its slot was made sit idle for that long",
    ),
    ("log_checkpoints", "off", "the log is there to be read after a failed run"),
    ("log_min_error_statement", "fatal", "a refused write on a replica is one line, not two"),
];

/// The file `patroni.yml`. Texts are written as JSON strings, which YAML reads as they are.
pub(super) fn patroni_yml(options: &Options, programs: &Programs, place: &Place, places: &[Place]) -> String {
    let hosts: Vec<String> = places.iter().map(|place| format!("{}:{ETCD_PORT}", options.host(place))).collect();
    let hosts: Vec<String> = hosts.iter().map(|host| quoted(host)).collect();
    let head = format!(
        "# Written by firedrill for {node}.\n\
         scope: {SCOPE}\n\
         namespace: /service/\n\
         name: {node}\n\
         restapi:\n  listen: {rest}\n  connect_address: {called}\n\
         # The version 3 protocol: etcd 3.4 no longer serves version 2 unless told to.\n\
         etcd3:\n  hosts: [{hosts}]\n",
        node = place.node,
        rest = quoted(&format!("{}:{REST_PORT}", place.address)),
        called = quoted(&format!("{}:{REST_PORT}", options.host(place))),
        hosts = hosts.join(", "),
    );
    [head, bootstrap(options, programs), postgresql(options, programs, place), TAIL.to_owned()].concat()
}

const TAIL: &str = "# No hardware watchdog: there is none in a namespace, and the lease must do without.\n\
                    watchdog:\n  mode: \"off\"\n";

/// What the node that bootstraps the cluster writes into etcd, where all of them read it from then on.
fn bootstrap(options: &Options, programs: &Programs) -> String {
    let (synchronous, strict) = match options.synchronous_mode {
        SynchronousMode::Off => (false, false),
        SynchronousMode::On => (true, false),
        SynchronousMode::Strict => (true, true),
    };
    let mut text = format!(
        "bootstrap:\n  dcs:\n    ttl: {}\n    loop_wait: {}\n    retry_timeout: {}\n    \
         maximum_lag_on_failover: {}\n    synchronous_mode: {synchronous}\n    synchronous_mode_strict: {strict}\n",
        options.ttl.as_secs(),
        options.loop_wait.as_secs(),
        options.retry_timeout.as_secs(),
        options.maximum_lag_on_failover.0,
    );
    text.push_str(
        "    postgresql:\n      \
         # A returning primary is rewound rather than copied anew; what cannot be rewound is copied.\n      \
         use_pg_rewind: true\n      \
         remove_data_directory_on_rewind_failure: true\n      \
         remove_data_directory_on_diverged_timelines: true\n      \
         use_slots: true\n      \
         parameters:\n",
    );
    for (name, value, reason) in DEFAULTS {
        if !options.parameters.contains_key(name) {
            writeln!(text, "        # {reason}\n        {name}: {}", quoted(value)).expect("a String takes every text");
        }
    }
    for (name, value) in &options.parameters {
        writeln!(text, "        # from the scenario\n        {name}: {}", quoted(value))
            .expect("a String takes every text");
    }
    text.push_str("  initdb:\n  - encoding: UTF8\n  - locale: C.UTF-8\n");
    match (options.data_checksums, programs.newer_than(17)) {
        (true, _) => text.push_str("  - data-checksums\n"),
        // From 18 on initdb makes checksums without being asked to; before, it cannot be asked not to.
        (false, true) => text.push_str("  - no-data-checksums\n"),
        (false, false) => {}
    }
    text
}

/// What belongs to this node alone.
fn postgresql(options: &Options, programs: &Programs, place: &Place) -> String {
    let (address, home) = (place.address, &place.home);
    let bin = programs.postgres_bin.as_ref().map_or_else(String::new, |bin| bin.display().to_string());
    format!(
        "postgresql:\n  listen: {listen}\n  connect_address: {called}\n  data_dir: {data}\n  bin_dir: {bin}\n  \
         pgpass: {pgpass}\n  \
         # Patroni reaches its own server by the socket, so that cutting the network does not cut that.\n  \
         use_unix_socket: true\n  \
         authentication:\n    superuser:\n      username: postgres\n    replication:\n      username: replicator\n  \
         # Every node trusts every other: the network is the lab's own and nobody else is in it.\n  \
         # Without the two lines for local replication pg_rewind never works.\n  \
         pg_hba:\n  - local all all trust\n  - local replication all trust\n  - host all all 0.0.0.0/0 trust\n  \
         - host replication all 0.0.0.0/0 trust\n  \
         basebackup:\n  # Do not wait for the next checkpoint of the primary.\n  - checkpoint: fast\n  \
         parameters:\n    unix_socket_directories: {socket}\n    \
         logging_collector: \"off\"\n    log_destination: stderr\n    log_line_prefix: \"%m [%p] %q%a@%h \"\n    \
         log_timezone: UTC\n    lc_messages: C\n",
        listen = quoted(&format!("{address}:{POSTGRES_PORT}")),
        called = quoted(&format!("{}:{POSTGRES_PORT}", options.host(place))),
        data = quoted(&format!("{home}/postgres/data")),
        bin = quoted(&bin),
        pgpass = quoted(&format!("{home}/postgres/pgpass")),
        socket = quoted(&format!("{home}/run")),
    )
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
