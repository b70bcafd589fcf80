//! The clock that a PostgreSQL reads, seen from outside: its `clock_timestamp()` against the harness's own clock. What is
//! not known of it is half of the time that the question took.

use std::time::Duration;

use firedrill_core::action::{Effect, Presence};
use firedrill_core::cluster::NodeName;
use firedrill_core::harm::ClockChange;
use firedrill_core::platform::{Dialer, Vantage};
use firedrill_core::time::{Clock, Wall};

use super::session::Session;

const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
/// The quickest of so many answers is taken.
const QUESTIONS: u32 = 20;
/// From one reading to the next where a rate is to be seen.
const APART: Duration = Duration::from_secs(2);
/// The rest of an offset that is nobody's: both clocks are true (nanoseconds).
const TRUE_WITHIN: i64 = 1_000_000;

/// How far ahead of ours a clock is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Reading {
    /// In nanoseconds.
    offset: i64,
    /// How far off `offset` may be.
    error: i64,
    /// When, by our clock, in nanoseconds since the epoch.
    at: i64,
}

impl Reading {
    fn is(self, offset: i64) -> bool {
        self.offset.abs_diff(offset) <= (self.error + TRUE_WITHIN).unsigned_abs()
    }
}

/// Looks whether PostgreSQL on `node` reads a clock that is wrong in this way.
pub(super) async fn witness(dial: &dyn Dialer, node: &NodeName, change: ClockChange) -> Effect {
    let looked = async {
        let mut session = Session::open(dial, Vantage::Control, node, "firedrill clock").await?;
        match change {
            ClockChange::Offset { nanos } => Ok(judge_offset(nanos, best(&mut session).await?)),
            ClockChange::Slew { .. } | ClockChange::Drift { .. } => {
                let before = best(&mut session).await?;
                Clock::start().sleep(APART).await;
                Ok(judge_growth(change, before, best(&mut session).await?))
            }
            ClockChange::Strobe { nanos, every } => strobe(&mut session, nanos, every).await,
        }
    };
    let (presence, words) = looked.await.unwrap_or_else(|reason: String| (Presence::Unknown, reason));
    Effect { presence, evidence: format!("clock of postgres on {node}: {words}") }
}

async fn read(session: &mut Session) -> Result<Reading, String> {
    let before = nanos(Wall::now());
    let row = session.row(NOW).await.map_err(|failure| failure.reason())?;
    let after = nanos(Wall::now());
    let micros: i64 =
        row.get(0).and_then(|text| text.parse().ok()).ok_or_else(|| "its answer is no time".to_owned())?;
    let at = before.midpoint(after);
    let error = (after - before) / 2 + 1000;
    Ok(Reading { offset: micros.saturating_mul(1000).saturating_sub(at), error, at })
}

fn nanos(wall: Wall) -> i64 {
    i64::try_from(wall.unix_nanos).unwrap_or(i64::MAX)
}

async fn best(session: &mut Session) -> Result<Reading, String> {
    let mut best = read(session).await?;
    for _ in 1..QUESTIONS {
        let next = read(session).await?;
        if next.error < best.error {
            best = next;
        }
    }
    Ok(best)
}

fn judge_offset(nanos: i64, reading: Reading) -> (Presence, String) {
    let presence = match (reading.is(nanos), reading.is(0)) {
        (true, true) => Presence::Unknown,
        (true, false) => Presence::Full,
        (false, true) => Presence::Absent,
        (false, false) => Presence::Partial,
    };
    (presence, words(reading))
}

/// A clock on its way moves as it should between two readings; one that has arrived stays.
fn judge_growth(change: ClockChange, before: Reading, after: Reading) -> (Presence, String) {
    let (elapsed, grown) = (after.at - before.at, after.offset - before.offset);
    let error = before.error + after.error;
    let elapsed = Duration::from_nanos(u64::try_from(elapsed).unwrap_or(0));
    let (arrived, rate) = match change {
        ClockChange::Slew { nanos, over } => {
            let step = i128::from(nanos) * i128::try_from(elapsed.as_nanos()).unwrap_or(0)
                / i128::try_from(over.as_nanos()).unwrap_or(1).max(1);
            (after.is(nanos), i64::try_from(step).unwrap_or(i64::MAX))
        }
        ClockChange::Offset { .. } | ClockChange::Strobe { .. } | ClockChange::Drift { .. } => {
            (false, change.offset_after(elapsed))
        }
    };
    let near = |want: i64, slack: i64| grown.abs_diff(want) <= (error + slack).unsigned_abs();
    // It may arrive, or set out, between the two readings.
    let on_its_way = grown.signum() == rate.signum() && grown.abs() <= rate.abs() + rate.abs() / 4 + error;
    let presence = if before.is(0) && after.is(0) && near(0, 0) {
        Presence::Absent
    } else if arrived || (near(rate, rate.abs() / 4) && grown.abs() > error) {
        Presence::Full
    } else if on_its_way {
        Presence::Partial
    } else if after.is(0) {
        Presence::Absent
    } else {
        Presence::Partial
    };
    let moved = signed(grown);
    (presence, format!("{}, moved by {moved} in {}", words(after), firedrill_core::units::human(elapsed)))
}

/// Reads for more than two turns: both must be seen, and nothing else for long.
async fn strobe(session: &mut Session, nanos: i64, every: Duration) -> Result<(Presence, String), String> {
    let clock = Clock::start();
    let length = (every * 5 / 2).max(Duration::from_millis(200));
    let (mut away, mut back, mut other) = (0_u32, 0_u32, 0_u32);
    while clock.now().as_nanos() < u64::try_from(length.as_nanos()).unwrap_or(u64::MAX) {
        let reading = read(session).await?;
        match (reading.is(nanos), reading.is(0)) {
            (true, false) => away += 1,
            (false, true) => back += 1,
            (true, true) | (false, false) => other += 1,
        }
        clock.sleep(every / 10).await;
    }
    let presence = match (away, back) {
        (0, 0) => Presence::Unknown,
        (0, _) => Presence::Absent,
        (_, 0) => Presence::Partial,
        (_, _) => Presence::Full,
    };
    Ok((presence, format!("{away} readings away, {back} true, {other} neither")))
}

fn words(reading: Reading) -> String {
    let error = firedrill_core::units::human(Duration::from_nanos(reading.error.unsigned_abs()));
    format!("off by {} ± {error}", signed(reading.offset))
}

/// In seconds, to the microsecond.
fn signed(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "+" };
    let micros = nanos.unsigned_abs() / 1000;
    format!("{sign}{}.{:06}s", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    const fn reading(offset: i64, at: i64) -> Reading {
        Reading { offset, error: 100_000, at }
    }

    #[test]
    fn an_offset_is_judged_by_how_far_off_the_clock_is() {
        for (offset, want) in
            [(10 * SECOND + 300_000, Presence::Full), (9 * SECOND, Presence::Partial), (-400_000, Presence::Absent)]
        {
            assert_eq!(judge_offset(10 * SECOND, reading(offset, 0)).0, want, "{offset}");
        }
        let slow = Reading { error: 20 * SECOND, ..reading(0, 0) };
        assert_eq!(judge_offset(10 * SECOND, slow).0, Presence::Unknown);
    }

    #[test]
    fn a_rate_is_judged_by_how_far_the_clock_moves() {
        let drift = ClockChange::Drift { parts_per_million: 500 };
        let slew = ClockChange::Slew { nanos: -2 * SECOND, over: Duration::from_secs(10) };
        for (change, before, after, want) in [
            (drift, 0, 1_000_000, Presence::Full),
            (drift, 50_000_000, 51_000_000, Presence::Full),
            (drift, 50_000_000, 50_000_000, Presence::Partial),
            (drift, 0, 0, Presence::Absent),
            (drift, 50_000_000, 0, Presence::Absent),
            (slew, 0, -400_000_000, Presence::Full),
            (slew, -2 * SECOND, -2 * SECOND, Presence::Full),
            (slew, -SECOND, -SECOND, Presence::Partial),
            (slew, -2 * SECOND, 0, Presence::Absent),
            (slew, 0, 0, Presence::Absent),
        ] {
            let judged = judge_growth(change, reading(before, 0), reading(after, 2 * SECOND));
            assert_eq!(judged.0, want, "{change} from {before} to {after}: {}", judged.1);
        }
    }
}
