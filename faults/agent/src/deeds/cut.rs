//! Cutting links: a table of our own in the switch drops what comes in by one interface and would leave by another.

use firedrill_core::action::{Action, Effect, Link, Presence, ProcessRef, Undo};
use firedrill_core::harm::{Chance, Impairment};
use firedrill_sys::clock;
use firedrill_sys::nft::{self, DropTable, Keeper, Only, Pair};
use firedrill_sys::packet::{self, DATAGRAMS, Direction};

use super::{Grip, Scene, Work, impair, not_mine};
use crate::ends::Ends;
use crate::protocol::{Refusal, RefusalKind};
use crate::world::{World, is_tag};

/// What a cut is as an impairment.
const EVERYTHING: Impairment = Impairment::Loss { chance: Chance::CERTAIN };

/// The interfaces of the links. At least one link, between different ends that are there.
pub fn pairs(world: &World, links: &[Link], port: Option<u16>) -> Result<Vec<Pair>, Refusal> {
    if links.is_empty() {
        return Err(Refusal::new(RefusalKind::NoTarget, "no links"));
    }
    let pair = |link: &Link| {
        if link.from == link.to {
            return Err(Refusal::new(RefusalKind::NoTarget, format!("{link} does not pass the switch")));
        }
        let (input, output) = (world.site(&link.from)?.link.clone(), world.site(&link.to)?.link.clone());
        Ok(Pair { input, output, only: Only { port, ..Only::default() } })
    };
    links.iter().map(pair).collect()
}

/// What cuts are made with, in words.
pub const fn mechanism(keeper: Keeper) -> &'static str {
    match keeper {
        Keeper::Socket => "nft table of family bridge, owned by the agent's socket: its death ends the cut",
        Keeper::Nobody => {
            "nft table of family bridge, without an owner (needs Linux 5.12): deleted by the agent's guard"
        }
    }
}

/// The kernel objects of a cut.
pub(super) fn creates(keeper: Keeper, tag: &str) -> Vec<String> {
    vec![match keeper {
        Keeper::Socket => format!("nft bridge {tag}"),
        Keeper::Nobody => format!("nft bridge {tag} (without an owner)"),
    }]
}

/// Makes the table.
pub(super) fn apply(world: &World, tag: &str, (links, port): (&[Link], Option<u16>)) -> Result<DropTable, Refusal> {
    let pairs = pairs(world, links, port)?;
    DropTable::create(tag, &pairs, world.keeper).map_err(|error| Refusal::system(format!("nft table {tag}"), &error))
}

/// Deletes the table; fine if there is none.
pub(super) fn revert(table: Option<DropTable>, tag: &str) -> Result<(), Refusal> {
    let deleted = match table {
        // When deleting fails, the socket closes nevertheless, and an owned table with it: look whether one is left.
        Some(table) => table.delete().or_else(|error| match nft::tables(tag) {
            Ok(left) if !left.iter().any(|name| name == tag) => Ok(()),
            Ok(_) | Err(_) => Err(error),
        }),
        None => nft::delete_table(tag),
    };
    deleted.map_err(|error| Refusal::system(format!("deleting nft table {tag}"), &error))
}

/// Cutting links.
#[derive(Clone, Copy, Debug)]
pub struct Cut;

fn parts(undo: &Undo) -> Result<(&[Link], Option<u16>), Refusal> {
    if let Action::Cut { links, port } = &undo.action { Ok((links, *port)) } else { Err(not_mine(&undo.action)) }
}

impl Work for Cut {
    fn prepare(&self, world: &World, undo: Undo) -> Result<Undo, Refusal> {
        let (links, port) = parts(&undo)?;
        pairs(world, links, port)?;
        let creates = creates(world.keeper, &undo.tag);
        Ok(Undo { creates, ..undo })
    }

    fn apply(&self, scene: &mut Scene<'_>, undo: &Undo) -> Result<(Box<dyn Grip>, u64), Refusal> {
        let table = apply(scene.world, &undo.tag, parts(undo)?)?;
        Ok((Box::new(table), clock::boottime_nanos()))
    }

    fn undo(&self, _world: &World, undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        if !is_tag(&undo.tag) {
            return Err(Refusal::new(RefusalKind::Order, format!("`{}` is not a tag of ours", undo.tag)));
        }
        revert(None, &undo.tag)
    }

    fn probe(&self, ends: &Ends, _world: &World, undo: &Undo) -> Effect {
        match parts(undo) {
            Ok((links, None)) => probe(ends, &undo.tag, links),
            // Nobody can bind a port that a server has.
            Ok((links, Some(port))) => impair::probe::look(ends, links, Some(port), &EVERYTHING),
            Err(refusal) => Effect { presence: Presence::Unknown, evidence: refusal.what },
        }
    }
}

impl Grip for DropTable {
    fn let_go(self: Box<Self>, _world: &World, undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        revert(Some(*self), &undo.tag)
    }
}

/// Sends packets along every link at once and counts what arrives.
fn probe(ends: &Ends, tag: &str, links: &[Link]) -> Effect {
    let directions: Result<Vec<Direction>, String> = links.iter().map(|link| ends.direction(link)).collect();
    match directions {
        Ok(directions) => judge(links, &packet::try_directions(&directions, tag)),
        Err(evidence) => Effect { presence: Presence::Unknown, evidence },
    }
}

/// Cut means that nothing arrives: one packet that passes is a link that is not cut.
fn judge(links: &[Link], results: &[std::io::Result<usize>]) -> Effect {
    let words = |(link, result): (&Link, &std::io::Result<usize>)| match result {
        Ok(count) => format!("{link}: {count} of {DATAGRAMS} packets arrived"),
        Err(error) => format!("{link}: could not send: {error}"),
    };
    let evidence: Vec<String> = links.iter().zip(results).map(words).collect();
    let arrived: Option<Vec<usize>> = results.iter().map(|result| result.as_ref().ok().copied()).collect();
    let presence = match arrived {
        None => Presence::Unknown,
        Some(counts) if counts.iter().all(|count| *count == 0) => Presence::Full,
        Some(counts) if counts.iter().all(|count| *count >= DATAGRAMS) => Presence::Absent,
        Some(_) => Presence::Partial,
    };
    Effect { presence, evidence: evidence.join("; ") }
}

#[cfg(test)]
mod tests {
    use std::io;

    use firedrill_core::action::Endpoint;
    use firedrill_core::cluster::NodeName;

    use super::*;

    #[test]
    fn a_cut_is_judged_by_what_arrives_on_every_link() {
        let link = |from: &str, to: &str| Link {
            from: Endpoint::Node(NodeName::new(from)),
            to: Endpoint::Node(NodeName::new(to)),
        };
        let links = [link("n1", "n2"), link("n2", "n1")];
        for (results, want) in [
            ([Ok(0), Ok(0)], Presence::Full),
            ([Ok(3), Ok(3)], Presence::Absent),
            ([Ok(0), Ok(3)], Presence::Partial),
            ([Ok(2), Ok(3)], Presence::Partial),
            ([Ok(0), Err(io::Error::other("no"))], Presence::Unknown),
        ] {
            assert_eq!(judge(&links, &results).presence, want, "{results:?}");
        }
        assert_eq!(judge(&links[..1], &[Ok(0)]).evidence, "n1→n2: 0 of 3 packets arrived");
    }
}
