//! Writes go on, or, where they must not, stand still.
//!
//! `must = "go"` holds over a part of the run when, from its beginning plus `grace` to its end (at most to when the last
//! router write came due):
//! - acknowledged router writes average at least `min` per second,
//! - and do so over the last five seconds too, so that a cluster that is dying at the end does not pass on its past,
//! - and never pause longer than `grace` (at least one second, and ten times what `min` allows between two).
//!
//! `must = "stall"` holds when no router write that was invoked in that part was acknowledged in it. With
//! `when = "during <id>"` that part ends when the first action of the fault is undone.

use std::time::Duration;

use firedrill_core::check::{Check, CheckEntry, Finding, Question, When};
use firedrill_core::event::Event;
use firedrill_core::history::Call;
use firedrill_core::record::{Recorded, seconds};
use firedrill_core::spec::Fields;
use firedrill_core::time::RunTime;
use firedrill_core::units::{Rate, human};
use firedrill_core::verdict::Verdict;

use crate::calls::{last_due, number, router_acks, router_writes};
use crate::seen::faults_words;

pub(crate) const ENTRY: CheckEntry = CheckEntry {
    name: "progress",
    summary: "writes are acknowledged at a rate, or stand still (must = \"stall\")",
    example: "[[invariant]]\ncheck = \"progress\"\nmin = \"50/s\"\nwhen = \"after kill\"\ngrace = \"30s\"\n",
    takes_when: true,
    anomalies: Vec::new,
    parse,
};

/// A shorter part of the run is too short to judge.
const SHORTEST: Duration = Duration::from_secs(1);
/// The end of the part, over which the rate must hold as well.
const TAIL: Duration = Duration::from_secs(5);
/// Lines of evidence.
const EXAMPLES: usize = 10;

#[derive(Clone, Copy)]
enum Must {
    Go,
    Stall,
}

enum Progress {
    Go { min: Rate },
    Stall,
}

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Check>> {
    match fields.word("must", &[("go", Must::Go), ("stall", Must::Stall)], Must::Go) {
        Must::Go => {
            let min = fields.required::<Rate>("min")?;
            if min.0 <= 0.0 {
                let help = "write how many writes a second are enough, as \"50/s\"; for none use must = \"stall\"";
                fields.wrong("min", "`min` must be more than zero", help.to_owned());
                return None;
            }
            Some(Box::new(Progress::Go { min }))
        }
        Must::Stall => {
            if fields.optional::<Rate>("min").is_some() {
                let help = "remove `min`: writes that must stall have no rate";
                fields.wrong("min", "`min` has no meaning with must = \"stall\"", help.to_owned());
                return None;
            }
            Some(Box::new(Progress::Stall))
        }
    }
}

/// The part of the run that is judged.
#[derive(Clone, Copy)]
struct Part {
    from: RunTime,
    to: RunTime,
}

impl Check for Progress {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn check(&self, run: &Recorded, question: &Question<'_>) -> Finding {
        let part = match self.part(run, question) {
            Ok(part) => part,
            Err(why) => return Finding::new(ENTRY.name, Verdict::Invalid, format!("nothing to judge: {why}")),
        };
        let finding = match self {
            Self::Go { min } => go(run, part, *min, question.grace),
            Self::Stall => stall(run, part),
        };
        finding.figure("from", part.from.since(RunTime::ZERO).as_secs_f64()).figure("seconds", part.length())
    }
}

impl Progress {
    fn part(&self, run: &Recorded, question: &Question<'_>) -> Result<Part, String> {
        let (from, mut to) = run.window(question.when)?;
        let from = from.plus(question.grace);
        let due = last_due(run).ok_or_else(|| "no write was tried through the router".to_owned())?;
        to = to.min(due);
        if let (Self::Stall, When::During(fault)) = (self, question.when) {
            to = first_reverted(run, fault).map_or(to, |reverted| to.min(reverted));
        }
        let length = to.since(from);
        if length < SHORTEST {
            let after = if question.grace.is_zero() { "" } else { " after the grace" };
            return Err(format!("{} of load are left{after}, less than {}", human(length), human(SHORTEST)));
        }
        if !router_writes(run).any(|call| from <= call.due && call.due <= to) {
            return Err("no write came due through the router in that time".to_owned());
        }
        Ok(Part { from, to })
    }
}

impl Part {
    fn length(self) -> f64 {
        seconds(self.to.since(self.from))
    }
}

/// When the first action of a fault ceased to be in force.
fn first_reverted(run: &Recorded, wanted: &str) -> Option<RunTime> {
    let ends = run.events.iter().filter_map(|stamped| {
        let Event::StepReverted { fault, held, .. } = &stamped.event else { return None };
        held.filter(|_| fault == wanted).map(|(_, to)| to)
    });
    ends.min()
}

fn go(run: &Recorded, part: Part, min: Rate, grace: Duration) -> Finding {
    let acks: Vec<RunTime> = router_acks(run).into_iter().filter(|at| part.from <= *at && *at <= part.to).collect();
    let rate = |from: RunTime| {
        let count = acks.iter().filter(|at| from <= **at).count();
        number(count) / seconds(part.to.since(from))
    };
    // One more or less is a matter of where the part begins.
    let enough = |rate: f64, from: RunTime| rate + 1.0 / seconds(part.to.since(from)) >= min.0;
    let tail = part.from.max(part.to.minus(TAIL));
    let (average, at_end) = (rate(part.from), rate(tail));
    let (pause_from, pause) = longest_pause(&acks, part);
    let allowed = grace.max(SHORTEST).max(min.interval().saturating_mul(10));
    let mut broken = Vec::new();
    if !enough(average, part.from) {
        broken.push(format!("{average:.1} writes/s were acknowledged on average"));
    }
    if !enough(at_end, tail) {
        broken.push(format!("{at_end:.1} writes/s were acknowledged in the last {}", human(part.to.since(tail))));
    }
    if pause > allowed {
        broken.push(format!("nothing was acknowledged for {} from {pause_from}", human(pause)));
    }
    let length = human(part.to.since(part.from));
    let finding = if broken.is_empty() {
        let words = format!("{average:.1} writes/s over {length}, at least {min}; longest pause {}", human(pause));
        Finding::new(ENTRY.name, Verdict::Pass, words)
    } else {
        let finding = Finding::new(ENTRY.name, Verdict::Fail, format!("{}; at least {min}", broken.join(", ")));
        let faults = faults_words(run, pause_from);
        let (from, to) = (part.from, part.to);
        finding
            .evidence(format!("judged from {from} to {to}"))
            .evidence(format!("longest pause {} from {pause_from}, allowed {}{faults}", human(pause), human(allowed)))
            .figure("at", pause_from.since(RunTime::ZERO).as_secs_f64())
    };
    finding.figure("rate", average).figure("rate-at-end", at_end).figure("longest-pause", seconds(pause))
}

/// The longest time without an acknowledgement, and when it began. `acks` ascend and lie in the part.
fn longest_pause(acks: &[RunTime], part: Part) -> (RunTime, Duration) {
    let ends = acks.iter().copied().chain([part.to]);
    let starts = [part.from].into_iter().chain(acks.iter().copied());
    let pauses = starts.zip(ends).map(|(start, end)| (start, end.since(start)));
    pauses.max_by_key(|(start, pause)| (*pause, std::cmp::Reverse(*start))).unwrap_or((part.from, Duration::ZERO))
}

fn stall(run: &Recorded, part: Part) -> Finding {
    let inside = |call: &&Call| part.from <= call.invoked && call.acked().is_some_and(|acked| acked < part.to);
    let went: Vec<&Call> = router_writes(run).filter(inside).collect();
    let length = human(part.to.since(part.from));
    let tried = router_writes(run).filter(|call| part.from <= call.due && call.due <= part.to).count();
    let mut finding = if went.is_empty() {
        Finding::new(ENTRY.name, Verdict::Pass, format!("none of {tried} writes was acknowledged for {length}"))
    } else {
        let words = format!("{} writes were acknowledged in {length} in which none may be", went.len());
        Finding::new(ENTRY.name, Verdict::Fail, words)
    };
    if let Some(first) = went.iter().map(|call| call.invoked).min() {
        finding = finding.figure("at", first.since(RunTime::ZERO).as_secs_f64());
    }
    for call in went.iter().take(EXAMPLES) {
        let at = call.acked().unwrap_or_default();
        let node = call.served_by.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string);
        let faults = faults_words(run, at);
        finding = finding.evidence(format!("{node} acknowledged `{}`, {} to {at}{faults}", call.op, call.invoked));
    }
    finding.figure("acknowledged", number(went.len())).figure("tried", number(tried))
}
