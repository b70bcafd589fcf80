//! `CLOCK_BOOTTIME`, on which deadlines run because it goes on while the machine is suspended, and bounded waiting.

use std::time::Duration;

use nix::poll::{PollTimeout, poll};
use nix::sys::time::TimeValLike as _;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

/// Nanoseconds of `CLOCK_BOOTTIME`. The clock always exists (Linux ≥ 2.6.39), so failure is not an outcome.
pub fn boottime_nanos() -> u64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map_or(0, |now| u64::try_from(Duration::from(now).as_nanos()).unwrap_or(u64::MAX))
}

/// What all threads of this process spent on a processor, those that ended too. The clock always exists.
pub fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// `CLOCK_BOOTTIME` in clock ticks, as `/proc/PID/stat` gives the start of a process (field 22, rounded down).
pub fn boottime_ticks() -> u64 {
    boottime_nanos() / (1_000_000_000 / ticks())
}

/// Clock ticks in a second.
pub fn ticks() -> u64 {
    let per_second =
        sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u64::try_from(ticks).ok()).unwrap_or(100);
    per_second.clamp(1, 1_000_000_000)
}

/// How far the machine's wall clock is ahead of `CLOCK_BOOTTIME`, which nobody can set, in nanoseconds.
pub fn wall_offset_nanos() -> i128 {
    let nanos = |clock: ClockId| clock_gettime(clock).map_or(0, |now| i128::from(now.num_nanoseconds()));
    nanos(ClockId::CLOCK_REALTIME) - nanos(ClockId::CLOCK_BOOTTIME)
}

/// Looks every `interval` (whole milliseconds) until `look` returns something, for at most `limit`; `None` after that.
pub fn until<T>(limit: Duration, interval: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = boottime_nanos().saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if boottime_nanos() >= deadline {
            return None;
        }
        // Polling nothing is a wait; a signal that cuts it short only means an earlier look.
        let _cut_short = poll(&mut [], PollTimeout::try_from(interval).unwrap_or(PollTimeout::from(100_u8))).is_err();
    }
}
