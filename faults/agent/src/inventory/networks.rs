//! Network namespaces, and in each its links, queueing disciplines, addresses, routes, neighbours and tables of nftables.

use std::fs;
use std::path::{Path, PathBuf};

use firedrill_core::inventory::WAS;
use firedrill_core::platform::{Inventory, Item};
use firedrill_sys::links::{self, Network, Queue};
use firedrill_sys::namespaces::{self, Kind};
use firedrill_sys::nft::{self, Table};
use firedrill_sys::process::NetnsId;
use firedrill_sys::{children, mounts};

use super::{HEAL, shell, word};
use crate::protocol::{NodeSite, Refusal, Site};
use crate::world::World;

/// Where the agent itself is.
const OWN: &str = "the switch";
/// Where `ip netns` keeps its names.
pub(super) const NAMED: [&str; 2] = ["/run/netns", "/var/run/netns"];
/// Named namespaces that are looked into, at most, beside those that the agent serves.
const MOST: usize = 64;

/// A network namespace.
struct Place {
    name: String,
    /// `None` where the agent is.
    path: Option<PathBuf>,
}

impl Place {
    /// The command, run there.
    fn command(&self, command: &str) -> String {
        let there = self.path.as_ref().map(|path| format!("nsenter --net={} ", word(path)));
        format!("{}{command}", there.unwrap_or_default())
    }

    fn look(&self) -> Result<(Network, Vec<Table>), Refusal> {
        let work = || Ok((links::look()?, nft::all_tables()?));
        let looked = match &self.path {
            None => work(),
            Some(path) => namespaces::visit(path, Kind::Net, work),
        };
        looked.map_err(|error| Refusal::system(format!("looking at the network of {}", self.name), &error))
    }
}

pub(super) fn note(world: &World, inventory: &mut Inventory) -> Result<(), Refusal> {
    let places = places(world, inventory);
    let mut looked = Vec::new();
    for place in places {
        let found = place.look()?;
        looked.push((place, found));
    }
    let pairs = pairs(world, &looked);
    for (place, (network, tables)) in &looked {
        note_links(place, network, &pairs, inventory);
        note_paths(place, network, inventory);
        for table in tables {
            let remove = match table.owner {
                None | Some(0) => place.command(&format!("nft delete table {}", table.name)),
                // It goes with the socket that made it.
                Some(owner) => format!("kill -9 {owner}"),
            };
            inventory.note("nft table", format!("{} of {}", table.name, place.name), Item::stray(remove));
        }
    }
    Ok(())
}

/// The agent's own namespace, those that it serves, and those that have a name here. Notes which there are, also those that
/// have no name but a process.
fn places(world: &World, inventory: &mut Inventory) -> Vec<Place> {
    let own = PathBuf::from("/proc/self/ns/net");
    let mut known: Vec<NetnsId> = NetnsId::of_file(&own).into_iter().collect();
    let mut places = vec![Place { name: OWN.to_owned(), path: None }];
    let nodes = world.config.nodes.iter().map(|node| (node.name.as_str(), &node.site));
    let served = nodes.chain(world.config.clients.iter().map(|site| ("clients", site)));
    for (name, Site { netns, .. }) in served {
        // One that is gone is noted as missing by what was in it.
        let Ok(id) = NetnsId::of_file(netns) else { continue };
        if !known.contains(&id) {
            known.push(id);
            places.push(Place { name: name.to_owned(), path: Some(netns.clone()) });
        }
    }
    let mounted = mounts::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
    for path in mounted.iter().filter(|mount| mount.root.starts_with("net:[")).map(|mount| Path::new(&mount.at)) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // What somebody has named there is none of the lab's, and is not looked into.
        let others = NAMED.iter().any(|folder| path.parent() == Some(Path::new(folder)));
        let remove =
            if others { format!("ip netns del {name}") } else { shell(&format!("umount {0} && rm {0}", word(path))) };
        let item = Item { remake: HEAL.to_owned(), ..Item::stray(remove) };
        inventory.note("network namespace", path.display().to_string(), item);
        if let Ok(id) = NetnsId::of_file(path)
            && !known.contains(&id)
            && !others
            && places.len() < MOST
        {
            known.push(id);
            places.push(Place { name, path: Some(path.to_owned()) });
        }
    }
    for (pid, _) in children::all().unwrap_or_default() {
        let path = format!("/proc/{pid}/ns/net");
        if let (Ok(id), Ok(name)) = (NetnsId::of_file(Path::new(&path)), fs::read_link(&path))
            && !known.contains(&id)
        {
            known.push(id);
            let name = format!("{} without a name", name.display());
            inventory.note("network namespace", name, Item::stray(format!("kill -9 {pid}")));
        }
    }
    places
}

/// A pair of links that joins a namespace with the switch, and the command that makes it again.
struct Pair {
    /// Places and names of the two.
    ends: [(String, String); 2],
    remake: String,
}

type Looked = (Place, (Network, Vec<Table>));

fn pairs(world: &World, looked: &[Looked]) -> Vec<Pair> {
    let of = |name: &str| looked.iter().find(|(place, _)| place.name == name).map(|(_, (network, _))| network);
    let Some(switch) = of(OWN) else { return Vec::new() };
    let nodes = world.config.nodes.iter().map(|NodeSite { name, site, .. }| (name.as_str(), site));
    let sites = nodes.chain(world.config.clients.iter().map(|site| ("clients", site)));
    let pair = |(name, site): (&str, &Site)| {
        let network = of(name)?;
        let (_, state) = switch.links.iter().find(|(link, _)| *link == site.link)?;
        let (address, link) = network.addresses.iter().find(|(address, _)| {
            address.split_once('/').is_some_and(|(address, _)| address.parse() == Ok(site.address))
        })?;
        let (_, inner) = network.links.iter().find(|(name, _)| name == link)?;
        let (outer, path) = (&site.link, word(&site.netns));
        let inside = format!("ip addr add {address} dev {link} && ip link set dev {link} {inner}");
        let remake = shell(&format!(
            "ip link add {outer} type veth peer name {link} netns {path} && ip link set dev {outer} {state} \
             && nsenter --net={path} {}",
            shell(&inside)
        ));
        Some(Pair { ends: [(OWN.to_owned(), outer.clone()), (name.to_owned(), link.clone())], remake })
    };
    sites.filter_map(pair).collect()
}

fn note_links(place: &Place, network: &Network, pairs: &[Pair], inventory: &mut Inventory) {
    for (link, state) in &network.links {
        let is_it = |(of, name): &(String, String)| *of == place.name && name == link;
        let pair = pairs.iter().find(|pair| pair.ends.iter().any(is_it));
        let item = Item {
            state: state.clone(),
            reset: place.command(&format!("ip link set dev {link} {WAS}")),
            remake: pair.map_or(HEAL.to_owned(), |pair| pair.remake.clone()),
            remove: place.command(&format!("ip link del dev {link}")),
        };
        inventory.note("link", format!("{link} of {}", place.name), item);
    }
    for Queue { link, place: at, handle, kind } in &network.queues {
        // Whatever takes the place of the kernel's own is deleted, and the kernel's own comes back.
        let own = handle == "0:";
        let delete = place.command(&format!("tc qdisc del dev {link} {at}"));
        let replace = |state: &str| place.command(&format!("tc qdisc replace dev {link} {at} {state}"));
        let state = format!("handle {handle} {kind}");
        let item = Item {
            reset: if own { replace(WAS) } else { delete.clone() },
            remake: if own { String::new() } else { replace(&state) },
            remove: delete,
            state,
        };
        inventory.note("queueing discipline", format!("{at} of {link} of {}", place.name), item);
    }
}

/// Addresses, routes and neighbours.
fn note_paths(place: &Place, network: &Network, inventory: &mut Inventory) {
    for (address, link) in &network.addresses {
        let command = |verb: &str| place.command(&format!("ip addr {verb} {address} dev {link}"));
        let item = Item { remake: command("add"), ..Item::stray(command("del")) };
        inventory.note("address", format!("{address} on {link} of {}", place.name), item);
    }
    for (which, whole) in &network.routes {
        let item = Item {
            state: whole.clone(),
            reset: place.command(&format!("ip route replace {WAS}")),
            remake: place.command(&format!("ip route replace {whole}")),
            remove: place.command(&format!("ip route del {which}")),
        };
        inventory.note("route", format!("{which} of {}", place.name), item);
    }
    for (which, hardware) in &network.neighbours {
        let replace = |to: &str| place.command(&format!("ip neigh replace {which} lladdr {to} nud permanent"));
        let item = Item {
            state: hardware.clone(),
            reset: replace(WAS),
            remake: replace(hardware),
            remove: place.command(&format!("ip neigh del {which}")),
        };
        inventory.note("neighbour", format!("{which} of {}", place.name), item);
    }
}
