//! Plans: equal for equal seeds, honest about what they impair, readable.

use std::fmt::Write as _;
use std::time::Duration;

use expect_test::expect_file;
use firedrill_core::action::{Action, Endpoint};
use firedrill_core::cluster::{ClusterView, NodeName, Selector, resolve, symbolic_view};
use firedrill_core::fault::{FaultPlan, Hold, PlanError, PlanInput, impaired};
use firedrill_core::seed::Seed;
use proptest::prelude::*;

use crate::views::{healthy, read};

/// Every way to write a fault, with a role to aim it at.
const WAYS: [(&str, &str, &str, u32); 58] = [
    ("clock.drift", "rate = '+500ppm'", "primary", 3),
    ("clock.jump", "by = '-10m'\nprocess = 'postgres'", "primary", 3),
    ("clock.skew", "by = '+2s'\nover = '4s'", "replicas", 3),
    ("clock.strobe", "by = '30s'\nevery = '200ms'", "primary", 3),
    ("disk.corrupt", "where = 'read'\npath = 'base'", "primary", 3),
    ("disk.corrupt", "where = 'rest'\npath = 'base'\nbits = 3", "replica", 3),
    ("disk.error", "path = 'pg_wal'\nops = ['fsync']\nnth = 5", "primary", 3),
    ("disk.full", "", "primary", 3),
    ("disk.latency", "delay = '50ms'\npath = 'data/pg_wal'\nchance = '10%'", "primary", 3),
    ("disk.lost-fsync", "path = 'postgres'", "primary", 3),
    ("disk.read-only", "", "sync-standby", 3),
    ("disk.stall", "path = 'pg_wal'\nops = ['write', 'fsync']", "replicas", 3),
    ("disk.throttle", "rate = '1MiB/s'", "primary", 3),
    ("disk.torn-write", "path = 'base'", "primary", 3),
    ("net.bandwidth", "rate = '256KiB'", "primary", 3),
    ("net.corrupt", "chance = '5%'\ndirection = 'out'", "primary", 3),
    ("net.dns", "answer = 'servfail'", "all", 3),
    ("net.dns", "answer = 'nxdomain'\nwhose = 'primary'", "replicas", 3),
    ("net.dns", "answer = 'other-node'\nwhose = 'others'", "any:2", 3),
    ("net.dns", "answer = 'late'\ndelay = '300ms'\nnames = ['n3', 'n1']", "primary", 3),
    ("net.duplicate", "chance = '0.1%'\nbetween = 'clients'\ndirection = 'in'", "primary", 3),
    ("net.half-open", "between = 'peers'", "any:2", 3),
    ("net.jitter", "by = '100ms'", "primary", 3),
    ("net.latency", "delay = '100ms'\njitter = '10ms'\nbetween = 'clients'", "primary", 3),
    ("net.loss", "chance = '100%'\nport = 8008", "primary", 3),
    ("net.partition", "shape = 'isolate-from-peers'\nport = 5432", "primary", 3),
    ("net.partition", "shape = 'isolate'", "primary", 3),
    ("net.partition", "shape = 'isolate-from-peers'", "primary", 3),
    ("net.partition", "shape = 'isolate-from-peers'", "any:2", 5),
    ("net.partition", "shape = 'halves'", "primary", 5),
    ("net.partition", "shape = 'halves'", "majority", 3),
    ("net.partition", "shape = 'one-way'\ndirection = 'in'", "primary", 3),
    ("net.partition", "shape = 'one-way'\ndirection = 'out'", "sync-standby", 3),
    ("net.partition", "shape = 'bridge'", "primary", 5),
    ("net.partition", "shape = 'majorities-ring'", "all", 5),
    ("net.partition", "shape = 'clients'", "primary", 3),
    ("net.refuse", "direction = 'in'\nport = 5432", "primary", 3),
    ("net.reorder", "chance = '10%'\nby = '10ms'", "primary", 3),
    ("net.reset", "between = 'clients'\nport = 5432", "primary", 3),
    ("node.crash", "", "primary", 3),
    ("node.power-loss", "", "primary", 3),
    ("node.power-loss", "", "all", 3),
    ("node.rolling-restart", "down = '1s'", "all", 3),
    ("node.stop", "", "primary", 3),
    ("node.stop", "grace = '1s'", "any:2", 3),
    ("process.kill", "", "primary", 3),
    ("process.kill", "process = 'postgres'\nsignal = 'QUIT'", "primary", 3),
    ("process.kill", "signal = 15", "replicas", 3),
    ("process.oom", "process = 'postgres'", "primary", 3),
    ("process.pause", "", "primary", 3),
    ("process.pause", "process = 'etcd'", "any:2", 3),
    ("process.restart-loop", "", "primary", 3),
    ("process.restart-loop", "process = 'postgres'\nevery = '500ms'", "replicas", 3),
    ("resource.cpu", "", "primary", 3),
    ("resource.fds", "spare = 2", "primary", 3),
    ("resource.io", "workers = 2", "replicas", 3),
    ("resource.memory", "take = '100MiB'", "primary", 3),
    ("resource.pids", "", "primary", 3),
];

fn plan(
    way: (&str, &str, &str, u32),
    view: &ClusterView,
    hold: Option<u64>,
    seed: u64,
) -> Result<FaultPlan, PlanError> {
    let fault = read(way.0, way.1).unwrap();
    let selector: Selector = way.2.parse().unwrap();
    let targets = resolve(&selector, view, &mut Seed(seed).stream("targets")).map_err(PlanError)?;
    let hold = hold.map(Duration::from_millis);
    fault.plan(&PlanInput { view, targets: &targets, hold }, &mut Seed(seed).stream("fault"))
}

fn printed(plan: &FaultPlan) -> String {
    let mut text = format!("  {}\n", plan.words);
    for step in &plan.steps {
        writeln!(text, "  +{:?} {} ({:?})", step.offset, step.action, step.hold).unwrap();
    }
    let impairs = plan.impairs.iter().map(|(node, process)| match process {
        Some(process) => format!("{process} of {node}"),
        None => node.to_string(),
    });
    writeln!(text, "  impairs {}: {}", impaired([plan]), impairs.collect::<Vec<_>>().join(", ")).unwrap();
    text
}

#[test]
fn plans_on_a_cluster_and_in_words() {
    let mut text = String::new();
    for way in WAYS {
        let (kind, keys, on, nodes) = way;
        writeln!(text, "{kind} {} on {on} of {nodes}", keys.replace('\n', ", ")).unwrap();
        text.push_str(&printed(&plan(way, &healthy(nodes), Some(10_000), 1).unwrap()));
        let words = symbolic_view(&on.parse().unwrap(), &NodeName::numbered(nodes));
        writeln!(text, "  offline: {}", plan(way, &words, Some(10_000), 1).unwrap().words).unwrap();
    }
    expect_file!["plans.txt"].assert_eq(&text);
}

#[test]
fn what_cannot_be_planned_says_why() {
    let error = |way, hold| plan(way, &healthy(3), hold, 1).unwrap_err().to_string();
    let ring = ("net.partition", "shape = 'majorities-ring'", "all", 3);
    assert_eq!(error(ring, None), "a ring of majorities needs five nodes, not 3");
    let halves = ("net.partition", "shape = 'halves'", "all", 3);
    assert_eq!(error(halves, None), "there is nobody to cut it from");
    let bridge = ("net.partition", "shape = 'bridge'", "majority", 3);
    assert_eq!(error(bridge, None), "a bridge needs two nodes beside those it aims at");
    let everybody = ("net.loss", "chance = '5%'\nbetween = 'peers'", "all", 1);
    let alone = plan(everybody, &healthy(1), None, 1).unwrap_err().to_string();
    assert_eq!(alone, "there is nobody at the other end");
    let crash = ("node.crash", "", "primary", 3);
    assert_eq!(error(crash, Some(50)), "a crash takes 50ms before the kill: hold it longer");
    let skew = ("clock.skew", "by = '+2s'\nover = '4s'", "primary", 3);
    assert_eq!(error(skew, Some(6999)), "it would be healed on the way: hold it for 7s at least");
    let cpu = ("resource.cpu", "", "primary", 3);
    let late = ("net.dns", "answer = 'late'\ndelay = '3s'\nwhose = 'others'", "any:2", 3);
    let said = error(late, Some(6899));
    assert_eq!(said, "late answers take their time to be proven: hold it for 6.9s at least");
    assert_eq!(error(cpu, Some(3999)), "it takes a second to be seen: hold it for 4s at least");
}

#[test]
fn a_named_process_without_for_is_left_to_its_supervisor() {
    let way = ("process.kill", "process = 'postgres'", "primary", 3);
    let (left, held) = (plan(way, &healthy(3), None, 1).unwrap(), plan(way, &healthy(3), Some(5), 1).unwrap());
    assert_eq!((left.steps[0].hold, held.steps[0].hold), (Hold::OneShot, Hold::Held));
    let stays = |plan: &FaultPlan| matches!(plan.steps[0].action, Action::Kill { stay_down: true, .. });
    assert!(!stays(&left) && stays(&held));
    let node = plan(("process.kill", "", "primary", 3), &healthy(3), None, 1).unwrap();
    assert_eq!(node.steps[0].hold, Hold::Held);
    assert!(stays(&node), "all of a node stays down until the heal");
}

#[test]
fn seeds_of_impairments_are_drawn() {
    let seed = |run| {
        let plan = plan(("net.loss", "chance = '5%'", "primary", 3), &healthy(3), Some(9), run).unwrap();
        let Action::Impair { seed, .. } = plan.steps[0].action else { panic!("{}", plan.words) };
        seed
    };
    assert_eq!(seed(1), seed(1));
    assert_ne!(seed(1), seed(2));
}

#[test]
fn a_crash_cuts_the_wire_before_it_kills() {
    let plan = plan(("node.crash", "", "primary", 3), &healthy(3), Some(5000), 1).unwrap();
    let Action::Cut { links, port: None } = &plan.steps[0].action else { panic!("{}", plan.steps[0].action) };
    assert_eq!(links.len(), 6, "both directions to two nodes and to the clients");
    assert!(links.iter().any(|link| link.from == Endpoint::Clients));
    assert!(matches!(&plan.steps[1].action, Action::Kill { process: None, signal: 9, stay_down: true, .. }));
    assert!(plan.steps[0].offset < plan.steps[1].offset);
}

proptest! {
    #[test]
    fn equal_seeds_give_equal_plans(way in 0..WAYS.len(), seed: u64) {
        let way = WAYS[way];
        let view = healthy(way.3);
        prop_assert_eq!(plan(way, &view, Some(10_000), seed), plan(way, &view, Some(10_000), seed));
    }

    #[test]
    fn a_split_impairs_its_smaller_side(nodes in 3_u32..10, seed: u64) {
        for shape in ["halves", "bridge"] {
            let keys = format!("shape = '{shape}'");
            let plan = plan(("net.partition", &keys, "primary", nodes), &healthy(nodes), Some(1), seed).unwrap();
            let most = usize::try_from(nodes / 2).unwrap();
            prop_assert!((1..=most).contains(&impaired([&plan])), "{}", plan.words);
        }
    }

    #[test]
    fn steps_are_in_order_and_name_nodes_of_the_view(way in 0..WAYS.len(), seed: u64) {
        let way = WAYS[way];
        let view = healthy(way.3);
        let plan = plan(way, &view, Some(10_000), seed).unwrap();
        prop_assert!(plan.steps.is_sorted_by_key(|step| step.offset));
        prop_assert!(plan.impairs.iter().all(|(node, _)| view.node(node).is_some()));
        for step in &plan.steps {
            if let Action::Cut { links, .. } | Action::Impair { links, .. } = &step.action {
                prop_assert!(!links.is_empty());
                prop_assert!(links.iter().all(|link| link.from != link.to));
            }
        }
    }
}
