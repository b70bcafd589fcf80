//! Events in words, one line each. What happens many times a second is not among them.

use std::time::Duration;

use firedrill_core::action::Presence;
use firedrill_core::event::{Event, Moment};
use firedrill_core::platform::Incident;
use firedrill_core::time::RunTime;
use firedrill_core::units::human;
use firedrill_engine::observe::Progress;
use firedrill_reports::console::{Paint, Style};

/// The first lines of a run: the seed, the version and the command that repeats it come first.
fn started(progress: &Progress) -> Vec<String> {
    match progress {
        Progress::Started { name, repeat: (index, count), seed, repeat_command, folder } => {
            let which = if *count > 1 { format!(" · run {} of {count}", index + 1) } else { String::new() };
            vec![
                format!("seed {seed} · firedrill {} · repeat it with: {repeat_command}", firedrill_core::VERSION),
                format!("{name}{which} · recorded in {}", folder.display()),
            ]
        }
        Progress::Mechanisms(mechanisms) => {
            mechanisms.iter().map(|mechanism| format!("{} by {}", mechanism.deed, mechanism.words())).collect()
        }
        Progress::Event(_) | Progress::Tick(_) => Vec::new(),
    }
}

/// The lines of [`started`], each ended.
pub(super) fn opening(progress: &Progress, paint: Paint, style: Style) -> String {
    let mut lines: Vec<String> = started(progress).iter().map(|line| style.paint(paint, line)).collect();
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines.join("\n")
}

/// An event in words; `None` for those that are not shown.
pub(super) fn event(event: &Event) -> Option<(Paint, String)> {
    let (plain, good, bad, doubt) = (Paint::Plain, Paint::Good, Paint::Bad, Paint::Doubt);
    Some(match event {
        Event::Phase { phase, .. } => (Paint::Bold, phase.word().to_owned()),
        Event::Steady { met: true, seen } => (good, format!("steady: {seen}")),
        Event::Steady { met: false, seen } => (bad, format!("not steady: {seen}")),
        Event::FaultOnset { fault, kind, targets, words } => {
            let targets: Vec<&str> = targets.iter().map(firedrill_core::cluster::NodeName::as_str).collect();
            (doubt, format!("{fault}: {kind} on {}: {words}", targets.join(", ")))
        }
        Event::StepApplied { fault, action, hold_nanos, .. } => {
            let hold =
                hold_nanos.map(|nanos| format!(" for {}", human(Duration::from_nanos(nanos)))).unwrap_or_default();
            (plain, format!("{fault}: {action}{hold}"))
        }
        Event::StepProof { fault, moment, effect, .. } => {
            let paint = if as_wanted(*moment, effect.presence) { plain } else { bad };
            (
                paint,
                format!(
                    "{fault}: {}: {} ({})",
                    moment_words(*moment),
                    presence_words(effect.presence),
                    effect.evidence
                ),
            )
        }
        Event::StepReverted { fault, held, by, .. } => {
            (plain, format!("{fault}: undone ({by}), {}", held_words(*held)))
        }
        Event::FaultHealed { fault } => (good, format!("{fault}: healed")),
        Event::FaultRefused { fault, reason } => (bad, format!("{fault}: not injected: {reason}")),
        Event::HealFailed { fault, reason } => (bad, format!("{fault}: not undone: {reason}")),
        Event::NodeSeen { .. } | Event::View { .. } => return None,
        Event::Leader { holder: Some(node), .. } => (plain, format!("leader key: {node}")),
        Event::Leader { holder: None, .. } => (doubt, "leader key: gone".to_owned()),
        Event::Incident { incident: Incident::UnitExited { node, unit, status } } => {
            (plain, format!("{unit} of {node} ended: {status}"))
        }
        Event::Incident { incident: Incident::AgentDied { detail } } => (bad, format!("the agent died: {detail}")),
        Event::Halted { condition, seen } => (bad, format!("halted: {condition}; seen: {seen}")),
        Event::Interrupted { phase } => {
            (doubt, format!("interrupted in {}: healing, then judging what there is", phase.word()))
        }
        Event::Settled { met: true, seen } => (good, format!("settled: {seen}")),
        Event::Settled { met: false, seen } => (bad, format!("did not settle: {seen}")),
        Event::Audited { node, audit } => match (audit.damage.first(), &audit.failure) {
            (Some(first), _) => (bad, format!("{node} holds damaged data: {first}")),
            (None, Some(why)) => {
                let why = why.lines().next().unwrap_or_default();
                (bad, format!("{node} was not looked through: {why}"))
            }
            (None, None) => (good, format!("{node}: nothing is damaged: {}", audit.looked_at)),
        },
        Event::Swept { residue } if residue.is_empty() => (good, "swept: nothing was left behind".to_owned()),
        Event::Swept { residue } => {
            let what: Vec<&str> = residue.iter().map(|each| each.what.as_str()).collect();
            (bad, format!("swept: left behind: {}", what.join("; ")))
        }
        // Further lines are logs, which the final screen shows.
        Event::Broken { phase, reason } => {
            (bad, format!("broken in {}: {}", phase.word(), reason.lines().next().unwrap_or_default()))
        }
    })
}

/// Whether a proof says what it must at that moment.
fn as_wanted(moment: Moment, presence: Presence) -> bool {
    match moment {
        Moment::Before | Moment::AfterHeal => presence == Presence::Absent,
        Moment::Onset | Moment::Middle | Moment::BeforeHeal => presence == Presence::Full,
    }
}

const fn moment_words(moment: Moment) -> &'static str {
    match moment {
        Moment::Before => "before",
        Moment::Onset => "at onset",
        Moment::Middle => "half-way",
        Moment::BeforeHeal => "before the heal",
        Moment::AfterHeal => "after the heal",
    }
}

const fn presence_words(presence: Presence) -> &'static str {
    match presence {
        Presence::Full => "effect proven",
        Presence::Partial => "effect only in part",
        Presence::Absent => "no effect",
        Presence::Unknown => "no telling",
    }
}

fn held_words(held: Option<(RunTime, RunTime)>) -> String {
    match held {
        Some((from, to)) => format!("held {}", human(to.since(from))),
        None => "never in force".to_owned(),
    }
}
