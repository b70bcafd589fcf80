//! Evidence as a picture: transactions as boxes by process and time, an arrow for each step of the argument, and each step in
//! words below.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::lanes::{Card, LINE, Lanes, PAD};
use super::{Evidence, Relation, describe};
use crate::drawing::{self, escaped};
use crate::history::Kind;

/// The narrowest picture, in pixels, so that sentences have room.
const NARROWEST: usize = 720;
/// Pixels of a character of the sentences, at most.
const CHARACTER: usize = 7;
/// Of a label.
const LABEL: (usize, usize) = (8, 18);

const STYLE: &str = "text{font:12px sans-serif;fill:#222}.title{font-size:15px;font-weight:bold}.mono{font:12px monospace}\
.head{font:bold 12px monospace}.note{fill:#666}.lane{stroke:#e4e4e4}.card{fill:#dbe8f6;stroke:#4a78a8}.beside{fill:#f0f0f0;stroke:#999}\
.aborted{fill:#f8dcd9;stroke:#b3261e}.unknown{stroke-dasharray:5 3}.edge{fill:none;stroke-width:1.7}.label{fill:#fff;stroke-width:1.2}\
.mark{text-anchor:middle;font:bold 11px sans-serif}.apart{stroke:#bbb}";

const LEGEND: &str = "ww: replaced what the first wrote; wr: read what the first wrote; rw: replaced what the first read. Grey \
                      boxes show the order of versions, red ones aborted, and of dashed ones the outcome is not known.";

/// A page with the words and the picture of each.
pub fn html(all: &[Evidence]) -> String {
    let parts = all.iter().map(|evidence| (describe(evidence), svg(std::slice::from_ref(evidence))));
    drawing::page(&all.iter().map(|evidence| evidence.anomaly.as_str()).collect::<Vec<_>>().join(", "), parts)
}

/// One picture of all, one below the other.
pub fn svg(all: &[Evidence]) -> String {
    let panels: Vec<(String, usize, usize)> = all.iter().map(panel).collect();
    let width = panels.iter().map(|(_, width, _)| *width).max().unwrap_or(NARROWEST);
    let legend = wrapped(LEGEND, (width - 24) / CHARACTER);
    let height = panels.iter().map(|(.., height)| height).sum::<usize>() + legend.len() * LINE;
    let mut out = drawing::open(width, height, STYLE);
    let mut y = 0;
    for (panel, _, height) in panels {
        // Writing to a string cannot fail, here and below.
        let line = if y == 0 {
            String::new()
        } else {
            format!("<line class=\"apart\" x1=\"0\" x2=\"{width}\" y1=\"0\" y2=\"0\"/>\n")
        };
        let _written = writeln!(out, "<g transform=\"translate(0 {y})\">\n{line}{panel}</g>");
        y += height;
    }
    for line in legend {
        let _written = writeln!(out, "<text class=\"note\" x=\"12\" y=\"{y}\">{line}</text>");
        y += LINE;
    }
    out.push_str("</svg>\n");
    out
}

/// One piece of evidence, its width and height.
fn panel(evidence: &Evidence) -> (String, usize, usize) {
    let lanes = Lanes::new(evidence, NARROWEST);
    let mut out = String::new();
    let (shown, of) = (evidence.transactions.len(), evidence.of);
    let _written = writeln!(
        out,
        "<text class=\"title\" x=\"12\" y=\"24\">{}</text>\n<text class=\"note\" x=\"12\" y=\"42\">{shown} of {of} transactions, \
         without what does not matter; time goes from left to right</text>",
        escaped(&evidence.anomaly)
    );
    for (name, middle) in &lanes.names {
        let (width, name) = (lanes.width, escaped(name));
        let _written = writeln!(
            out,
            "<line class=\"lane\" x1=\"96\" x2=\"{width}\" y1=\"{middle}\" y2=\"{middle}\"/><text x=\"12\" y=\"{}\">{name}</text>",
            middle + 4
        );
    }
    let edges = edges(evidence, &lanes.cards);
    for edge in &edges {
        let (path, colour, dash) = (&edge.path, edge.colour, edge.dash);
        let _written = writeln!(out, "<path class=\"edge\" stroke=\"{colour}\"{dash} d=\"{path}\"/>");
    }
    for (place, card) in lanes.cards.iter().enumerate() {
        draw_card(&mut out, evidence, place, card);
    }
    for edge in &edges {
        let _written = writeln!(out, "<path fill=\"{}\" d=\"{}\"/>", edge.colour, edge.head);
    }
    labels(&mut out, &edges, &lanes.cards);
    let height = sentences(&mut out, evidence, (lanes.width, lanes.height));
    (out, lanes.width, height)
}

fn draw_card(out: &mut String, evidence: &Evidence, place: usize, card: &Card) {
    let Some(transaction) = evidence.transactions.get(place) else { return };
    let class = match transaction.kind {
        Kind::Fail => "card aborted",
        _ if place >= evidence.named => "card beside",
        Kind::Info => "card unknown",
        Kind::Ok | Kind::Invoke => "card",
    };
    let Card { x, y, width, height, .. } = card;
    let whole = escaped(&transaction.mops.join(" "));
    let _written = writeln!(
        out,
        "<g><title>{whole}</title><rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"5\"/>"
    );
    for (number, line) in card.lines.iter().enumerate() {
        let class = if number == 0 { "head" } else { "mono" };
        let y = y + PAD + 12 + number * LINE;
        let _written = writeln!(out, "<text class=\"{class}\" x=\"{}\" y=\"{y}\">{}</text>", x + PAD, escaped(line));
    }
    out.push_str("</g>\n");
}

/// A step as it is drawn.
struct Edge {
    path: String,
    /// The arrow's head.
    head: String,
    colour: &'static str,
    dash: &'static str,
    label: String,
    /// The curve, for the label.
    curve: [(f64, f64); 4],
}

/// A place on the side of a box, and the direction away from the box.
type Port = ((f64, f64), (f64, f64));

impl Edge {
    fn new((start, out): Port, (end, into): Port, relation: Relation, label: String) -> Self {
        let (colour, dash) = colour(relation);
        let (wide, tall) = ((end.0 - start.0).abs() * out.0.abs(), (end.1 - start.1).abs());
        let bend = wide.midpoint(tall).clamp(28.0, 90.0);
        let along = |from: (f64, f64), way: (f64, f64), far: f64| (from.0 + way.0 * far, from.1 + way.1 * far);
        let tip = along(end, into, 2.0);
        let [a, b, c, d] = [start, along(start, out, bend), along(tip, into, bend), along(tip, into, 7.0)];
        let base = along(tip, into, 9.0);
        let beside = |side: f64| (base.0 + into.1 * side, base.1 + into.0 * side);
        let (left, right) = (beside(-4.5), beside(4.5));
        Self {
            path: format!("M{:.1} {:.1}C{:.1} {:.1} {:.1} {:.1} {:.1} {:.1}", a.0, a.1, b.0, b.1, c.0, c.1, d.0, d.1),
            head: format!("M{:.1} {:.1}L{:.1} {:.1}L{:.1} {:.1}Z", tip.0, tip.1, left.0, left.1, right.0, right.1),
            colour,
            dash,
            label,
            curve: [a, b, c, d],
        }
    }
}

/// Whether one box is followed by another in its lane, so that an edge between them is a line.
fn is_next(cards: &[Card], from: usize, to: usize) -> bool {
    let (lane, end, start) = (cards[from].lane, cards[from].x + cards[from].width, cards[to].x);
    let is_between = |card: &Card| card.lane == lane && card.x > cards[from].x && card.x < start;
    cards[to].lane == lane && end < start && !cards.iter().any(is_between)
}

fn colour(relation: Relation) -> (&'static str, &'static str) {
    match relation {
        Relation::WriteWrite => ("#2e7d32", ""),
        Relation::WriteRead => ("#1565c0", ""),
        Relation::ReadWrite => ("#c62828", ""),
        Relation::Process | Relation::Realtime => ("#666", " stroke-dasharray=\"5 4\""),
        Relation::Commit => ("#7b1fa2", ""),
    }
}

/// A side of a box: which box, and whether it is the lower side.
type Side = (usize, bool);

fn edges(evidence: &Evidence, cards: &[Card]) -> Vec<Edge> {
    let steps: Vec<(usize, (usize, usize, Relation))> =
        evidence.reasons.iter().enumerate().filter_map(|(number, reason)| Some((number, reason.edge?))).collect();
    // Of each side of a box its edges, from left to right as their other ends are.
    let mut ports: BTreeMap<Side, Vec<(usize, usize)>> = BTreeMap::new();
    for (number, (from, to, _)) in steps.iter().filter(|(_, (from, to, _))| !is_next(cards, *from, *to)) {
        let middle = |place: usize| cards[place].x + cards[place].text_width / 2;
        for (own, other) in [(*from, *to), (*to, *from)] {
            ports.entry((own, is_lower(cards, own, other))).or_default().push((middle(other), *number));
        }
    }
    for of_side in ports.values_mut() {
        of_side.sort_unstable();
    }
    let port = |own: usize, other: usize, number: usize| {
        let side = (own, is_lower(cards, own, other));
        let of_side = ports.get(&side).map(Vec::as_slice).unwrap_or_default();
        let place = of_side.iter().position(|(_, of)| *of == number).unwrap_or_default();
        let card = &cards[own];
        let x = card.x + card.text_width.min(card.width) * (place + 1) / (of_side.len() + 1);
        (real(x), real(if side.1 { card.y + card.height } else { card.y }))
    };
    let edge = |(number, (from, to, relation)): &(usize, (usize, usize, Relation))| {
        let label = format!("{} {}", number + 1, relation.name());
        if is_next(cards, *from, *to) {
            let (from, to) = (&cards[*from], &cards[*to]);
            let y = real(from.y + from.height.min(to.height) / 2);
            return Edge::new(
                ((real(from.x + from.width), y), (1.0, 0.0)),
                ((real(to.x), y), (-1.0, 0.0)),
                *relation,
                label,
            );
        }
        // Arrows come in from above or from below.
        let towards = |own: usize, other: usize| (0.0, if is_lower(cards, own, other) { 1.0 } else { -1.0 });
        let (start, end) = (port(*from, *to, *number), port(*to, *from, *number));
        Edge::new((start, towards(*from, *to)), (end, towards(*to, *from)), *relation, label)
    };
    steps.iter().map(edge).collect()
}

/// Whether an edge leaves a box by its lower side: towards a lower lane. In its own lane it goes over the top.
fn is_lower(cards: &[Card], own: usize, other: usize) -> bool {
    cards[own].lane < cards[other].lane
}

fn real(pixels: usize) -> f64 {
    f64::from(u32::try_from(pixels).unwrap_or(u32::MAX))
}

/// Left, top, right and bottom.
type Frame = [f64; 4];

fn overlap(a: &Frame, b: &Frame) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

/// The name of each step on its arrow, where no box and no other name is.
fn labels(out: &mut String, edges: &[Edge], cards: &[Card]) {
    let around = |card: &Card| {
        let (x, y) = (real(card.x), real(card.y));
        [x - 2.0, y - 2.0, x + real(card.width) + 2.0, y + real(card.height) + 2.0]
    };
    let boxes: Vec<Frame> = cards.iter().map(around).collect();
    let mut taken: Vec<Frame> = Vec::new();
    for edge in edges {
        let (half, tall) = (real(edge.label.chars().count() * LABEL.0 + 10) / 2.0, real(LABEL.1));
        let frame = |step: u32| {
            let (x, y) = point(&edge.curve, f64::from(step) / 100.0);
            [x - half, y - tall / 2.0, x + half, y + tall / 2.0]
        };
        // From the middle outwards.
        let places = (0..=40).flat_map(|off| [50 + off, 50 - off]);
        let is_free = |frame: &Frame| !taken.iter().any(|other| overlap(frame, other));
        let best = places.clone().map(frame).find(|of| is_free(of) && !boxes.iter().any(|other| overlap(of, other)));
        let [left, top, right, bottom] = best.or_else(|| places.map(frame).find(is_free)).unwrap_or_else(|| frame(50));
        taken.push([left, top, right, bottom]);
        let _written = writeln!(
            out,
            "<rect class=\"label\" stroke=\"{}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"8\"/>\
             <text class=\"mark\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            edge.colour,
            right - left,
            bottom - top,
            left.midpoint(right),
            bottom - 5.0,
            escaped(&edge.label)
        );
    }
}

/// A point of a cubic curve.
fn point(curve: &[(f64, f64); 4], t: f64) -> (f64, f64) {
    let s = 1.0 - t;
    let weights = [s * s * s, 3.0 * s * s * t, 3.0 * s * t * t, t * t * t];
    let sum = |of: fn(&(f64, f64)) -> f64| curve.iter().zip(weights).map(|(point, weight)| of(point) * weight).sum();
    (sum(|point| point.0), sum(|point| point.1))
}

/// Every step in words, below the lanes; where the panel ends.
fn sentences(out: &mut String, evidence: &Evidence, (width, top): (usize, usize)) -> usize {
    let room = (width - 24) / CHARACTER;
    let mut lines = Vec::new();
    for (number, reason) in (1..).zip(&evidence.reasons) {
        let step = reason
            .edge
            .map(|(from, to, relation)| format!("{number}  T{} → T{} ({}): ", from + 1, to + 1, relation.name()));
        lines.extend(wrapped(&format!("{}{}", step.unwrap_or_default(), reason.words), room));
    }
    let mut y = top;
    for line in lines {
        let _written = writeln!(out, "<text x=\"12\" y=\"{y}\">{}</text>", escaped(&line));
        y += LINE + 2;
    }
    y + 12
}

/// Lines of at most so many characters, broken between words where that is possible.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word = drawing::shortened(word, room);
        let last = lines.last_mut().map(|line| {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() <= room {
                line.push(' ');
                line.push_str(&word);
                word.clear();
            } else if line.is_empty() {
                line.push_str(&word);
                word.clear();
            }
        });
        if last.is_some() && !word.is_empty() {
            lines.push(word);
        }
    }
    lines
}
