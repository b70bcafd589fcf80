//! `[[fault]]`: what, on whom, when, for how long.

use std::ops::Range;
use std::time::Duration;

use firedrill_core::cluster::{SELECTOR_WORDS, Selector};
use firedrill_core::fault::{Fault, FaultEntry, HoldRule};
use firedrill_core::scenario::{FaultSpec, Start};
use firedrill_core::spec::{Fields, Placed, suggest};
use firedrill_core::units;

use crate::Context;

/// One `[[fault]]` as far as it could be read, with the places that later checks underline.
pub(crate) struct Draft {
    /// Given, or made from the kind.
    pub(crate) id: Placed<String>,
    pub(crate) kind_place: Range<usize>,
    pub(crate) entry: Option<&'static FaultEntry>,
    pub(crate) fault: Option<Box<dyn Fault>>,
    pub(crate) on: Option<Placed<Selector>>,
    pub(crate) start: Option<Placed<Start>>,
    pub(crate) hold: Option<Placed<Duration>>,
    /// `for` should be there and is not, or is there and wrong: said already, so nothing more is made of its absence.
    pub(crate) hold_amiss: bool,
    pub(crate) process_place: Option<Range<usize>>,
}

impl Draft {
    pub(crate) fn finish(self) -> Option<FaultSpec> {
        Some(FaultSpec {
            id: self.id.value,
            entry: self.entry?,
            fault: self.fault?,
            on: self.on?.value,
            start: self.start?.value,
            hold: self.hold.map(|placed| placed.value),
        })
    }
}

pub(crate) fn read(context: &Context<'_>, root: &mut Fields<'_, '_>) -> Vec<Draft> {
    let mut drafts: Vec<Draft> = Vec::new();
    let mut kinds: Vec<String> = Vec::new();
    for fields in root.tables("fault") {
        let draft = one(context, fields, &mut kinds);
        if drafts.iter().any(|earlier| earlier.id.value == draft.id.value) {
            let message = format!("two faults have the id `{}`", draft.id.value);
            context.note(draft.id.span.clone(), message, "give each its own `id`");
        }
        drafts.push(draft);
    }
    drafts
}

fn one(context: &Context<'_>, mut fields: Fields<'_, '_>, kinds: &mut Vec<String>) -> Draft {
    let kinds_known: Vec<&str> = context.registries.faults.iter().map(|entry| entry.kind).collect();
    let kind = fields.required_name("kind", &kinds_known);
    let kind_word = kind.as_ref().map_or("fault", |kind| kind.value.as_str()).to_owned();
    let kind_place = kind.as_ref().map_or(fields.span(), |kind| kind.span.clone());
    kinds.push(kind_word.clone());
    let count = kinds.iter().filter(|earlier| **earlier == kind_word).count();
    let id = fields.placed::<String>("id").filter(|id| id_is_fine(context, id));
    let id = id.unwrap_or_else(|| Placed { value: format!("{kind_word}-{count}"), span: kind_place.clone() });

    let on = selector(context, &mut fields);
    let start = start(context, &mut fields);
    let hold_written = fields.has("for");
    let hold = context.span_of_time(&mut fields, "for");

    let entry = kind.as_ref().and_then(|kind| entry(context, kind));
    let mut draft = Draft {
        id,
        kind_place,
        entry,
        fault: None,
        on,
        start,
        hold_amiss: hold_written && hold.is_none(),
        hold,
        process_place: None,
    };
    let Some(entry) = entry else { return draft };
    match entry.hold {
        HoldRule::Required if !hold_written => {
            let message = format!("{} lacks `for`", entry.kind);
            context.note(draft.kind_place.clone(), message, "say how long it is held, as `for = \"20s\"`");
            draft.hold_amiss = true;
        }
        HoldRule::Required | HoldRule::Optional => {}
    }
    draft.fault = context.plugged(&mut fields, entry.parse);
    if draft.fault.as_ref().is_some_and(|fault| fault.process().is_some()) {
        draft.process_place = fields.raw("process").map(toml::Spanned::span);
    }
    fields.finish();
    draft
}

fn entry(context: &Context<'_>, kind: &Placed<String>) -> Option<&'static FaultEntry> {
    let faults = context.registries.faults;
    let found = faults.iter().find(|entry| entry.kind == kind.value);
    if found.is_none() {
        let names: Vec<&str> = faults.iter().map(|entry| entry.kind).collect();
        let message = format!("no fault is called `{}`", kind.value);
        context.unknown(kind.span.clone(), message, &kind.value, &names);
    }
    found
}

/// Ids are names of test cases and words of `after`.
fn id_is_fine(context: &Context<'_>, id: &Placed<String>) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let fine = !id.value.is_empty() && id.value.chars().all(plain) && !id.value.ends_with(".healed");
    if !fine {
        let help = "use letters, digits, `-`, `_` and `.`; it must not end with `.healed`";
        context.note(id.span.clone(), format!("`{}` cannot be an id", id.value), help);
    }
    fine
}

fn selector(context: &Context<'_>, fields: &mut Fields<'_, '_>) -> Option<Placed<Selector>> {
    let written = fields.required_name("on", &SELECTOR_WORDS)?;
    match written.value.parse::<Selector>() {
        Ok(selector) => Some(Placed { value: selector, span: written.span }),
        Err(message) => {
            context.mistakes.note(written.span, message, "not known", suggest(&written.value, &SELECTOR_WORDS));
            None
        }
    }
}

/// Exactly one of `at` and `after`.
fn start(context: &Context<'_>, fields: &mut Fields<'_, '_>) -> Option<Placed<Start>> {
    let place = |fields: &mut Fields<'_, '_>, key: &str| fields.raw(key).map(toml::Spanned::span);
    match (place(fields, "at"), place(fields, "after")) {
        (None, None) => {
            let help = "add `at = \"10s\"`, or `after = \"<id>.healed + 5s\"`";
            context.note(fields.span(), "[[fault]] says neither `at` nor `after`", help);
            None
        }
        (Some(_), Some(after)) => {
            context.note(after, "[[fault]] says both `at` and `after`", "leave one of them out");
            None
        }
        (Some(_), None) => at(context, fields),
        (None, Some(_)) => {
            let written = fields.placed::<String>("after")?;
            let start = after(context, &written)?;
            Some(Placed { value: start, span: written.span })
        }
    }
}

fn at(context: &Context<'_>, fields: &mut Fields<'_, '_>) -> Option<Placed<Start>> {
    // Words in `at` are somebody's `after`.
    if let Some(value) = fields.raw("at")
        && let Some(text) = value.get_ref().as_str()
        && units::duration(text).is_err()
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
    {
        let message = format!("`at` takes a time since the start of the storm, not `{text}`");
        context.note(value.span(), message, "write `at = \"10s\"`, or `after = \"<id> + 5s\"`");
        return None;
    }
    let placed = fields.placed::<Duration>("at")?;
    let placed = context.within_a_day("at", placed)?;
    Some(Placed { value: Start::At(placed.value), span: placed.span })
}

/// `<id>`, `<id> + 5s`, `<id>.healed`, `<id>.healed + 5s`.
fn after(context: &Context<'_>, written: &Placed<String>) -> Option<Start> {
    let text = written.value.as_str();
    let (who, delay) = match text.split_once('+') {
        None => (text, Duration::ZERO),
        Some((who, delay)) => match units::duration(delay.trim()) {
            Ok(delay) => (who, delay),
            Err(message) => {
                let from = who.len() + 1;
                let from = from + (delay.len() - delay.trim_start().len());
                let place = context.inside(written, from..text.len());
                context.note(place, message, "write `after = \"<id>.healed + 5s\"`");
                return None;
            }
        },
    };
    let who = who.trim();
    if who.is_empty() || who.contains(char::is_whitespace) {
        let message = format!("`{text}` does not say after which fault");
        context.note(written.span.clone(), message, "write `after = \"<id>.healed + 5s\"` or `after = \"<id> + 5s\"`");
        return None;
    }
    Some(match who.strip_suffix(".healed") {
        Some(id) => Start::AfterHealed(id.to_owned(), delay),
        None => Start::AfterOnset(who.to_owned(), delay),
    })
}
