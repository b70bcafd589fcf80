//! Whether the nodes tell the same story, and whether it is that of a whole cluster. Pure.

use std::collections::BTreeSet;

use firedrill_core::cluster::{ClusterView, NodeName, NodeView, Role};
use firedrill_core::time::RunTime;

use super::view::{Heard, Server};

/// The view that these answers make.
pub(super) fn told(heard: &[Heard], at: RunTime, waits_for_standby: bool) -> ClusterView {
    let mut nodes: Vec<NodeView> = heard.iter().map(|one| node_view(one, heard)).collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    ClusterView { at, nodes, disagreement: disagreement(heard, waits_for_standby) }
}

fn node_view(one: &Heard, heard: &[Heard]) -> NodeView {
    let mut view = match &one.server {
        Err(reason) => NodeView::down(one.node.clone(), format!("postgres: {reason}")),
        Ok(server) => NodeView {
            name: one.node.clone(),
            up: true,
            roles: roles(one, server, heard),
            read_write: server.read_write,
            epoch: server.epoch,
            position: server.position,
            streaming: server.streaming,
            incarnation: server.incarnation,
            unfinished: server.unfinished,
            labels: std::collections::BTreeMap::new(),
            detail: String::new(),
        },
    };
    if one.store.as_ref().is_ok_and(|status| status.leads) {
        view.roles.insert(Role::DcsLeader);
    }
    let mut words: Vec<String> = Some(view.detail).filter(|detail| !detail.is_empty()).into_iter().collect();
    words.push(match &one.daemon {
        Ok(()) => "patroni: alive".to_owned(),
        Err(reason) => format!("patroni: {reason}"),
    });
    words.push(match &one.store {
        Ok(status) if status.leads => "etcd: leads".to_owned(),
        Ok(status) if status.has_leader => "etcd: follows".to_owned(),
        Ok(_) => "etcd: knows no leader".to_owned(),
        Err(reason) => format!("etcd: {reason}"),
    });
    view.detail = words.join("; ");
    view
}

fn roles(one: &Heard, server: &Server, heard: &[Heard]) -> BTreeSet<Role> {
    let mut roles = BTreeSet::new();
    if server.read_write {
        roles.insert(Role::Primary);
    } else {
        roles.insert(Role::Replica);
        if writers(heard).any(|(_, writer)| writer.sync_standbys.contains(one.node.as_str())) {
            roles.insert(Role::SyncStandby);
        }
    }
    roles
}

fn writers(heard: &[Heard]) -> impl Iterator<Item = (&NodeName, &Server)> {
    let up = heard.iter().filter_map(|one| one.server.as_ref().ok().map(|server| (&one.node, server)));
    up.filter(|(_, server)| server.read_write)
}

/// What the nodes disagree about: who takes writes, who holds the leader key as each etcd has it, which timeline, and
/// whom a commit waits for. A daemon that is silent tells no story, and that is said too.
fn disagreement(heard: &[Heard], waits_for_standby: bool) -> Option<String> {
    let mut points: Vec<String> = Vec::new();
    let writing: Vec<(&NodeName, &Server)> = writers(heard).collect();
    if let [(first, _), (second, _), ..] = writing.as_slice() {
        points.push(format!("{first} and {second} both take writes"));
    }
    let writer = writing.first();
    for one in heard {
        let node = &one.node;
        match &one.scope {
            Err(reason) => points.push(format!("etcd of {node}: {reason}")),
            Ok(scope) => {
                let holder = scope.leader.as_ref().map(|(holder, _)| holder.as_str());
                let takes_writes = writer.map(|(name, _)| name.as_str());
                if holder != takes_writes {
                    let holder = holder.unwrap_or("nobody");
                    let takes_writes = takes_writes.unwrap_or("nobody");
                    points.push(format!("etcd of {node}: {holder} holds the leader key, {takes_writes} takes writes"));
                } else if let Some((_, server)) = writer.filter(|_| waits_for_standby)
                    && scope.sync_standbys != server.sync_standbys
                {
                    let (named, waited) = (listed(&scope.sync_standbys), listed(&server.sync_standbys));
                    points.push(format!("etcd of {node}: sync standby {named}, commits wait for {waited}"));
                }
            }
        }
        if one.store.as_ref().is_ok_and(|status| !status.has_leader) {
            points.push(format!("etcd of {node} knows no leader"));
        }
        if let Err(reason) = &one.daemon {
            points.push(format!("patroni of {node}: {reason}"));
        }
        if let (Some((name, primary)), Ok(server)) = (writer, &one.server)
            && server.streaming
            && server.epoch != primary.epoch
        {
            points.push(format!("{node} follows another timeline than {name} writes"));
        }
    }
    (!points.is_empty()).then(|| points.join("; "))
}

fn listed(names: &BTreeSet<String>) -> String {
    if names.is_empty() { "nobody".to_owned() } else { names.iter().cloned().collect::<Vec<_>>().join(" and ") }
}

/// `Ok` when one node takes writes, all others receive its log on its timeline, all tell the same story, and, if
/// commits wait for a standby, there is one to wait for.
pub(super) fn whole(view: &ClusterView, nodes: usize, waits_for_standby: bool) -> Result<(), String> {
    if let Some(down) = view.nodes.iter().find(|node| !node.up) {
        return Err(format!("{} is down: {}", down.name, down.detail));
    }
    if view.nodes.len() != nodes {
        return Err(format!("{} of {nodes} nodes seen", view.nodes.len()));
    }
    let Some(primary) = view.primary() else {
        return Err(format!("{} nodes take writes", view.primaries()));
    };
    for node in view.nodes.iter().filter(|node| node.name != primary.name) {
        if !node.streaming {
            return Err(format!("{} does not receive the log of {}", node.name, primary.name));
        }
        if node.epoch != primary.epoch {
            return Err(format!("{} is not on the timeline of {}", node.name, primary.name));
        }
    }
    if waits_for_standby && view.with_role(Role::SyncStandby).is_empty() {
        return Err("no sync standby".to_owned());
    }
    view.disagreement.clone().map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::super::etcd::{Scope, Status};
    use super::*;
    use firedrill_core::cluster::{Epoch, Position};

    fn healthy() -> Vec<Heard> {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
        let heard = |(i, node): (usize, NodeName)| Heard {
            node,
            server: Ok(Server {
                read_write: i == 0,
                epoch: Some(Epoch(1)),
                position: Some(Position(100)),
                streaming: i != 0,
                unfinished: 0,
                incarnation: Some(7),
                sync_standbys: names(if i == 0 { &["n2"] } else { &[] }),
            }),
            daemon: Ok(()),
            store: Ok(Status { version: "3.4.23".to_owned(), has_leader: true, leads: i == 2 }),
            scope: Ok(Scope { revision: 9, leader: Some(("n1".to_owned(), 5)), sync_standbys: names(&["n2"]) }),
        };
        NodeName::numbered(3).into_iter().enumerate().map(heard).collect()
    }

    fn server(heard: &mut [Heard], i: usize) -> &mut Server {
        heard[i].server.as_mut().unwrap()
    }

    fn judged(heard: &[Heard]) -> Result<(), String> {
        whole(&told(heard, RunTime::ZERO, true), 3, true)
    }

    #[test]
    fn a_healthy_cluster_is_whole_and_has_its_roles() {
        let view = told(&healthy(), RunTime::ZERO, true);
        assert_eq!(whole(&view, 3, true), Ok(()));
        assert_eq!(view.in_words(), "n1 primary (epoch 1), n2 sync-standby (epoch 1), n3 replica (epoch 1)");
        assert_eq!(view.with_role(Role::DcsLeader), [NodeName::new("n3")]);
    }

    #[test]
    fn everything_that_is_amiss_is_said() {
        type Break = fn(&mut Vec<Heard>);
        let cases: [(Break, &str); 11] = [
            (
                |heard| heard[1].server = Err("no answer in time".to_owned()),
                "n2 is down: postgres: no answer in time; patroni: alive; etcd: follows",
            ),
            (|heard| server(heard, 2).read_write = true, "2 nodes take writes"),
            (|heard| server(heard, 0).read_write = false, "0 nodes take writes"),
            (|heard| server(heard, 2).streaming = false, "n3 does not receive the log of n1"),
            (|heard| server(heard, 2).epoch = Some(Epoch(2)), "n3 is not on the timeline of n1"),
            (|heard| server(heard, 0).sync_standbys.clear(), "no sync standby"),
            (
                |heard| heard[2].scope.as_mut().unwrap().sync_standbys.clear(),
                "etcd of n3: sync standby nobody, commits wait for n2",
            ),
            (
                |heard| heard[1].scope.as_mut().unwrap().leader = Some(("n2".to_owned(), 8)),
                "etcd of n2: n2 holds the leader key, n1 takes writes",
            ),
            (|heard| heard[1].daemon = Err("connection refused".to_owned()), "patroni of n2: connection refused"),
            (|heard| heard[1].store.as_mut().unwrap().has_leader = false, "etcd of n2 knows no leader"),
            (|heard| heard.truncate(2), "2 of 3 nodes seen"),
        ];
        for (harm, said) in cases {
            let mut heard = healthy();
            harm(&mut heard);
            assert_eq!(judged(&heard), Err(said.to_owned()));
        }
    }

    #[test]
    fn a_dead_daemon_does_not_make_a_node_down() {
        let mut heard = healthy();
        heard[0].daemon = Err("connection refused".to_owned());
        let view = told(&heard, RunTime::ZERO, true);
        assert!(view.nodes[0].up && view.primary().is_some() && view.disagreement.is_some());
    }
}
