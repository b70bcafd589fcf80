//! `[workload]` and `[steady]`: what clients do, and when the cluster counts as healthy under it.

use std::str::FromStr as _;
use std::time::Duration;

use firedrill_core::scenario::{LoadSpec, Pace, RouteKind, SteadySpec};
use firedrill_core::spec::{Fields, FromValue, Placed};
use firedrill_core::units::Rate;
use firedrill_core::workload::{WorkloadEntry, WorkloadSpec};
use toml::de::DeValue;

use crate::{Context, condition};

const DEFAULT_CLIENTS: u32 = 8;
const MOST_CLIENTS: u32 = 10_000;
const DEFAULT_RATE: Rate = Rate(200.0);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
const ROUTES: [(&str, RouteKind); 2] = [("router", RouteKind::Router), ("direct", RouteKind::Direct)];

/// `[workload]` as far as it could be read.
pub(crate) struct Draft {
    pub(crate) entry: Option<&'static WorkloadEntry>,
    /// Where its kind is written.
    pub(crate) kind_place: std::ops::Range<usize>,
    workload: Option<Box<dyn WorkloadSpec>>,
    clients: u32,
    pace: Pace,
    routes: Vec<RouteKind>,
    timeout: Duration,
    pub(crate) duration: Option<Placed<Duration>>,
}

impl Draft {
    pub(crate) fn finish(self) -> Option<LoadSpec> {
        Some(LoadSpec {
            kind: self.entry?.kind,
            workload: self.workload?,
            clients: self.clients,
            pace: self.pace,
            routes: self.routes,
            timeout: self.timeout,
            duration: self.duration.map(|placed| placed.value),
        })
    }
}

struct Written(Pace);

impl FromValue for Written {
    const EXPECTS: &'static str = "a rate, as \"400/s\", or \"max\"";

    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        match value.as_str().ok_or_else(String::new)? {
            "max" => Ok(Self(Pace::Max)),
            text => Rate::from_str(text).map(|rate| Self(Pace::Open(rate))),
        }
    }
}

pub(crate) fn read(context: &Context<'_>, root: &mut Fields<'_, '_>) -> Draft {
    let mut draft = Draft {
        entry: None,
        kind_place: 0..0,
        workload: None,
        clients: DEFAULT_CLIENTS,
        pace: Pace::Open(DEFAULT_RATE),
        routes: vec![RouteKind::Router],
        timeout: DEFAULT_TIMEOUT,
        duration: None,
    };
    if !root.has("workload") {
        root.raw("workload");
        let help = "add a table `[workload]` with `kind = …`";
        context.note(root.span(), "the file has no [workload]: without operations nothing is proven", help);
        return draft;
    }
    let Some(mut fields) = root.table("workload", "[workload]") else { return draft };
    let workloads = context.registries.workloads;
    let names: Vec<&str> = workloads.iter().map(|entry| entry.kind).collect();
    let kind = fields.required_name("kind", &names);
    draft.clients = clients(context, &mut fields).unwrap_or(DEFAULT_CLIENTS);
    draft.pace = pace(context, &mut fields).unwrap_or(draft.pace);
    draft.routes = routes(context, &mut fields).unwrap_or(draft.routes);
    draft.timeout = context.span_of_time(&mut fields, "timeout").map_or(DEFAULT_TIMEOUT, |placed| placed.value);
    draft.duration = context.span_of_time(&mut fields, "duration");
    let Some(kind) = kind else { return draft };
    draft.kind_place = kind.span.clone();
    draft.entry = workloads.iter().find(|entry| entry.kind == kind.value);
    if let Some(entry) = draft.entry {
        draft.workload = context.plugged(&mut fields, entry.parse);
        fields.finish();
    } else {
        let message = format!("no workload is called `{}`", kind.value);
        context.unknown(kind.span, message, &kind.value, &names);
    }
    draft
}

fn clients(context: &Context<'_>, fields: &mut Fields<'_, '_>) -> Option<u32> {
    let clients = fields.placed::<u32>("clients")?;
    if (1..=MOST_CLIENTS).contains(&clients.value) {
        return Some(clients.value);
    }
    let message = format!("`clients` cannot be {}", clients.value);
    context.note(clients.span, message, format!("write a number from 1 to {MOST_CLIENTS}"));
    None
}

fn pace(context: &Context<'_>, fields: &mut Fields<'_, '_>) -> Option<Pace> {
    let written = fields.placed::<Written>("rate")?;
    match written.value.0 {
        Pace::Open(rate) if rate.0 <= 0.0 => {
            context.note(written.span, "a rate of nothing proves nothing", "write more, as \"400/s\", or \"max\"");
            None
        }
        pace @ (Pace::Open(_) | Pace::Max) => Some(pace),
    }
}

fn routes(context: &Context<'_>, fields: &mut Fields<'_, '_>) -> Option<Vec<RouteKind>> {
    if !fields.has("routes") {
        fields.raw("routes");
        return None;
    }
    let place = fields.raw("routes").map_or(fields.span(), toml::Spanned::span);
    let before = context.mistakes.count();
    let mut read = Vec::new();
    for written in fields.list::<String>("routes") {
        match ROUTES.iter().find(|(word, _)| *word == written.value) {
            Some((_, route)) if read.contains(route) => {
                context.note(written.span, format!("the route `{}` is there twice", written.value), "name it once");
            }
            Some((_, route)) => read.push(*route),
            None => {
                let message = format!("no route is called `{}`", written.value);
                context.unknown(written.span, message, &written.value, &ROUTES.map(|(word, _)| word));
            }
        }
    }
    if read.is_empty() && context.mistakes.count() == before {
        context.note(place, "`routes` is empty", "write [\"router\"], [\"direct\"] or both");
    }
    (!read.is_empty()).then_some(read)
}

/// `[steady]`. Without it: one primary and 99 % of operations acknowledged, for three seconds.
pub(crate) fn steady(context: &Context<'_>, root: &mut Fields<'_, '_>, nodes: usize) -> SteadySpec {
    let mut steady = SteadySpec { hold: Duration::from_secs(3), within: Duration::from_secs(60), require: Vec::new() };
    let Some(mut fields) = root.table("steady", "[steady]") else {
        steady.require = default_require(context, nodes);
        return steady;
    };
    steady.hold = context.span_of_time(&mut fields, "for").map_or(steady.hold, |placed| placed.value);
    let within = context.span_of_time(&mut fields, "within");
    if let Some(within) = within.as_ref().filter(|within| within.value < steady.hold) {
        let message = "`within` is shorter than `for`: it can never be steady that long";
        context.note(within.span.clone(), message, "make `within` longer, or `for` shorter");
    }
    steady.within = within.map_or(steady.within.max(steady.hold * 4), |placed| placed.value);
    if fields.has("require") {
        let place = fields.raw("require").map_or(fields.span(), toml::Spanned::span);
        let written = fields.list::<String>("require");
        if written.is_empty() && context.mistakes.count() == 0 {
            context.note(place, "`require` is empty", "name conditions, or leave it out for the default");
        }
        steady.require = written.iter().filter_map(|one| condition::read(context, one)).collect();
    } else {
        fields.raw("require");
        steady.require = default_require(context, nodes);
    }
    fields.finish();
    steady
}

fn default_require(context: &Context<'_>, nodes: usize) -> Vec<firedrill_core::scenario::Condition> {
    let followers = nodes.saturating_sub(1);
    let texts = ["primaries == 1".to_owned(), format!("streaming == {followers}"), "ok-ratio >= 99%".to_owned()];
    let read = |text: String| condition::read(context, &Placed { value: text, span: 0..0 });
    texts.into_iter().filter_map(read).collect()
}
