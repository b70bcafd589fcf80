//! `firedrill list`: what scenarios can use, out of the registries alone.

use std::collections::BTreeSet;
use std::process::ExitCode;

use firedrill_check::CHECKS;
use firedrill_core::action::Deed;
use firedrill_core::fault::HoldRule;
use firedrill_core::platform::{Offer, PlatformEntry};
use firedrill_core::spec::suggest;
use firedrill_faults::FAULTS;
use firedrill_platforms::PLATFORMS;
use firedrill_reports::REPORTERS;
use firedrill_reports::console::{Paint, Style};
use firedrill_systems::SYSTEMS;
use firedrill_workloads::WORKLOADS;
use serde::Serialize;

use crate::args::{Family, ListArgs};
use crate::failure::Failure;
use crate::output;
use crate::terminal::Terminal;

/// One thing of a registry.
#[derive(Serialize)]
struct Item {
    family: &'static str,
    name: &'static str,
    summary: &'static str,
    /// What else there is to say, by title.
    details: Vec<(&'static str, String)>,
    /// A section of a scenario that parses.
    example: Option<&'static str>,
}

const FAMILIES: [Family; 6] =
    [Family::Faults, Family::Systems, Family::Platforms, Family::Workloads, Family::Checks, Family::Reporters];

/// Lists what was asked for.
pub(crate) fn list(args: &ListArgs) -> Result<ExitCode, Failure> {
    let families = args.family.map_or_else(|| FAMILIES.to_vec(), |family| vec![family]);
    let mut found: Vec<(Family, Vec<Item>)> = families.into_iter().map(|family| (family, items(family))).collect();
    if let Some(name) = &args.name {
        for (family, items) in &mut found {
            let known: Vec<&str> = items.iter().map(|item| item.name).collect();
            let missing = Failure::usage(format!("no {} is called `{name}`", singular(*family)));
            let missing = match suggest(name, &known) {
                Some(help) => missing.help(help),
                None => missing,
            };
            items.retain(|item| item.name == name);
            if items.is_empty() {
                return Err(missing);
            }
        }
    }
    output::print(&if args.json {
        let items: Vec<&Item> = found.iter().flat_map(|(_, items)| items).collect();
        let json = serde_json::to_string_pretty(&items);
        format!("{}\n", json.map_err(|error| Failure::new(70, "the listing has no JSON").because(&error))?)
    } else {
        render(&found, args.name.is_some(), Terminal::stdout().style)
    });
    Ok(ExitCode::SUCCESS)
}

fn render(found: &[(Family, Vec<Item>)], with_example: bool, style: Style) -> String {
    let mut lines: Vec<String> = Vec::new();
    for (family, items) in found {
        if !with_example {
            lines.extend((!lines.is_empty()).then(String::new));
            lines.push(style.paint(Paint::Bold, plural(*family)));
        }
        let width = items.iter().map(|item| item.name.len()).max().unwrap_or_default();
        for item in items {
            lines.push(format!("  {:width$}  {}", item.name, style.text(item.summary)));
            for (title, text) in &item.details {
                let detail = format!("{title}: {text}");
                lines.push(format!("  {:width$}    {}", "", style.paint(Paint::Dim, &detail)));
            }
            if with_example && let Some(example) = item.example {
                lines.extend([String::new(), example.trim().to_owned()]);
            }
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

const fn plural(family: Family) -> &'static str {
    match family {
        Family::Faults => "faults",
        Family::Systems => "systems",
        Family::Platforms => "platforms",
        Family::Workloads => "workloads",
        Family::Checks => "checks",
        Family::Reporters => "reporters",
    }
}

const fn singular(family: Family) -> &'static str {
    match family {
        Family::Faults => "fault",
        Family::Systems => "system",
        Family::Platforms => "platform",
        Family::Workloads => "workload",
        Family::Checks => "check",
        Family::Reporters => "reporter",
    }
}

fn items(family: Family) -> Vec<Item> {
    match family {
        Family::Faults => faults(),
        Family::Systems => systems(),
        Family::Platforms => PLATFORMS.iter().map(platform).collect(),
        Family::Workloads => workloads(),
        Family::Checks => checks(),
        Family::Reporters => reporters(),
    }
}

fn deeds(deeds: &[Deed]) -> String {
    deeds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn faults() -> Vec<Item> {
    FAULTS
        .iter()
        .map(|entry| {
            let hold = match entry.hold {
                HoldRule::Required => "must be given",
                HoldRule::Optional => "may be given; without it the effect is undone in the heal phase",
            };
            Item {
                family: "faults",
                name: entry.kind,
                summary: entry.summary,
                details: vec![("does", deeds(entry.deeds)), ("for", hold.to_owned())],
                example: Some(entry.example),
            }
        })
        .collect()
}

fn systems() -> Vec<Item> {
    SYSTEMS
        .iter()
        .map(|entry| {
            let refused = entry.refuses.iter().map(|(deed, why)| ("refuses", format!("{deed}: {why}")));
            let platforms = ("runs on", entry.platforms.join(", "));
            Item {
                family: "systems",
                name: entry.name,
                summary: entry.summary,
                details: std::iter::once(platforms).chain(refused).collect(),
                example: Some(entry.example),
            }
        })
        .collect()
}

/// A platform, with the deeds of all faults that it offers and those it never does.
fn platform(entry: &PlatformEntry) -> Item {
    let all: BTreeSet<Deed> = FAULTS.iter().flat_map(|fault| fault.deeds.iter().copied()).collect();
    let mut offered = Vec::new();
    let mut details = Vec::new();
    for deed in all {
        match (entry.offers)(deed) {
            Offer::Always => offered.push(deed.to_string()),
            Offer::Perhaps => offered.push(format!("{deed} (if the host can)")),
            Offer::Never(why) => details.push(("never", format!("{deed}: {why}"))),
        }
    }
    details.insert(0, ("offers", offered.join(", ")));
    Item { family: "platforms", name: entry.name, summary: entry.summary, details, example: None }
}

fn workloads() -> Vec<Item> {
    WORKLOADS
        .iter()
        .map(|entry| Item {
            family: "workloads",
            name: entry.kind,
            summary: entry.summary,
            details: vec![("checks", entry.checks.join(", "))],
            example: Some(entry.example),
        })
        .collect()
}

fn checks() -> Vec<Item> {
    CHECKS
        .iter()
        .map(|entry| {
            let when = if entry.takes_when {
                "may be given, with `grace`"
            } else {
                "has no meaning: it is about the whole run"
            };
            Item {
                family: "checks",
                name: entry.name,
                summary: entry.summary,
                details: vec![("when", when.to_owned())],
                example: Some(entry.example),
            }
        })
        .collect()
}

fn reporters() -> Vec<Item> {
    REPORTERS
        .iter()
        .map(|entry| Item {
            family: "reporters",
            name: entry.name,
            summary: entry.summary,
            details: vec![("file", entry.file_name.to_owned())],
            example: None,
        })
        .collect()
}
