//! `firedrill doctor`: what of the faults works on this host, by what, and what would change it. Nothing is touched.

use std::process::ExitCode;

use firedrill_core::action::Deed;
use firedrill_core::fault::FaultEntry;
use firedrill_core::platform::{Mechanism, Missing, PlatformEntry, Survey};
use firedrill_core::spec::suggest;
use firedrill_core::verdict::exit;
use firedrill_faults::FAULTS;
use firedrill_platforms::PLATFORMS;
use firedrill_reports::console::{Paint, Style};
use serde::Serialize;

use crate::args::DoctorArgs;
use crate::failure::Failure;
use crate::output;
use crate::terminal::Terminal;

/// What can be said of a fault here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    /// By the best mechanism there is.
    Works,
    /// By another one, because the best lacks something here.
    Fallback,
    /// Not at all.
    Cannot,
}

impl Status {
    const fn word(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Fallback => "fallback",
            Self::Cannot => "cannot",
        }
    }

    const fn paint(self) -> Paint {
        match self {
            Self::Works => Paint::Good,
            Self::Fallback => Paint::Doubt,
            Self::Cannot => Paint::Bad,
        }
    }
}

/// One fault on one platform.
#[derive(Serialize)]
struct Diagnosis {
    platform: &'static str,
    fault: &'static str,
    status: Status,
    /// By what, one for each deed of the fault that can be done.
    mechanisms: Vec<Mechanism>,
    /// Why it cannot be done, and what would change that.
    missing: Vec<Missing>,
}

/// Asks. Exit code 0 when every fault that was asked about works, 1 otherwise.
pub(crate) fn doctor(args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let faults = chosen_faults(&args.faults)?;
    let platforms = chosen_platforms(args.platform.as_deref())?;
    let mut deeds: Vec<Deed> = faults.iter().flat_map(|fault| fault.deeds).copied().collect();
    deeds.sort_unstable();
    deeds.dedup();
    let mut found = Vec::new();
    for platform in platforms {
        let survey = (platform.survey)(&deeds);
        found.extend(faults.iter().map(|fault| diagnose(platform.name, fault, &survey)));
    }
    output::print(&if args.json {
        let json = serde_json::to_string_pretty(&found);
        format!("{}\n", json.map_err(|error| Failure::new(exit::BUG, "the findings have no JSON").because(&error))?)
    } else {
        render(&found, Terminal::stdout().style)
    });
    let works = found.iter().all(|diagnosis| diagnosis.status != Status::Cannot);
    Ok(ExitCode::from(if works { exit::PASS } else { exit::FAIL }))
}

/// Those of these names, or of a family of that name; all when there are none.
fn chosen_faults(names: &[String]) -> Result<Vec<&'static FaultEntry>, Failure> {
    let is = |entry: &FaultEntry, name: &str| {
        entry.kind == name || entry.kind.split_once('.').is_some_and(|(family, _)| family == name)
    };
    if let Some(name) = names.iter().find(|name| !FAULTS.iter().any(|entry| is(entry, name))) {
        let known: Vec<&str> = FAULTS.iter().map(|entry| entry.kind).collect();
        let failure = Failure::usage(format!("no fault is called `{name}`"));
        return Err(match suggest(name, &known) {
            Some(help) => failure.help(help),
            None => failure,
        });
    }
    Ok(FAULTS.iter().filter(|entry| names.is_empty() || names.iter().any(|name| is(entry, name))).collect())
}

/// The one of that name; without one, all on which something real happens.
fn chosen_platforms(name: Option<&str>) -> Result<Vec<&'static PlatformEntry>, Failure> {
    let Some(name) = name else { return Ok(PLATFORMS.iter().filter(|entry| !entry.virtual_time).collect()) };
    let known: Vec<&str> = PLATFORMS.iter().map(|entry| entry.name).collect();
    let failure = Failure::usage(format!("there is no platform `{name}`"));
    let unknown = match suggest(name, &known) {
        Some(help) => failure.help(help),
        None => failure,
    };
    PLATFORMS.iter().find(|entry| entry.name == name).map(|entry| vec![entry]).ok_or(unknown)
}

fn diagnose(platform: &'static str, fault: &FaultEntry, survey: &Survey) -> Diagnosis {
    let mut missing = survey.missing.clone();
    let mut mechanisms = Vec::new();
    for (_, asked) in survey.deeds.iter().filter(|(deed, _)| fault.deeds.contains(deed)) {
        match asked {
            Ok(mechanism) => mechanisms.push(mechanism.clone()),
            Err(lacks) => missing.push(lacks.clone()),
        }
    }
    let status = if !missing.is_empty() {
        Status::Cannot
    } else if mechanisms.iter().any(|mechanism| mechanism.better.is_some()) {
        Status::Fallback
    } else {
        Status::Works
    };
    Diagnosis { platform, fault: fault.kind, status, mechanisms, missing }
}

fn render(found: &[Diagnosis], style: Style) -> String {
    let width = found.iter().map(|diagnosis| diagnosis.fault.len()).max().unwrap_or_default();
    let mut lines: Vec<String> = Vec::new();
    let mut last = "";
    for diagnosis in found {
        if diagnosis.platform != last {
            last = diagnosis.platform;
            lines.push(style.paint(Paint::Bold, &format!("faults on {last}")));
        }
        let (fault, status) = (diagnosis.fault, diagnosis.status);
        let mut details = details(diagnosis).into_iter();
        let head = style.paint(status.paint(), status.word());
        let pad = 8_usize.saturating_sub(status.word().len());
        let first = style.text(&details.next().unwrap_or_default());
        lines.push(format!("  {head}{:pad$}  {fault:width$}  {first}", ""));
        lines.extend(details.map(|text| format!("{:width$}  {}", "", style.text(&text), width = width + 12)));
    }
    let count = |status: Status| found.iter().filter(|diagnosis| diagnosis.status == status).count();
    let (works, fallback, cannot) = (count(Status::Works), count(Status::Fallback), count(Status::Cannot));
    lines.push(format!("{works} work, {fallback} work by a fallback, {cannot} cannot be had here"));
    lines.push(String::new());
    lines.join("\n")
}

/// What stands beside a fault, a line each.
fn details(diagnosis: &Diagnosis) -> Vec<String> {
    let remedy =
        |missing: &Missing| [format!("because: {}", missing.what), format!("to change it: {}", missing.remedy)];
    if diagnosis.status == Status::Cannot {
        return diagnosis.missing.iter().flat_map(remedy).collect();
    }
    let mut lines = Vec::new();
    for mechanism in &diagnosis.mechanisms {
        let note = if mechanism.note.is_empty() { String::new() } else { format!(" ({})", mechanism.note) };
        lines.push(format!("{}{note}", mechanism.by));
        lines.extend(mechanism.better.iter().flat_map(remedy));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: &str) -> &'static FaultEntry {
        FAULTS.iter().find(|entry| entry.kind == kind).unwrap()
    }

    #[test]
    fn a_fault_is_as_good_as_the_worst_of_its_deeds() {
        let crash = entry("node.crash");
        let good = |deed| (deed, Ok(Mechanism::best(deed, "a knife")));
        let poor = |deed| (deed, Ok(Mechanism::fallback(deed, "a spoon", "no knife", "buy one")));
        let none = |deed| (deed, Err(Missing::new("no spoon", "buy one, too")));
        let [cut, kill] = [Deed::CutLinks, Deed::KillProcess];
        for (deeds, missing, want) in [
            (vec![good(cut), good(kill), none(Deed::ShiftClock)], vec![], Status::Works),
            (vec![good(cut), poor(kill)], vec![], Status::Fallback),
            (vec![none(cut), poor(kill)], vec![], Status::Cannot),
            (vec![good(cut), good(kill)], vec![Missing::new("no table", "buy a table")], Status::Cannot),
        ] {
            let survey = Survey { missing, deeds };
            assert_eq!(diagnose("lab", crash, &survey).status, want, "{survey:?}");
        }
    }

    #[test]
    fn every_finding_says_by_what_or_what_would_change_it() {
        let [cut, kill] = [Deed::CutLinks, Deed::KillProcess];
        let deeds = vec![
            (cut, Ok(Mechanism::best(cut, "a knife").note("sharp"))),
            (kill, Ok(Mechanism::fallback(kill, "a spoon", "no fork", "buy a fork"))),
            (Deed::PauseProcess, Err(Missing::new("no patience", "sudo sleep"))),
        ];
        let survey = Survey { missing: Vec::new(), deeds };
        let found =
            ["net.partition", "process.kill", "process.pause"].map(|kind| diagnose("lab", entry(kind), &survey));
        let shown = render(&found, Style::PLAIN);
        let want = "\
faults on lab
  works     net.partition  a knife (sharp)
  fallback  process.kill   a spoon
                           because: no fork
                           to change it: buy a fork
  cannot    process.pause  because: no patience
                           to change it: sudo sleep
1 work, 1 work by a fallback, 1 cannot be had here
";
        assert_eq!(shown, want);
    }
}
