//! `JUnit`: well-formed whatever servers say, and red exactly when the exit code is not 0.

use expect_test::expect_file;
use firedrill_core::check::Finding;
use firedrill_core::record::ScenarioRecord;
use firedrill_core::verdict::Verdict;
use firedrill_reports::junit::{NotRun, render, render_all};
use proptest::prelude::*;

use crate::sample;

fn xml(record: &ScenarioRecord) -> String {
    let mut bytes = Vec::new();
    render(record, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Name and verdict element (`ok` when there is none) of each case.
fn results(text: &str) -> Vec<(String, String)> {
    let document = roxmltree::Document::parse(text).unwrap();
    let cases = document.descendants().filter(|node| node.has_tag_name("testcase"));
    let result = |case: &roxmltree::Node<'_, '_>| {
        let bad = case.children().find(|child| child.has_tag_name("failure") || child.has_tag_name("error"));
        bad.map_or_else(|| "ok".to_owned(), |bad| bad.tag_name().name().to_owned())
    };
    cases.map(|case| (case.attribute("name").unwrap().to_owned(), result(&case))).collect()
}

fn result_of(record: &ScenarioRecord, name: &str) -> String {
    let all = results(&xml(record));
    all.iter().find(|(case, _)| case == name).map_or_else(|| format!("{all:?}"), |(_, result)| result.clone())
}

#[test]
fn suites_look_as_they_should() {
    expect_file!["snapshots/passing.xml"].assert_eq(&xml(&sample::passing()));
    expect_file!["snapshots/failing.xml"].assert_eq(&xml(&sample::failing()));
    expect_file!["snapshots/expectation-met.xml"].assert_eq(&xml(&sample::expecting(true)));
    expect_file!["snapshots/expectation-unmet.xml"].assert_eq(&xml(&sample::expecting(false)));
}

#[test]
fn cases_are_run_faults_invariants_objectives_clean() {
    let names: Vec<String> = results(&xml(&sample::passing())).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["run", "fault:kill", "no-acked-loss", "progress", "progress#2", "failover.p50", "clean"]);
}

#[test]
fn fail_and_slow_are_failures_the_rest_are_errors() {
    for (verdict, want) in [
        (Verdict::Pass, "ok"),
        (Verdict::Slow, "failure"),
        (Verdict::Fail, "failure"),
        (Verdict::Invalid, "error"),
        (Verdict::Aborted, "error"),
        (Verdict::Dirty, "error"),
    ] {
        let mut record = sample::passing();
        record.verdict = verdict;
        record.runs[0].findings[0].verdict = verdict;
        assert_eq!(result_of(&record, "no-acked-loss"), want);
    }
}

#[test]
fn expectations_turn_failures_around() {
    let met = sample::expecting(true);
    assert!(results(&xml(&met)).iter().all(|(_, result)| result == "ok"));
    assert!(xml(&met).contains("FAIL, as [expect] says it must"));
    let unmet = sample::expecting(false);
    assert_eq!(result_of(&unmet, "run"), "failure");
    assert!(xml(&unmet).contains("no longer finds FAIL of no-acked-loss"));
    let mut spoilt = unmet;
    spoilt.verdict = Verdict::Invalid;
    assert_eq!(result_of(&spoilt, "run"), "error");
}

#[test]
fn expected_failure_does_not_hide_residue() {
    let mut record = sample::expecting(true);
    record.verdict = Verdict::Dirty;
    record.runs[0].clean.verdict = Verdict::Dirty;
    assert_eq!(result_of(&record, "clean"), "error");
    assert_eq!(result_of(&record, "no-acked-loss"), "ok");
}

#[test]
fn repeats_missing_from_some_runs_are_not_green() {
    let mut record = sample::failing();
    record.runs[2].findings.clear();
    assert_eq!(result_of(&record, "progress"), "error");
}

#[test]
fn several_scenarios_go_into_one_file() {
    let mut bytes = Vec::new();
    render_all(&[sample::passing(), sample::failing()], &[], &mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let document = roxmltree::Document::parse(&text).unwrap();
    let suites: Vec<_> = document.descendants().filter(|node| node.has_tag_name("testsuite")).collect();
    assert_eq!(suites.len(), 2);
    assert_eq!(suites[0].attribute("timestamp"), Some("2026-11-21T01:02:03Z"));
    assert_eq!(suites[0].attribute("time"), Some("48.25"));
    assert_eq!(suites[1].attribute("failures"), Some("2"));
}

#[test]
fn scenario_that_was_not_run_is_an_error_in_its_own_suite() {
    let not_run = NotRun {
        file: "scenarios/postgres/primary-kill.toml".to_owned(),
        name: "Killed \u{1b}[31m]]>".to_owned(),
        when: firedrill_core::time::Wall { unix_nanos: 1_795_222_923_000_000_000 },
        code: 7,
        reason: "this environment lacks what the scenario needs".to_owned(),
        details: vec!["program etcd is not installed: apt-get install etcd-server ]]>".to_owned()],
    };
    let mut bytes = Vec::new();
    render_all(&[sample::passing()], &[not_run], &mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let document = roxmltree::Document::parse(&text).unwrap();
    let suite = document.descendants().filter(|node| node.has_tag_name("testsuite")).nth(1).unwrap();
    assert_eq!((suite.attribute("tests"), suite.attribute("errors")), (Some("1"), Some("1")));
    let case = suite.descendants().find(|node| node.has_tag_name("testcase")).unwrap();
    assert_eq!(
        (case.attribute("name"), case.attribute("classname")),
        (Some("run"), Some("scenarios.postgres.primary-kill"))
    );
    let error = case.descendants().find(|node| node.has_tag_name("error")).unwrap();
    assert!(
        error.text().unwrap().contains("apt-get install etcd-server") && error.text().unwrap().contains("exit code 7")
    );
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop::sample::select(vec![
        Verdict::Pass,
        Verdict::Slow,
        Verdict::Invalid,
        Verdict::Aborted,
        Verdict::Fail,
        Verdict::Dirty,
    ])
}

/// Any characters at all, and often the ones that break things.
fn nasty() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop_oneof![
            any::<char>().prop_map(String::from),
            prop::sample::select(vec![
                "]]>",
                "<![CDATA[",
                "\u{1b}[31m",
                "\0",
                "\u{fffe}",
                "&#0;",
                "\"'<&>",
                "\r\n",
                "--"
            ])
            .prop_map(String::from),
        ],
        0..12,
    )
    .prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_text_gives_well_formed_xml(text in nasty(), other in nasty(), verdict in verdict()) {
        let mut record = sample::failing();
        record.name.clone_from(&text);
        record.file.clone_from(&other);
        record.repeat_command.clone_from(&text);
        record.environment.insert(text.clone(), other.clone());
        record.environment.insert("hostname".to_owned(), other.clone());
        let run = &mut record.runs[0];
        run.cluster.clone_from(&text);
        run.faults[0].id.clone_from(&text);
        run.faults[0].words.clone_from(&other);
        run.findings[0] = Finding::new(text.clone(), verdict, other.clone()).evidence(text.clone());
        run.clean.summary.clone_from(&text);
        let written = xml(&record);
        prop_assert!(roxmltree::Document::parse(&written).is_ok(), "{}", written);
        let screen = firedrill_reports::console::screen(&record, firedrill_reports::console::Style::PLAIN, &[text]);
        prop_assert!(!screen.contains(|c: char| c.is_control() && c != '\n'));
    }

    #[test]
    fn something_is_red_exactly_when_the_scenario_does_not_pass(
        parts in prop::array::uniform5(verdict()), met in prop::option::of(any::<bool>()),
    ) {
        let mut record = sample::passing();
        let [run, fault, invariant, objective, clean] = parts;
        record.runs[0].run.verdict = run;
        record.runs[0].faults[0].finding.verdict = fault;
        record.runs[0].findings[1].verdict = invariant;
        record.objectives[0].verdict = objective;
        record.runs[0].clean.verdict = clean;
        let found = Verdict::worst(parts);
        record.verdict = match met { None => found, Some(true) => Verdict::Pass, Some(false) => Verdict::Fail };
        record.expectation = met.map(|met| firedrill_core::record::Expectation { met, words: "w".to_owned(), found });
        let red = results(&xml(&record)).iter().any(|(_, result)| result != "ok");
        prop_assert_eq!(red, record.verdict != Verdict::Pass);
    }
}
