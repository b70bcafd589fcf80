//! Sockets at the ends of links, by which probes look at what passes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use firedrill_core::action::{Endpoint, Link};
use firedrill_sys::packet::{Direction, SocketMaker};

use crate::protocol::Refusal;
use crate::world::World;

/// Makes sockets at the ends of links. One thread for each end; cheap to share.
#[derive(Debug)]
pub struct Ends {
    ends: BTreeMap<Endpoint, (SocketMaker, Ipv4Addr)>,
}

impl Ends {
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

    /// Who makes sockets at this end, and its address.
    pub fn at(&self, endpoint: &Endpoint) -> Result<&(SocketMaker, Ipv4Addr), String> {
        self.ends.get(endpoint).ok_or_else(|| format!("there is no {endpoint} here"))
    }

    /// A pair of sockets for packets along a link.
    pub fn direction(&self, link: &Link) -> Result<Direction, String> {
        let socket = |endpoint: &Endpoint| {
            let (maker, address) = self.at(endpoint)?;
            maker.udp(*address).map_err(|error| format!("no socket at {endpoint}: {error}"))
        };
        Direction::new(socket(&link.from)?, socket(&link.to)?).map_err(|error| format!("{link}: {error}"))
    }
}
