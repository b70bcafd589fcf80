//! Faults of wall clocks: what the servers of a node read as the time of day. Their monotonic clock stays true.
//!
//! The lab has a library loaded into the servers before they start, which adds an offset to the wall clock that they read.
//! Programs that ask the kernel without going through the C library (whatever is written in Go, as etcd is) never call it.

pub mod drift;
pub mod jump;
pub mod skew;
pub mod strobe;

use std::collections::BTreeSet;
use std::time::Duration;

use firedrill_core::action::Action;
use firedrill_core::cluster::ProcessName;
use firedrill_core::fault::{Fault, FaultPlan, Hold, Needs, PlanError, PlanInput, Step};
use firedrill_core::harm::ClockChange;
use firedrill_core::seed::ChaCha8Rng;
use firedrill_core::spec::{Fields, FromValue};
use firedrill_core::units;
use toml::de::DeValue;

/// The farthest a clock is moved: ten years.
const FARTHEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// The least: less cannot be told from the time that reading a clock takes.
const LEAST: Duration = Duration::from_millis(5);

/// The least hold of a clock that moves: to see that takes two readings, two seconds apart, and that before the heal too.
const MOVES_FOR: Duration = Duration::from_secs(7);

/// An offset with its sign.
#[derive(Clone, Copy, Debug)]
struct Offset(i64);

impl FromValue for Offset {
    const EXPECTS: &'static str = "an offset with its sign, as \"+30s\" or \"-2h\"";

    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        let text = value.as_str().ok_or_else(String::new)?.trim();
        let (negative, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => (false, text),
        };
        let span = units::duration(rest).map_err(|_| String::new())?;
        if span < LEAST || span > FARTHEST {
            return Err(format!("`{text}` is not between 5ms and ten years (87600h)"));
        }
        let nanos = i64::try_from(span.as_nanos()).map_err(|error| error.to_string())?;
        Ok(Self(if negative { -nanos } else { nanos }))
    }
}

/// A fault of clocks, its options read.
struct Wrong {
    process: Option<ProcessName>,
    change: ClockChange,
    /// The least `for` it makes sense with, and why.
    at_least: Option<(Duration, &'static str)>,
}

/// The fault of these options; `None` when the change could not be read. Takes `process`.
fn wrong(
    fields: &mut Fields<'_, '_>,
    change: Option<ClockChange>,
    at_least: Option<(Duration, &'static str)>,
) -> Option<Box<dyn Fault>> {
    let process = fields.optional::<String>("process").map(ProcessName);
    Some(Box::new(Wrong { process, change: change?, at_least }))
}

impl Fault for Wrong {
    fn plan(&self, input: &PlanInput<'_>, _rng: &mut ChaCha8Rng) -> Result<FaultPlan, PlanError> {
        if let (Some((least, why)), Some(hold)) = (self.at_least, input.hold)
            && hold < least
        {
            return Err(PlanError(format!("{why}: hold it for {} at least", units::human(least))));
        }
        let steps = input.targets.iter().map(|node| Step {
            offset: Duration::ZERO,
            action: Action::ShiftClock { node: node.clone(), process: self.process.clone(), change: self.change },
            hold: Hold::Held,
        });
        let whose = self.process.as_ref().map_or("every process whose clock can be changed", |name| name.0.as_str());
        Ok(FaultPlan {
            steps: steps.collect(),
            impairs: input.targets.iter().map(|node| (node.clone(), self.process.clone())).collect(),
            words: format!("{} for {whose} of {}", self.change, crate::words::list(input.targets)),
        })
    }

    fn process(&self) -> Option<&ProcessName> {
        self.process.as_ref()
    }

    fn needs(&self) -> Needs {
        Needs { clocks: BTreeSet::from([self.process.clone()]), ..Needs::default() }
    }
}
