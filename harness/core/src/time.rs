//! Time as a run sees it: nanoseconds since the run began, on a clock that never jumps.
//!
//! The clock is tokio's, so that a simulated run, whose runtime is paused, lives on virtual time.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment of a run: nanoseconds since its start on the harness's monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunTime(u64);

impl RunTime {
    /// The start of the run.
    pub const ZERO: Self = Self(0);

    /// From nanoseconds since the start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// From milliseconds since the start.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the start.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Time since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This moment plus `span`, saturating.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// This moment minus `span`, not before the start.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for RunTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0 / 1_000_000_000, self.0 / 1_000_000 % 1000)
    }
}

/// The clock of one run. Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: tokio::time::Instant,
}

impl Clock {
    /// Starts a clock: now is [`RunTime::ZERO`].
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    pub fn start() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }

    /// The current moment of the run.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    pub fn now(&self) -> RunTime {
        let nanos = tokio::time::Instant::now().saturating_duration_since(self.origin).as_nanos();
        RunTime(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Waits until `moment`; returns at once if it has passed.
    pub async fn sleep_until(&self, moment: RunTime) {
        tokio::time::sleep_until(self.instant(moment)).await;
    }

    /// Waits for `span`.
    pub async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    /// The tokio instant of `moment`, for `tokio::time::timeout_at`.
    pub fn instant(&self, moment: RunTime) -> tokio::time::Instant {
        self.origin + Duration::from_nanos(moment.as_nanos())
    }
}

/// Wall-clock time, for people and for lining up with servers' logs; never used to measure.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wall {
    /// Nanoseconds since the Unix epoch.
    pub unix_nanos: u64,
}

impl Wall {
    /// The system's wall clock.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { unix_nanos: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// `2026-11-21T01:02:03.456Z` (RFC 3339, UTC, millisecond). Civil-from-days after Howard Hinnant's
    /// "chrono-Compatible Low-Level Date Algorithms".
    pub fn rfc3339(self) -> String {
        let seconds = self.unix_nanos / 1_000_000_000;
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        let z = days + 719_468;
        let era = z / 146_097;
        let doe = z - era * 146_097;
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = doy - (153 * mp + 2) / 5 + 1;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + u64::from(month <= 2);
        let (h, m, s, ms) = (rest / 3600, rest / 60 % 60, rest % 60, self.unix_nanos / 1_000_000 % 1000);
        format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_renders_known_dates() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_795_222_923, "2026-11-21T01:02:03.000Z"),
        ] {
            assert_eq!(Wall { unix_nanos: seconds * 1_000_000_000 }.rfc3339(), want);
        }
    }
}
