//! `firedrill plan`: the dry run. What each fault would do, when, to whom and by what; nothing is touched.

use std::path::PathBuf;
use std::process::ExitCode;

use firedrill_core::cluster::ClusterView;
use firedrill_core::platform::{Missing, OpenRequest, Survey};
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
pub(crate) fn plan(args: &PlanArgs) -> Result<ExitCode, Failure> {
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
        output::print(&render(scenario, seed, view.as_ref(), &survey(scenario), style));
    }
    Ok(ExitCode::SUCCESS)
}

/// By what this host would do it; asks the host and touches nothing.
fn survey(scenario: &Scenario) -> Survey {
    let nothing = |missing: Vec<Missing>| Survey { missing, deeds: Vec::new() };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let what = format!("this host cannot be asked: {error}");
            return nothing(vec![Missing::new(what, "end other programs, and try again")]);
        }
    };
    runtime.block_on(async {
        let cluster = &scenario.cluster;
        let opened = (cluster.platform.open)(OpenRequest {
            run_id: "plan".to_owned(),
            nodes: cluster.nodes.clone(),
            lab: cluster.system.lab(),
            sim: cluster.system.sim(),
            needs: scenario.needs(),
            run_dir: PathBuf::new(),
            lease: scenario.safety.lease,
            seed: UNSEEDED,
            clock: Clock::start(),
            against: None,
        });
        match opened {
            Ok(platform) => platform.survey(&deeds(scenario)).await,
            Err(missing) => nothing(missing),
        }
    })
}

fn render(scenario: &Scenario, seed: Seed, view: Option<&ClusterView>, survey: &Survey, style: Style) -> String {
    let heading = |text: &str| style.paint(Paint::Bold, text);
    let line = |title: &str, text: &str| format!("  {title:<9}{}", style.text(text));
    let cluster = &scenario.cluster;
    let (system, platform, nodes) = (cluster.system_name, cluster.platform.name, cluster.nodes.len());
    let mut lines = vec![
        heading(&scenario.name),
        line("file", &scenario.file),
        line("seed", &seed.to_string()),
        line("cluster", &format!("{system} on {platform}, {nodes} nodes")),
        line("load", &load_words(scenario)),
        line("repeat", &scenario.objectives.repeat.to_string()),
        heading("faults"),
    ];
    for fault in plan_faults(scenario, seed, view) {
        lines.extend(fault_lines(&fault, survey, style));
    }
    if let Err(missing) = survey.clone().all() {
        lines.push(heading("missing on this host"));
        let lacks = style.paint(Paint::Doubt, "a run would exit with 7 and touch nothing:");
        lines.push(format!("  {lacks}"));
        let words = missing.iter().map(|each| format!("{}: {}", each.what, each.remedy));
        lines.extend(words.map(|words| format!("  {}", style.text(&words))));
    }
    lines.push(heading("must hold"));
    lines.extend(must_hold(scenario).iter().map(|text| format!("  {}", style.text(text))));
    lines.push(String::new());
    lines.join("\n")
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

fn fault_lines(fault: &PlannedFault, survey: &Survey, style: Style) -> Vec<String> {
    let hold = fault.hold.map_or_else(|| "until the heal phase".to_owned(), |hold| format!("for {}", human(hold)));
    let (selector, targets) = &fault.targets;
    let whom = if targets.is_empty() { String::new() } else { format!(" ({})", targets.join(", ")) };
    let (onset, written) = &fault.onset;
    // What waits for another fault begins then at the earliest.
    let fixed = written.starts_with("at ");
    let (least, waits) = if fixed { ("", String::new()) } else { ("≥ ", format!(", {written}")) };
    let when = style.text(&format!("{least}{}", human(*onset)));
    let head = format!("{}: {} on {selector}{whom}, {hold}{waits}", fault.id, fault.kind);
    let mut lines = vec![format!("  {when:>9}  {}", style.text(&head))];
    let mut below = |text: String| lines.push(format!("             {text}"));
    if !fault.words.is_empty() {
        below(style.text(&fault.words));
    }
    for (offset, action) in &fault.actions {
        below(format!("+{:<6} {}", human(*offset), style.text(action)));
    }
    for (_, asked) in survey.deeds.iter().filter(|(deed, _)| fault.deeds.contains(deed)) {
        below(match asked {
            Ok(mechanism) => style.text(&format!("by      {}", mechanism.words())),
            Err(lacks) => style.paint(Paint::Bad, &format!("cannot  {}: {}", lacks.what, lacks.remedy)),
        });
    }
    if let Some(problem) = &fault.problem {
        below(style.paint(Paint::Bad, &format!("cannot be planned: {problem}")));
    }
    lines
}

fn must_hold(scenario: &Scenario) -> Vec<String> {
    let mut words: Vec<String> =
        scenario.invariants.iter().map(|invariant| invariant.check.name().to_owned()).collect();
    for bound in &scenario.objectives.bounds {
        words.push(format!("{} {} ≤ {}", bound.measure.word(), bound.statistic.word(), bound.text));
    }
    if let Some(expect) = &scenario.expect {
        let check = expect.check.as_ref().map(|check| format!(" of {check}")).unwrap_or_default();
        let lost = expect.min_lost.map(|lost| format!(", at least {lost} lost")).unwrap_or_default();
        let anomaly = expect.anomaly.as_ref().map(|anomaly| format!(" with {anomaly}")).unwrap_or_default();
        words.push(format!("[expect] {}{check}{anomaly}{lost}", expect.verdict));
    }
    words
}
