//! The shipped scenarios, as far as the language goes; the command's tests read them with the real registries.

use std::path::Path;

use crate::{fakes, render};

#[test]
fn every_shipped_scenario_is_read_and_says_what_it_guards() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for folder in ["postgres", "regression", "smoke"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            // The families below need more than the stand-ins have; the command's tests read them.
            if path.is_dir() {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            assert!(text.starts_with("# "), "{name} does not begin with a comment that says what it guards");
            // The stand-ins take no pauses and know no rings, which impair nobody; the real ones do.
            let text = text.replace("\"process.pause\"", "\"process.kill\"");
            let text = text.replace("\"majorities-ring\"", "\"isolate\"").replace("\"all\"", "\"primary\"");
            match firedrill_scenarios::load(&name, &text, &fakes::REGISTRIES) {
                Ok(scenario) => {
                    let storm = scenario.storm_length();
                    assert!(storm.as_secs() <= 60, "{name}: a storm of {storm:?}");
                    assert!(!scenario.tags.is_empty(), "{name} has no tags");
                }
                Err(found) => panic!("{name}:\n{}", render::mistakes(&text, &found)),
            }
            count += 1;
        }
    }
    assert!(count >= 20, "only {count} scenarios");
}
