//! After the load every node replays to at least where the primary was after the last write, on one epoch, and then all
//! hold the same.

use std::collections::BTreeMap;

use firedrill_core::check::{Check, CheckEntry, Finding, Question};
use firedrill_core::cluster::{NodeName, Position};
use firedrill_core::event::Event;
use firedrill_core::history::{Call, FinalRead};
use firedrill_core::record::Recorded;
use firedrill_core::spec::Fields;
use firedrill_core::time::RunTime;
use firedrill_core::verdict::Verdict;

use crate::calls::{is_write, number};
use crate::seen::views;

pub(crate) const ENTRY: CheckEntry = CheckEntry {
    name: "replicas-converge",
    summary: "in the end every node is on one epoch, has caught up, and holds the same",
    example: "[[invariant]]\ncheck = \"replicas-converge\"\n",
    takes_when: false,
    anomalies: Vec::new,
    parse,
};

/// Rows named of each difference.
const EXAMPLES: usize = 10;

struct ReplicasConverge;

#[expect(clippy::unnecessary_wraps, reason = "the signature of every check's parse")]
fn parse(_fields: &mut Fields<'_, '_>) -> Option<Box<dyn Check>> {
    Some(Box::new(ReplicasConverge))
}

impl Check for ReplicasConverge {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn check(&self, run: &Recorded, _question: &Question<'_>) -> Finding {
        let invalid = |why: String| Finding::new(ENTRY.name, Verdict::Invalid, format!("cannot tell: {why}"));
        // A wait that ran to its deadline is judged: not having converged by then is the violation. One that was never
        // begun is not.
        let settled = run.finals_settled();
        let met = run.events.iter().rev().find_map(|stamped| {
            let Event::Settled { met, .. } = stamped.event else { return None };
            Some(met)
        });
        let Some(met) = met else {
            return invalid(settled.err().unwrap_or_default());
        };
        if run.nodes.is_empty() || run.finals.is_empty() {
            return invalid("no node was read at the end".to_owned());
        }
        let reference = reference(run);
        let mut differences = differences(run, reference.as_ref().map(|(_, position)| *position));
        if !met {
            // In a settled cluster a read that failed is the harness's trouble; here it is a node that never came back.
            differences.extend(unread(run));
        }
        if !differences.is_empty() {
            let nodes = run.nodes.len();
            let late = settled.err().map(|why| format!(" ({why})")).unwrap_or_default();
            let summary = format!("the {nodes} nodes do not hold the same: {}{late}", differences[0]);
            let mut finding = Finding::new(ENTRY.name, Verdict::Fail, summary);
            finding = finding.figure("differences", number(differences.len()));
            return differences.into_iter().fold(finding, Finding::evidence);
        }
        if let Err(why) = settled {
            return invalid(why);
        }
        let Some((primary, position)) = reference else {
            return invalid("the primary's position was not read after the last write".to_owned());
        };
        if let Some(read) = run.finals.iter().find(|read| read.position.is_none()) {
            return invalid(format!("how far {} had replayed is not known", read.node));
        }
        let rows = run.finals.first().and_then(|read| read.rows.as_ref().ok()).map_or(0, Vec::len);
        if !run.calls.iter().any(|call| is_write(call) && call.acked().is_some()) {
            return invalid("nothing was acknowledged, so there was nothing to replicate".to_owned());
        }
        let nodes = run.nodes.len();
        let summary = format!("{nodes} nodes hold the same {rows} rows, at or past {position} of {primary}");
        Finding::new(ENTRY.name, Verdict::Pass, summary).figure("rows", number(rows)).figure("differences", 0.0)
    }
}

/// The primary and its position in the first view after the last write ended; if there is none, the last receipt of
/// an acknowledged write of the final epoch, and who gave it.
fn reference(run: &Recorded) -> Option<(&NodeName, Position)> {
    let writes = || run.calls.iter().filter(|call| is_write(call));
    let ended = |call: &Call| call.completed.as_ref().map_or(call.invoked, |(at, _)| *at);
    let last: RunTime = writes().map(ended).max()?;
    let mut after = views(run).filter(|view| view.at >= last);
    let seen = after.find_map(|view| view.primary().and_then(|primary| Some((&primary.name, primary.position?))));
    let highest = run.finals.iter().filter_map(|read| read.epoch).max();
    let acked = || writes().filter(|call| call.acked().is_some() && call.epoch.is_some() && call.epoch == highest);
    let receipts = || acked().filter_map(|call| Some((call.served_by.as_ref()?, call.receipt?)));
    seen.or_else(|| receipts().max_by_key(|(_, receipt)| *receipt))
}

/// Everything in which the nodes differ, in words, most telling first.
fn differences(run: &Recorded, reference: Option<Position>) -> Vec<String> {
    let mut found = contents(run);
    let epochs: BTreeMap<&NodeName, u64> =
        run.finals.iter().filter_map(|read| Some((&read.node, read.epoch?.0))).collect();
    if epochs.values().min() != epochs.values().max() {
        let each: Vec<String> = epochs.iter().map(|(node, epoch)| format!("{node} is on {epoch}")).collect();
        found.push(format!("not one epoch: {}", each.join(", ")));
    }
    for read in &run.finals {
        if let (Some(position), Some(reference)) = (read.position, reference)
            && position < reference
        {
            found.push(format!("{} is at {position}, behind {reference}", read.node));
        }
    }
    found
}

/// The nodes whose content is not known, in words.
fn unread(run: &Recorded) -> Vec<String> {
    let mut found = Vec::new();
    for node in &run.nodes {
        match run.finals.iter().find(|read| read.node == *node) {
            None => found.push(format!("{node} was not read at the end")),
            Some(FinalRead { rows: Err(why), .. }) => found.push(format!("{node} could not be read: {why}")),
            Some(_) => {}
        }
    }
    found
}

/// Which rows only some of the nodes hold, grouped by who holds them.
fn contents(run: &Recorded) -> Vec<String> {
    let readable: Vec<(&NodeName, &Vec<u64>)> =
        run.finals.iter().filter_map(|read| Some((&read.node, read.rows.as_ref().ok()?))).collect();
    let mut digests: Vec<u64> = run.finals.iter().filter_map(FinalRead::digest).collect();
    digests.dedup();
    if digests.len() <= 1 {
        return Vec::new();
    }
    let mut holders: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (place, (_, rows)) in readable.iter().enumerate() {
        for row in *rows {
            holders.entry(*row).or_default().push(place);
        }
    }
    let all: Vec<usize> = (0..readable.len()).collect();
    let mut groups: BTreeMap<Vec<usize>, Vec<u64>> = BTreeMap::new();
    for (row, places) in holders.into_iter().filter(|(_, places)| *places != all) {
        groups.entry(places).or_default().push(row);
    }
    let mut groups: Vec<(Vec<usize>, Vec<u64>)> = groups.into_iter().collect();
    groups.sort_by_key(|(places, rows)| (std::cmp::Reverse(rows.len()), places.clone()));
    let words = groups.into_iter().map(|(places, rows)| {
        let names: Vec<&str> =
            places.iter().filter_map(|place| readable.get(*place)).map(|(n, _)| n.as_str()).collect();
        let some: Vec<String> = rows.iter().take(EXAMPLES).map(u64::to_string).collect();
        let more = if rows.len() > EXAMPLES { "…" } else { "" };
        format!("{} rows only on {}: {}{more}", rows.len(), names.join(", "), some.join(" "))
    });
    words.collect()
}
