//! Every shipped scenario, read with the real registries.

use std::path::{Path, PathBuf};

use firedrill_scenarios::{Registries, load};

const REGISTRIES: Registries = Registries {
    faults: firedrill_faults::FAULTS,
    systems: firedrill_systems::SYSTEMS,
    platforms: firedrill_platforms::PLATFORMS,
    workloads: firedrill_workloads::WORKLOADS,
    checks: firedrill_check::CHECKS,
};

/// The scenarios below these folders.
fn shipped(folders: &[&str]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let mut found = Vec::new();
    for folder in folders {
        files(&root.join(folder), &mut found);
    }
    found.into_iter().map(|path| (path.display().to_string(), std::fs::read_to_string(&path).unwrap())).collect()
}

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
    let found = shipped(&["etcd", "postgres", "redis", "regression", "smoke"]);
    assert!(found.len() >= 20, "only {} scenarios", found.len());
    for (name, text) in found {
        assert!(text.starts_with("# "), "{name} does not begin with a comment that says what it guards");
        let scenario = load(&name, &text, &REGISTRIES);
        let scenario = scenario.unwrap_or_else(|mistakes| panic!("{name}: {mistakes:?}"));
        let storm = scenario.storm_length();
        assert!(storm.as_secs() <= 90, "{name}: a storm of {storm:?}");
        assert!(!scenario.tags.is_empty(), "{name} has no tags");
    }
}

#[test]
fn every_fault_has_a_scenario_on_postgresql() {
    let found = shipped(&["postgres"]);
    for entry in firedrill_faults::FAULTS {
        let has = |text: &str| {
            let table: toml::Table = text.parse().unwrap();
            let faults = table.get("fault").and_then(toml::Value::as_array).cloned().unwrap_or_default();
            faults.iter().any(|fault| fault["kind"].as_str() == Some(entry.kind))
        };
        assert!(found.iter().any(|(_, text)| has(text)), "no scenario shows {}", entry.kind);
    }
}
