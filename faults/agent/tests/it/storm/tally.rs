//! What a storm of kills counts, told line by line: `ci/bench storm` adds them up, and knows from the last one where a storm
//! was that went no further.

use std::collections::BTreeMap;
use std::time::Duration;

/// Small and seeded, so that a storm can be repeated (xorshift64*).
pub(crate) struct Chances(pub(crate) u64);

impl Chances {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(drawn).expect("31 bits") % limit
    }
}

/// A number that the environment gives.
pub(crate) fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// One kill.
#[derive(Clone, Default, Debug)]
pub(crate) struct Kill {
    /// Who was killed.
    pub(crate) victim: String,
    /// At which point of its steps; empty at a random instant.
    pub(crate) point: String,
    /// Whether nothing came by the point in time, so that it was killed elsewhere.
    pub(crate) unpassed: bool,
    /// What was in force then, as far as had been said.
    pub(crate) in_force: Vec<String>,
    /// What had been applied until then, and how often.
    pub(crate) applied: BTreeMap<String, usize>,
    /// Who healed afterwards.
    pub(crate) healed_by: Vec<&'static str>,
}

/// All of one storm.
pub(crate) struct Tally {
    storm: &'static str,
    seed: u64,
    pub(crate) kills: usize,
    pub(crate) points: BTreeMap<String, usize>,
    pub(crate) applied: BTreeMap<String, usize>,
}

impl Tally {
    pub(crate) fn new(storm: &'static str, seed: u64) -> Self {
        Self { storm, seed, kills: 0, points: BTreeMap::new(), applied: BTreeMap::new() }
    }

    /// Where the storm is now.
    pub(crate) fn at(&self, stage: &str, kill: &Kill) {
        let Kill { victim, point, in_force, .. } = kill;
        let number = self.kills + 1;
        print(
            "STORM-AT",
            &serde_json::json!({
                "storm": self.storm, "seed": self.seed, "kill": number, "victim": victim, "point": point, "stage": stage,
                "in_force": in_force,
            }),
        );
    }

    /// Counts a kill after which nothing was left. Effects were gone so long after it, with and without the time for which
    /// others were in the way.
    pub(crate) fn note(&mut self, kill: &Kill, took: Duration, fair: Duration) {
        self.kills += 1;
        if !kill.point.is_empty() && !kill.unpassed {
            *self.points.entry(kill.point.clone()).or_default() += 1;
        }
        for (what, count) in &kill.applied {
            *self.applied.entry(what.clone()).or_default() += count;
        }
        print(
            "STORM",
            &serde_json::json!({
                "storm": self.storm, "seed": self.seed, "victim": kill.victim, "point": kill.point,
                "unpassed": kill.unpassed, "in_force": kill.in_force, "applied": kill.applied,
                "healed_by": kill.healed_by, "took_ms": took.as_millis(), "fair_ms": fair.as_millis(),
            }),
        );
    }

    /// Points of `all` at which nobody has died.
    pub(crate) fn unpassed(&self, all: &[String]) -> Vec<String> {
        all.iter().filter(|point| !self.points.contains_key(*point)).cloned().collect()
    }
}

#[expect(clippy::print_stdout, reason = "read by ci/bench: agents write to the other stream")]
fn print(word: &str, value: &serde_json::Value) {
    println!("\n{word} {value}");
}
