//! How the lab starts one cluster: on every node an etcd, and a Patroni that starts PostgreSQL.
//!
//! Nothing depends on the name of the user the servers run as: without root all of them share one.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use firedrill_core::cluster::{NodeName, ProcessName};
use firedrill_core::platform::NodeAddress;
use firedrill_core::system::{HomeFile, LabRecipe, NODE_HOME, TemplateEnd, Unit};

use super::config;
use super::options::Options;
use super::programs::Programs;
use super::{ETCD_PORT, SCOPE};

/// Port on which members of etcd speak to each other.
const PEER_PORT: u16 = 2380;

/// One node of the recipe: who, on which address, and where its files are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The node.
    pub node: NodeName,
    /// The address its servers listen on, and no other.
    pub address: Ipv4Addr,
    /// Its home directory. Short: a socket's path must stay below 107 bytes.
    pub home: String,
}

impl Place {
    /// The places in a lab, where each node sees its own home at the same path.
    pub fn in_lab(addresses: Vec<NodeAddress>) -> Vec<Self> {
        let place = |at: NodeAddress| Self { node: at.node, address: at.address, home: NODE_HOME.to_owned() };
        addresses.into_iter().map(place).collect()
    }
}

/// The recipe for these places with these programs.
pub fn recipe(options: &Options, programs: &Programs, places: &[Place]) -> LabRecipe {
    let mut units: Vec<Unit> = places.iter().map(|place| etcd_unit(options, programs, place, places)).collect();
    units.extend(places.iter().map(|place| patroni_unit(programs, place)));
    let files = places.iter().flat_map(|place| files(options, programs, place, places)).collect();
    let postgres = programs.postgres_bin.as_ref().map(|bin| (ProcessName("postgres".to_owned()), bin.join("postgres")));
    let clocks = postgres.into_iter().collect();
    LabRecipe { programs: programs.listed(), units, files, clocks, names: options.names }
}

fn files(options: &Options, programs: &Programs, place: &Place, places: &[Place]) -> Vec<HomeFile> {
    let file = |path: &str, content: Option<String>, mode: u32, user: &str| HomeFile {
        node: place.node.clone(),
        path: path.to_owned(),
        content,
        mode,
        user: user.to_owned(),
    };
    vec![
        file("etcd", None, 0o700, "etcd"),
        file("postgres", None, 0o700, "postgres"),
        file("run", None, 0o755, "postgres"),
        file("patroni.yml", Some(config::patroni_yml(options, programs, place, places)), 0o644, "postgres"),
    ]
}

fn etcd_unit(options: &Options, programs: &Programs, place: &Place, places: &[Place]) -> Unit {
    let url = |host: String, port: u16| format!("http://{host}:{port}");
    let called = |place: &Place, port: u16| url(options.host(place), port);
    let member = |place: &Place| format!("{}={}", place.node, called(place, PEER_PORT));
    let initial_cluster = places.iter().map(member).collect::<Vec<_>>().join(",");
    // It listens on addresses only.
    let [peer, client] = [PEER_PORT, ETCD_PORT].map(|port| url(place.address.to_string(), port));
    let flags: [(&str, &str); 11] = [
        ("--name", place.node.as_str()),
        ("--data-dir", &format!("{}/etcd/data", place.home)),
        ("--listen-peer-urls", &peer),
        ("--initial-advertise-peer-urls", &called(place, PEER_PORT)),
        ("--listen-client-urls", &client),
        ("--advertise-client-urls", &called(place, ETCD_PORT)),
        ("--initial-cluster", &initial_cluster),
        ("--initial-cluster-state", "new"),
        ("--initial-cluster-token", SCOPE),
        // etcd's own defaults, written down because the recovery times that are measured depend on them.
        ("--heartbeat-interval", "100"),
        ("--election-timeout", "1000"),
    ];
    let mut argv = vec![program(programs.etcd.as_deref(), "etcd")];
    argv.extend(flags.iter().flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()]));
    // Not the default before etcd 3.5, but what operators set: without it a member that comes back from a partition
    // deposes the leader, and Patroni demotes the primary because its consensus store is away for a moment.
    argv.push("--pre-vote=true".to_owned());
    Unit {
        node: place.node.clone(),
        name: "etcd".to_owned(),
        argv,
        env: environment(place, None, "etcd"),
        user: "etcd".to_owned(),
        needs_port: None,
        // It is to remember who leads, and on restart it gives every lease its full time again.
        for_template: TemplateEnd::KillThenInterruptOrphans,
    }
}

fn patroni_unit(programs: &Programs, place: &Place) -> Unit {
    let mut env = environment(place, programs.postgres_bin.as_deref(), "postgres");
    // The log is read while the run goes on, and the packaged modules are not ours to write beside.
    env.insert("PYTHONUNBUFFERED".to_owned(), "1".to_owned());
    env.insert("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned());
    Unit {
        node: place.node.clone(),
        name: "patroni".to_owned(),
        argv: vec![program(programs.patroni.as_deref(), "patroni"), format!("{}/patroni.yml", place.home)],
        env,
        user: "postgres".to_owned(),
        // A Patroni that finds no etcd sleeps five seconds before it looks again.
        needs_port: Some(ETCD_PORT),
        // A Patroni asked to end gives up the leader key: every clone would have to elect and promote, and its standbys
        // to wait for their slots. Killed, it leaves PostgreSQL behind, which SIGINT ends in good order (fast shutdown).
        for_template: TemplateEnd::KillThenInterruptOrphans,
    }
}

fn environment(place: &Place, first: Option<&Path>, home: &str) -> BTreeMap<String, String> {
    let usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let path = first.map_or_else(|| usual.to_owned(), |folder| format!("{}:{usual}", folder.display()));
    let pairs = [("PATH", path), ("HOME", format!("{}/{home}", place.home)), ("LC_ALL", "C.UTF-8".to_owned())];
    let zone = ("TZ", "UTC".to_owned());
    pairs.into_iter().chain([zone]).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The program as found, or its bare name: preflight refuses before anybody starts that.
fn program(found: Option<&Path>, name: &str) -> String {
    found.map_or_else(|| name.to_owned(), |path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;
    use std::path::PathBuf;
    use std::time::Duration;

    use expect_test::expect_file;
    use firedrill_core::platform::lab_addresses;
    use firedrill_core::units::Bytes;

    use super::super::options::SynchronousMode;
    use super::*;

    #[test]
    fn the_recipe_of_three_nodes() {
        let options = Options {
            synchronous_mode: SynchronousMode::Strict,
            ttl: Duration::from_secs(20),
            loop_wait: Duration::from_secs(5),
            retry_timeout: Duration::from_secs(5),
            maximum_lag_on_failover: Bytes(1 << 20),
            postgres_version: None,
            data_checksums: true,
            isolation: super::super::transactions::Isolation::Serializable,
            writes: super::super::transactions::Writes::Atomic,
            names: false,
            parameters: BTreeMap::from([("max_connections".to_owned(), "200".to_owned())]),
        };
        let programs = Programs {
            postgres_bin: Some(PathBuf::from("/usr/lib/postgresql/15/bin")),
            patroni: Some(PathBuf::from("/usr/bin/patroni")),
            etcd: Some(PathBuf::from("/usr/bin/etcd")),
            asked: None,
        };
        let places = Place::in_lab(lab_addresses(&NodeName::numbered(3)));
        let recipe = recipe(&options, &programs, &places);
        let first = |node: &NodeName| node.as_str() == "n1";
        let mut text = String::new();
        for unit in recipe.units.iter().filter(|unit| first(&unit.node)) {
            writeln!(text, "{} as {}, needs {:?}", unit.name, unit.user, unit.needs_port).unwrap();
            writeln!(text, "  {}", unit.argv.join("\n    ")).unwrap();
            for (name, value) in &unit.env {
                writeln!(text, "  {name}={value}").unwrap();
            }
        }
        for file in recipe.files.iter().filter(|file| first(&file.node)) {
            writeln!(text, "\n{} {:o} of {}", file.path, file.mode, file.user).unwrap();
            text.push_str(file.content.as_deref().unwrap_or("(a directory)\n"));
        }
        expect_file!["snapshots/recipe.txt"].assert_eq(&text);
        let named = super::recipe(&Options { names: true, ..options }, &programs, &places);
        assert!(named.names && !recipe.names);
        let told: Vec<&str> = named.units.iter().flat_map(|unit| &unit.argv).map(String::as_str).collect();
        assert!(told.contains(&"n1=http://n1:2380,n2=http://n2:2380,n3=http://n3:2380"), "{told:?}");
        let file = named.files.iter().find(|file| first(&file.node) && file.path == "patroni.yml").unwrap();
        let file = file.content.as_deref().unwrap();
        for line in [
            "  listen: \"10.77.0.1:8008\"\n  connect_address: \"n1:8008\"\n",
            "  hosts: [\"n1:2379\", \"n2:2379\", \"n3:2379\"]\n",
            "  listen: \"10.77.0.1:5432\"\n  connect_address: \"n1:5432\"\n",
        ] {
            assert!(file.contains(line), "{line} is not in {file}");
        }
        assert_eq!((recipe.units.len(), recipe.files.len()), (6, 12));
        let order: Vec<&str> = recipe.units.iter().map(|unit| unit.name.as_str()).collect();
        assert_eq!(order, ["etcd", "etcd", "etcd", "patroni", "patroni", "patroni"]);
    }
}
