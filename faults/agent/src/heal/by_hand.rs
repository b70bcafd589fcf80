//! How a person would undo an action: the command to be typed when undoing it has failed.

use firedrill_core::action::{Action, Undo};
use firedrill_core::cluster::NodeName;
use firedrill_core::harm::Pressure;

use crate::deeds::{self, freeze, press};
use crate::protocol::Config;
use crate::tables;

/// The command, with what is put before it to be in the right place.
pub(super) fn remedy(config: &Config, undo: &Undo, prefix: &str) -> String {
    let commands = commands(config, undo);
    // What only our own program can do is tried once more.
    if commands.is_empty() {
        return "firedrill heal --all".to_owned();
    }
    commands.iter().map(|command| format!("{prefix}{command}")).collect::<Vec<_>>().join(" && ")
}

fn commands(config: &Config, undo: &Undo) -> Vec<String> {
    let tag = &undo.tag;
    match &undo.action {
        Action::Cut { .. } | Action::Impair { .. } => {
            undo.creates.iter().filter_map(|created| tables::by_hand(created)).collect()
        }
        Action::Pause { .. } => {
            let pids: Vec<String> = undo.processes.iter().map(|process| process.pid.to_string()).collect();
            vec![format!("kill -CONT {}", pids.join(" "))]
        }
        Action::Kill { .. }
        | Action::Oom { .. }
        | Action::RestartLoop { .. }
        | Action::Roll { .. }
        | Action::Stop { .. } => {
            deeds::restarts(&undo.action).into_iter().filter_map(|node| ensure(config, node)).collect()
        }
        Action::LosePower { nodes } => {
            let mounts = nodes.iter().filter_map(|node| remount(config, node));
            mounts.chain(nodes.iter().filter_map(|node| ensure(config, node))).collect()
        }
        Action::Press { pressure: Pressure::Fds { .. }, .. } => {
            let limit = |(key, value): (&String, &String)| {
                let pid = key.strip_prefix("nofile ")?.split(' ').next()?.parse().ok()?;
                Some(format!("{}prlimit --pid {pid} --nofile={}:", press::as_owner(pid), value.split(' ').nth(1)?))
            };
            undo.saved.iter().filter_map(limit).collect()
        }
        Action::ShiftClock { .. } => {
            let links = undo.creates.iter().filter_map(|created| created.strip_prefix("clock "));
            links.map(|link| format!("find {} -lname {tag} -delete; rm -f {link}", parent(link))).collect()
        }
        Action::FreezeDisk { node } => {
            let site = config.nodes.iter().find(|site| site.name == *node);
            site.and_then(freeze::home_on_volume).map(freeze::thaw_by_hand).into_iter().collect()
        }
        Action::Press { .. } | Action::HarmDisk { .. } | Action::MisleadNames { .. } => Vec::new(),
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or(".", |(parent, _)| parent)
}

fn ensure(config: &Config, node: &NodeName) -> Option<String> {
    let starter = config.starter.as_ref()?.display();
    Some(format!("sh -c 'echo ensure {node} | socat - UNIX-CONNECT:{starter}'"))
}

fn remount(config: &Config, node: &NodeName) -> Option<String> {
    let site = config.nodes.iter().find(|site| site.name == *node)?;
    let (home, image) = (site.ground.home.as_ref()?.display(), site.ground.device.as_ref()?.display());
    Some(format!("sh -c 'umount {home}; mount -o loop {image} {home}'"))
}

#[cfg(test)]
mod tests {
    use firedrill_core::action::{Endpoint, Link, ProcessRef};
    use firedrill_core::harm::ClockChange;

    use super::*;

    #[test]
    fn the_command_is_one_that_a_person_can_type() {
        let config = Config {
            tag_prefix: "fd-a-".to_owned(),
            lease_nanos: 1,
            nodes: Vec::new(),
            clients: None,
            starter: Some("/run/starter".into()),
            resolver: None,
            journal: None,
        };
        let node = || NodeName::new("n1");
        let link = Link { from: Endpoint::Node(node()), to: Endpoint::Clients };
        let mut pause = Undo::new("fd-a-2", Action::Pause { node: node(), process: None });
        pause.processes = [7, 8].map(|pid| ProcessRef { pid, start: 1, name: "x".to_owned() }).to_vec();
        let mut files = Undo::new("fd-a-3", Action::Press { node: node(), pressure: Pressure::Fds { spare: 0 } });
        files.saved.insert("nofile 9 100".to_owned(), "20 1024".to_owned());
        let change = ClockChange::Offset { nanos: 1 };
        let mut clock = Undo::new("fd-a-4", Action::ShiftClock { node: node(), process: None, change });
        clock.creates.push("clock /c/bash/fd-a-4".to_owned());
        let mut cut = Undo::new("fd-a-1", Action::Cut { links: vec![link], port: None });
        cut.creates.push("nft bridge fd-a-1".to_owned());
        for (undo, want) in [
            (cut, "IN nft delete table bridge fd-a-1"),
            (pause, "IN kill -CONT 7 8"),
            (files, "IN prlimit --pid 9 --nofile=1024:"),
            (clock, "IN find /c/bash -lname fd-a-4 -delete; rm -f /c/bash/fd-a-4"),
            (
                Undo::new("fd-a-5", Action::Oom { node: node(), process: None }),
                "IN sh -c 'echo ensure n1 | socat - UNIX-CONNECT:/run/starter'",
            ),
        ] {
            assert_eq!(remedy(&config, &undo, "IN "), want);
        }
    }
}
