//! Places in the file, down to a word inside quotes.

use std::ops::Range;
use std::time::Duration;

use firedrill_core::spec::{Fields, Placed};

use crate::Context;

impl Context<'_> {
    /// The place of `part` (bytes of the value) inside the quotes; the whole value when it was written with escapes.
    pub(crate) fn inside(&self, value: &Placed<String>, part: Range<usize>) -> Range<usize> {
        let start = value.span.start + 1;
        match self.text.get(start..value.span.end.saturating_sub(1)) {
            Some(raw) if raw == value.value => start + part.start..start + part.end,
            Some(_) | None => value.span.clone(),
        }
    }

    /// A duration longer than nothing and no longer than a day. A wrong one is noted and reads as absent.
    pub(crate) fn span_of_time(&self, fields: &mut Fields<'_, '_>, key: &str) -> Option<Placed<Duration>> {
        let placed = fields.placed::<Duration>(key)?;
        if placed.value.is_zero() {
            self.note(placed.span, format!("`{key}` is no time at all"), "write more than \"0s\"");
            return None;
        }
        self.within_a_day(key, placed)
    }

    /// A duration no longer than a day.
    pub(crate) fn within_a_day(&self, key: &str, placed: Placed<Duration>) -> Option<Placed<Duration>> {
        const DAY: Duration = Duration::from_secs(86_400);
        if placed.value > DAY {
            self.note(placed.span, format!("`{key}` is longer than a day"), "a run takes at most 24h");
            return None;
        }
        Some(placed)
    }
}
