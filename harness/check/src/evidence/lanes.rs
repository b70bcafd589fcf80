//! Where the transactions of a picture are: a lane for each process, time from left to right, and room for what is written.

use std::collections::BTreeMap;

use super::tell::outcome;
use super::{Evidence, Transaction};
use crate::drawing::shortened;

/// Pixels. Of a character of the boxes' font:
const CHARACTER: usize = 8;
/// Of a line of a box.
pub(super) const LINE: usize = 16;
/// Between a box and its text.
pub(super) const PAD: usize = 8;
const LEFT: usize = 104;
/// Below the title.
const TOP: usize = 64;
/// Between two events.
const GAP: usize = 22;
/// Between two transactions of a process, where a label may be.
const PROCESS_GAP: usize = 124;
/// Between two lanes, and more for each edge that may cross there.
const LANE_GAP: usize = 40;
const EDGE_GAP: usize = 14;

/// Characters of a micro-operation.
const MOP: usize = 30;
/// Micro-operations of a box.
const MOPS: usize = 7;

/// A transaction as it is drawn.
#[derive(Clone, Debug)]
pub(super) struct Card {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
    /// As wide as its text, when it goes on because its end is not known.
    pub(super) text_width: usize,
    pub(super) lane: usize,
    pub(super) lines: Vec<String>,
}

/// Everything but the edges.
#[derive(Debug)]
pub(super) struct Lanes {
    /// One for each transaction.
    pub(super) cards: Vec<Card>,
    /// Name and the middle of each lane.
    pub(super) names: Vec<(String, usize)>,
    pub(super) width: usize,
    /// Of title and lanes.
    pub(super) height: usize,
}

impl Lanes {
    pub(super) fn new(evidence: &Evidence, least: usize) -> Self {
        let all = &evidence.transactions;
        let lanes = lanes(all);
        let texts: Vec<Vec<String>> = (1..).zip(all).map(|(number, transaction)| text(number, transaction)).collect();
        let longest = |lines: &Vec<String>| lines.iter().map(|line| line.chars().count()).max().unwrap_or_default();
        let widths: Vec<usize> = texts.iter().map(|lines| longest(lines) * CHARACTER + 2 * PAD).collect();
        let (starts, ends) = columns(all, &lanes, &widths);
        let right = (0..all.len()).map(|place| ends[place].unwrap_or(starts[place] + widths[place]));
        let right = right.max().unwrap_or(LEFT);
        let width = (right + 40).max(least);
        let count = lanes.iter().max().map_or(0, |last| last + 1);
        let mut heights = vec![0; count];
        for (lane, lines) in lanes.iter().zip(&texts) {
            heights[*lane] = lines.len().max(heights[*lane]);
        }
        // An edge within the first lane may go over its top.
        let is_over = |(from, to): (usize, usize)| lanes[from] == 0 && lanes[to] == 0;
        let has_arc = evidence.reasons.iter().filter_map(|reason| reason.edge).any(|(from, to, _)| is_over((from, to)));
        let (mut y, mut tops) = (if has_arc { TOP + LANE_GAP } else { TOP }, Vec::new());
        for (lane, lines) in heights.iter().enumerate() {
            tops.push(y);
            y += lines * LINE + 2 * PAD + LANE_GAP + EDGE_GAP * crossing(evidence, &lanes, lane);
        }
        let middle = |lane: usize| tops[lane] + (heights[lane] * LINE) / 2 + PAD;
        let mut names = vec![(String::new(), 0); count];
        for (transaction, lane) in all.iter().zip(&lanes) {
            let name = transaction.process.map_or_else(String::new, |process| format!("process {process}"));
            names[*lane] = (name, middle(*lane));
        }
        let cards = texts.into_iter().enumerate().map(|(place, lines)| {
            let (x, lane) = (starts[place], lanes[place]);
            Card {
                x,
                y: tops[lane],
                width: ends[place].unwrap_or(width - 16).saturating_sub(x),
                height: lines.len() * LINE + 2 * PAD,
                text_width: widths[place],
                lane,
                lines,
            }
        });
        Self { cards: cards.collect(), names, width, height: y }
    }
}

/// The lane of each transaction: one for each process, in the order in which the argument names them, so that most of its
/// steps lead to the next.
fn lanes(all: &[Transaction]) -> Vec<usize> {
    let mut known: Vec<Option<i64>> = Vec::new();
    let lane = |transaction: &Transaction| {
        known.iter().position(|process| *process == transaction.process).unwrap_or_else(|| {
            known.push(transaction.process);
            known.len() - 1
        })
    };
    all.iter().map(lane).collect()
}

/// How many edges there are below a lane.
fn crossing(evidence: &Evidence, lanes: &[usize], lane: usize) -> usize {
    let crosses = |(from, to): (usize, usize)| {
        let (upper, lower) = (lanes[from].min(lanes[to]), lanes[from].max(lanes[to]));
        upper <= lane && (lane < lower || (upper == lane + 1 && lower == upper))
    };
    evidence.reasons.iter().filter_map(|reason| reason.edge).filter(|(from, to, _)| crosses((*from, *to))).count()
}

fn text(number: usize, transaction: &Transaction) -> Vec<String> {
    if transaction.process.is_none() {
        return vec![format!("T{number}"), "the initial".to_owned(), "values".to_owned()];
    }
    let lines = match transaction.lines {
        (begins, Some(ends)) if begins != ends => format!("lines {begins}–{ends}"),
        (line, _) => format!("line {line}"),
    };
    let mut text = vec![format!("T{number} {} · {lines}", outcome(transaction.kind))];
    text.extend(transaction.mops.iter().take(MOPS).map(|mop| shortened(mop, MOP)));
    let more = transaction.mops.len().saturating_sub(MOPS);
    if more > 0 {
        text.push(format!("… {more} more"));
    }
    text
}

/// Where each begins and ends, so that what is written has room and the order of all events is that of the history.
fn columns(all: &[Transaction], lanes: &[usize], widths: &[usize]) -> (Vec<usize>, Vec<Option<usize>>) {
    // What was there at the beginning comes before every event.
    let place = |transaction: &Transaction, at: usize| if transaction.process.is_none() { 0 } else { at + 1 };
    let mut moments: Vec<(usize, bool, usize)> = Vec::new();
    for (number, transaction) in all.iter().enumerate() {
        moments.push((place(transaction, transaction.span.0), false, number));
        moments.extend(transaction.span.1.map(|ends| (place(transaction, ends), true, number)));
    }
    moments.sort_unstable();
    let (mut starts, mut ends) = (vec![LEFT; all.len()], vec![None; all.len()]);
    let mut last_of: BTreeMap<usize, usize> = BTreeMap::new();
    let mut x = LEFT - GAP;
    for (_, is_end, number) in moments {
        x += GAP;
        if is_end {
            x = x.max(starts[number] + widths[number]);
            ends[number] = Some(x);
            last_of.insert(lanes[number], x);
        } else {
            x = x.max(last_of.get(&lanes[number]).map_or(0, |last| last + PROCESS_GAP));
            starts[number] = x;
        }
    }
    (starts, ends)
}
