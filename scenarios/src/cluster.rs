//! `[cluster]`: which system, on which platform, how many nodes.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use firedrill_core::cluster::NodeName;
use firedrill_core::fault::LabLinks;
use firedrill_core::platform::PlatformEntry;
use firedrill_core::scenario::ClusterSpec;
use firedrill_core::spec::{Fields, Placed};
use firedrill_core::system::{System, SystemEntry};
use toml::de::DeTable;

use crate::Context;

/// The platform when neither the file nor the command line names one.
const DEFAULT_PLATFORM: &str = LAB;
/// The platform that has a table of its own.
const LAB: &str = "lab";
/// Where the lab harms links.
const LINKS: &[(&str, LabLinks)] = &[("switch", LabLinks::Switch), ("ends", LabLinks::Ends)];
/// Nodes when the file does not say.
const DEFAULT_NODES: u32 = 3;
/// The lab has addresses for so many nodes.
const MOST_NODES: u32 = 200;
/// How long the start may take when the file does not say.
const DEFAULT_START: Duration = Duration::from_secs(90);

/// `[cluster]` as far as it could be read.
pub(crate) struct Draft {
    pub(crate) entry: Option<&'static SystemEntry>,
    pub(crate) system: Option<Arc<dyn System>>,
    pub(crate) platform: Option<&'static PlatformEntry>,
    /// As many as the file says, or the default if it says so wrongly.
    pub(crate) nodes: Vec<NodeName>,
    lab_links: LabLinks,
    settle: Option<Duration>,
    start: Duration,
}

impl Draft {
    pub(crate) fn finish(self) -> Option<ClusterSpec> {
        let system = self.system?;
        let settle = self.settle.unwrap_or_else(|| default_settle(system.recovery_bound()));
        Some(ClusterSpec {
            system_name: self.entry?.name,
            system,
            platform: self.platform?,
            lab_links: self.lab_links,
            nodes: self.nodes,
            settle,
            start: self.start,
        })
    }
}

/// Long enough for two recoveries in a row and a node that copies everything, never more than ten minutes.
fn default_settle(recovery: Duration) -> Duration {
    let wanted = recovery.saturating_mul(2).saturating_add(Duration::from_secs(30));
    wanted.clamp(Duration::from_secs(60), Duration::from_secs(600))
}

pub(crate) fn read(context: &Context<'_>, root: &mut Fields<'_, '_>) -> Draft {
    let mut draft = Draft {
        entry: None,
        system: None,
        platform: None,
        nodes: NodeName::numbered(DEFAULT_NODES),
        lab_links: LabLinks::default(),
        settle: None,
        start: DEFAULT_START,
    };
    if !root.has("cluster") {
        root.raw("cluster");
        let help = "add a table `[cluster]` with `system = …`";
        context.note(root.span(), "the file has no [cluster]: nothing to test", help);
        return draft;
    }
    let Some(mut fields) = root.table("cluster", "[cluster]") else { return draft };
    draft.nodes = NodeName::numbered(nodes(context, &mut fields).unwrap_or(DEFAULT_NODES));
    draft.settle = context.span_of_time(&mut fields, "settle").map(|placed| placed.value);
    draft.start = context.span_of_time(&mut fields, "start").map_or(DEFAULT_START, |placed| placed.value);
    draft.platform = platform(context, &mut fields);
    draft.lab_links = lab_links(context, &mut fields, draft.platform);

    let known: Vec<&str> = context.registries.systems.iter().map(|entry| entry.name).collect();
    let named = fields.required_name("system", &known);
    draft.entry = named.as_ref().and_then(|named| system_entry(context, named));
    if let Some(entry) = draft.entry {
        draft.system = options(context, &mut fields, entry, &draft.nodes);
        if let (Some(platform), Some(named)) = (draft.platform, &named) {
            runs_there(context, entry, platform, named.span.clone());
        }
        fields.finish();
    } else {
        // The options table of a system whose name is wrong is not a mistake of its own, by its right name or the wrong.
        let wrong = named.as_ref().map(|named| named.value.as_str());
        for key in fields.untaken() {
            if context.registries.systems.iter().any(|entry| entry.name == key.value) || wrong == Some(&key.value) {
                fields.raw(&key.value);
            }
        }
        fields.finish();
    }
    draft
}

fn nodes(context: &Context<'_>, fields: &mut Fields<'_, '_>) -> Option<u32> {
    let nodes = fields.placed::<u32>("nodes")?;
    let (message, help) = match nodes.value {
        0 => ("a cluster of no nodes".to_owned(), "write at least 1; most systems want 3"),
        count if count > MOST_NODES => (format!("{count} nodes are too many"), "write at most 200"),
        count => return Some(count),
    };
    context.note(nodes.span, message, help);
    None
}

fn platform(context: &Context<'_>, fields: &mut Fields<'_, '_>) -> Option<&'static PlatformEntry> {
    let platforms = context.registries.platforms;
    let names: Vec<&str> = platforms.iter().map(|entry| entry.name).collect();
    let written = fields.placed::<String>("platform");
    let place = written.as_ref().map_or(fields.span(), |written| written.span.clone());
    let find = |name: &str, how: &str| {
        let found = platforms.iter().find(|entry| entry.name == name);
        if found.is_none() {
            context.unknown(place.clone(), format!("{how}no platform is called `{name}`"), name, &names);
        }
        found
    };
    let in_file = written.as_ref().map(|written| find(&written.value, ""));
    match (&context.overrides.platform, in_file) {
        (Some(name), _) => find(name, "--on: "),
        (None, Some(found)) => found,
        (None, None) => find(DEFAULT_PLATFORM, "`platform` is not given, and "),
    }
}

/// `[cluster.lab]`. A file for the lab that is to run elsewhere for once may have one.
fn lab_links(context: &Context<'_>, fields: &mut Fields<'_, '_>, platform: Option<&'static PlatformEntry>) -> LabLinks {
    let Some(mut lab) = fields.table(LAB, "[cluster.lab]") else { return LabLinks::default() };
    if let Some(platform) = platform.filter(|platform| platform.name != LAB && context.overrides.platform.is_none()) {
        let message = format!("the platform {} has nothing of the lab", platform.name);
        context.note(lab.span(), message, "leave [cluster.lab] out, or write `platform = \"lab\"`");
    }
    let links = lab.word("links", LINKS, LabLinks::default());
    lab.finish();
    links
}

fn system_entry(context: &Context<'_>, named: &Placed<String>) -> Option<&'static SystemEntry> {
    let systems = context.registries.systems;
    let found = systems.iter().find(|entry| entry.name == named.value);
    if found.is_none() {
        let known: Vec<&str> = systems.iter().map(|entry| entry.name).collect();
        let message = format!("no system is called `{}`", named.value);
        context.unknown(named.span.clone(), message, &named.value, &known);
    }
    found
}

/// The system's own options; an absent table reads as an empty one.
fn options(
    context: &Context<'_>,
    fields: &mut Fields<'_, '_>,
    entry: &'static SystemEntry,
    nodes: &[NodeName],
) -> Option<Arc<dyn System>> {
    let title = format!("[cluster.{}]", entry.name);
    if fields.has(entry.name) {
        let mut options = fields.table(entry.name, title)?;
        let system = context.plugged(&mut options, |options| (entry.parse)(options, nodes));
        options.finish();
        return system;
    }
    fields.raw(entry.name);
    let empty = DeTable::new();
    let mut options = Fields::new(&empty, fields.span(), title, context.mistakes);
    context.plugged(&mut options, |options| (entry.parse)(options, nodes))
}

fn runs_there(context: &Context<'_>, entry: &SystemEntry, platform: &PlatformEntry, span: Range<usize>) {
    if !entry.platforms.contains(&platform.name) {
        let message = format!("the system {} does not run on the platform {}", entry.name, platform.name);
        context.note(span, message, format!("it runs on: {}", entry.platforms.join(", ")));
    }
}
