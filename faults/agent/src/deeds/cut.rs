//! Cutting links: a table of our own in the switch drops what comes in by one interface and would leave by another.

use std::collections::BTreeMap;

use firedrill_core::action::{Effect, Endpoint, Link, Presence};
use firedrill_sys::nft::{self, DropTable, Keeper, Pair};
use firedrill_sys::packet::{self, DATAGRAMS, Direction, SocketMaker};

use crate::protocol::{Refusal, RefusalKind};
use crate::world::World;

/// The interfaces of the links. At least one link, between different ends that are there.
pub fn pairs(world: &World, links: &[Link]) -> Result<Vec<Pair>, Refusal> {
    if links.is_empty() {
        return Err(Refusal::new(RefusalKind::NoTarget, "no links to cut"));
    }
    let pair = |link: &Link| {
        if link.from == link.to {
            return Err(Refusal::new(RefusalKind::NoTarget, format!("{link} does not pass the switch")));
        }
        Ok(Pair { input: world.site(&link.from)?.link.clone(), output: world.site(&link.to)?.link.clone() })
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
pub fn creates(keeper: Keeper, tag: &str) -> Vec<String> {
    vec![match keeper {
        Keeper::Socket => format!("nft bridge {tag}"),
        Keeper::Nobody => format!("nft bridge {tag} (without an owner)"),
    }]
}

/// Makes the table.
pub fn apply(world: &World, tag: &str, links: &[Link]) -> Result<DropTable, Refusal> {
    let pairs = pairs(world, links)?;
    DropTable::create(tag, &pairs, world.keeper).map_err(|error| Refusal::system(format!("nft table {tag}"), &error))
}

/// Deletes the table; fine if there is none.
pub fn revert(table: Option<DropTable>, tag: &str) -> Result<(), Refusal> {
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

/// Makes sockets at the ends of links. One thread for each end; cheap to share.
#[derive(Debug)]
pub struct Prober {
    ends: BTreeMap<Endpoint, (SocketMaker, std::net::Ipv4Addr)>,
}

impl Prober {
    /// For every node, and for the clients.
    pub fn start(world: &World) -> Result<Self, Refusal> {
        let nodes = world.config.nodes.iter().map(|node| (Endpoint::Node(node.name.clone()), &node.site));
        let clients = world.config.clients.iter().map(|site| (Endpoint::Clients, site));
        let mut ends = BTreeMap::new();
        for (endpoint, site) in nodes.chain(clients) {
            let maker = SocketMaker::start(site.netns.clone())
                .map_err(|error| Refusal::system(format!("a thread in the namespace of {endpoint}"), &error))?;
            ends.insert(endpoint, (maker, site.address));
        }
        Ok(Self { ends })
    }

    /// Sends packets along every link at once and counts what arrives.
    pub fn probe(&self, tag: &str, links: &[Link]) -> Effect {
        let directions: Result<Vec<Direction>, String> = links.iter().map(|link| self.direction(link)).collect();
        match directions {
            Ok(directions) => judge(links, &packet::try_directions(&directions, tag)),
            Err(evidence) => Effect { presence: Presence::Unknown, evidence },
        }
    }

    fn direction(&self, link: &Link) -> Result<Direction, String> {
        let socket = |endpoint: &Endpoint| {
            let (maker, address) = self.ends.get(endpoint).ok_or_else(|| format!("there is no {endpoint} here"))?;
            maker.udp(*address).map_err(|error| format!("no socket at {endpoint}: {error}"))
        };
        Direction::new(socket(&link.from)?, socket(&link.to)?).map_err(|error| format!("{link}: {error}"))
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
