//! The final screen, by snapshot.

use expect_test::{ExpectFile, expect_file};
use firedrill_core::record::ScenarioRecord;
use firedrill_core::verdict::Verdict;
use firedrill_reports::console::{Style, screen};

use crate::sample;

#[expect(clippy::needless_pass_by_value, reason = "as expect-test's own examples")]
fn check(record: &ScenarioRecord, expect: ExpectFile) {
    let reports = ["runs/20261121-010203-primary-kill/run.json".to_owned()];
    expect.assert_eq(&screen(record, Style::PLAIN, &reports));
}

#[test]
fn passing_run_begins_and_ends_with_the_verdict() {
    check(&sample::passing(), expect_file!["snapshots/passing.txt"]);
    let text = screen(&sample::passing(), Style::PLAIN, &[]);
    assert_eq!(text.lines().next(), text.lines().last());
    assert!(text.starts_with("PASS"));
}

#[test]
fn failed_repeats_end_with_the_evidence_and_the_command() {
    check(&sample::failing(), expect_file!["snapshots/failing.txt"]);
    let text = screen(&sample::failing(), Style::PLAIN, &[]);
    assert_eq!(text.lines().last().map(str::trim), Some(sample::failing().repeat_command.as_str()));
}

#[test]
fn residue_is_shown_with_its_remedy_and_nothing_moves_the_cursor() {
    check(&sample::dirty(), expect_file!["snapshots/dirty.txt"]);
    let text = screen(&sample::dirty(), Style::PLAIN, &[]);
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
}

#[test]
fn expectations_are_said() {
    check(&sample::expecting(true), expect_file!["snapshots/expectation-met.txt"]);
    check(&sample::expecting(false), expect_file!["snapshots/expectation-unmet.txt"]);
}

#[test]
fn run_that_never_got_anywhere_is_rendered() {
    let mut record = sample::passing();
    record.verdict = Verdict::Invalid;
    record.runs.clear();
    record.objectives.clear();
    record.distributions.clear();
    check(&record, expect_file!["snapshots/no-runs.txt"]);
}

#[test]
fn colours_and_ascii_are_the_callers_choice() {
    let coloured = screen(&sample::failing(), Style { colour: true, unicode: true }, &[]);
    assert!(coloured.contains("\u{1b}[1;31mFAIL\u{1b}[0m"));
    let ascii = screen(&sample::failing(), Style { colour: false, unicode: false }, &[]);
    assert!(ascii.is_ascii(), "{ascii}");
}
