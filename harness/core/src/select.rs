//! Role words to nodes: on a view of the living cluster at a fault's onset, or on a symbolic one whose node names are
//! words, so that a plan can be printed without a cluster.

use std::collections::BTreeSet;

use rand::seq::SliceRandom as _;

use crate::cluster::{ClusterView, NodeName, NodeView, Role, Selector};
use crate::seed::ChaCha8Rng;

/// The largest number of `nodes` that is no majority.
pub const fn minority_of(nodes: usize) -> usize {
    nodes.saturating_sub(1) / 2
}

/// The smallest majority of `nodes`.
pub const fn majority_of(nodes: usize) -> usize {
    nodes / 2 + 1
}

/// Draws `count` of `items` (all, if there are fewer) and returns them in their own order.
pub fn pick<T: Clone>(items: &[T], count: usize, rng: &mut ChaCha8Rng) -> Vec<T> {
    let mut places: Vec<usize> = (0..items.len()).collect();
    places.shuffle(rng);
    places.truncate(count);
    places.sort_unstable();
    places.into_iter().map(|place| items[place].clone()).collect()
}

/// The nodes a selector names on this view, in the view's (name) order, never none. Draws come from `rng`.
/// `Err` says what was seen instead.
pub fn resolve(selector: &Selector, view: &ClusterView, rng: &mut ChaCha8Rng) -> Result<Vec<NodeName>, String> {
    let all: Vec<NodeName> = view.nodes.iter().map(|node| node.name.clone()).collect();
    let found = match selector {
        Selector::Primary => vec![primary(view)?],
        Selector::Replicas => replicas(view),
        Selector::Replica => {
            let (standbys, all) = (view.with_role(Role::SyncStandby), replicas(view));
            let others: Vec<NodeName> = all.iter().filter(|node| !standbys.contains(node)).cloned().collect();
            pick(if others.is_empty() { &all } else { &others }, 1, rng)
        }
        Selector::SyncStandby => pick(&view.with_role(Role::SyncStandby), 1, rng),
        Selector::DcsLeader => view.with_role(Role::DcsLeader),
        Selector::Minority => pick(&all, minority_of(all.len()), rng),
        Selector::Majority => pick(&all, majority_of(all.len()), rng),
        Selector::All => all,
        Selector::Any(count) => {
            let count = usize::try_from(*count).unwrap_or(usize::MAX);
            if count > all.len() {
                return Err(format!("`{selector}` of {} nodes; seen: {}", all.len(), view.in_words()));
            }
            pick(&all, count, rng)
        }
        Selector::Zone(zone) => names(view, |node| node.labels.get("zone").is_some_and(|label| label == zone)),
        Selector::Node(name) => names(view, |node| node.name == *name),
    };
    match (selector, found.len()) {
        (_, 0) => Err(format!("no node is `{selector}`; seen: {}", view.in_words())),
        (Selector::DcsLeader, 2..) => Err(format!("several nodes are `{selector}`; seen: {}", view.in_words())),
        _ => Ok(found),
    }
}

fn names(view: &ClusterView, wanted: impl Fn(&NodeView) -> bool) -> Vec<NodeName> {
    view.nodes.iter().filter(|node| wanted(node)).map(|node| node.name.clone()).collect()
}

/// The one node that takes writes by its own word; else the one that bears the role.
fn primary(view: &ClusterView) -> Result<NodeName, String> {
    if let Some(node) = view.primary() {
        return Ok(node.name.clone());
    }
    let bearers = view.with_role(Role::Primary);
    match (view.primaries(), bearers.as_slice()) {
        (0, [one]) => Ok(one.clone()),
        (0, _) => Err(format!("no node takes writes; seen: {}", view.in_words())),
        (writers, _) => Err(format!("{writers} nodes take writes; seen: {}", view.in_words())),
    }
}

/// Every node that answers and follows.
fn replicas(view: &ClusterView) -> Vec<NodeName> {
    names(view, |node| {
        let follows = node.roles.contains(&Role::Replica) || node.roles.contains(&Role::SyncStandby);
        node.up && follows && !node.read_write
    })
}

/// A healthy cluster of as many nodes as `nodes`, whose node names are words that fit the selector: `the primary`,
/// `the 2nd replica in name order`. Who bears a role is not known without a cluster, and is not made up here.
/// Selectors that draw from all nodes, and those that name one, see names or places in name order.
pub fn symbolic_view(selector: &Selector, nodes: &[NodeName]) -> ClusterView {
    let others = nodes.len().saturating_sub(1);
    let named: Vec<(String, Vec<Role>)> = match selector {
        Selector::Primary | Selector::Replicas => {
            let replicas = (1..=others).map(|i| (format!("the {} replica", ordinal(i)), vec![Role::Replica]));
            std::iter::once(("the primary".to_owned(), vec![Role::Primary])).chain(replicas).collect()
        }
        Selector::Replica => special("a replica drawn at onset", "the primary", vec![Role::Replica], others),
        Selector::SyncStandby => {
            special("the sync standby", "the primary", vec![Role::Replica, Role::SyncStandby], others)
        }
        Selector::DcsLeader => {
            let rest = (1..=others).map(|i| (format!("the {} other node", ordinal(i)), vec![Role::Replica]));
            std::iter::once(("the DCS leader".to_owned(), vec![Role::DcsLeader])).chain(rest).collect()
        }
        Selector::Minority | Selector::Majority | Selector::All | Selector::Any(_) => {
            (1..=nodes.len()).map(|i| (format!("the {} node in name order", ordinal(i)), Vec::new())).collect()
        }
        Selector::Zone(_) | Selector::Node(_) => nodes.iter().map(|node| (node.to_string(), Vec::new())).collect(),
    };
    let nodes = named.into_iter().map(|(name, roles)| symbolic_node(name, roles)).collect();
    ClusterView { nodes, ..ClusterView::default() }
}

/// The primary, then the one node in question, then the other replicas.
fn special(one: &str, primary: &str, roles: Vec<Role>, others: usize) -> Vec<(String, Vec<Role>)> {
    let mut named = vec![(primary.to_owned(), vec![Role::Primary])];
    if others > 0 {
        named.push((one.to_owned(), roles));
    }
    // Standbys in the eyes of `Selector::Replica`, which passes them over, so that the drawn one is the one in question.
    let rest = vec![Role::Replica, Role::SyncStandby];
    let plain = vec![Role::Replica];
    let role = if one == "the sync standby" { plain } else { rest };
    named.extend((1..others).map(|i| (format!("the {} other replica", ordinal(i)), role.clone())));
    named
}

fn symbolic_node(name: String, roles: Vec<Role>) -> NodeView {
    let roles: BTreeSet<Role> = roles.into_iter().collect();
    let read_write = roles.contains(&Role::Primary);
    let mut node = NodeView::down(NodeName::new(name), "symbolic");
    (node.up, node.read_write, node.streaming, node.roles) = (true, read_write, !read_write, roles);
    node
}

/// `1st`, `2nd`, `3rd`, `11th`, `21st`.
pub fn ordinal(number: usize) -> String {
    let suffix = match (number % 10, number % 100) {
        (1, tens) if tens != 11 => "st",
        (2, tens) if tens != 12 => "nd",
        (3, tens) if tens != 13 => "rd",
        _ => "th",
    };
    format!("{number}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    fn node(name: &str, roles: &[Role]) -> NodeView {
        symbolic_node(name.to_owned(), roles.to_vec())
    }

    fn three() -> ClusterView {
        let nodes = vec![
            node("n1", &[Role::Replica, Role::SyncStandby]),
            node("n2", &[Role::Primary, Role::DcsLeader]),
            node("n3", &[Role::Replica]),
        ];
        ClusterView { nodes, ..ClusterView::default() }
    }

    fn look(word: &str, view: &ClusterView, seed: u64) -> Result<Vec<String>, String> {
        let selector: Selector = word.parse()?;
        let found = resolve(&selector, view, &mut Seed(seed).stream("test"))?;
        Ok(found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn words_resolve_on_a_healthy_view() {
        for (word, want) in [
            ("primary", "n2"),
            ("replicas", "n1 n3"),
            ("replica", "n3"),
            ("sync-standby", "n1"),
            ("dcs-leader", "n2"),
            ("all", "n1 n2 n3"),
            ("n3", "n3"),
        ] {
            assert_eq!(look(word, &three(), 1).unwrap().join(" "), want, "{word}");
        }
        assert_eq!(look("minority", &three(), 1).unwrap().len(), 1);
        assert_eq!(look("majority", &three(), 1).unwrap().len(), 2);
        assert_eq!(look("any:2", &three(), 1).unwrap().len(), 2);
    }

    #[test]
    fn draws_are_in_name_order_and_follow_the_seed() {
        let drawn: BTreeSet<_> = (0..50).map(|seed| look("any:2", &three(), seed).unwrap()).collect();
        assert_eq!(drawn.len(), 3, "every pair is drawn by some seed: {drawn:?}");
        assert!(drawn.iter().all(|pair| pair[0] < pair[1]));
        assert_eq!(look("any:2", &three(), 7), look("any:2", &three(), 7));
    }

    #[test]
    fn what_cannot_be_resolved_says_what_was_seen() {
        let mut view = three();
        view.nodes[1].read_write = false;
        view.nodes[1].roles.clear();
        for word in ["primary", "dcs-leader", "n9", "zone:a", "any:4"] {
            let error = look(word, &view, 1).unwrap_err();
            assert!(error.contains("n1 sync-standby"), "{word}: {error}");
        }
        view.nodes[0].read_write = true;
        view.nodes[2].read_write = true;
        assert!(look("primary", &view, 1).unwrap_err().starts_with("2 nodes take writes"));
    }

    #[test]
    fn symbolic_views_resolve_to_words() {
        let nodes = NodeName::numbered(3);
        for (word, want) in [
            ("primary", "the primary"),
            ("replicas", "the 1st replica, the 2nd replica"),
            ("replica", "a replica drawn at onset"),
            ("sync-standby", "the sync standby"),
            ("dcs-leader", "the DCS leader"),
            ("n2", "n2"),
        ] {
            let selector: Selector = word.parse().unwrap();
            let view = symbolic_view(&selector, &nodes);
            assert_eq!(view.nodes.len(), 3, "{word}");
            assert_eq!(look(word, &view, 3).unwrap().join(", "), want);
        }
    }
}
