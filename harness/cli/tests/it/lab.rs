//! A real cluster left running, looked at, and removed. Skipped loudly where the lab cannot run.

use crate::command::{Ended, firedrill_in, machine};

const SCENARIO: &str = "scenarios/postgres/primary-cut-from-peers.toml";

/// Removes the cluster whatever happens in between.
struct Running<'a> {
    state: &'a std::path::Path,
    id: String,
}

impl Running<'_> {
    fn down(&self) -> Ended {
        firedrill_in(self.state, &["down", &self.id])
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.down();
        }
    }
}

#[test]
fn cluster_is_left_running_planned_against_and_removed() {
    let _machine = machine();
    let state = tempfile::tempdir().unwrap();
    let plan = firedrill_in(state.path(), &["plan", SCENARIO]);
    if let Some((_, missing)) = plan.stdout.split_once("a run would exit with 7") {
        eprintln!("SKIPPED: the lab cannot run here{missing}");
        return;
    }
    assert!(plan.stdout.contains("net.partition on primary (the primary)"), "{}", plan.stdout);
    let up = firedrill_in(state.path(), &["up", SCENARIO]);
    assert_eq!(up.code, 0, "{}{}", up.stdout, up.stderr);
    let id = up.stdout.lines().next().unwrap().strip_prefix("up  ").unwrap().to_owned();
    let running = Running { state: state.path(), id };
    let against = firedrill_in(state.path(), &["plan", SCENARIO, "--against", &running.id]);
    assert_eq!(against.code, 0, "{}", against.stderr);
    let exact = ["n1", "n2", "n3"].iter().any(|node| against.stdout.contains(&format!("on primary ({node})")));
    assert!(exact, "{}", against.stdout);
    let down = running.down();
    assert_eq!((down.code, down.stdout.as_str()), (0, format!("down  {}\n", running.id).as_str()), "{}", down.stderr);
    assert_eq!(running.down().code, 2, "it is gone");
    let left = std::fs::read_dir(state.path().join("labs")).unwrap().count();
    assert_eq!(left, 0, "something of the lab is left");
}
