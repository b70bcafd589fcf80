//! Histories as Jepsen writes them, one operation a line.

use std::fmt::Write as _;

use super::value::write_quoted;
use super::{Loaded, Process, RawOp};

/// One operation map of EDN a line. A compare-and-set that found another value is `:ok` with `:compare false`.
pub fn to_edn(history: &Loaded) -> String {
    written(history, edn_line)
}

/// The line of [`to_edn`] for the operation at this place.
pub fn edn_line(op: &RawOp, place: usize, out: &mut String) {
    // Writing to a string cannot fail, here and below.
    let _written = write!(out, "{{:index {}", index(op, place));
    if let Some(time) = op.time {
        let _written = write!(out, ", :time {time}");
    }
    let f = if op.f.is_empty() { "nil".to_owned() } else { format!(":{}", op.f) };
    let named = if matches!(op.process, Process::Named(_)) { ":" } else { "" };
    let marker = if op.compare_false { ", :compare false" } else { "" };
    let (process, kind, value) = (&op.process, op.kind, &op.value);
    let _written = writeln!(out, ", :process {named}{process}, :type :{kind}, :f {f}, :value {value}{marker}}}");
}

/// One object of JSON a line, with the same marker. Keywords become strings.
pub fn to_json_lines(history: &Loaded) -> String {
    written(history, json_line)
}

/// The line of [`to_json_lines`] for the operation at this place.
pub fn json_line(op: &RawOp, place: usize, out: &mut String) {
    let _written = write!(out, "{{\"index\":{}", index(op, place));
    if let Some(time) = op.time {
        let _written = write!(out, ",\"time\":{time}");
    }
    out.push_str(",\"process\":");
    match &op.process {
        Process::Client(number) => {
            let _written = write!(out, "{number}");
        }
        Process::Named(name) => write_quoted(name, out),
    }
    let _written = write!(out, ",\"type\":\"{}\",\"f\":", op.kind);
    if op.f.is_empty() {
        out.push_str("null");
    } else {
        write_quoted(&op.f, out);
    }
    out.push_str(",\"value\":");
    op.value.write_json(out);
    out.push_str(if op.compare_false { ",\"compare\":false}\n" } else { "}\n" });
}

fn written(history: &Loaded, line: fn(&RawOp, usize, &mut String)) -> String {
    let mut out = String::new();
    for (place, op) in history.ops.iter().enumerate() {
        line(op, place, &mut out);
    }
    out
}

fn index(op: &RawOp, place: usize) -> i64 {
    op.index.unwrap_or_else(|| i64::try_from(place).unwrap_or(i64::MAX))
}
