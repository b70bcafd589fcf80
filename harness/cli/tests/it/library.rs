//! Every shipped scenario, read with the real registries.

use std::path::{Path, PathBuf};

use firedrill_scenarios::{Registries, load};

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            into.push(path);
        }
    }
}

#[test]
fn every_shipped_scenario_is_read_by_the_real_faults() {
    let registries = Registries {
        faults: firedrill_faults::FAULTS,
        systems: firedrill_systems::SYSTEMS,
        platforms: firedrill_platforms::PLATFORMS,
        workloads: firedrill_workloads::WORKLOADS,
        checks: firedrill_check::CHECKS,
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let mut found = Vec::new();
    for folder in ["etcd", "postgres", "redis", "regression", "smoke"] {
        files(&root.join(folder), &mut found);
    }
    assert!(found.len() >= 20, "only {} scenarios", found.len());
    for path in found {
        let (name, text) = (path.display().to_string(), std::fs::read_to_string(&path).unwrap());
        assert!(text.starts_with("# "), "{name} does not begin with a comment that says what it guards");
        let scenario = load(&name, &text, &registries);
        let scenario = scenario.unwrap_or_else(|mistakes| panic!("{name}: {mistakes:?}"));
        let storm = scenario.storm_length();
        assert!(storm.as_secs() <= 80, "{name}: a storm of {storm:?}");
        assert!(!scenario.tags.is_empty(), "{name} has no tags");
    }
}
