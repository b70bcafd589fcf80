//! How the lab starts one cluster: one etcd on every node.

use std::collections::BTreeMap;
use std::path::PathBuf;

use firedrill_core::platform::NodeAddress;
use firedrill_core::system::{HomeFile, LabRecipe, NODE_HOME, Program, TemplateEnd, Unit};

use super::options::Options;
use super::{PEER_PORT, PORT};
use crate::programs;

/// Where etcd is installed, if it is.
pub(super) fn program() -> Option<PathBuf> {
    programs::in_path(&programs::path(), "etcd")
}

/// The recipe for these places.
pub(super) fn recipe(options: &Options, program: Option<PathBuf>, places: &[NodeAddress]) -> LabRecipe {
    let url = |place: &NodeAddress, port: u16| format!("http://{}:{port}", place.address);
    let called = |place: &NodeAddress, port: u16| {
        if options.names { format!("http://{}:{port}", place.node) } else { url(place, port) }
    };
    let member = |place: &NodeAddress| format!("{}={}", place.node, called(place, PEER_PORT));
    let members: Vec<String> = places.iter().map(member).collect();
    let name = program.as_ref().map_or_else(|| "etcd".to_owned(), |program| program.display().to_string());
    let unit = |place: &NodeAddress| {
        let flags = [
            ("--name", place.node.to_string()),
            ("--data-dir", format!("{NODE_HOME}/etcd/data")),
            // It listens on addresses only.
            ("--listen-peer-urls", url(place, PEER_PORT)),
            ("--initial-advertise-peer-urls", called(place, PEER_PORT)),
            ("--listen-client-urls", url(place, PORT)),
            ("--advertise-client-urls", called(place, PORT)),
            ("--initial-cluster", members.join(",")),
            ("--initial-cluster-state", "new".to_owned()),
            ("--initial-cluster-token", "firedrill".to_owned()),
            ("--heartbeat-interval", options.heartbeat.as_millis().to_string()),
            ("--election-timeout", options.election_timeout.as_millis().to_string()),
        ];
        let mut argv = vec![name.clone()];
        argv.extend(flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
        // The default from etcd 3.5 on: a member that comes back from a partition does not depose the leader.
        argv.push("--pre-vote=true".to_owned());
        let pairs =
            [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", NODE_HOME), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC")];
        Unit {
            node: place.node.clone(),
            name: "etcd".to_owned(),
            argv,
            env: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect::<BTreeMap<_, _>>(),
            user: "etcd".to_owned(),
            needs_port: None,
            for_template: TemplateEnd::Terminate,
        }
    };
    let folder = |place: &NodeAddress| HomeFile {
        node: place.node.clone(),
        path: "etcd".to_owned(),
        content: None,
        mode: 0o700,
        user: "etcd".to_owned(),
    };
    LabRecipe {
        programs: vec![Program { name: "etcd".to_owned(), path: program, package: "etcd-server".to_owned() }],
        units: places.iter().map(unit).collect(),
        files: places.iter().map(folder).collect(),
        clocks: BTreeMap::new(),
        names: options.names,
    }
}
