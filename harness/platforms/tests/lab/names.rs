//! Nodes with names: they ask the lab's own name server and no other, and are misled for no longer than they are meant to be.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use firedrill_core::action::{Action, Presence};
use firedrill_core::cluster::NodeName;
use firedrill_core::harm::NameAnswer;
use firedrill_core::platform::{Incident, Platform as _};
use firedrill_platforms::lab::Lab;
use firedrill_sys::process::{Process, signal};

use crate::rig::{block_on, open, recipe, run_id, stop_and_find_nothing, whole};

/// What a command says that is run on the second node as people are told to.
#[expect(clippy::disallowed_methods, reason = "what a person would type")]
fn on_second(lab: &Lab, command: &[&str]) -> String {
    let prefix = lab.how_to_reach()[2].prefix.clone();
    let mut arguments = prefix.split(' ');
    let output = Command::new(arguments.next().unwrap()).args(arguments).args(command).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The first address of a name, as the second node is told it.
fn told(lab: &Lab, name: &str) -> String {
    on_second(lab, &["getent", "ahostsv4", name]).split_whitespace().next().unwrap_or_default().to_owned()
}

/// Kills the name server of this lab, and of no other.
fn kill_name_server(lab: &Lab) {
    let reach = lab.how_to_reach()[0].prefix.clone();
    let init = reach.split(' ').skip_while(|word| *word != "--target").nth(1).unwrap().to_owned();
    let children = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap();
    let is_it = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(b"names")
    };
    let found: Vec<i32> = children.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(is_it).collect();
    let process = Process::read(found[0]).unwrap();
    assert!(found.len() == 1 && signal(process.pid, process.start, 9).unwrap());
}

pub(crate) fn nodes_with_names_ask_the_labs_name_server(work: &Path) {
    block_on(async {
        let run = run_id("names");
        let mut named = recipe();
        named.names = true;
        let lab = open(work, &run, named);
        lab.start(false).await.unwrap();
        whole(&lab).await;
        let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        assert_eq!([told(&lab, "n1"), told(&lab, "N2.")], ["10.77.0.1", "10.77.0.2"]);
        assert_eq!(told(&lab, "n3"), "", "nobody else is asked");
        assert!(on_second(&lab, &["cat", "/etc/resolv.conf"]).starts_with("nameserver 10.77.0.202\n"));
        assert_eq!(std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(), host, "the host's is as it was");
        let before = lab.inventory().await.unwrap();
        let [one, two] = ["n1", "n2"].map(NodeName::new);
        let lie = Action::MisleadNames { askers: vec![two.clone()], names: vec![one], answer: NameAnswer::OtherNode };
        let undo = lab.prepare(&lie).await.unwrap();
        lab.apply(&undo, None).await.unwrap();
        let effect = lab.probe(&undo).await;
        assert_eq!(effect.presence, Presence::Full, "{}", effect.evidence);
        assert_eq!(told(&lab, "n1"), "10.77.0.2");
        assert!(!lab.residue(&before, &lab.inventory().await.unwrap()).is_empty());
        lab.revert(&undo).await.unwrap();
        assert_eq!((lab.probe(&undo).await.presence, told(&lab, "n1").as_str()), (Presence::Absent, "10.77.0.1"));
        assert_eq!(lab.inventory().await.unwrap(), before);
        kill_name_server(&lab);
        let incident = tokio::time::timeout(Duration::from_secs(10), lab.incident()).await.unwrap();
        let why = "its name server ended: signal 9 (SIGKILL)";
        assert_eq!(incident, Incident::AgentDied { detail: why.to_owned() });
        stop_and_find_nothing(&lab, &run).await;
    });
}
