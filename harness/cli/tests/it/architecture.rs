//! Dependencies point one way. Reads `cargo metadata` and checks the picture of ARCHITECTURE.md.

use std::collections::BTreeMap;

/// Each of our crates and the crates of ours it may depend on.
const ALLOWED: [(&str, &[&str]); 12] = [
    ("firedrill-core", &[]),
    ("firedrill-check", &["firedrill-core"]),
    ("firedrill-faults", &["firedrill-core"]),
    ("firedrill-scenarios", &["firedrill-core"]),
    ("firedrill-workloads", &["firedrill-core"]),
    ("firedrill-reports", &["firedrill-core"]),
    ("firedrill-systems", &["firedrill-core"]),
    ("firedrill-sys", &[]),
    ("firedrill-agent", &["firedrill-core", "firedrill-sys"]),
    ("firedrill-platforms", &["firedrill-core", "firedrill-sys", "firedrill-agent"]),
    ("firedrill-engine", &["firedrill-core", "firedrill-check"]),
    (
        "firedrill",
        &[
            "firedrill-core",
            "firedrill-check",
            "firedrill-engine",
            "firedrill-faults",
            "firedrill-platforms",
            "firedrill-reports",
            "firedrill-scenarios",
            "firedrill-sys",
            "firedrill-systems",
            "firedrill-workloads",
        ],
    ),
];

#[test]
fn dependencies_point_one_way() {
    let found = our_dependencies();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    for (name, dependencies) in &found {
        let allowed =
            allowed.get(name.as_str()).unwrap_or_else(|| panic!("{name} is not in ARCHITECTURE.md's picture"));
        for dependency in dependencies {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not depend on {dependency}");
        }
    }
    assert_eq!(found.len(), ALLOWED.len(), "the picture names crates that do not exist");
}

/// Normal dependencies between the crates of this workspace.
#[expect(clippy::disallowed_methods, reason = "a test that asks cargo")]
fn our_dependencies() -> BTreeMap<String, Vec<String>> {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let names = |package: &serde_json::Value| {
        let dependencies = package["dependencies"].as_array().expect("dependencies").iter();
        let normal = dependencies.filter(|dependency| dependency["kind"].is_null());
        let names = normal.map(|dependency| dependency["name"].as_str().unwrap_or_default().to_owned());
        names.filter(|name| name.starts_with("firedrill")).collect()
    };
    packages.iter().map(|package| (package["name"].as_str().unwrap_or_default().to_owned(), names(package))).collect()
}
