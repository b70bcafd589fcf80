//! A violation as a picture: a row for each process, a bar for each call from its beginning to its end, and a mark where it
//! took effect in an order of those before the call that fits nowhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Counterexample;
use super::tell::{call, describe};
use crate::drawing::{self, escaped};
use crate::history::{Packed, Process};

const LEFT: usize = 90;
const TOP: usize = 34;
const ROW: usize = 44;
const BAR: usize = 24;
const STEP: usize = 64;

const STYLE: &str = "text{font:12px sans-serif;fill:#222}.bar{fill:#cfe0f3;stroke:#5b84b1}.core{fill:#ffe3b3;stroke:#c77700}\
.bad{fill:#f6c5c0;stroke:#b3261e;stroke-width:2}.open{stroke-dasharray:4 3}.grid{stroke:#eee}.point{stroke:#111;stroke-width:2}\
.number{font-size:10px;text-anchor:middle}";

/// The row of each process.
type Rows = BTreeMap<Process, usize>;

/// A call as it is drawn.
struct Bar {
    begins: usize,
    ends: Option<usize>,
    class: &'static str,
}

/// A page with the words and the picture.
pub fn html(history: &Packed, found: &Counterexample) -> String {
    drawing::page("not linearizable", [(describe(history, found), svg(history, found))])
}

/// The picture.
pub fn svg(history: &Packed, found: &Counterexample) -> String {
    let bars = bars(found);
    let mut moments: Vec<usize> = bars.iter().flat_map(|bar| [Some(bar.begins), bar.ends]).flatten().collect();
    moments.sort_unstable();
    moments.dedup();
    // Two columns for each moment, so that a call that begins and ends at one has a width.
    let column = |place: usize| moments.partition_point(|moment| *moment < place);
    let mut rows: Rows = BTreeMap::new();
    for op in bars.iter().filter_map(|bar| history.op(bar.begins)) {
        rows.insert(op.process, 0);
    }
    for (place, row) in rows.values_mut().enumerate() {
        *row = place;
    }
    let width = LEFT + (moments.len() + 1) * STEP;
    let height = TOP + rows.len() * ROW + 70;
    let mut out = drawing::open(width, height, STYLE);
    // Writing to a string cannot fail, here and below.
    let object = found.key.as_ref().map(|key| format!(", key {key}")).unwrap_or_default();
    let title = escaped(&format!("not linearizable{object}: {}", call(history, found.begins, Some(found.ends))));
    let _written = writeln!(out, "<text x=\"8\" y=\"18\">{title}</text>");
    for (process, row) in &rows {
        let y = TOP + row * ROW + BAR;
        let name = escaped(&process.to_string());
        let _written = writeln!(
            out,
            "<line class=\"grid\" x1=\"0\" x2=\"{width}\" y1=\"{line}\" y2=\"{line}\"/><text x=\"8\" y=\"{y}\">process {name}</text>",
            line = y + 14
        );
    }
    for bar in &bars {
        let Some(op) = history.op(bar.begins) else { continue };
        let y = TOP + rows.get(&op.process).copied().unwrap_or_default() * ROW + 6;
        let (x, until) =
            (LEFT + column(bar.begins) * STEP, bar.ends.map_or(width, |ends| LEFT + column(ends) * STEP + STEP / 2));
        let open = if bar.ends.is_none() { " open" } else { "" };
        let whole = escaped(&call(history, bar.begins, bar.ends));
        let label = escaped(&label(history, bar));
        let _written = writeln!(
            out,
            "<g><title>{whole}</title><rect class=\"{}{open}\" x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{BAR}\" rx=\"3\"/>\
             <text x=\"{}\" y=\"{}\">{label}</text></g>",
            bar.class,
            until.saturating_sub(x),
            x + 5,
            y + 16
        );
    }
    points(&mut out, history, found, &rows, &moments);
    let y = TOP + rows.len() * ROW + 24;
    let states = if found.states.is_empty() {
        String::new()
    } else {
        format!("; the state before it: {}", found.states.join(", or "))
    };
    let legend = [
        format!("red: fits nowhere{states}"),
        "orange: contradict each other, whatever became of all others; dashed: its end is not known or came later"
            .to_owned(),
        "numbered marks: where the calls before took effect, in one of their orders".to_owned(),
    ];
    for (line, text) in legend.iter().enumerate() {
        let _written = writeln!(out, "<text x=\"8\" y=\"{}\">{}</text>", y + line * 16, escaped(text));
    }
    out.push_str("</svg>\n");
    out
}

fn bars(found: &Counterexample) -> Vec<Bar> {
    let mut bars: BTreeMap<usize, Bar> = BTreeMap::new();
    for (begins, ends) in &found.around {
        // What ended later was in flight.
        let ends = ends.filter(|ends| *ends <= found.ends);
        bars.insert(*begins, Bar { begins: *begins, ends, class: "bar" });
    }
    for (begins, ends) in &found.core {
        bars.insert(*begins, Bar { begins: *begins, ends: Some(*ends), class: "core" });
    }
    bars.insert(found.begins, Bar { begins: found.begins, ends: Some(found.ends), class: "bad" });
    bars.into_values().collect()
}

fn label(history: &Packed, bar: &Bar) -> String {
    let Some(first) = history.op(bar.begins) else { return String::new() };
    let f = first.f.clone();
    let last = bar.ends.and_then(|ends| history.op(ends)).unwrap_or(first);
    let value = if last.compare_false { "compare false".to_owned() } else { last.value.to_string() };
    let text = format!("{f} {value}");
    let room = 40;
    if text.chars().count() <= room { text } else { text.chars().take(room - 1).chain(['…']).collect() }
}

/// A mark for each call in the order: as early as it can be.
fn points(out: &mut String, history: &Packed, found: &Counterexample, rows: &Rows, moments: &[usize]) {
    let mut at = 0;
    for (number, begins) in found.order.iter().enumerate() {
        let Some(op) = history.op(*begins) else { continue };
        let earliest = LEFT + moments.partition_point(|moment| moment < begins) * STEP + 4;
        at = earliest.max(at + 6);
        let y = TOP + rows.get(&op.process).copied().unwrap_or_default() * ROW + 2;
        let _written = writeln!(
            out,
            "<line class=\"point\" x1=\"{at}\" x2=\"{at}\" y1=\"{y}\" y2=\"{}\"/><text class=\"number\" x=\"{at}\" y=\"{}\">{}</text>",
            y + BAR + 8,
            y - 1,
            number + 1
        );
    }
}
