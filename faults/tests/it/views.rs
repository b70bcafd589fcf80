//! Views of clusters to plan on.

use std::collections::BTreeSet;

use firedrill_core::cluster::{ClusterView, NodeName, NodeView, Role};
use firedrill_core::fault::{Fault, FaultEntry};
use firedrill_core::spec::{Fields, Mistakes};
use firedrill_faults::FAULTS;
use toml::de::DeTable;

/// `n1` is the primary, `n2` its sync standby, the others are replicas.
pub(crate) fn healthy(count: u32) -> ClusterView {
    let nodes = NodeName::numbered(count).into_iter().enumerate().map(|(place, name)| {
        let mut node = NodeView::down(name, "");
        let roles: &[Role] = match place {
            0 => &[Role::Primary, Role::DcsLeader],
            1 => &[Role::Replica, Role::SyncStandby],
            _ => &[Role::Replica],
        };
        node.roles = roles.iter().copied().collect::<BTreeSet<_>>();
        (node.up, node.read_write, node.streaming) = (true, place == 0, place != 0);
        node
    });
    ClusterView { nodes: nodes.collect(), ..ClusterView::default() }
}

pub(crate) fn entry(kind: &str) -> &'static FaultEntry {
    FAULTS.iter().find(|entry| entry.kind == kind).unwrap()
}

/// A fault from the keys of its own, as they stand in a `[[fault]]`; or what is wrong with them.
pub(crate) fn read(kind: &str, keys: &str) -> Result<Box<dyn Fault>, Vec<String>> {
    let table = DeTable::parse(keys).unwrap();
    let mistakes = Mistakes::default();
    let mut fields = Fields::new(table.get_ref(), 0..0, "[[fault]]", &mistakes);
    let fault = (entry(kind).parse)(&mut fields);
    fields.finish();
    let found: Vec<String> = mistakes.into_sorted().into_iter().map(|mistake| mistake.message).collect();
    match fault {
        Some(fault) if found.is_empty() => Ok(fault),
        Some(_) | None => Err(found),
    }
}
