//! Whether each fault bit, was held for its full window, and is gone. A fault that did not bite proves nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use firedrill_core::action::{Action, Effect, Presence};
use firedrill_core::check::Finding;
use firedrill_core::event::{Event, Moment};
use firedrill_core::record::{FaultRecord, FaultSpan, Recorded, Recovery, seconds};
use firedrill_core::time::RunTime;
use firedrill_core::units::human;
use firedrill_core::verdict::Verdict;

use crate::losses::Losses;
use crate::recovery::recovery;

/// A fault of the scenario.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedFault {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
}

/// What became of every planned fault, in the order of the plan. `losses` are those of the same run.
pub fn fault_findings(run: &Recorded, planned: &[PlannedFault], losses: &Losses) -> Vec<FaultRecord> {
    let spans = run.faults();
    let record = |fault: &PlannedFault| {
        let span = spans.iter().find(|span| span.fault == fault.id);
        let story = Story::of(run, &fault.id);
        let injected = span.filter(|_| !story.steps.is_empty());
        let zero = RunTime::ZERO;
        FaultRecord {
            id: fault.id.clone(),
            kind: fault.kind.clone(),
            targets: span.map(|span| span.targets.clone()).unwrap_or_default(),
            words: span.map(|span| span.words.clone()).unwrap_or_default(),
            onset: injected.map(|span| seconds(span.onset.since(zero))),
            healed: injected.and_then(|span| span.healed).map(|healed| seconds(healed.since(zero))),
            finding: story.finding(&fault.id, injected),
            recovery: injected.map_or_else(Recovery::default, |span| recovery(run, span, losses)),
        }
    };
    planned.iter().map(record).collect()
}

/// What was recorded of one step.
#[derive(Default)]
struct StepStory<'a> {
    action: Option<&'a Action>,
    /// When it took effect.
    from: RunTime,
    /// How long it was to be held; `None` for one-shot actions.
    hold: Option<Duration>,
    proofs: Vec<(Moment, &'a Effect)>,
    /// The interval it was in force, if it was undone.
    reverted: Option<(Option<(RunTime, RunTime)>, &'a str)>,
}

/// What was recorded of one fault.
#[derive(Default)]
struct Story<'a> {
    steps: BTreeMap<u32, StepStory<'a>>,
    refused: Option<&'a str>,
    heal_failed: Option<&'a str>,
}

impl<'a> Story<'a> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "a few kinds of event out of many")]
    fn of(run: &'a Recorded, id: &str) -> Self {
        let mut story = Self::default();
        // A proof before the injection comes before the step itself is recorded; without an injection it is no step.
        let mut before: BTreeMap<u32, Vec<(Moment, &Effect)>> = BTreeMap::new();
        for stamped in &run.events {
            match &stamped.event {
                Event::StepApplied { fault, step, action, hold_nanos, from } if fault == id => {
                    let entry = story.steps.entry(*step).or_default();
                    entry.action = Some(action);
                    entry.from = *from;
                    entry.hold = hold_nanos.map(Duration::from_nanos);
                    entry.proofs.extend(before.remove(step).unwrap_or_default());
                }
                Event::StepProof { fault, step, moment, effect } if fault == id => match story.steps.get_mut(step) {
                    Some(entry) => entry.proofs.push((*moment, effect)),
                    None => before.entry(*step).or_default().push((*moment, effect)),
                },
                Event::StepReverted { fault, step, held, by } if fault == id => {
                    if let Some(entry) = story.steps.get_mut(step) {
                        entry.reverted = Some((*held, by));
                    }
                }
                Event::FaultRefused { fault, reason } if fault == id => story.refused = Some(reason),
                Event::HealFailed { fault, reason } if fault == id => story.heal_failed = Some(reason),
                _ => {}
            }
        }
        story
    }

    fn finding(&self, id: &str, span: Option<&FaultSpan>) -> Finding {
        let mut problems: Vec<(Verdict, String)> = Vec::new();
        if let Some(reason) = self.refused {
            problems.push((Verdict::Invalid, format!("it was not injected in full: {reason}")));
        } else if self.steps.is_empty() {
            problems.push((Verdict::Invalid, "it was never injected".to_owned()));
        }
        if let Some(reason) = self.heal_failed {
            problems.push((Verdict::Dirty, format!("its heal failed: {reason}")));
        } else if span.is_some_and(|span| span.healed.is_none()) {
            problems.push((Verdict::Invalid, "its heal was not recorded".to_owned()));
        }
        // Later steps end with the first: what is left of the fault when they take effect is all they can be held.
        let end = self.steps.values().next().and_then(|first| Some(first.from.plus(first.hold?)));
        for step in self.steps.values() {
            step.problems(end, &mut problems);
        }
        let verdict = problems.iter().map(|(verdict, _)| *verdict).max().unwrap_or(Verdict::Pass);
        let worst = problems.iter().find(|(found, _)| *found == verdict).map(|(_, words)| words.clone());
        let held = self.steps.values().filter_map(StepStory::held).max();
        let summary = worst.unwrap_or_else(|| match held {
            Some(held) => {
                format!("bit at its onset, in the middle and before its heal; held {}; gone after", human(held))
            }
            None => "bit".to_owned(),
        });
        let mut finding = Finding::new(format!("fault:{id}"), verdict, summary);
        if let Some(held) = held {
            finding = finding.figure("held", seconds(held));
        }
        for (_, words) in problems {
            finding = finding.evidence(words);
        }
        let proofs = self.steps.values().flat_map(|step| &step.proofs);
        proofs.fold(finding, |finding, (moment, effect)| finding.evidence(proof_words(*moment, effect)))
    }
}

fn proof_words(moment: Moment, effect: &Effect) -> String {
    format!("{}: {}, {}", moment_word(moment), presence_word(effect.presence), effect.evidence)
}

const fn moment_word(moment: Moment) -> &'static str {
    match moment {
        Moment::Before => "before",
        Moment::Onset => "at onset",
        Moment::Middle => "in the middle",
        Moment::BeforeHeal => "before the heal",
        Moment::AfterHeal => "after the heal",
    }
}

const fn presence_word(presence: Presence) -> &'static str {
    match presence {
        Presence::Full => "there",
        Presence::Partial => "there in part",
        Presence::Absent => "not there",
        Presence::Unknown => "could not look",
    }
}

impl StepStory<'_> {
    fn held(&self) -> Option<Duration> {
        let (from, to) = self.reverted?.0?;
        self.hold.map(|_| to.since(from))
    }

    fn words(&self) -> String {
        self.action.map(ToString::to_string).unwrap_or_default()
    }

    fn problems(&self, end: Option<RunTime>, problems: &mut Vec<(Verdict, String)>) {
        let words = self.words();
        if self.proofs.iter().any(|(moment, effect)| *moment == Moment::Before && effect.presence == Presence::Full) {
            problems.push((Verdict::Invalid, format!("`{words}`: its effect was there before it")));
        }
        let wanted: &[Moment] = match self.hold {
            Some(_) => &[Moment::Onset, Moment::Middle, Moment::BeforeHeal],
            None => &[Moment::Onset],
        };
        for wanted in wanted {
            self.bit(*wanted, problems);
        }
        if let Some(hold) = self.hold {
            let left = end.map_or(hold, |end| end.since(self.from));
            self.held_in_full(hold.min(left), problems);
        }
        if !self.action.is_some_and(Action::is_instant) {
            self.gone(problems);
        }
    }

    /// Every proof of that moment shows the whole effect, and there is one.
    fn bit(&self, wanted: Moment, problems: &mut Vec<(Verdict, String)>) {
        let words = self.words();
        let mut proofs = self.proofs.iter().filter(|(moment, _)| *moment == wanted).peekable();
        if proofs.peek().is_none() {
            problems.push((Verdict::Invalid, format!("`{words}` was not proven {}", moment_word(wanted))));
        }
        for (moment, effect) in proofs.filter(|(_, effect)| effect.presence != Presence::Full) {
            problems.push((Verdict::Invalid, format!("`{words}` did not bite, {}", proof_words(*moment, effect))));
        }
    }

    /// Short by at most 100 ms or 1 %, whichever is larger (DESIGN §10).
    fn held_in_full(&self, hold: Duration, problems: &mut Vec<(Verdict, String)>) {
        let words = self.words();
        let slack = Duration::from_millis(100).max(hold / 100);
        match self.reverted {
            None => problems.push((Verdict::Invalid, format!("`{words}`: nobody recorded how long it was in force"))),
            Some((None, by)) => {
                problems.push((Verdict::Invalid, format!("`{words}` was never in force (undone by {by})")));
            }
            Some((Some((from, to)), by)) if to.since(from) + slack < hold => {
                let (short, hold) = (human(to.since(from)), human(hold));
                problems.push((Verdict::Invalid, format!("`{words}` was held for {short} of {hold} (undone by {by})")));
            }
            Some((Some(_), _)) => {}
        }
    }

    fn gone(&self, problems: &mut Vec<(Verdict, String)>) {
        let words = self.words();
        // Only the last look counts: an effect may take a moment to go.
        match self.proofs.iter().rev().find(|(moment, _)| *moment == Moment::AfterHeal) {
            None => problems.push((Verdict::Invalid, format!("`{words}`: nobody looked whether it is gone"))),
            Some((moment, effect)) => match effect.presence {
                Presence::Absent => {}
                Presence::Unknown => {
                    problems.push((Verdict::Invalid, format!("`{words}`, {}", proof_words(*moment, effect))));
                }
                Presence::Full | Presence::Partial => {
                    problems.push((Verdict::Dirty, format!("`{words}` is still there: {}", effect.evidence)));
                }
            },
        }
    }
}
