//! What a node is told of a name, found as its servers find it: by the C library, in its own namespaces.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

use firedrill_core::action::{Effect, Presence};
use firedrill_core::cluster::NodeName;
use firedrill_core::harm::NameAnswer;
use firedrill_core::units::human;
use firedrill_sys::resolve::Resolved;

use crate::lookup::{self, Found, Setting};
use crate::protocol::Refusal;
use crate::world::World;

/// When the C library gives a name server up, by the lab's `resolv.conf` (`timeout:1 attempts:1`).
const GIVES_UP: Duration = Duration::from_secs(1);
/// Its timer counts whole milliseconds, and may ring as much early.
const TICKS: Duration = Duration::from_millis(10);

/// What is to be found for one name.
#[derive(Clone, Copy, Debug)]
struct Expected {
    answer: NameAnswer,
    truth: Ipv4Addr,
    /// What [`NameAnswer::OtherNode`] comes to.
    other: Ipv4Addr,
}

/// Asks for every name on every asker, all at once.
pub(super) fn look(
    world: &World,
    askers: &[NodeName],
    names: &[NodeName],
    answer: NameAnswer,
) -> Result<Effect, Refusal> {
    let mut settings = Vec::new();
    for asker in askers {
        let node = world.node(asker)?;
        let names = names.iter().map(|name| name.as_str().to_owned()).collect();
        settings.push(Setting { netns: node.site.netns.clone(), mounts: node.ground.mounts.clone(), names });
    }
    let found: Vec<Vec<Found>> = thread::scope(|scope| {
        let asking: Vec<_> = settings.iter().map(|setting| scope.spawn(|| ask(setting))).collect();
        let panicked = || vec![Err("the thread that asked has panicked".to_owned())];
        asking.into_iter().map(|asked| asked.join().unwrap_or_else(|_| panicked())).collect()
    });
    let mut all = Vec::new();
    let mut evidence = Vec::new();
    for (asker, found) in askers.iter().zip(&found) {
        for (name, found) in names.iter().zip(found) {
            all.push(judge(expected(world, name, answer)?, found));
            evidence.push(format!("{asker} asks for {name}: {}", words(found)));
        }
    }
    Ok(Effect { presence: together(&all, askers.len() * names.len()), evidence: evidence.join("; ") })
}

fn ask(setting: &Setting) -> Vec<Found> {
    lookup::ask(setting).unwrap_or_else(|error| setting.names.iter().map(|_| Err(error.to_string())).collect())
}

fn expected(world: &World, name: &NodeName, answer: NameAnswer) -> Result<Expected, Refusal> {
    let truth = world.node(name)?.site.address;
    let nodes = &world.config.nodes;
    let after = nodes.iter().position(|node| node.name == *name).map_or(0, |place| place + 1);
    let other = nodes.get(after).or_else(|| nodes.first()).map_or(truth, |node| node.site.address);
    Ok(Expected { answer, truth, other })
}

/// Whether what was found is what was to be; `None` when it cannot be told.
fn judge(expected: Expected, found: &Found) -> Option<bool> {
    let Ok((resolved, nanos)) = found else { return None };
    let took = Duration::from_nanos(*nanos);
    let is = |address: Ipv4Addr| *resolved == Resolved::Addresses(vec![IpAddr::V4(address)]);
    let truth = is(expected.truth);
    // Nobody has answered at all: what else is the matter is not known.
    let silence = *resolved == Resolved::Failed && took.saturating_add(TICKS) >= GIVES_UP;
    let there = match expected.answer {
        NameAnswer::Wrong { address } => is(address),
        NameAnswer::OtherNode => is(expected.other),
        NameAnswer::Failure => *resolved == Resolved::Failed && !silence,
        NameAnswer::NoSuchName => *resolved == Resolved::NoSuchName,
        NameAnswer::Delay { delay } => {
            let late = took.saturating_add(TICKS) >= delay.min(GIVES_UP);
            late && (truth || (silence && delay >= GIVES_UP))
        }
    };
    match (there, truth) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    }
}

fn together(all: &[Option<bool>], asked: usize) -> Presence {
    if all.len() < asked || all.contains(&None) {
        return Presence::Unknown;
    }
    match (all.contains(&Some(true)), all.contains(&Some(false))) {
        (true, false) => Presence::Full,
        (true, true) => Presence::Partial,
        (false, _) => Presence::Absent,
    }
}

fn words(found: &Found) -> String {
    let (resolved, nanos) = match found {
        Ok(found) => found,
        Err(error) => return format!("could not ask: {error}"),
    };
    let told = match resolved {
        Resolved::Addresses(addresses) => addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Resolved::NoSuchName => "no such name".to_owned(),
        Resolved::Failed => "a temporary failure".to_owned(),
        Resolved::Other(words) => words.clone(),
    };
    format!("{told} after {}", human(Duration::from_micros(nanos / 1000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_is_told_is_what_it_was_to_be_told() {
        let [truth, other, nobody] = [1, 2, 250].map(|last| Ipv4Addr::new(10, 77, 0, last));
        let told = |address: Ipv4Addr| Resolved::Addresses(vec![IpAddr::V4(address)]);
        let late = |millis| NameAnswer::Delay { delay: Duration::from_millis(millis) };
        let (wrong, failure, unknown) =
            (NameAnswer::Wrong { address: nobody }, NameAnswer::Failure, NameAnswer::NoSuchName);
        for (answer, resolved, millis, want) in [
            (wrong, told(nobody), 1, Some(true)),
            (wrong, told(truth), 1, Some(false)),
            (wrong, told(other), 1, None),
            (wrong, Resolved::Failed, 1, None),
            (NameAnswer::OtherNode, told(other), 1, Some(true)),
            (NameAnswer::OtherNode, told(nobody), 1, None),
            (failure, Resolved::Failed, 1, Some(true)),
            (failure, Resolved::Failed, 1001, None),
            (failure, Resolved::NoSuchName, 1, None),
            (failure, told(truth), 1, Some(false)),
            (unknown, Resolved::NoSuchName, 1, Some(true)),
            (unknown, Resolved::Failed, 1, None),
            (late(300), told(truth), 301, Some(true)),
            (late(300), told(truth), 30, Some(false)),
            (late(300), Resolved::Failed, 1001, None),
            (late(3000), Resolved::Failed, 1001, Some(true)),
            (late(3000), Resolved::Failed, 1, None),
            (late(3000), told(truth), 1, Some(false)),
        ] {
            let found = Ok((resolved, millis * 1_000_000));
            assert_eq!(judge(Expected { answer, truth, other }, &found), want, "{answer}: {}", words(&found));
        }
        assert_eq!(judge(Expected { answer: wrong, truth, other }, &Err("no".to_owned())), None);
    }

    #[test]
    fn all_must_be_told() {
        let (yes, no) = (Some(true), Some(false));
        for (all, want) in [
            ([yes, yes], Presence::Full),
            ([yes, no], Presence::Partial),
            ([no, no], Presence::Absent),
            ([yes, None], Presence::Unknown),
        ] {
            assert_eq!(together(&all, 2), want);
        }
        assert_eq!(together(&[yes], 2), Presence::Unknown);
    }
}
