//! Cutting links: tables of our own drop their packets, in the switch or at the hosts' ends. What a wire has of them in its
//! hands goes past these, so that it is told.

use std::io;

use firedrill_core::action::{Action, Effect, Link, Presence, ProcessRef, Undo};
use firedrill_core::harm::{Chance, Impairment};
use firedrill_sys::clock;
use firedrill_sys::nft::{Keeper, LinkTable, Only, Then};
use firedrill_sys::packet::{self, DATAGRAMS, Direction};

use super::{Grip, Scene, Work, impair, not_mine};
use crate::ends::Ends;
use crate::protocol::{Reach, Refusal, RefusalKind};
use crate::tables;
use crate::wire::client::Kept;
use crate::wire::{At, Severed, Way};
use crate::world::{World, is_tag};

/// What a cut is as an impairment.
const EVERYTHING: Impairment = Impairment::Loss { chance: Chance::CERTAIN };

/// What cuts are made with, in words.
pub fn mechanism(world: &World) -> &'static str {
    let at_ends = world.config.nodes.iter().any(|node| matches!(node.site.reach, Reach::OwnEnd(_)));
    match (world.keeper, at_ends) {
        (Keeper::Socket, false) => "nft table of family bridge, owned by the agent's socket: its death ends the cut",
        (Keeper::Socket, true) => {
            "nft tables of family netdev at the hosts' own interfaces, owned by the agent's sockets: its death ends the cut"
        }
        (Keeper::Nobody, _) => {
            "nft table of family bridge, without an owner (needs Linux 5.12): deleted by the agent's guard"
        }
    }
}

/// Links that are cut.
#[derive(Debug)]
pub(super) struct Severance {
    tables: Vec<LinkTable>,
    /// Dropped after the tables are gone.
    _kept: Kept,
}

/// Makes the tables, and tells the wire.
pub(super) fn apply(world: &World, tag: &str, ways: Vec<Way>, port: Option<u16>) -> Result<Severance, Refusal> {
    // In the switch whatever passes between two of its links is of these, whoever it is from or to.
    let only = |way: &Way| match way.at {
        At::Switch { .. } => Only { port, ..Only::default() },
        At::Sender(_) | At::Receiver(_) => Only { from: Some(way.from), to: Some(way.to), port, tcp: false },
    };
    let tables = tables::make(tag, &ways, only, |_| Ok(Then::Drop), world.keeper)
        .map_err(|error| Refusal::system(format!("nft table {tag}"), &error))?;
    let kept = world.wires.cut(Severed { tag: tag.to_owned(), ways, port });
    Ok(Severance { tables, _kept: kept })
}

/// Deletes the tables; fine if there are none.
pub(super) fn revert(cut: Option<Severance>, tag: &str, ways: &[Way]) -> Result<(), Refusal> {
    let deleted = match cut {
        // When deleting fails, the socket closes nevertheless, and an owned table with it: look whether one is left.
        Some(cut) => tables::delete(cut.tables).or_else(|error| match tables::left(tag, ways) {
            Ok(0) => Ok(()),
            Ok(_) | Err(_) => Err(error),
        }),
        None => tables::delete_orphans(tag, ways),
    };
    deleted.map_err(|error: io::Error| Refusal::system(format!("deleting nft table {tag}"), &error))
}

/// Cutting links.
#[derive(Clone, Copy, Debug)]
pub struct Cut;

fn parts(undo: &Undo) -> Result<(&[Link], Option<u16>), Refusal> {
    if let Action::Cut { links, port } = &undo.action { Ok((links, *port)) } else { Err(not_mine(&undo.action)) }
}

impl Work for Cut {
    fn prepare(&self, world: &World, undo: Undo) -> Result<Undo, Refusal> {
        let ways = tables::ways(world, parts(&undo)?.0)?;
        let creates = tables::creates(&undo.tag, &ways, world.keeper);
        Ok(Undo { creates, ..undo })
    }

    fn apply(&self, scene: &mut Scene<'_>, undo: &Undo) -> Result<(Box<dyn Grip>, u64), Refusal> {
        let (links, port) = parts(undo)?;
        let cut = apply(scene.world, &undo.tag, tables::ways(scene.world, links)?, port)?;
        Ok((Box::new(cut), clock::boottime_nanos()))
    }

    fn undo(&self, world: &World, undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        if !is_tag(&undo.tag) {
            return Err(Refusal::new(RefusalKind::Order, format!("`{}` is not a tag of ours", undo.tag)));
        }
        revert(None, &undo.tag, &tables::ways(world, parts(undo)?.0)?)
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

impl Grip for Severance {
    fn let_go(self: Box<Self>, world: &World, undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        revert(Some(*self), &undo.tag, &tables::ways(world, parts(undo)?.0)?)
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
