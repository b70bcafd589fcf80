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

/// So many events are expected where chance rules: none at all has then a probability below one in a million.
const EXPECTED: u64 = 14;
/// Datagrams for one link at most; the least chance that a scenario can ask for needs so many.
const MOST: u64 = 14_000;
/// At least so many, so that a certain event is not a matter of one datagram.
const LEAST: u64 = 20;

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
            let trial = trial(how);
            udp::send(ends, links, port, &trial).map(|found| found.iter().map(|found| judge(how, found)).collect())
        }
    };
    match sights {
        Ok(sights) => sum_up(links, port, &sights),
        Err(evidence) => Effect { presence: Presence::Unknown, evidence },
    }
}

/// Several sights of a link come one after the other.
fn sum_up(links: &[Link], port: Option<u16>, sights: &[Sight]) -> Effect {
    let each = (sights.len() / links.len().max(1)).max(1);
    let on = port.map(|port| format!(" (port {port})")).unwrap_or_default();
    let words: Vec<String> =
        sights.iter().enumerate().map(|(i, sight)| format!("{}{on}: {}", links[i / each], sight.words)).collect();
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
    let presence = if found.sent == 0 || (found.arrived == 0 && words != "lost") {
        Presence::Unknown
    } else if hit_parts * 20 < asked {
        Presence::Absent
    } else if hit_parts * 3 >= asked && hit_parts <= asked * 3 + EXPECTED * 1_000_000 {
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
