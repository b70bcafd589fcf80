//! `clock.drift`: the wall clock goes too fast or too slow, so that it is off by more and more until the heal.
//!
//! A bad oscillator, or a machine without a time server. `rate` is how much faster (`+`) or slower (`-`) it goes.

use firedrill_core::action::Deed;
use firedrill_core::fault::{Fault, FaultEntry, HoldRule};
use firedrill_core::harm::ClockChange;
use firedrill_core::spec::{Fields, FromValue};
use toml::de::DeValue;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "clock.drift",
    summary: "the wall clock of a node's servers goes too fast or too slow",
    example: r#"
[[fault]]
kind    = "clock.drift"
on      = "primary"
process = "postgres"   # default: all whose clock can be changed
rate    = "-2%"        # or "+500ppm"
at      = "10s"
for     = "20s"
"#,
    deeds: &[Deed::ShiftClock],
    hold: HoldRule::Required,
    parse,
};

/// Parts per million that a drift can have: less cannot be seen within a probe, more is no drift.
const RATES: std::ops::RangeInclusive<u64> = 200..=500_000;

struct Drift(i64);

impl FromValue for Drift {
    const EXPECTS: &'static str = "a rate with its sign, as \"+500ppm\" or \"-2%\"";

    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        let text = value.as_str().ok_or_else(String::new)?.trim();
        let negative = text.starts_with('-');
        let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
        let number = |text: &str, unit: u64| {
            let (whole, part) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
            let digits = unit.ilog10();
            let fits = u32::try_from(part.len()).is_ok_and(|length| length <= digits);
            let width = usize::try_from(digits).unwrap_or(0);
            fits.then(|| format!("{whole}{part:0<width$}").parse::<u64>().ok()).flatten()
        };
        let parts = match (rest.strip_suffix("ppm"), rest.strip_suffix('%')) {
            (Some(parts), _) => number(parts, 1),
            (None, Some(percent)) => number(percent, 10_000),
            (None, None) => None,
        };
        let parts = parts.ok_or_else(String::new)?;
        if !RATES.contains(&parts) {
            return Err(format!("`{text}` is not between 200ppm and 50%"));
        }
        let parts = i64::try_from(parts).map_err(|error| error.to_string())?;
        Ok(Self(if negative { -parts } else { parts }))
    }
}

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let rate = fields.required::<Drift>("rate");
    let change = rate.map(|rate| ClockChange::Drift { parts_per_million: rate.0 });
    super::wrong(fields, change, Some((super::MOVES_FOR, "it takes two seconds to be seen")))
}
