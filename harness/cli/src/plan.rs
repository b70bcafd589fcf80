//! `firedrill plan`: the dry run. What each fault would do, when, to whom and by what; nothing is touched.

use std::path::PathBuf;
use std::process::ExitCode;

use firedrill_core::cluster::ClusterView;
use firedrill_core::platform::{Mechanism, Missing, OpenRequest};
use firedrill_core::scenario::{Pace, RouteKind, Scenario};
use firedrill_core::seed::Seed;
use firedrill_core::time::Clock;
use firedrill_core::units::human;
use firedrill_engine::plan::{PlannedFault, plan as plan_faults};
use firedrill_engine::suite::deeds;
use firedrill_reports::console::{Paint, Style};
use firedrill_scenarios::Overrides;

use crate::args::PlanArgs;
use crate::failure::Failure;
use crate::terminal::Terminal;
use crate::{loaded, output};

/// The seed of a plan that nobody gave one.
const UNSEEDED: Seed = Seed(0);

/// Prints the plan of each scenario.
pub fn plan(args: &PlanArgs) -> Result<ExitCode, Failure> {
    let style = Terminal::stdout().style;
    let overrides = Overrides { platform: args.platform.clone(), seed: args.seed, repeat: None };
    for (i, scenario) in loaded::scenarios(&args.scenarios, &overrides)?.iter().enumerate() {
        let view = match &args.against {
            Some(id) => Some(crate::up::view(id, scenario)?),
            None => None,
        };
        if i > 0 {
            output::print("\n");
        }
        let seed = scenario.seed.unwrap_or(UNSEEDED);
        output::print(&render(scenario, seed, view.as_ref(), &mechanisms(scenario), style));
    }
    Ok(ExitCode::SUCCESS)
}

/// By what this host would do it; asks the host and touches nothing.
fn mechanisms(scenario: &Scenario) -> Result<Vec<Mechanism>, Vec<Missing>> {
    let unasked = |error: std::io::Error| {
        vec![Missing { what: format!("this host cannot be asked: {error}"), remedy: "see above".to_owned() }]
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unasked)?;
    runtime.block_on(async {
        let cluster = &scenario.cluster;
        let platform = (cluster.platform.open)(OpenRequest {
            run_id: "plan".to_owned(),
            nodes: cluster.nodes.clone(),
            lab: cluster.system.lab(),
            sim: cluster.system.sim(),
            run_dir: PathBuf::new(),
            lease: scenario.safety.lease,
            seed: UNSEEDED,
            clock: Clock::start(),
        })?;
        platform.preflight(&deeds(scenario)).await
    })
}

fn render(
    scenario: &Scenario,
    seed: Seed,
    view: Option<&ClusterView>,
    mechanisms: &Result<Vec<Mechanism>, Vec<Missing>>,
    style: Style,
) -> String {
    let mut out = format!("{}\n", style.paint(Paint::Bold, &scenario.name));
    let mut line = |title: &str, text: &str| {
        out.push_str(&format!("  {title:<11}{}\n", style.text(text)));
    };
    let cluster = &scenario.cluster;
    let (system, platform, nodes) = (cluster.system_name, cluster.platform.name, cluster.nodes.len());
    line("file", &scenario.file);
    line("seed", &seed.to_string());
    line("cluster", &format!("{system} on {platform}, {nodes} nodes"));
    line("load", &load_words(scenario));
    line("repeat", &scenario.objectives.repeat.to_string());
    out.push_str(&format!("{}\n", style.paint(Paint::Bold, "faults")));
    for fault in plan_faults(scenario, seed, view) {
        out.push_str(&fault_lines(&fault, style));
    }
    out.push_str(&format!("{}\n", style.paint(Paint::Bold, "mechanisms of this host")));
    match mechanisms {
        Ok(mechanisms) => {
            for each in mechanisms {
                let note = if each.note.is_empty() { String::new() } else { format!(" ({})", each.note) };
                out.push_str(&format!("  {}\n", style.text(&format!("{} by {}{note}", each.deed, each.by))));
            }
        }
        Err(missing) => {
            let lacks = style.paint(Paint::Doubt, "a run would exit with 7 and touch nothing:");
            out.push_str(&format!("  {lacks}\n"));
            for each in missing {
                out.push_str(&format!("  {}\n", style.text(&format!("{}: {}", each.what, each.remedy))));
            }
        }
    }
    out.push_str(&must_hold(scenario, style));
    out
}

fn load_words(scenario: &Scenario) -> String {
    let load = &scenario.load;
    let pace = match load.pace {
        Pace::Open(rate) => format!("{rate}"),
        Pace::Max => "as fast as it goes".to_owned(),
    };
    let route = |route: &RouteKind| match route {
        RouteKind::Router => "router",
        RouteKind::Direct => "direct",
    };
    let routes: Vec<&str> = load.routes.iter().map(route).collect();
    format!("{}, {} clients, {pace}, by {}", load.kind, load.clients, routes.join(" and "))
}

fn fault_lines(fault: &PlannedFault, style: Style) -> String {
    let hold = fault.hold.map_or_else(|| "until the heal phase".to_owned(), |hold| format!("for {}", human(hold)));
    let (selector, targets) = &fault.targets;
    let whom = if targets.is_empty() { String::new() } else { format!(" ({})", targets.join(", ")) };
    let (onset, written) = &fault.onset;
    let when = if fault.onset.1.starts_with("at ") { String::new() } else { format!(", {written}") };
    let head = format!("{}: {} on {selector}{whom}, {hold}{when}", fault.id, fault.kind);
    let mut out = format!("  {:>8}  {}\n", format!("{}{}", if when.is_empty() { "" } else { "≥ " }, human(*onset)), style.text(&head));
    if !fault.words.is_empty() {
        out.push_str(&format!("            {}\n", style.text(&fault.words)));
    }
    for (offset, action) in &fault.actions {
        out.push_str(&format!("            +{:<7} {}\n", human(*offset), style.text(action)));
    }
    if let Some(problem) = &fault.problem {
        out.push_str(&format!("            {}\n", style.paint(Paint::Bad, &format!("cannot be planned: {problem}"))));
    }
    out
}

fn must_hold(scenario: &Scenario, style: Style) -> String {
    let mut out = format!("{}\n", style.paint(Paint::Bold, "must hold"));
    for invariant in &scenario.invariants {
        out.push_str(&format!("  {}\n", style.text(invariant.check.name())));
    }
    for bound in &scenario.objectives.bounds {
        let text = format!("{} {} ≤ {}", bound.measure.word(), bound.statistic.word(), bound.text);
        out.push_str(&format!("  {}\n", style.text(&text)));
    }
    if let Some(expect) = &scenario.expect {
        let check = expect.check.as_ref().map(|check| format!(" of {check}")).unwrap_or_default();
        let lost = expect.min_lost.map(|lost| format!(", at least {lost} lost")).unwrap_or_default();
        out.push_str(&format!("  {}\n", style.text(&format!("[expect] {}{check}{lost}", expect.verdict))));
    }
    out
}
