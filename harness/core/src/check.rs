//! A check is a pure function of a recorded run to a finding.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::record::Recorded;
use crate::spec::Fields;
use crate::verdict::Verdict;

/// Over which part of the run an invariant must hold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// From the start of the storm to the end of the load.
    Always,
    /// Until the onset of a fault.
    Before(String),
    /// From the onset of a fault to its heal.
    During(String),
    /// From the onset of a fault to the end of the load.
    After(String),
    /// From the heal of a fault to the end of the load.
    AfterHealed(String),
    /// At the end: on what was read after everything settled.
    End,
}

/// What a check is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question<'a> {
    /// Over which part of the run.
    pub when: &'a When,
    /// How long after the beginning of that part it need not hold yet.
    pub grace: Duration,
}

/// What a check found.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// The name of the check.
    pub check: String,
    /// `Pass`, `Fail`, or `Invalid` when it could not decide.
    pub verdict: Verdict,
    /// The result in one sentence, with its figures.
    pub summary: String,
    /// Figures by name (`lost-acknowledged`, `acknowledged`…), counts as numbers, times in seconds.
    pub figures: BTreeMap<String, f64>,
    /// The smallest evidence, one line each, most telling first, at most twenty.
    pub evidence: Vec<String>,
}

impl Finding {
    /// A finding without figures or evidence yet.
    pub fn new(check: impl Into<String>, verdict: Verdict, summary: impl Into<String>) -> Self {
        Self { check: check.into(), verdict, summary: summary.into(), figures: BTreeMap::new(), evidence: Vec::new() }
    }

    /// With a figure.
    #[must_use]
    pub fn figure(mut self, name: &str, value: f64) -> Self {
        self.figures.insert(name.to_owned(), value);
        self
    }

    /// With a line of evidence; beyond twenty they are dropped.
    #[must_use]
    pub fn evidence(mut self, line: impl Into<String>) -> Self {
        if self.evidence.len() < 20 {
            self.evidence.push(line.into());
        }
        self
    }
}

/// A check with its options read.
pub trait Check: Send + Sync {
    /// Its name in the registry.
    fn name(&self) -> &'static str;
    /// Whether it judges what looking the nodes' data through has found, so that somebody must look.
    fn needs_audit(&self) -> bool {
        false
    }
    /// Judges. Undecided is `Invalid` with the reason, never a pass.
    fn check(&self, run: &Recorded, question: &Question<'_>) -> Finding;
}

/// A check in the registry.
pub struct CheckEntry {
    /// Its name in `[[invariant]] check`.
    pub name: &'static str,
    /// One line for the listing.
    pub summary: &'static str,
    /// An `[[invariant]]` section that parses.
    pub example: &'static str,
    /// Whether `when` and `grace` mean something to it.
    pub takes_when: bool,
    /// The anomalies it can name, each as a figure of its finding (see [`anomaly_figure`]).
    pub anomalies: fn() -> Vec<&'static str>,
    /// Reads its own keys (`check`, `when`, `grace` are already taken). Takes every key it
    /// knows before it returns, also after a mistake, because what is left is reported as unknown. `None` after noting one.
    pub parse: fn(&mut Fields<'_, '_>) -> Option<Box<dyn Check>>,
}

/// The figure by which a finding says that it names an anomaly.
pub fn anomaly_figure(name: &str) -> String {
    format!("anomaly:{name}")
}
