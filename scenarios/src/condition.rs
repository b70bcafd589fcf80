//! Conditions: `measure op value [for duration]`, as `"ok-ratio >= 99.9%"` or `"primaries == 0 for 120s"`.

use std::time::Duration;

use firedrill_core::scenario::{Comparison, Condition, MEASURES, MeasureKind};
use firedrill_core::spec::{FromValue as _, Placed, suggest};
use firedrill_core::units::{self, Rate, Ratio};

use crate::Context;

const COMPARISONS: [(&str, Comparison); 6] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("<", Comparison::Less),
    (">", Comparison::More),
];

const FORM: &str = "write a measure, a comparison and a value, as \"ok-ratio >= 99.9%\" or \"primaries == 0 for 120s\"";

/// Reads one condition. `None` after noting a mistake.
pub(crate) fn read(context: &Context<'_>, written: &Placed<String>) -> Option<Condition> {
    let text = written.value.as_str();
    let note = |start: usize, end: usize, message: String, help: Option<String>| {
        context.mistakes.note(context.inside(written, start..end), message, "here", help);
    };
    let start = text.len() - text.trim_start().len();
    let word_end =
        text[start..].find(|c: char| !c.is_ascii_alphanumeric() && c != '-').map_or(text.len(), |i| start + i);
    let word = &text[start..word_end];
    let Some((_, measure, kind)) = MEASURES.iter().find(|(name, ..)| *name == word) else {
        let names = MEASURES.map(|(name, ..)| name);
        note(start, word_end.max(start), format!("`{word}` is not a measure"), suggest(word, &names));
        return None;
    };
    let op_start = word_end + (text[word_end..].len() - text[word_end..].trim_start().len());
    let found = COMPARISONS.iter().find(|(sign, _)| text[op_start..].starts_with(sign));
    let Some((sign, comparison)) = found else {
        note(op_start, text.len(), format!("no comparison after `{word}`"), Some(FORM.to_owned()));
        return None;
    };
    let value_start = {
        let from = op_start + sign.len();
        from + (text[from..].len() - text[from..].trim_start().len())
    };
    let value_end = text[value_start..].find(char::is_whitespace).map_or(text.len(), |i| value_start + i);
    let value = match value(*kind, &text[value_start..value_end]) {
        Ok(value) => value,
        Err(message) => {
            note(value_start, value_end, format!("`{word}`: {message}"), Some(takes(*kind).to_owned()));
            return None;
        }
    };
    let rest = text[value_end..].trim();
    let rest_start = value_end + text[value_end..].find(rest).unwrap_or(0);
    let hold = match rest.strip_prefix("for ").map(|span| units::duration(span.trim())) {
        None if rest.is_empty() => Duration::ZERO,
        Some(Ok(hold)) => hold,
        Some(Err(message)) => {
            note(rest_start, text.len(), message, Some(FORM.to_owned()));
            return None;
        }
        None => {
            note(rest_start, text.len(), format!("`{rest}` does not belong here"), Some(FORM.to_owned()));
            return None;
        }
    };
    Some(Condition { text: text.to_owned(), measure: *measure, comparison: *comparison, value, hold })
}

fn value(kind: MeasureKind, text: &str) -> Result<f64, String> {
    match kind {
        MeasureKind::Count => {
            let count: u32 = text.parse().map_err(|_| format!("`{text}` is not a count"))?;
            Ok(f64::from(count))
        }
        MeasureKind::Ratio => text.parse::<Ratio>().map(|ratio| ratio.0),
        MeasureKind::Rate => text.parse::<Rate>().map(|rate| rate.0),
        MeasureKind::Duration => units::duration(text).map(|span| span.as_secs_f64()),
    }
}

const fn takes(kind: MeasureKind) -> &'static str {
    match kind {
        MeasureKind::Count => "it takes a whole number, as 1",
        MeasureKind::Ratio => Ratio::EXPECTS,
        MeasureKind::Rate => Rate::EXPECTS,
        MeasureKind::Duration => Duration::EXPECTS,
    }
}
