//! Files without a mistake, and what the command line says instead of them.

use std::time::Duration;

use firedrill_core::check::When;
use firedrill_core::cluster::Selector;
use firedrill_core::scenario::{Comparison, Measure, Pace, RouteKind, Scenario, Start, Statistic};
use firedrill_core::seed::Seed;
use firedrill_core::units::Rate;
use firedrill_scenarios::{Overrides, load, load_with};

use crate::fakes::REGISTRIES;
use crate::render;

/// The scenario of the design, word for word but for its settings of safety.
const STORY: &str = r#"
firedrill = 1                             # version of the language
name   = "An isolated primary must not lose or fork an acknowledged commit"
guards = ["cloudnative-pg#7407"]
tags   = ["nightly", "gate"]

[cluster]
system   = "patroni"
platform = "lab"
nodes    = 3

[cluster.patroni]
synchronous-mode = "strict"
ttl              = "20s"

[workload]
kind    = "ledger"
clients = 16
rate    = "400/s"
routes  = ["router", "direct"]

[steady]
for     = "5s"
require = ["ok-ratio >= 99.9%", "primaries == 1", "streaming == 2"]

[[fault]]
id    = "isolate"
kind  = "net.partition"
shape = "isolate-from-peers"
on    = "primary"
at    = "10s"
for   = "20s"

[[fault]]
kind  = "disk.stall"
on    = "sync-standby"
path  = "pg_wal"
after = "isolate.healed + 5s"
for   = "8s"

[[invariant]]
check = "no-acked-loss"

[[invariant]]
check = "single-writer"

[[invariant]]
check = "progress"
min   = "50/s"
when  = "after isolate"
grace = "30s"

[objectives]
repeat     = 5
failover   = { p50 = "20s", max = "35s" }
redundancy = { max = "90s" }

[safety]
max-impaired = 1
halt-if      = ["primaries == 0 for 120s"]
lease        = "10s"
"#;

fn read(text: &str) -> Scenario {
    load("story.toml", text, &REGISTRIES).unwrap_or_else(|found| panic!("{}", render::mistakes(text, &found)))
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_story_reads_as_it_is_written() {
    let scenario = read(STORY);
    assert_eq!(scenario.text, STORY);
    assert_eq!(scenario.tags, ["nightly", "gate"]);
    assert_eq!(scenario.guards, ["cloudnative-pg#7407"]);
    assert_eq!((scenario.cluster.system_name, scenario.cluster.platform.name), ("patroni", "lab"));
    assert_eq!(scenario.cluster.nodes.len(), 3);
    assert_eq!((scenario.load.clients, scenario.load.pace), (16, Pace::Open(Rate(400.0))));
    assert_eq!(scenario.load.routes, [RouteKind::Router, RouteKind::Direct]);
    let require = &scenario.steady.require;
    assert_eq!((require[0].measure, require[0].comparison), (Measure::OkRatio, Comparison::AtLeast));
    assert!((require[0].value - 0.999).abs() < 1e-12);

    let (isolate, stall) = (&scenario.faults[0], &scenario.faults[1]);
    assert_eq!((&isolate.on, &isolate.start, isolate.hold), (&Selector::Primary, &Start::At(secs(10)), Some(secs(20))));
    assert_eq!(stall.id, "disk.stall-1");
    assert_eq!(stall.start, Start::AfterHealed("isolate".to_owned(), secs(5)));
    let ends: Vec<_> = scenario.timeline().into_iter().map(|(_, slot)| slot.end().as_secs()).collect();
    assert_eq!(ends, [30, 43]);
    assert_eq!(scenario.storm_length(), secs(43 + 5));

    assert_eq!(scenario.invariants[0].when, When::End);
    assert_eq!(scenario.invariants[2].when, When::After("isolate".to_owned()));
    assert_eq!(scenario.invariants[2].grace, secs(30));
    assert_eq!(scenario.objectives.repeat, 5);
    let bounds: Vec<_> = scenario.objectives.bounds.iter().map(|b| (b.statistic, b.text.as_str())).collect();
    assert_eq!(bounds, [(Statistic::P50, "20s"), (Statistic::Max, "35s"), (Statistic::Max, "1m 30s")]);
    assert_eq!(scenario.safety.halt_if[0].hold, secs(120));
}

const SHORT: &str = "
firedrill = 1
name = 'short'
cluster.system = 'patroni'
workload.kind = 'ledger'
[[invariant]]
check = 'progress'
";

#[test]
fn what_is_left_out_has_defaults() {
    let scenario = read(SHORT);
    assert_eq!(scenario.cluster.platform.name, "lab");
    assert_eq!(scenario.cluster.nodes.len(), 3);
    assert_eq!(scenario.load.timeout, secs(2));
    assert_eq!(scenario.load.routes, [RouteKind::Router]);
    assert_eq!(scenario.safety.max_impaired, 1);
    assert_eq!(scenario.safety.lease, secs(10));
    assert_eq!(scenario.objectives.repeat, 1);
    assert_eq!(scenario.invariants[0].when, When::Always);
    assert_eq!(scenario.storm_length(), secs(10), "a baseline without faults is a run too");
    let require: Vec<_> = scenario.steady.require.iter().map(|one| one.text.as_str()).collect();
    assert_eq!(require, ["primaries == 1", "streaming == 2", "ok-ratio >= 99%"]);
}

#[test]
fn a_fault_without_for_is_watched_as_long_as_the_system_may_take() {
    let kill = "[[fault]]\nkind = 'process.kill'\non = 'primary'\nat = '3s'\n[[invariant]]";
    assert_eq!(read(&SHORT.replace("[[invariant]]", kill)).storm_length(), secs(3 + 12 + 5));
}

#[test]
fn five_nodes_may_lose_two() {
    let scenario = read(&SHORT.replace("cluster.system", "cluster.nodes = 5\ncluster.system"));
    assert_eq!(scenario.safety.max_impaired, 2);
}

#[test]
fn the_command_line_wins() {
    let overrides = Overrides { platform: Some("kites".to_owned()), seed: Some(Seed(7)), repeat: Some(2) };
    let text = STORY.replace("net.partition", "process.kill").replace("shape = \"isolate-from-peers\"", "");
    let Ok(scenario) = load_with("story.toml", &text, &REGISTRIES, &overrides) else { panic!("it is fine") };
    assert_eq!(scenario.cluster.platform.name, "kites");
    assert_eq!(scenario.seed, Some(Seed(7)));
    assert_eq!(scenario.objectives.repeat, 2);
}

#[test]
fn a_platform_from_the_command_line_is_checked_as_well() {
    for (platform, want) in
        [("kytes", "--on: no platform"), ("kites", "never offers cut-links"), ("sim", "does not run on")]
    {
        let overrides = Overrides { platform: Some(platform.to_owned()), ..Overrides::default() };
        let Err(found) = load_with("story.toml", STORY, &REGISTRIES, &overrides) else {
            panic!("{platform} is not fine")
        };
        assert!(found.iter().any(|mistake| mistake.message.contains(want)), "{platform}: {found:?}");
    }
}

#[test]
fn all_mistakes_of_a_file_come_at_once_in_its_order() {
    let text = STORY
        .replace("\"lab\"", "\"lap\"")
        .replace("400/s", "400")
        .replace("at    = \"10s\"", "at    = 10")
        .replace("lease ", "leese ");
    let Err(found) = load("story.toml", &text, &REGISTRIES) else { panic!("it is not fine") };
    let places: Vec<usize> = found.iter().map(|mistake| mistake.span.start).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert_eq!(found.len(), 4, "{}", render::mistakes(&text, &found));
}
