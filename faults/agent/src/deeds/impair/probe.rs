//! Whether an impairment bites: datagrams along its links, or connections over them, made by sockets of our own at both
//! ends. The wire is never asked.

mod tcp;
mod udp;

use std::time::Duration;

use firedrill_core::action::{Effect, Link, Presence};
use firedrill_core::harm::{Chance, Impairment};
use firedrill_core::units::{Bytes, human};

use self::udp::{Found, Trial};
use crate::ends::Ends;

/// So many hits are expected where chance rules: fewer than a third of them come less than once in 100,000 probes.
const EXPECTED: u64 = 40;
/// Datagrams for one link at most. Of the least chance that a scenario can ask for 14 hits are expected then: fewer than an
/// eighth of them come as rarely.
const MOST: u64 = 14_000;
/// At least so many, so that a certain event is not a matter of one datagram.
const LEAST: u64 = 20;

/// How often it is tried to send faster than a limit.
const TRIES: u32 = 3;
/// Up to this rate, in bytes a second, full packets come two milliseconds or more apart.
const ONE_BY_ONE: u64 = 700_000;

/// What one link shows.
struct Sight {
    presence: Presence,
    words: String,
}

/// Looks at all links at once.
pub(in crate::deeds) fn look(ends: &Ends, links: &[Link], port: Option<u16>, how: &Impairment) -> Effect {
    let sights = match how {
        Impairment::Reset | Impairment::Refuse | Impairment::HalfOpen => tcp::look(ends, links, port, how),
        Impairment::Loss { .. }
        | Impairment::Delay { .. }
        | Impairment::Duplicate { .. }
        | Impairment::Corrupt { .. }
        | Impairment::Reorder { .. }
        | Impairment::Bandwidth { .. } => {
            send(ends, links, port, how).map(|found| found.iter().map(|found| judge(how, found)).collect())
        }
    };
    match sights {
        Ok(sights) => sum_up(links, port, &sights),
        Err(evidence) => Effect { presence: Presence::Unknown, evidence },
    }
}

/// Sends along all links, again when that was too slow to show anything: a busy machine may hold up whoever sends.
fn send(ends: &Ends, links: &[Link], port: Option<u16>, how: &Impairment) -> Result<Vec<Found>, String> {
    let trial = trial(how);
    let mut found = udp::send(ends, links, port, &trial)?;
    if let Impairment::Bandwidth { bytes_per_second } = *how {
        let slow = |one: &Found| one.offered.is_some_and(|offered| offered.whole < bytes_per_second / 2 * 3);
        for _again in 1..TRIES {
            if !found.iter().any(slow) {
                break;
            }
            found = udp::send(ends, links, port, &trial)?;
        }
    }
    Ok(found)
}

/// Several sights of a link come one after the other.
fn sum_up(links: &[Link], port: Option<u16>, sights: &[Sight]) -> Effect {
    let each = (sights.len() / links.len().max(1)).max(1);
    let on = |place: usize| match port {
        Some(port) if each == 2 && place % 2 == 1 => format!(" (from port {port})"),
        Some(port) => format!(" (to port {port})"),
        None => String::new(),
    };
    let words = sights.iter().enumerate().map(|(i, sight)| format!("{}{}: {}", links[i / each], on(i), sight.words));
    let words: Vec<String> = words.collect();
    let all = |presence: Presence| sights.iter().all(|sight| sight.presence == presence);
    let presence = if sights.iter().any(|sight| sight.presence == Presence::Unknown) {
        Presence::Unknown
    } else if all(Presence::Full) {
        Presence::Full
    } else if all(Presence::Absent) {
        Presence::Absent
    } else {
        Presence::Partial
    };
    Effect { presence, evidence: words.join("; ") }
}

/// How many datagrams, how fast, how large.
fn trial(how: &Impairment) -> Trial {
    let by_chance = |chance: Chance, patience| Trial {
        count: (EXPECTED * 1_000_000 / u64::from(chance.parts().max(1))).clamp(LEAST, MOST),
        spacing: Duration::ZERO,
        size: 64,
        patience,
    };
    let short = Duration::from_millis(300);
    match *how {
        Impairment::Reorder { chance, by } => by_chance(chance, by + short),
        Impairment::Delay { delay, jitter } => Trial {
            count: 30,
            spacing: (jitter / 3).clamp(Duration::from_millis(2), Duration::from_millis(40)),
            size: 64,
            patience: delay + jitter + short,
        },
        Impairment::Bandwidth { bytes_per_second } => {
            let size = (bytes_per_second / 50).clamp(100, 1400);
            let count = (bytes_per_second / 3 / (size + 28)).clamp(12, MOST);
            Trial { count, spacing: Duration::ZERO, size, patience: Duration::from_millis(1500) }
        }
        Impairment::Loss { chance } | Impairment::Duplicate { chance } | Impairment::Corrupt { chance } => {
            by_chance(chance, short)
        }
        Impairment::Reset | Impairment::Refuse | Impairment::HalfOpen => by_chance(Chance::CERTAIN, short),
    }
}

fn judge(how: &Impairment, found: &Found) -> Sight {
    match *how {
        Impairment::Loss { chance } => of_chance(found, found.sent - found.arrived, chance, "lost"),
        Impairment::Duplicate { chance } => of_chance(found, found.copies, chance, "arrived twice"),
        Impairment::Corrupt { chance } => of_chance(found, found.corrupt, chance, "arrived corrupt"),
        Impairment::Reorder { chance, .. } => of_chance(found, found.overtaken, chance, "were overtaken"),
        Impairment::Delay { delay, jitter } => delayed(found, delay, jitter),
        Impairment::Bandwidth { bytes_per_second } => limited(found, bytes_per_second),
        Impairment::Reset | Impairment::Refuse | Impairment::HalfOpen => {
            Sight { presence: Presence::Unknown, words: "not a matter of datagrams".to_owned() }
        }
    }
}

/// Present when about as many are hit as asked, absent when hardly any is.
fn of_chance(found: &Found, hit: u64, chance: Chance, words: &str) -> Sight {
    let asked = found.sent * u64::from(chance.parts());
    let hit_parts = hit * 1_000_000;
    let fewest = match chance {
        Chance::CERTAIN => 1,
        _ if asked >= EXPECTED * 900_000 => 3,
        _ => 8,
    };
    let presence = if found.sent == 0 || (found.arrived == 0 && words != "lost") {
        Presence::Unknown
    } else if hit_parts * 20 < asked {
        Presence::Absent
    } else if hit_parts * fewest >= asked && hit_parts <= asked * 3 + EXPECTED * 1_000_000 {
        Presence::Full
    } else {
        Presence::Partial
    };
    Sight { presence, words: format!("{hit} of {} packets {words}", found.sent) }
}

/// Present when no packet came too early, and with jitter when they came at different times; absent when half of them
/// came in less than half the time.
fn delayed(found: &Found, delay: Duration, jitter: Duration) -> Sight {
    let (Some(first), Some(last)) = (found.delays.first(), found.delays.last()) else {
        return Sight { presence: Presence::Unknown, words: format!("none of {} packets arrived", found.sent) };
    };
    let middle = found.delays[found.delays.len() / 2];
    let shortest = delay.saturating_sub(jitter);
    let slack = Duration::from_millis(1).min(shortest / 4);
    let spread = last.saturating_sub(*first);
    let presence = if middle < delay / 2 {
        Presence::Absent
    } else if *first + slack >= shortest && spread >= jitter / 4 {
        Presence::Full
    } else {
        Presence::Partial
    };
    let [first, middle, last] = [*first, middle, *last].map(millis);
    Sight { presence, words: format!("{} packets took {first} to {last}, median {middle}", found.arrived) }
}

/// Present when what arrives comes no faster than a little above the limit, and slower than it was sent: a busy machine may
/// send no more than the limit by itself.
fn limited(found: &Found, bytes_per_second: u64) -> Sight {
    let (Some(rate), Some(offered)) = (found.rate, found.offered) else {
        return Sight {
            presence: Presence::Unknown,
            words: format!("{} of {} packets arrived", found.arrived, found.sent),
        };
    };
    let within = |rate: u64, tenths: u64| rate.saturating_mul(10) <= bytes_per_second.saturating_mul(tenths);
    // Where packets come milliseconds apart each must wait its turn; where they come faster the wire sends several at once.
    let one_by_one = bytes_per_second > ONE_BY_ONE || within(rate.usual, 25);
    let held_back = rate.whole.saturating_mul(5) <= offered.whole.saturating_mul(4);
    let presence = if within(rate.whole, 13) && one_by_one && held_back { Presence::Full } else { Presence::Absent };
    Sight { presence, words: format!("{}/s sent, {}/s arrived", Bytes(offered.whole), Bytes(rate.whole)) }
}

fn millis(span: Duration) -> String {
    if span < Duration::from_millis(100) {
        format!("{}.{:02}ms", span.as_millis(), span.as_micros() % 1000 / 10)
    } else {
        human(span)
    }
}

#[cfg(test)]
mod tests {
    use super::udp::Rate;
    use super::*;

    fn found(sent: u64, hit: u64) -> Found {
        let delays = Vec::new();
        Found { sent, arrived: sent, copies: hit, corrupt: 0, overtaken: 0, delays, offered: None, rate: None }
    }

    #[test]
    fn chance_is_judged_by_what_was_asked() {
        for (parts, sent, hit, want) in [
            (100_000, 400, 0, Presence::Absent),
            (100_000, 400, 1, Presence::Absent),
            (100_000, 400, 6, Presence::Partial),
            (100_000, 400, 14, Presence::Full),
            (100_000, 400, 70, Presence::Full),
            (100_000, 400, 300, Presence::Partial),
            (1000, 14_000, 2, Presence::Full),
            (1000, 14_000, 0, Presence::Absent),
            (1_000_000, 40, 40, Presence::Full),
            (1_000_000, 40, 39, Presence::Partial),
            (1000, 0, 0, Presence::Unknown),
        ] {
            let how = Impairment::Duplicate { chance: Chance::per_million(parts) };
            assert_eq!(judge(&how, &found(sent, hit)).presence, want, "{parts}: {hit} of {sent}");
        }
    }

    #[test]
    fn delays_are_judged_by_the_earliest_and_the_middle() {
        let asked =
            |jitter| Impairment::Delay { delay: Duration::from_millis(20), jitter: Duration::from_millis(jitter) };
        for (jitter, delays, want) in [
            (0, [20, 20, 21], Presence::Full),
            (0, [19, 20, 21], Presence::Full),
            (0, [10, 20, 21], Presence::Partial),
            (0, [0, 0, 21], Presence::Absent),
            (20, [1, 25, 39], Presence::Full),
            (20, [20, 20, 21], Presence::Partial),
        ] {
            let found = Found { delays: delays.map(Duration::from_millis).to_vec(), ..found(3, 0) };
            assert_eq!(judge(&asked(jitter), &found).presence, want, "± {jitter}: {delays:?}");
        }
        assert_eq!(judge(&asked(0), &found(3, 0)).presence, Presence::Unknown);
    }

    #[test]
    fn a_limit_is_judged_without_the_pauses_of_the_sender() {
        let asked = Impairment::Bandwidth { bytes_per_second: 100_000 };
        for (whole, usual, want) in [
            (95_000, 100_000, Presence::Full),
            (129_000, 140_000, Presence::Full),
            (140_000, 140_000, Presence::Absent),
            (95_000, 9_000_000, Presence::Absent),
        ] {
            let offered = Some(Rate { whole: 1_000_000, usual: 1_000_000 });
            let found = Found { rate: Some(Rate { whole, usual }), offered, ..found(40, 0) };
            assert_eq!(judge(&asked, &found).presence, want, "{whole} {usual}");
        }
        // A sender that is as slow as the limit shows nothing.
        let slow = Some(Rate { whole: 95_000, usual: 100_000 });
        let found = Found { rate: slow, offered: slow, ..found(40, 0) };
        assert_eq!(judge(&asked, &found).presence, Presence::Absent);
    }
}
