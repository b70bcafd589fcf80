//! What must hold: `[[invariant]]`, `[objectives]`, and what a known-bad scenario must find: `[expect]`.

use std::time::Duration;

use firedrill_core::check::When;
use firedrill_core::scenario::{
    Expect, InvariantSpec, OBJECTIVE_WORDS, Objective, ObjectiveMeasure, Objectives, Statistic,
};
use firedrill_core::spec::{Fields, FromValue, Placed, suggest};
use firedrill_core::units::human;
use firedrill_core::verdict::Verdict;
use firedrill_core::workload::WorkloadEntry;
use toml::de::DeValue;

use crate::Context;

/// The invariants that could be read, and the names of all that the file has.
pub(crate) struct Invariants {
    pub(crate) read: Vec<InvariantSpec>,
    named: Vec<String>,
}

pub(crate) fn invariants(
    context: &Context<'_>,
    root: &mut Fields<'_, '_>,
    workload: Option<&'static WorkloadEntry>,
    ids: &[&str],
) -> Invariants {
    let checks = context.registries.checks;
    let names: Vec<&str> = checks.iter().map(|entry| entry.name).collect();
    let mut invariants = Invariants { read: Vec::new(), named: Vec::new() };
    for mut fields in root.tables("invariant") {
        let Some(name) = fields.required_name("check", &names) else { continue };
        invariants.named.push(name.value.clone());
        let written_when = fields.placed::<String>("when");
        let when = written_when.as_ref().and_then(|written| when(context, written, ids));
        let grace = fields.placed::<Duration>("grace").and_then(|grace| context.within_a_day("grace", grace));
        let Some(entry) = checks.iter().find(|entry| entry.name == name.value) else {
            context.unknown(name.span, format!("no check is called `{}`", name.value), &name.value, &names);
            continue;
        };
        if let Some(workload) = workload.filter(|workload| !workload.checks.contains(&entry.name)) {
            let message = format!("`{}` cannot judge the workload {}", entry.name, workload.kind);
            context.note(name.span.clone(), message, format!("it can be judged by: {}", workload.checks.join(", ")));
        }
        if !entry.takes_when {
            let places =
                [("when", written_when.map(|placed| placed.span)), ("grace", grace.clone().map(|grace| grace.span))];
            for (key, place) in places {
                if let Some(place) = place {
                    let message = format!("`{}` looks at the whole run and takes no `{key}`", entry.name);
                    context.note(place, message, "leave it out");
                }
            }
        }
        let check = context.plugged(&mut fields, entry.parse);
        fields.finish();
        let default = if entry.takes_when { When::Always } else { When::End };
        let (when, grace) = (when.unwrap_or(default), grace.map_or(Duration::ZERO, |grace| grace.value));
        invariants.read.extend(check.map(|check| InvariantSpec { check, when, grace }));
    }
    invariants
}

/// `always`, `before <id>`, `during <id>`, `after <id>`, `after <id>.healed`, `end`.
fn when(context: &Context<'_>, written: &Placed<String>, ids: &[&str]) -> Option<When> {
    const FORM: &str = "write always, end, before <id>, during <id>, after <id> or after <id>.healed";
    let text = written.value.trim();
    let (word, id) = text.split_once(char::is_whitespace).map_or((text, ""), |(word, id)| (word, id.trim()));
    let (read, id): (When, &str) = match (word, id) {
        ("always", "") => return Some(When::Always),
        ("end", "") => return Some(When::End),
        ("before", id) if !id.is_empty() => (When::Before(id.to_owned()), id),
        ("during", id) if !id.is_empty() => (When::During(id.to_owned()), id),
        ("after", id) if !id.is_empty() => match id.strip_suffix(".healed") {
            Some(id) => (When::AfterHealed(id.to_owned()), id),
            None => (When::After(id.to_owned()), id),
        },
        ("before" | "during" | "after" | "always" | "end", _) => {
            context.note(written.span.clone(), format!("`{text}` is not a part of the run"), FORM);
            return None;
        }
        _ => {
            let near = suggest(word, &["always", "before", "during", "after", "end"]);
            let help =
                near.filter(|help| help.starts_with("did")).map_or(FORM.to_owned(), |help| format!("{help} {FORM}"));
            context.note(written.span.clone(), format!("`{text}` is not a part of the run"), help);
            return None;
        }
    };
    if !ids.contains(&id) {
        let from = written.value.rfind(id).unwrap_or(0);
        let place = context.inside(written, from..from + id.len());
        context.unknown(place, format!("no fault has the id `{id}`"), id, ids);
        return None;
    }
    Some(read)
}

pub(crate) fn objectives(context: &Context<'_>, root: &mut Fields<'_, '_>, any_fault: bool) -> Objectives {
    let mut objectives = Objectives { repeat: 1, bounds: Vec::new() };
    objectives.repeat = context.overrides.repeat.unwrap_or(1).max(1);
    let Some(mut fields) = root.table("objectives", "[objectives]") else { return objectives };
    let repeat = fields.placed::<u32>("repeat");
    if let Some(repeat) = repeat.as_ref().filter(|repeat| repeat.value == 0) {
        context.note(repeat.span.clone(), "`repeat = 0` runs nothing", "write at least 1");
    }
    let in_file = repeat.map_or(1, |repeat| repeat.value.max(1));
    objectives.repeat = context.overrides.repeat.unwrap_or(in_file).max(1);
    for (word, measure) in OBJECTIVE_WORDS {
        let Some(mut bounds) = fields.table(word, format!("`{word}`")) else { continue };
        if !any_fault {
            context.note(
                bounds.span(),
                format!("`{word}` measures recovery from faults, and there is none"),
                "add a [[fault]], or leave it out",
            );
        }
        let before = context.mistakes.count();
        let read = statistics(context, &mut bounds, measure, in_file);
        if read.is_empty() && context.mistakes.count() == before && bounds.untaken().is_empty() {
            context.note(
                bounds.span(),
                format!("`{word}` bounds nothing"),
                "write p50, p95 or max, as { max = \"30s\" }",
            );
        }
        objectives.bounds.extend(read);
        bounds.finish();
    }
    fields.finish();
    objectives
}

/// The bounds of one measure: durations, or counts for what is counted.
fn statistics(
    context: &Context<'_>,
    bounds: &mut Fields<'_, '_>,
    measure: ObjectiveMeasure,
    repeat: u32,
) -> Vec<Objective> {
    let mut read = Vec::new();
    for statistic in [Statistic::P50, Statistic::P95, Statistic::Max] {
        let key = statistic.word();
        let place = bounds.raw(key).map(toml::Spanned::span);
        let bound = match measure {
            ObjectiveMeasure::LostWrites => {
                bounds.optional::<u32>(key).map(|count| (f64::from(count), count.to_string()))
            }
            ObjectiveMeasure::Detected
            | ObjectiveMeasure::Elected
            | ObjectiveMeasure::Promoted
            | ObjectiveMeasure::Fenced
            | ObjectiveMeasure::Failover
            | ObjectiveMeasure::Redundancy
            | ObjectiveMeasure::Drained => {
                bounds.optional::<Duration>(key).map(|span| (span.as_secs_f64(), human(span)))
            }
        };
        if let (Statistic::P95, Some(place)) = (statistic, place)
            && repeat < 20
        {
            let message = format!("p95 of {repeat} runs is no 95th percentile");
            context.note(place, message, "write `repeat = 20` or more, or bound p50 and max");
        }
        read.extend(bound.map(|(at_most, text)| Objective { measure, statistic, at_most, text }));
    }
    read
}

struct Badness(Verdict);

impl FromValue for Badness {
    const EXPECTS: &'static str =
        "the verdict it must come to: \"FAIL\", \"SLOW\", \"INVALID\", \"ABORTED\" or \"DIRTY\"";

    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        match value.as_str().ok_or_else(String::new)? {
            "FAIL" => Ok(Self(Verdict::Fail)),
            "SLOW" => Ok(Self(Verdict::Slow)),
            "INVALID" => Ok(Self(Verdict::Invalid)),
            "ABORTED" => Ok(Self(Verdict::Aborted)),
            "DIRTY" => Ok(Self(Verdict::Dirty)),
            "PASS" => Err("a scenario that must PASS has no [expect]".to_owned()),
            other => Err(format!("`{other}` is not a verdict")),
        }
    }
}

pub(crate) fn expect(context: &Context<'_>, root: &mut Fields<'_, '_>, invariants: &Invariants) -> Option<Expect> {
    let mut fields = root.table("expect", "[expect]")?;
    let verdict = fields.required::<Badness>("verdict");
    let check = fields.placed::<String>("check");
    let min_lost = fields.placed::<u64>("min-lost");
    let anomaly = fields.placed::<String>("anomaly");
    fields.finish();
    let named: Vec<&str> = invariants.named.iter().map(String::as_str).collect();
    if let Some(check) = check.as_ref().filter(|check| !named.contains(&check.value.as_str())) {
        let message = format!("no [[invariant]] of this file has the check `{}`", check.value);
        context.unknown(check.span.clone(), message, &check.value, &named);
    }
    if let Some(min_lost) = min_lost.as_ref().filter(|_| !named.contains(&"no-acked-loss")) {
        let message = "`min-lost` counts what `no-acked-loss` finds, and the file has no such invariant";
        context.note(min_lost.span.clone(), message, "add [[invariant]] check = \"no-acked-loss\"");
    }
    if let Some(anomaly) = &anomaly {
        let entry =
            context.registries.checks.iter().find(|entry| check.as_ref().is_some_and(|c| c.value == entry.name));
        let known = entry.map(|entry| (entry.anomalies)()).unwrap_or_default();
        if known.is_empty() {
            let message = "`anomaly` is what the `check` beside it must name, and that names none";
            context.note(anomaly.span.clone(), message, "say check = \"isolation\", or leave it out");
        } else if !known.contains(&anomaly.value.as_str()) {
            let message = format!("no anomaly is called `{}`", anomaly.value);
            context.unknown(anomaly.span.clone(), message, &anomaly.value, &known);
        }
    }
    let (check, min_lost) = (check.map(|check| check.value), min_lost.map(|min_lost| min_lost.value));
    Some(Expect { verdict: verdict?.0, check, min_lost, anomaly: anomaly.map(|anomaly| anomaly.value) })
}
