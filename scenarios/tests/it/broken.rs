//! One broken file per kind of mistake in `tests/it/broken/`, beside it what is said about it.
//! `UPDATE_EXPECT=1 cargo test -p firedrill-scenarios` writes the latter anew.

use std::path::{Path, PathBuf};

use expect_test::expect_file;

use crate::{fakes, render};

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/broken");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|ext| ext == "toml")).collect();
    files.sort();
    files
}

#[test]
fn every_mistake_is_said_with_its_place_and_a_way_out() {
    let files = files();
    assert!(files.len() >= 40, "only {} broken files", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let Err(found) = firedrill_scenarios::load(name, &text, &fakes::REGISTRIES) else {
            panic!("{name} was read without a mistake");
        };
        assert!(!found.is_empty(), "{name}");
        for mistake in &found {
            assert!(text.get(mistake.span.clone()).is_some(), "{name}: {mistake:?} is not a place of the file");
        }
        expect_file![file.with_extension("txt")].assert_eq(&render::mistakes(&text, &found));
    }
}

#[test]
fn a_power_loss_in_time_is_what_such_faults_wait_for() {
    let text = include_str!("broken/power-loss-too-late.toml");
    for (late, in_time) in
        [("lie.healed + 1s", "lie + 5s"), ("\"primary\"\nafter = \"lie.healed + 1s\"", "\"all\"\nafter = \"lie + 5s\"")]
    {
        let text = text.replace(late, in_time);
        let loaded = firedrill_scenarios::load("in time", &text, &fakes::REGISTRIES);
        assert!(loaded.is_ok(), "{}", render::mistakes(&text, &loaded.err().unwrap_or_default()));
    }
}
