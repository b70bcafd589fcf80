//! Nodes with names: a name server in the switch, and mounts by which every node asks that one.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use firedrill_agent::names::{ARGUMENT, READY, Setting, control};
use firedrill_core::platform::NodeAddress;
use firedrill_sys::clock;
use nix::sched::{CloneFlags, unshare};

use super::{NODES, World, address, node};

impl World {
    /// Gives the nodes names, as the lab does: a name server in the switch, and mounts by which every node asks that one.
    /// The name server's process id.
    pub(crate) fn with_names(&mut self) -> i32 {
        let server = Ipv4Addr::new(10, 77, 0, 202);
        self.switch.ip(&format!("addr add {server}/24 dev sw0"));
        let resolv = self.folder.path().join("resolv.conf");
        std::fs::write(&resolv, format!("nameserver {server}\noptions timeout:1 attempts:1\n")).expect("a file");
        let own = move || {
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).expect("mounts of its own");
            firedrill_sys::mounts::make_private().expect("private");
            firedrill_sys::mounts::bind(&resolv, std::path::Path::new("/etc/resolv.conf")).expect("mounted");
            File::open("/proc/thread-self/ns/mnt").expect("its file")
        };
        self.mounts = Some(thread::spawn(own).join().expect("a thread"));
        self.resolver = Some(self.folder.path().join("names.sock"));
        self.start_names()
    }

    /// Starts the name server; its process id.
    pub(crate) fn start_names(&self) -> i32 {
        let socket = self.resolver.clone().expect("a world with names");
        drop(std::fs::remove_file(&socket));
        let nodes = (1..=NODES).map(|number| NodeAddress { node: node(number), address: address(number) });
        let at = "10.77.0.202:53".parse().expect("an address");
        let setting = serde_json::to_string(&Setting { at, socket, nodes: nodes.collect() }).expect("a setting");
        let mut command = self.switch.command(env!("CARGO_BIN_EXE_firedrill-agent"));
        let mut child = command.args([ARGUMENT, &setting]).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        assert_eq!(line.trim(), READY);
        let pid = i32::try_from(child.id()).expect("a pid");
        self.keep(child);
        pid
    }

    /// The lies that the name server still tells after a moment.
    pub(crate) fn lies(&self) -> Vec<String> {
        let socket = self.resolver.as_deref().expect("a world with names");
        let tags = || match control::ask(socket, &control::Order::List) {
            Ok((_, control::Reply::Listed { held })) => held.into_iter().map(|(tag, _)| tag).collect::<Vec<String>>(),
            other => panic!("the name server does not answer: {other:?}"),
        };
        let none = || tags().is_empty().then_some(());
        clock::until(Duration::from_secs(5), Duration::from_millis(5), none).map_or_else(tags, |()| Vec::new())
    }
}
