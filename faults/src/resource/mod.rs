//! Faults of resources: a node that has less of something than its servers count on. What is taken is bounded, and is given
//! back when whoever takes it ends.

pub mod cpu;
pub mod fds;
pub mod io;
pub mod memory;
pub mod pids;

use std::ops::RangeInclusive;
use std::time::Duration;

use firedrill_core::action::Action;
use firedrill_core::fault::{Fault, FaultPlan, Hold, PlanError, PlanInput, Step};
use firedrill_core::harm::Pressure;
use firedrill_core::seed::ChaCha8Rng;
use firedrill_core::spec::{Fields, FromValue};

/// Less than this is over before it is seen.
const SHORTEST: Duration = Duration::from_secs(4);

struct Pressed(Pressure);

/// The fault of this pressure; `None` when it could not be read.
#[expect(clippy::unnecessary_wraps, reason = "the signature of every entry's parse")]
fn pressed(pressure: Pressure) -> Option<Box<dyn Fault>> {
    Some(Box::new(Pressed(pressure)))
}

/// A value or its default, within bounds; one that is not is noted and reads as the default.
fn bounded<T: FromValue + PartialOrd + Copy>(
    fields: &mut Fields<'_, '_>,
    key: &str,
    default: T,
    bounds: RangeInclusive<T>,
    words: &str,
) -> T {
    let value = fields.or(key, default);
    if bounds.contains(&value) {
        return value;
    }
    fields.wrong(key, format!("`{key}` is {words}"), None);
    default
}

impl Fault for Pressed {
    fn plan(&self, input: &PlanInput<'_>, _rng: &mut ChaCha8Rng) -> Result<FaultPlan, PlanError> {
        if input.hold.is_some_and(|hold| hold < SHORTEST) {
            return Err(PlanError("it takes a second to be seen: hold it for 4s at least".to_owned()));
        }
        let steps = input.targets.iter().map(|node| Step {
            offset: Duration::ZERO,
            action: Action::Press { node: node.clone(), pressure: self.0 },
            hold: Hold::Held,
        });
        Ok(FaultPlan {
            steps: steps.collect(),
            impairs: input.targets.iter().map(|node| (node.clone(), None)).collect(),
            words: format!("{} on {}", self.0, crate::words::list(input.targets)),
        })
    }
}
