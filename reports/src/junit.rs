//! `JUnit` XML for CI: one suite per scenario, the cases of [`crate::cases`], figures in `system-out`.
//!
//! A file has a failing case exactly when the exit code is not 0. FAIL and SLOW are `<failure>`; INVALID, ABORTED and
//! DIRTY are `<error>`, because they say nothing of the system under test. The crate junit-report (0.9.1) writes CDATA
//! raw and knows no skipped count, so that every text is cleaned before it is handed over.

use std::io::{self, Write};

use firedrill_core::record::{Expectation, ScenarioRecord, Tally};
use firedrill_core::time::Wall;
use firedrill_core::verdict::Verdict;
use junit_report::{Report, TestCase, TestCaseBuilder, TestSuite};
use time::{Duration, OffsetDateTime};

use crate::cases::{Case, Kind, cases};
use crate::figures::{plain, seconds};
use crate::{clean, culprit};

/// Writes a file with the suite of one scenario.
pub fn render(record: &ScenarioRecord, out: &mut dyn Write) -> io::Result<()> {
    render_all(std::slice::from_ref(record), &[], out)
}

/// Writes one file with a suite for each scenario, in order, and then one for each that was not run.
pub fn render_all(records: &[ScenarioRecord], not_run: &[NotRun], out: &mut dyn Write) -> io::Result<()> {
    let mut report = Report::new();
    report.add_testsuites(records.iter().map(suite));
    report.add_testsuites(not_run.iter().map(suite_not_run));
    report.write_xml(&mut *out).map_err(io::Error::other)?;
    out.write_all(b"\n")
}

/// A scenario that was meant and was not run, or of which no record came to be. CI must see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotRun {
    /// Its file.
    pub file: String,
    /// Its name.
    pub name: String,
    /// When it was to be run, wall clock.
    pub when: Wall,
    /// The exit code it leads to.
    pub code: u8,
    /// Why, in one line.
    pub reason: String,
    /// What is missing, and what to do.
    pub details: Vec<String>,
}

fn suite_not_run(scenario: &NotRun) -> TestSuite {
    let mut suite = TestSuite::new(&clean::line(&scenario.name));
    suite.package = clean::line(&scenario.file);
    "localhost".clone_into(&mut suite.hostname);
    suite.set_timestamp(moment(scenario.when));
    let message = clean::line(&scenario.reason);
    let mut builder = TestCaseBuilder::error("run", Duration::ZERO, "NOT RUN", &message);
    builder.set_classname(&class_name(&scenario.file));
    let code = format!("exit code {}", scenario.code);
    let lines = [&[scenario.reason.clone()][..], &scenario.details, &[code]].concat();
    builder.set_trace(&clean::cdata(&lines.join("\n")));
    suite.add_testcase(builder.build());
    suite
}

fn suite(record: &ScenarioRecord) -> TestSuite {
    let mut suite = TestSuite::new(&clean::line(&record.name));
    suite.package = clean::line(&record.file);
    suite.hostname = clean::line(record.environment.get("hostname").map_or("localhost", String::as_str));
    suite.set_timestamp(moment(record.started));
    suite.set_system_out(&clean::cdata(&header(record)));
    for shown in shown_cases(record) {
        suite.add_testcase(test_case(record, &shown));
    }
    suite
}

fn moment(wall: Wall) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(wall.unix_nanos)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// A case as `JUnit` shall see it.
struct Shown {
    case: Case,
    /// What `JUnit` is told: with `[expect]` met, what was to be found is a pass.
    verdict: Verdict,
    /// Added to its text.
    remark: Option<String>,
}

fn shown_cases(record: &ScenarioRecord) -> Vec<Shown> {
    let mut shown: Vec<Shown> = cases(record).into_iter().map(|case| show(record, case)).collect();
    // Whatever made the scenario fail must stand somewhere; what no case carries, the run does.
    let carried = shown.iter().any(|each| each.verdict != Verdict::Pass);
    if !carried
        && record.verdict != Verdict::Pass
        && let Some(run) = shown.first_mut()
    {
        run.verdict = record.verdict;
        run.case.summary = format!("the scenario came to {}", record.verdict);
    }
    shown
}

fn show(record: &ScenarioRecord, case: Case) -> Shown {
    let verdict = case.verdict;
    let Some(expectation) = &record.expectation else { return Shown { case, verdict, remark: None } };
    if case.kind == Kind::Run {
        return show_expecting_run(record, expectation, case);
    }
    // A scenario that passes because it found what it must has no failing case; if it was left dirty all the same,
    // only the failures it was to find are forgiven.
    let forgiven = expectation.met && (record.verdict == Verdict::Pass || verdict == expectation.found);
    if forgiven && verdict != Verdict::Pass {
        let remark = format!("{verdict}, as [expect] says it must: {}", expectation.words);
        return Shown { case, verdict: Verdict::Pass, remark: Some(remark) };
    }
    Shown { case, verdict, remark: None }
}

/// With `[expect]` the case `run` says whether the scenario found what it must.
fn show_expecting_run(record: &ScenarioRecord, expectation: &Expectation, mut case: Case) -> Shown {
    let remark = Some(format!("the run itself: {} ({})", case.summary, case.verdict));
    case.summary.clone_from(&expectation.words);
    let unmet = if record.verdict == Verdict::Pass { Verdict::Fail } else { record.verdict };
    Shown { case, verdict: if expectation.met { Verdict::Pass } else { unmet }, remark }
}

fn test_case(record: &ScenarioRecord, shown: &Shown) -> TestCase {
    let case = &shown.case;
    let name = clean::line(&case.name);
    // The case `run` carries the time of the whole, so that the suite's time, which is the sum, is true.
    let time = if case.kind == Kind::Run { span(record.seconds) } else { Duration::ZERO };
    let (word, message) = (shown.verdict.to_string(), clean::line(&case.summary));
    let mut builder = match shown.verdict {
        Verdict::Pass => TestCaseBuilder::success(&name, time),
        Verdict::Fail | Verdict::Slow => TestCaseBuilder::failure(&name, time, &word, &message),
        Verdict::Invalid | Verdict::Aborted | Verdict::Dirty => TestCaseBuilder::error(&name, time, &word, &message),
    };
    builder.set_classname(&class_name(&record.file));
    builder.set_system_out(&clean::cdata(&details(record, shown)));
    if shown.verdict != Verdict::Pass {
        builder.set_trace(&clean::cdata(&trace(record, case)));
    }
    builder.build()
}

fn span(seconds: f64) -> Duration {
    if seconds.is_finite() && (0.0..1e9).contains(&seconds) { Duration::seconds_f64(seconds) } else { Duration::ZERO }
}

/// `scenarios/postgres/primary-kill.toml` → `scenarios.postgres.primary-kill`, as CI shows classes.
fn class_name(file: &str) -> String {
    let stem = file.strip_suffix(".toml").unwrap_or(file);
    let parts: Vec<&str> = stem.split('/').filter(|part| !part.is_empty() && *part != "." && *part != "..").collect();
    clean::line(&parts.join("."))
}

/// What the suite says of the whole.
fn header(record: &ScenarioRecord) -> String {
    let mut lines = vec![
        format!("verdict: {}", record.verdict),
        format!("repeat it with: {}", record.repeat_command),
        format!("seed: {}", record.seed),
        format!("firedrill: {}", record.version),
        format!("run: {}", record.id),
        format!("cluster: {} on {}", record.system, record.platform),
    ];
    if !record.guards.is_empty() {
        lines.push(format!("guards: {}", record.guards.join(", ")));
    }
    if !record.tags.is_empty() {
        lines.push(format!("tags: {}", record.tags.join(", ")));
    }
    lines.extend(record.environment.iter().map(|(name, value)| format!("{name}: {value}")));
    lines.extend(record.mechanisms.iter().map(|mechanism| format!("{}: {}", mechanism.deed, mechanism.words())));
    for each in &record.distributions {
        let words = crate::console::distribution_words(each);
        lines.push(format!("{} {}: {words}", each.fault, each.measure.word()));
    }
    lines.join("\n")
}

/// What a case says, failing or not: its sentence, which repeat it is from, and the figures.
fn details(record: &ScenarioRecord, shown: &Shown) -> String {
    let case = &shown.case;
    let mut lines = vec![case.summary.clone()];
    lines.extend(shown.remark.clone());
    if record.runs.len() > 1
        && let Some(repeat) = case.repeat
    {
        let verdicts: Vec<String> = case.verdicts.iter().map(ToString::to_string).collect();
        lines.push(format!("the worst of {} repeats, repeat {}", record.runs.len(), repeat + 1));
        lines.push(format!("repeats: {}", verdicts.join(" ")));
    }
    lines.extend(case.figures.iter().map(|(name, value)| format!("{name} = {}", plain(*value))));
    if case.kind == Kind::Fault {
        lines.extend(fault_lines(record, case));
    }
    if case.kind == Kind::Run {
        lines.extend(run_lines(record, case));
    }
    if case.verdict == Verdict::Pass || shown.verdict == Verdict::Pass {
        lines.extend(case.evidence.iter().cloned());
    }
    lines.join("\n")
}

fn fault_lines(record: &ScenarioRecord, case: &Case) -> Vec<String> {
    let mut lines = Vec::new();
    let id = case.name.strip_prefix("fault:").unwrap_or(&case.name);
    for run in &record.runs {
        for fault in run.faults.iter().filter(|fault| fault.id == id) {
            lines.push(format!("repeat {}: {}", run.repeat + 1, culprit::described(fault)));
            lines.push(format!("  {}", fault.words));
            let recovery = &fault.recovery;
            for (measure, value) in recovery.phases.iter().filter(|_| recovery.disrupted) {
                let value = value.map_or_else(|| format!("not within {}", seconds(recovery.watched)), seconds);
                lines.push(format!("  {} = {value}", measure.word()));
            }
            lines.extend(recovery.outage.map(|outage| format!("  outage = {}", seconds(outage))));
            lines.extend(recovery.lost_writes.map(|lost| format!("  lost-writes = {lost}")));
        }
    }
    lines
}

fn run_lines(record: &ScenarioRecord, case: &Case) -> Vec<String> {
    let Some(run) = culprit::run_of(record, Some(case)) else { return Vec::new() };
    let load = &run.load;
    let [p50, p99, max] = load.latency;
    let tally = |which: &str, tally: &Tally| {
        let Tally { invoked, ok, fail, info, shed } = tally;
        format!("{which}: {invoked} invoked, {ok} acknowledged, {fail} failed, {info} unknown, {shed} shed")
    };
    vec![
        tally("router", &load.router),
        tally("direct to each node, replicas included", &load.direct),
        format!("acknowledged per second = {:.1}", load.ok_per_second),
        format!("latency p50, p99, max = {}, {}, {}", seconds(p50), seconds(p99), seconds(max)),
    ]
}

/// The body of a failure: evidence, faults then active, state of the cluster, the command that repeats it.
fn trace(record: &ScenarioRecord, case: &Case) -> String {
    let mut lines = vec![case.summary.clone()];
    lines.extend(case.evidence.iter().cloned());
    if let Some(run) = culprit::run_of(record, Some(case)) {
        lines.push("faults then active:".to_owned());
        lines.extend(culprit::active(run, case.at).into_iter().map(|line| format!("  {line}")));
        lines.push(format!("cluster: {} ({})", run.cluster, run.clean.summary));
    }
    lines.push(format!("repeat it with: {}", record.repeat_command));
    lines.join("\n")
}
