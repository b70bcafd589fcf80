//! Each replica's sequence is a prefix of the primary's: no gap, no reorder, nothing of its own; and each state of its keys
//! is the one that some prefix leaves.
//!
//! The primary's sequence is the longest that `primary` was read to have. What a replica has beyond it may have come after
//! that read, unless a later one of the primary lacks it; a state that was read later is not judged.

use super::calls::{Call, Calls, entries, items};
use super::states::States;
use super::{Anomaly, Asked, Ended, Findings};
use crate::hash::FastMap;
use crate::history::Value;

/// The name of the node whose sequence is the log.
const PRIMARY: &str = "primary";

/// The sequence of a node, as it was read.
struct Read<'a> {
    call: &'a Call<'a>,
    node: String,
    sequence: &'a [Value],
}

pub(super) fn check(asked: &mut Asked<'_, '_>, calls: &Calls<'_>, findings: &mut Findings) -> Result<(), Ended> {
    let mut reads: Vec<Read<'_>> = Vec::new();
    let mut states = Vec::new();
    for call in &calls.all {
        asked.watch.spend(1)?;
        let Some(answer) = call.answered else { continue };
        let alien = || asked.alien(calls.op(call.shown));
        let (node, found) = answer.pair().ok_or_else(alien)?;
        let node = node.name().map_or_else(|| node.to_string(), ToOwned::to_owned);
        match call.f {
            "read" => reads.push(Read { call, node, sequence: items(found).ok_or_else(alien)? }),
            "state" => states.push((call, node, found)),
            _ => return Err(alien()),
        }
    }
    let of_primary = |read: &&Read<'_>| read.node == PRIMARY;
    let longest = reads.iter().filter(of_primary).max_by_key(|read| read.sequence.len());
    let Some(log) = longest.or_else(|| reads.iter().max_by_key(|read| read.sequence.len())) else { return Ok(()) };
    let last = reads.iter().filter(of_primary).map(|read| read.call.begins).max();
    // Of each element the last place: the log may say the same again.
    let mut positions: FastMap<&Value, usize> = FastMap::default();
    for (place, element) in log.sequence.iter().enumerate() {
        asked.watch.spend(1)?;
        positions.insert(element, place);
    }
    for read in &reads {
        asked.watch.spend(read.sequence.len())?;
        findings.looked_at += 1;
        compare(read, log, (&positions, last), findings);
    }
    went_back(&reads, findings);
    let states_of = States::new(log.sequence);
    for (call, node, found) in states {
        let is_later = call.ends.is_none_or(|ends| ends > log.call.begins);
        asked.watch.spend(log.sequence.len() / 8 + 1)?;
        let held = entries(found).ok_or_else(|| asked.alien(calls.op(call.shown)))?;
        if is_later {
            continue;
        }
        findings.looked_at += 1;
        let Some((wrong, why)) = states_of.compare(held) else { continue };
        findings.add(wrong, &[log.call.shown, call.shown], || format!("the state of {node}: {why}"));
    }
    findings.count("log", log.sequence.len());
    findings.count("reads", findings.looked_at);
    Ok(())
}

/// What is wrong with the first element that is not where the log has it.
fn compare(
    read: &Read<'_>,
    log: &Read<'_>,
    (positions, last): (&FastMap<&Value, usize>, Option<usize>),
    findings: &mut Findings,
) {
    let ops = [log.call.shown, read.call.shown];
    let differs = read.sequence.iter().zip(log.sequence).position(|(here, there)| here != there);
    let Some(place) = differs else {
        let beyond = read.sequence.get(log.sequence.len());
        let ends = read.call.ends.unwrap_or(read.call.begins);
        if let Some(element) = beyond.filter(|_| last.is_some_and(|last| last > ends)) {
            findings.add(Anomaly::Diverged, &ops, || {
                format!("{} has {element}, and the primary does not have it later", read.node)
            });
        }
        return;
    };
    let (node, here, there) = (&read.node, &read.sequence[place], &log.sequence[place]);
    match positions.get(here) {
        None => findings.add(Anomaly::Diverged, &ops, || {
            format!("{node} has {here} at {place}, where the primary has {there}, and {here} nowhere")
        }),
        Some(earlier) if *earlier < place => {
            findings.add(Anomaly::Duplicate, &ops, || format!("{node} has {here} at {earlier} and again at {place}"));
        }
        Some(_) if read.sequence[place..].contains(there) => {
            findings
                .add(Anomaly::Reordered, &ops, || format!("{node} has {here} before {there}, the primary after it"));
        }
        Some(_) => {
            findings.add(Anomaly::Gap, &ops, || format!("{node} has {here} and lacks {there}, which comes before it"));
        }
    }
}

/// A node whose sequence is not what it was and more: it may have been restored.
fn went_back(reads: &[Read<'_>], findings: &mut Findings) {
    let mut before: FastMap<&str, &Read<'_>> = FastMap::default();
    for read in reads {
        let Some(earlier) = before.insert(&read.node, read) else { continue };
        let is_later = earlier.call.ends.is_some_and(|ends| ends < read.call.begins);
        if is_later && !read.sequence.starts_with(earlier.sequence) {
            findings.add(Anomaly::Rewritten, &[earlier.call.shown, read.call.shown], || {
                format!("{} had {} elements, and later not these and more", read.node, earlier.sequence.len())
            });
        }
    }
}
