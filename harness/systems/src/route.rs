//! The route that applications take: every node in turn until one serves, as libpq does with several hosts and
//! `target_session_attrs=read-write`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use firedrill_core::cluster::NodeName;
use tokio::task::JoinSet;

/// How long a node may be silent before the next is tried beside it. libpq would wait out the whole of its
/// `connect_timeout`; a node behind a black hole must not hide one that serves for that long (RFC 8305 says 250 ms).
const HEAD_START: Duration = Duration::from_millis(250);

/// The first of `nodes` that serves, or why none does, sorted. Never waits longer than the slowest answer; the caller
/// bounds it.
pub(crate) async fn first_good<T, F>(nodes: &[NodeName], attempt: impl Fn(NodeName) -> F) -> Result<T, Vec<String>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, String>> + Send + 'static,
{
    let mut refusals: Vec<String> = Vec::new();
    let mut tries: JoinSet<Result<T, String>> = JoinSet::new();
    let mut left = nodes.iter();
    loop {
        match left.next() {
            Some(node) => {
                tries.spawn(attempt(node.clone()));
            }
            None if tries.is_empty() => {
                refusals.sort();
                return Err(refusals);
            }
            None => {}
        }
        let head_start = if left.len() > 0 { HEAD_START } else { Duration::MAX };
        match tokio::time::timeout(head_start, tries.join_next()).await {
            Ok(Some(Ok(Ok(good)))) => return Ok(good),
            Ok(Some(Ok(Err(refusal)))) => refusals.push(refusal),
            Ok(Some(Err(broken))) => refusals.push(broken.to_string()),
            Ok(None) | Err(_) => {}
        }
    }
}

/// The node that served last, which most likely still does.
#[derive(Debug, Default)]
pub(crate) struct LastGood(Mutex<Option<NodeName>>);

impl LastGood {
    /// All nodes, that one first and then those after it, round about.
    pub(crate) fn first(&self, nodes: &[NodeName]) -> Vec<NodeName> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let split = last.and_then(|last| nodes.iter().position(|node| *node == last)).unwrap_or(0);
        let (before, after) = nodes.split_at(split);
        after.iter().chain(before).cloned().collect()
    }

    /// Notes who served.
    pub(crate) fn note(&self, node: &NodeName) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(node.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_node_does_not_hide_one_that_serves() {
        let nodes = NodeName::numbered(3);
        let attempt = |node: NodeName| async move {
            match node.to_string().as_str() {
                "n1" => std::future::pending().await,
                "n2" => Err(format!("{node}: read-only")),
                _ => Ok(node),
            }
        };
        assert_eq!(first_good(&nodes, attempt).await, Ok(NodeName::new("n3")));
        let refuse = |node: NodeName| async move { Err::<(), String>(format!("{node}: no")) };
        let mut backwards = nodes.clone();
        backwards.reverse();
        assert_eq!(
            first_good(&backwards, refuse).await,
            Err(["n1: no", "n2: no", "n3: no"].map(str::to_owned).to_vec())
        );
    }

    #[test]
    fn who_served_last_is_tried_first() {
        let nodes = NodeName::numbered(3);
        let last = LastGood::default();
        assert_eq!(last.first(&nodes), nodes);
        last.note(&nodes[1]);
        assert_eq!(last.first(&nodes), ["n2", "n3", "n1"].map(NodeName::new));
    }
}
