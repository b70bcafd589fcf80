//! The simulated system's options, and what it calls a whole cluster. How it behaves under load is tested with the platform.

use std::sync::Arc;

use firedrill_core::cluster::{ClusterView, Epoch, NodeName, NodeView};
use firedrill_core::spec::{Fields, Mistake, Mistakes};
use firedrill_core::system::System;
use firedrill_core::time::RunTime;
use firedrill_systems::sim::{BUGS, ENTRY};
use toml::de::DeTable;

fn read(options: &str) -> (Option<Arc<dyn System>>, Vec<Mistake>) {
    let table = DeTable::parse(options).unwrap();
    let mistakes = Mistakes::default();
    let mut fields = Fields::new(table.get_ref(), 0..0, "[cluster.sim]", &mistakes);
    let system = (ENTRY.parse)(&mut fields, &NodeName::numbered(3));
    fields.finish();
    (system, mistakes.into_sorted())
}

#[test]
fn every_bug_can_be_planted_by_its_word() {
    for (word, bug) in BUGS {
        let (system, mistakes) = read(&format!("bugs = [\"{word}\"]"));
        assert_eq!(mistakes, []);
        assert_eq!(system.unwrap().sim().unwrap().bugs, [bug]);
        assert_eq!(serde_json::to_string(&bug).unwrap(), format!("\"{word}\""), "one word everywhere");
    }
    let (system, mistakes) = read("");
    assert_eq!(mistakes, []);
    assert_eq!(system.unwrap().sim().unwrap().bugs, []);
}

#[test]
fn mistakes_are_noted_with_their_place() {
    let (system, mistakes) = read("bugs = [\"two-primaries\", \"two-primarys\"]\nlease = \"1ms\"");
    assert!(system.is_none());
    let found: Vec<_> = mistakes.iter().map(|mistake| (mistake.span.start, mistake.help.as_deref())).collect();
    assert_eq!(found, [(25, Some("did you mean `two-primaries`?")), (49, Some("leave it out for 1s"))]);
}

#[test]
fn whole_is_one_primary_that_all_others_follow() {
    let (system, _) = read("");
    let system = system.unwrap();
    let node = |i: usize, read_write: bool| {
        let mut node = NodeView::down(NodeName::new(format!("n{i}")), "");
        (node.up, node.read_write, node.streaming, node.epoch) = (true, read_write, !read_write, Some(Epoch(1)));
        node
    };
    let view = |nodes: Vec<NodeView>| ClusterView { at: RunTime::ZERO, nodes, disagreement: None };
    let whole = view(vec![node(1, false), node(2, true), node(3, false)]);
    assert_eq!(system.whole(&whole), Ok(()));
    let mut split = whole.clone();
    split.disagreement = Some("n1 says otherwise".to_owned());
    let mut down = whole.clone();
    down.nodes[2].up = false;
    let mut idle = whole.clone();
    idle.nodes[0].streaming = false;
    let two = view(vec![node(1, true), node(2, true), node(3, false)]);
    let leaderless = view(vec![node(1, false), node(2, false), node(3, false)]);
    for (wrong, why) in [
        (split, "n1 says otherwise"),
        (down, "n3 is down"),
        (idle, "n1 does not follow"),
        (two, "2 nodes take writes"),
        (leaderless, "0 nodes take writes"),
    ] {
        let said = system.whole(&wrong).unwrap_err();
        assert!(said.contains(why), "{said}");
    }
}
