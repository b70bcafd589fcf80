//! Whether the run itself came through, what the clients saw, and what was left behind.

use std::time::Duration;

use firedrill_core::check::Finding;
use firedrill_core::event::{Event, Phase};
use firedrill_core::history::{Call, Outcome, Route};
use firedrill_core::platform::Incident;
use firedrill_core::record::{CleanRecord, LoadRecord, Recorded, Tally, seconds};
use firedrill_core::verdict::Verdict;

use crate::calls::{last_due, nearest_rank, number, number64, router_writes};
use crate::losses::Losses;

/// The figure of the run's finding that says how many acknowledged writes were lost; absent when nobody can tell.
pub const LOST_ACKNOWLEDGED: &str = "lost-acknowledged";

/// Whether the run came through: started, steady, load offered, not halted, the agent alive, and the record whole
/// (`torn` is what of it could not be read back).
pub fn run_finding(run: &Recorded, losses: &Losses, torn: &[String]) -> Finding {
    let mut problems = problems(run);
    problems.extend(torn.iter().map(|what| (Verdict::Invalid, format!("part of the record is lost: {what}"))));
    problems.sort_by_key(|(verdict, _)| std::cmp::Reverse(*verdict));
    let load = load_record(run);
    let headline = |words: &str| words.lines().next().unwrap_or_default().to_owned();
    let worst = problems.first().map(|(verdict, words)| (*verdict, headline(words)));
    let (verdict, summary) = worst.unwrap_or_else(|| {
        let Tally { invoked, ok, .. } = load.router;
        let rate = load.ok_per_second;
        let words = format!("{invoked} operations through the router, {ok} acknowledged, {rate:.1} writes/s");
        (Verdict::Pass, words)
    });
    let mut finding = Finding::new("run", verdict, summary)
        .figure("invoked", number64(load.router.invoked))
        .figure("acknowledged", number64(load.router.ok))
        .figure("shed", number64(load.router.shed))
        .figure("direct-invoked", number64(load.direct.invoked))
        .figure("direct-answered", number64(load.direct.ok));
    if losses.decided.is_ok() {
        finding = finding.figure(LOST_ACKNOWLEDGED, number(losses.lost.len()));
    }
    // A problem of several lines brings the logs of the servers with it.
    let lines = problems.iter().flat_map(|(_, words)| words.lines());
    lines.fold(finding, Finding::evidence)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a few kinds of event out of many")]
fn problems(run: &Recorded) -> Vec<(Verdict, String)> {
    let mut found = Vec::new();
    let mut steady = false;
    for stamped in &run.events {
        let at = stamped.at;
        match &stamped.event {
            Event::Broken { phase, reason } => found.push((Verdict::Invalid, format!("{}: {reason}", phase.word()))),
            Event::Steady { met: true, .. } => steady = true,
            Event::Steady { met: false, seen } => {
                steady = true;
                found.push((Verdict::Invalid, format!("not steady before the faults, nothing was injected: {seen}")));
            }
            Event::Halted { condition, seen } => {
                found.push((Verdict::Aborted, format!("halted at {at} because `{condition}`: {seen}")));
            }
            Event::Interrupted { phase } => {
                found.push((Verdict::Aborted, format!("interrupted at {at} in the phase {}", phase.word())));
            }
            Event::Incident { incident: Incident::AgentDied { detail } } => {
                found.push((Verdict::Invalid, format!("the agent died at {at}, and its faults with it: {detail}")));
            }
            _ => {}
        }
    }
    if !steady {
        found.push((Verdict::Invalid, "the run ended before the cluster was found steady".to_owned()));
    } else if run.phase_start(Phase::Storm).is_none() {
        found.push((Verdict::Invalid, "the storm never began".to_owned()));
    }
    if run.calls.iter().all(Call::is_shed) {
        found.push((Verdict::Invalid, "there were no operations".to_owned()));
    }
    found
}

/// What the clients saw. Latencies count from when operations were due.
pub fn load_record(run: &Recorded) -> LoadRecord {
    let mut record = LoadRecord::default();
    for call in &run.calls {
        let tally = match call.route {
            Route::Router => &mut record.router,
            Route::Direct(_) => &mut record.direct,
        };
        if call.is_shed() {
            tally.shed += 1;
            continue;
        }
        tally.invoked += 1;
        match &call.completed {
            Some((_, Outcome::Ok(_))) => tally.ok += 1,
            Some((_, Outcome::Fail(_))) => tally.fail += 1,
            Some((_, Outcome::Info(_))) | None => tally.info += 1,
        }
    }
    let acked = router_writes(run).filter_map(|call| call.acked().map(|at| at.since(call.due)));
    let mut latencies: Vec<Duration> = acked.collect();
    latencies.sort_unstable();
    let first = router_writes(run).map(|call| call.due).min();
    if let (Some(first), Some(last)) = (first, last_due(run))
        && first < last
    {
        record.ok_per_second = number(latencies.len()) / seconds(last.since(first));
    }
    record.latency = [50, 99, 100].map(|percent| nearest_rank(&latencies, percent).map_or(0.0, seconds));
    record
}

/// What the sweep for residue found. When nobody looked, nobody knows.
pub fn clean(run: &Recorded) -> CleanRecord {
    let swept = run.events.iter().rev().find_map(|stamped| {
        let Event::Swept { residue } = &stamped.event else { return None };
        Some(residue.clone())
    });
    let (verdict, residue, summary) = match swept {
        None => (Verdict::Invalid, Vec::new(), "nobody looked for residue".to_owned()),
        Some(residue) if residue.is_empty() => (Verdict::Pass, residue, "nothing was left behind".to_owned()),
        Some(residue) => {
            let summary = format!("{} things were left behind, first: {}", residue.len(), residue[0].what);
            (Verdict::Dirty, residue, summary)
        }
    };
    CleanRecord { verdict, residue, summary }
}
