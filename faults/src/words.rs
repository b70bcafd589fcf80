//! Lists of nodes in words.

use firedrill_core::cluster::NodeName;

/// `n1`, `n1 and n2`, `n1, n2 and n3`.
pub(crate) fn list<'a>(nodes: impl IntoIterator<Item = &'a NodeName>) -> String {
    let names: Vec<&str> = nodes.into_iter().map(NodeName::as_str).collect();
    match names.as_slice() {
        [] => "nobody".to_owned(),
        [one] => (*one).to_owned(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}
