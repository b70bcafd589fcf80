//! The final screen. The verdict is the first line; for a run that holds it is the last one too. For one that does not,
//! the last screen is the invariant, the smallest evidence, the faults then active, the state of the cluster and the
//! command that repeats the run.

use std::io::{self, Write};

use firedrill_core::record::{CleanRecord, Distribution, Expectation, FaultRecord, RunRecord, ScenarioRecord, Tally};
use firedrill_core::scenario::ObjectiveMeasure;
use firedrill_core::verdict::Verdict;

use crate::canvas::Canvas;
pub use crate::canvas::{Paint, Style};
use crate::cases::{Case, Kind, cases};
use crate::culprit;
use crate::figures::{count, measured, millis, phase_word, runs, seconds};

/// Lines of evidence on the last screen; the rest is in `run.json`.
const EVIDENCE_SHOWN: usize = 5;
/// As [`EVIDENCE_SHOWN`], for a run that did not come through: its evidence may hold the logs of the servers.
const RUN_EVIDENCE_SHOWN: usize = 20;
/// Where a line's text begins after its verdict.
const INDENT: usize = 9;
/// Characters of a list before it goes on in the next line.
const WIDTH: usize = 90;

/// Writes the final screen without colours.
pub fn render(record: &ScenarioRecord, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(screen(record, Style::PLAIN, &[]).as_bytes())
}

/// The final screen of a scenario. `reports` says where its reports are.
pub fn screen(record: &ScenarioRecord, style: Style, reports: &[String]) -> String {
    let cases = cases(record);
    let mut canvas = Canvas::new(style);
    verdict_line(&mut canvas, record);
    let platform = format!("{} on {}", record.system, record.platform);
    let took = format!("{} · {:.1} s", runs(record.runs.len()), record.seconds);
    canvas.line(INDENT, &format!("{} · {platform} · seed {} · {took}", record.file, record.seed));
    if let Some(expectation) = &record.expectation {
        canvas.line(INDENT, &format!("[expect]: {}", expectation.words));
    }
    run_section(&mut canvas, &cases);
    faults_section(&mut canvas, record);
    verdicts_section(&mut canvas, "invariants", Kind::Invariant, &cases, record.runs.len());
    verdicts_section(&mut canvas, "objectives", Kind::Objective, &cases, record.runs.len());
    load_section(&mut canvas, record);
    clean_section(&mut canvas, record);
    if !reports.is_empty() {
        canvas.heading("reports");
        for place in reports {
            canvas.line(INDENT, place);
        }
    }
    canvas.end();
    if record.verdict == Verdict::Pass {
        verdict_line(&mut canvas, record);
    } else {
        failure(&mut canvas, record, &cases);
    }
    canvas.finish()
}

fn verdict_line(canvas: &mut Canvas, record: &ScenarioRecord) {
    canvas.column(Paint::of(record.verdict), &record.verdict.to_string(), INDENT);
    canvas.put(Paint::Bold, &record.name);
    canvas.end();
}

/// The run itself is shown only when there is something to say about it.
fn run_section(canvas: &mut Canvas, cases: &[Case]) {
    for case in cases.iter().filter(|case| case.kind == Kind::Run && case.verdict != Verdict::Pass) {
        canvas.heading("run");
        case_lines(canvas, case, 1, &case.summary);
    }
}

fn faults_section(canvas: &mut Canvas, record: &ScenarioRecord) {
    let Some(first) = record.runs.first() else { return };
    if first.faults.is_empty() {
        return;
    }
    canvas.heading("faults");
    for run in &record.runs {
        let several = record.runs.len() > 1;
        for fault in &run.faults {
            // With repeats the distributions below tell the recovery; one line each is enough for what was done.
            let which = if several { format!(" (run {})", run.repeat + 1) } else { String::new() };
            fault_lines(canvas, fault, &which, !several);
        }
    }
    if record.runs.len() > 1 && !record.distributions.is_empty() {
        canvas.heading("recovery");
        for each in &record.distributions {
            let what = format!("{} {}", each.fault, phase_word(each.measure));
            canvas.indent(INDENT);
            canvas.column(Paint::Plain, &what, 26);
            canvas.put(Paint::Plain, &distribution_words(each));
            canvas.end();
        }
    }
}

fn fault_lines(canvas: &mut Canvas, fault: &FaultRecord, which: &str, with_recovery: bool) {
    let verdict = fault.finding.verdict;
    canvas.column(Paint::of(verdict), &verdict.to_string(), INDENT);
    canvas.column(Paint::Plain, &format!("{}{which}", fault.id), 18);
    canvas.put(Paint::Plain, &format!("{} on {} · {}", fault.kind, culprit::targets(fault), culprit::interval(fault)));
    canvas.end();
    if verdict != Verdict::Pass {
        canvas.line(INDENT + 2, &fault.finding.summary);
    } else if with_recovery && !fault.words.is_empty() {
        canvas.line(INDENT + 2, &fault.words);
    }
    if with_recovery && fault.onset.is_some() {
        for line in recovery_lines(fault) {
            canvas.line(INDENT + 2, &line);
        }
    }
}

/// The phases of recovery in their order, milliseconds since the onset, on as many lines as they need.
fn recovery_lines(fault: &FaultRecord) -> Vec<String> {
    let recovery = &fault.recovery;
    if !recovery.disrupted {
        return vec!["no failover, and acknowledgements went on".to_owned()];
    }
    let mut words: Vec<String> = Vec::new();
    for (measure, value) in recovery.phases.iter().filter(|(measure, _)| **measure != ObjectiveMeasure::LostWrites) {
        let word = phase_word(*measure);
        words.push(match value {
            Some(value) => format!("{word} {}", millis(*value)),
            None => format!("{word} not within {}", seconds(recovery.watched)),
        });
    }
    words.extend(recovery.outage.map(|outage| format!("outage {}", millis(outage))));
    words.extend(recovery.lost_writes.map(|lost| format!("lost {}", count(lost))));
    wrapped(&words)
}

fn wrapped(words: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() + 3 <= WIDTH => {
                line.push_str(" · ");
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.clone()),
        }
    }
    lines
}

/// `n 5 · min 2310 ms · median 2400 ms · max 2600 ms`; what never happened is said and counts as longer than all.
pub(crate) fn distribution_words(each: &Distribution) -> String {
    let value = |value: Option<f64>| {
        value.map_or_else(|| "longer than watched".to_owned(), |value| measured(each.measure, value))
    };
    let mut words = vec![format!("n {}", each.n)];
    if each.n == 1 {
        words.push(value(each.max));
        return words.join(" · ");
    }
    words.push(format!("min {}", value(each.min)));
    words.push(format!("median {}", value(each.p50)));
    words.extend(each.p95.map(|p95| format!("p95 {}", measured(each.measure, p95))));
    words.push(format!("max {}", value(each.max)));
    if each.never > 0 {
        words.push(format!("never in {}", runs(each.never)));
    }
    words.join(" · ")
}

fn verdicts_section(canvas: &mut Canvas, title: &str, kind: Kind, cases: &[Case], repeats: usize) {
    if !cases.iter().any(|case| case.kind == kind) {
        return;
    }
    canvas.heading(title);
    for case in cases.iter().filter(|case| case.kind == kind) {
        case_lines(canvas, case, repeats, &case.summary);
        if kind == Kind::Objective {
            case.evidence.iter().for_each(|line| canvas.line(INDENT + 2, line));
        }
    }
}

fn case_lines(canvas: &mut Canvas, case: &Case, repeats: usize, text: &str) {
    canvas.column(Paint::of(case.verdict), &case.verdict.to_string(), INDENT);
    canvas.column(Paint::Plain, &case.name, 20);
    canvas.put(Paint::Plain, text);
    if repeats > 1
        && case.verdict != Verdict::Pass
        && let Some(repeat) = case.repeat
    {
        let same = case.verdicts.iter().filter(|verdict| **verdict == case.verdict).count();
        canvas.put(Paint::Dim, &format!(" (run {}; {} in {same} of {repeats})", repeat + 1, case.verdict));
    }
    canvas.end();
}

fn load_section(canvas: &mut Canvas, record: &ScenarioRecord) {
    if record.runs.is_empty() {
        return;
    }
    canvas.heading("load");
    for run in &record.runs {
        let load = &run.load;
        let which = if record.runs.len() > 1 { format!("run {}: ", run.repeat + 1) } else { String::new() };
        let [p50, p99, max] = load.latency;
        let Tally { ok, fail, info, shed, .. } = load.router;
        let answers = format!(
            "{} acknowledged ({:.1}/s), {} failed, {} unknown, {} shed",
            count(ok),
            load.ok_per_second,
            count(fail),
            count(info),
            count(shed)
        );
        let latency = format!("latency p50 {}, p99 {}, max {}", millis(p50), millis(p99), millis(max));
        canvas.line(INDENT, &format!("{which}{answers} · {latency}"));
        if load.direct != Tally::default() {
            canvas.line(INDENT, &format!("{which}{}", direct_words(&load.direct)));
        }
    }
}

/// Replicas must refuse writes, so that a refusal there is not a failure.
fn direct_words(direct: &Tally) -> String {
    let (ok, refused, unanswered) = (count(direct.ok), count(direct.fail), count(direct.info));
    format!(
        "to each node directly, replicas included: {ok} acknowledged, {refused} refused or not reached, {unanswered} unknown"
    )
}

fn clean_section(canvas: &mut Canvas, record: &ScenarioRecord) {
    let Some(worst) = record.runs.iter().max_by_key(|run| run.clean.verdict) else { return };
    canvas.heading("clean");
    canvas.column(Paint::of(worst.clean.verdict), &worst.clean.verdict.to_string(), INDENT);
    canvas.put(Paint::Plain, &worst.clean.summary);
    canvas.end();
    residue_lines(canvas, &worst.clean);
}

fn residue_lines(canvas: &mut Canvas, clean: &CleanRecord) {
    for residue in &clean.residue {
        canvas.line(INDENT, &residue.what);
        canvas.line(INDENT + 2, &format!("remove it with: {}", residue.remedy));
    }
}

/// The last screen of a run that does not hold.
fn failure(canvas: &mut Canvas, record: &ScenarioRecord, cases: &[Case]) {
    // A run that is spoilt cannot say whether it finds anything: what spoilt it is shown, as without an expectation.
    let missed = |expectation: &&Expectation| !expectation.met && record.verdict == Verdict::Fail;
    let unmet = record.expectation.as_ref().filter(missed);
    let culprit = culprit::culprit(cases);
    let run = culprit::run_of(record, culprit);
    canvas.column(Paint::of(record.verdict), &record.verdict.to_string(), INDENT);
    let title = match (unmet, culprit) {
        (Some(expectation), _) => expectation.words.clone(),
        (None, Some(case)) => format!("{}: {}", case.name, case.summary),
        (None, None) => record.name.clone(),
    };
    canvas.put(Paint::Bold, &title);
    canvas.end();
    if record.runs.len() > 1
        && let Some(run) = run
    {
        canvas.line(INDENT, &format!("in run {} of {}, seed {}", run.repeat + 1, record.runs.len(), run.seed));
    }
    canvas.heading("evidence");
    match unmet {
        Some(expectation) => canvas.line(INDENT, &format!("without [expect] this run came to {}", expectation.found)),
        None => evidence_lines(canvas, culprit),
    }
    canvas.heading("faults then active");
    let at = culprit.and_then(|case| case.at);
    let active = run.map_or_else(|| vec!["none was injected".to_owned()], |run| culprit::active(run, at));
    for line in &active {
        canvas.line(INDENT, line);
    }
    canvas.heading("cluster");
    match run {
        Some(run) => cluster_lines(canvas, run),
        None => canvas.line(INDENT, "unknown: no run was recorded"),
    }
    canvas.heading("repeat it with");
    canvas.line(INDENT, &record.repeat_command);
}

fn evidence_lines(canvas: &mut Canvas, culprit: Option<&Case>) {
    let evidence = culprit.map_or(&[][..], |case| &case.evidence);
    if evidence.is_empty() {
        canvas.line(INDENT, culprit.map_or("none", |case| &case.summary));
    }
    let of_run = culprit.is_some_and(|case| case.kind == Kind::Run);
    let shown = if of_run { RUN_EVIDENCE_SHOWN } else { EVIDENCE_SHOWN };
    evidence.iter().take(shown).for_each(|line| canvas.line(INDENT, line));
    if evidence.len() > shown {
        canvas.line(INDENT, &format!("… {} more in run.json", evidence.len() - shown));
    }
}

fn cluster_lines(canvas: &mut Canvas, run: &RunRecord) {
    if !run.cluster.is_empty() {
        canvas.line(INDENT, &run.cluster);
    }
    canvas.indent(INDENT);
    let state = if run.clean.verdict == Verdict::Pass { "clean" } else { "not clean" };
    canvas.put(Paint::of(run.clean.verdict), state);
    canvas.put(Paint::Plain, &format!(": {}", run.clean.summary));
    canvas.end();
    residue_lines(canvas, &run.clean);
}
