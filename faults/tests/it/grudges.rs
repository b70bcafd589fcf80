//! Laws of partition shapes.

use std::collections::BTreeSet;

use firedrill_core::action::Endpoint;
use firedrill_core::seed::Seed;
use firedrill_core::select::{majority_of, pick};
use firedrill_faults::net::grudge::{self, Direction, Grudge};
use proptest::prelude::*;

use crate::views::healthy;

fn nodes(count: u32) -> Vec<Endpoint> {
    grudge::ends(&healthy(count), false)
}

/// Whom an end hears and is heard by, itself included.
fn seen(ends: &[Endpoint], grudge: &Grudge, by: &Endpoint) -> BTreeSet<Endpoint> {
    ends.iter().filter(|end| grudge.joined(by, end)).cloned().collect()
}

fn drawn(count: u32, targets: usize, seed: u64) -> (Vec<Endpoint>, Vec<Endpoint>) {
    let ends = nodes(count);
    let targets = pick(&ends, targets, &mut Seed(seed).stream("targets"));
    (ends, targets)
}

proptest! {
    #[test]
    fn isolate_leaves_the_rest_connected(count in 2_u32..12, aimed in 1_usize..4, seed: u64) {
        let (mut ends, targets) = drawn(count, aimed, seed);
        ends.push(Endpoint::Clients);
        let grudge = grudge::isolate(&ends, &targets);
        for a in &ends {
            for b in &ends {
                let alone = targets.contains(a) || targets.contains(b);
                prop_assert_eq!(grudge.joined(a, b), a == b || !alone, "{} and {}", a, b);
            }
        }
    }

    #[test]
    fn halves_cover_all_and_keep_targets_together(count in 2_u32..12, aimed in 1_usize..12, seed: u64) {
        let (ends, targets) = drawn(count, aimed, seed);
        let (near, far) = grudge::halves(&ends, &targets, &mut Seed(seed).stream("test"));
        prop_assert_eq!(near.len() + far.len(), ends.len());
        prop_assert!(near.iter().all(|end| !far.contains(end)));
        prop_assert!(targets.iter().all(|target| near.contains(target)));
        if targets.len() < majority_of(ends.len()) {
            prop_assert_eq!(near.len(), ends.len() / 2, "targets are on the smaller side");
        } else {
            prop_assert_eq!(near, targets);
        }
    }

    #[test]
    fn one_way_drops_one_way_only(count in 2_u32..12, aimed in 1_usize..4, seed: u64) {
        let (ends, targets) = drawn(count, aimed, seed);
        let into = grudge::one_way(&ends, &targets, Direction::In);
        let out = grudge::one_way(&ends, &targets, Direction::Out);
        for a in &ends {
            for b in &ends {
                prop_assert_eq!(into.drops(a, b), !targets.contains(a) && targets.contains(b));
                prop_assert_eq!(out.drops(a, b), into.drops(b, a));
            }
        }
    }

    #[test]
    fn only_the_bridge_hears_both_sides(count in 3_u32..12, seed: u64) {
        let (ends, targets) = drawn(count, 1, seed);
        let sides = grudge::bridge(&ends, &targets, &mut Seed(seed).stream("test")).unwrap();
        prop_assert!(sides.near.contains(&targets[0]));
        prop_assert!(!sides.near.is_empty() && !sides.far.is_empty());
        let grudge = grudge::split(&sides.near, &sides.far);
        for end in &ends {
            let hears_all = seen(&ends, &grudge, end).len() == ends.len();
            prop_assert_eq!(hears_all, *end == sides.bridge, "{}", end);
        }
    }

    #[test]
    fn every_node_of_a_ring_hears_a_majority_of_its_own(count in 5_u32..16, seed: u64) {
        let ends = nodes(count);
        let grudge = grudge::majorities_ring(&ends, &mut Seed(seed).stream("test")).unwrap();
        let views: BTreeSet<_> = ends.iter().map(|end| seen(&ends, &grudge, end)).collect();
        prop_assert_eq!(views.len(), ends.len(), "no two hear the same majority");
        for view in views {
            prop_assert!(view.len() >= majority_of(ends.len()));
            prop_assert!(view.len() < ends.len());
        }
    }
}

#[test]
fn small_clusters_have_no_ring_and_no_bridge() {
    let mut rng = Seed(1).stream("test");
    assert_eq!(grudge::majorities_ring(&nodes(4), &mut rng), None);
    assert_eq!(grudge::bridge(&nodes(2), &nodes(1), &mut rng), None);
}

#[test]
fn a_ring_of_five_is_jepsens() {
    let ends = nodes(5);
    let grudge = grudge::majorities_ring(&ends, &mut Seed(1).stream("test")).unwrap();
    for end in &ends {
        assert_eq!(seen(&ends, &grudge, end).len(), 3, "{end} hears itself and its two neighbours");
    }
}
