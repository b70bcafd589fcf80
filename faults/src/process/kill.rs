//! `process.kill`: a signal that ends processes.
//!
//! All of a node, unless `process` names one. What the fault keeps down (all of a node, or a named process with `for`)
//! is started again by its heal; a named process without `for` is left to its own supervisor, as after an
//! out-of-memory kill. The kernel outlives a killed process: its sockets are closed properly and their buffers are
//! still sent, which is why a kill loses less than `node.crash`.

use std::time::Duration;

use firedrill_core::action::{Action, Deed};
use firedrill_core::cluster::ProcessName;
use firedrill_core::fault::{Fault, FaultEntry, FaultPlan, Hold, HoldRule, PlanError, PlanInput, Step};
use firedrill_core::seed::ChaCha8Rng;
use firedrill_core::spec::{Fields, FromValue};
use toml::de::DeValue;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "process.kill",
    summary: "ends processes of a node by a signal, and starts them again at the heal",
    example: r#"
[[fault]]
kind    = "process.kill"
on      = "primary"
process = "postgres"   # default: all of the node
signal  = "KILL"       # default
at      = "10s"
"#,
    deeds: &[Deed::KillProcess],
    hold: HoldRule::Optional,
    parse,
};

/// Signals that end a process, by the numbers Linux gives them on every architecture Rust knows but MIPS and SPARC.
const SIGNALS: [(&str, i32); 6] = [("KILL", 9), ("TERM", 15), ("INT", 2), ("QUIT", 3), ("ABRT", 6), ("SEGV", 11)];

struct Signal(i32);

impl FromValue for Signal {
    const EXPECTS: &'static str = "a signal that ends a process, as \"KILL\", \"TERM\" or 9";

    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        let found = if let Some(word) = value.as_str() {
            let word = word.strip_prefix("SIG").unwrap_or(word);
            SIGNALS.iter().find(|(name, _)| *name == word)
        } else {
            let number = u64::from_value(value)?;
            SIGNALS.iter().find(|(_, known)| u64::try_from(*known) == Ok(number))
        };
        let names = SIGNALS.map(|(name, number)| format!("{name} ({number})")).join(", ");
        found
            .map(|(_, number)| Self(*number))
            .ok_or_else(|| format!("no signal that ends a process: known are {names}"))
    }
}

struct Kill {
    process: Option<ProcessName>,
    signal: i32,
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of every entry's parse")]
fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let process = super::process(fields);
    let signal = fields.optional::<Signal>("signal").map_or(9, |signal| signal.0);
    Some(Box::new(Kill { process, signal }))
}

impl Fault for Kill {
    fn plan(&self, input: &PlanInput<'_>, _rng: &mut ChaCha8Rng) -> Result<FaultPlan, PlanError> {
        let stay_down = self.process.is_none() || input.hold.is_some();
        let steps = input.targets.iter().map(|node| Step {
            offset: Duration::ZERO,
            action: Action::Kill { node: node.clone(), process: self.process.clone(), signal: self.signal, stay_down },
            hold: if stay_down { Hold::Held } else { Hold::OneShot },
        });
        let whose = super::whose(self.process.as_ref(), input.targets);
        let stay = if stay_down { " and keep it down" } else { "" };
        Ok(FaultPlan {
            steps: steps.collect(),
            impairs: super::impairs(self.process.as_ref(), input.targets),
            words: format!("kill -{} {whose}{stay}", self.signal),
        })
    }

    fn process(&self) -> Option<&ProcessName> {
        self.process.as_ref()
    }
}
