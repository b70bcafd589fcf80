//! Tables of nftables that take the packets of links out of the kernel's way, each in the network namespace where that is
//! done: one for all links in the switch, and one at every host's own interface. All bear the tag of their action.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use firedrill_core::action::Link;
use firedrill_sys::namespaces::{self, Kind};
use firedrill_sys::nft::{self, Family, Hook, Keeper, LinkTable, Only, Pair, Rule, Then};

use crate::protocol::{Reach, Refusal, RefusalKind, Site};
use crate::wire::{At, End, Way};
use crate::world::World;

/// Where the links are to be taken out of the way. At least one link, between different ends that are there.
pub fn ways(world: &World, links: &[Link]) -> Result<Vec<Way>, Refusal> {
    if links.is_empty() {
        return Err(Refusal::new(RefusalKind::NoTarget, "no links"));
    }
    let way = |link: &Link| {
        if link.from == link.to {
            return Err(Refusal::new(RefusalKind::NoTarget, format!("{link} has one end only")));
        }
        let (from, to) = (world.site(&link.from)?, world.site(&link.to)?);
        let at = place(from, to, world.has_egress)
            .map_err(|why| Refusal::new(RefusalKind::NotOffered, format!("{link} cannot be reached: {why}")))?;
        if !matches!(at, At::Switch { .. }) && world.keeper == Keeper::Nobody {
            let what = "the hosts' ends of links need Linux 5.12: tables of nftables that end with their process";
            return Err(Refusal::new(RefusalKind::NotOffered, what));
        }
        Ok(Way { name: link.to_string(), from: from.address, to: to.address, at })
    };
    links.iter().map(way).collect()
}

/// In the switch if both ends are at it; else where the packets leave their sender, if its kernel has a hook there, and
/// otherwise where they reach their receiver.
fn place(from: &Site, to: &Site, has_egress: bool) -> Result<At, &'static str> {
    let end = |site: &Site, interface: &String| End { netns: site.netns.clone(), interface: interface.clone() };
    match (&from.reach, &to.reach) {
        (Reach::Switch, Reach::Switch) => Ok(At::Switch { input: from.link.clone(), output: to.link.clone() }),
        (Reach::OwnEnd(interface), _) if has_egress => Ok(At::Sender(end(from, interface))),
        (_, Reach::OwnEnd(interface)) => Ok(At::Receiver(end(to, interface))),
        (Reach::OwnEnd(_), _) => Err("what a host sends can be taken from Linux 5.16 on only"),
        (_, _) => Err("there is no agent at either end"),
    }
}

/// The families and network namespaces of the tables for such links; `None` is the agent's own.
fn places(ways: &[Way]) -> BTreeSet<(Family, Option<&Path>)> {
    let ats = ways.iter().map(|way| &way.at);
    ats.map(|at| match at {
        At::Switch { .. } => (Family::Bridge, None),
        At::Sender(end) | At::Receiver(end) => (Family::Netdev, Some(end.netns.as_path())),
    })
    .collect()
}

/// What [`make`] will make, in words: `nft bridge fd-a-1`, `nft netdev fd-a-1 in /run/ns/n1`.
pub fn creates(tag: &str, ways: &[Way], keeper: Keeper) -> Vec<String> {
    let orphan = if keeper == Keeper::Nobody { " (without an owner)" } else { "" };
    let words = |(family, place): (Family, Option<&Path>)| {
        let at = place.map_or(String::new(), |place| format!(" in {}", place.display()));
        format!("nft {} {tag}{at}{orphan}", family.name())
    };
    places(ways).into_iter().map(words).collect()
}

/// The command that deletes what was created, as a person would type it.
pub fn by_hand(created: &str) -> Option<String> {
    let mut words = created.strip_prefix("nft ")?.split(' ');
    let (family, tag) = (words.next()?, words.next()?);
    let place = words.next().filter(|word| *word == "in").and_then(|_| words.next());
    let there = place.map_or(String::new(), |place| format!("nsenter --net={place} "));
    Some(format!("{there}nft delete table {family} {tag}"))
}

/// Makes them all: `narrow` says which packets of a link, `then` what becomes of them at a host's end; in the switch they are
/// dropped. On an error none is left.
pub fn make(
    tag: &str,
    ways: &[Way],
    narrow: impl Fn(&Way) -> Only,
    then: impl Fn(&End) -> io::Result<Then>,
    keeper: Keeper,
) -> io::Result<Vec<LinkTable>> {
    let mut pairs = Vec::new();
    let mut ends: BTreeMap<&End, Vec<Rule>> = BTreeMap::new();
    for way in ways {
        let only = narrow(way);
        let (hook, end) = match &way.at {
            At::Switch { input, output } => {
                pairs.push(Pair { input: input.clone(), output: output.clone(), only });
                continue;
            }
            At::Sender(end) => (Hook::Egress, end),
            At::Receiver(end) => (Hook::Ingress, end),
        };
        ends.entry(end).or_default().push(Rule { hook, only, then: then(end)? });
    }
    let mut made = Vec::new();
    if !pairs.is_empty() {
        made.push(LinkTable::in_switch(tag, &pairs, keeper)?);
    }
    for (end, rules) in ends {
        let work = || LinkTable::at_interface(tag, &end.interface, &rules, keeper);
        made.push(namespaces::visit(&end.netns, Kind::Net, work)?);
    }
    Ok(made)
}

/// Deletes them. Their sockets close in any case; the first error.
pub fn delete(tables: Vec<LinkTable>) -> io::Result<()> {
    tables.into_iter().map(LinkTable::delete).fold(Ok(()), Result::and)
}

/// How many tables of that name there are where those for such links would be.
pub fn left(tag: &str, ways: &[Way]) -> io::Result<usize> {
    let mut left = 0;
    for_each_place(ways, |family| {
        left += nft::tables(tag)?.into_iter().filter(|table| *table == (family, tag.to_owned())).count();
        Ok(())
    })?;
    Ok(left)
}

/// Deletes by their name those that nobody keeps; fine if there are none.
pub fn delete_orphans(tag: &str, ways: &[Way]) -> io::Result<()> {
    for_each_place(ways, |family| nft::delete_table(family, tag))
}

/// Does it in each place that is still there: with a namespace that is gone went what was in it.
fn for_each_place(ways: &[Way], mut work: impl FnMut(Family) -> io::Result<()> + Send) -> io::Result<()> {
    for (family, place) in places(ways) {
        match place {
            None => work(family)?,
            Some(netns) if netns.exists() => namespaces::visit(netns, Kind::Net, || work(family))?,
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_link_is_taken_at_its_sender_where_that_can_be() {
        let site = |name: &str, reach| Site {
            netns: format!("/ns/{name}").into(),
            link: format!("v{name}"),
            address: Ipv4Addr::LOCALHOST,
            reach,
        };
        let own = |name| site(name, Reach::OwnEnd("eth0".to_owned()));
        let end = |name: &str| End { netns: format!("/ns/{name}").into(), interface: "eth0".to_owned() };
        let (clients, elsewhere) = (site("c", Reach::OtherEnd), site("d", Reach::OtherEnd));
        let switch = At::Switch { input: "va".to_owned(), output: "vb".to_owned() };
        for (from, to, has_egress, want) in [
            (&site("a", Reach::Switch), &site("b", Reach::Switch), false, Some(switch)),
            (&own("a"), &own("b"), true, Some(At::Sender(end("a")))),
            (&own("a"), &own("b"), false, Some(At::Receiver(end("b")))),
            (&clients, &own("b"), true, Some(At::Receiver(end("b")))),
            (&own("a"), &clients, true, Some(At::Sender(end("a")))),
            (&own("a"), &clients, false, None),
            (&clients, &elsewhere, true, None),
        ] {
            assert_eq!(place(from, to, has_egress).ok(), want);
        }
    }

    #[test]
    fn what_is_created_is_deleted_by_hand_where_it_is() {
        let way = |at| Way { name: "x".to_owned(), from: Ipv4Addr::LOCALHOST, to: Ipv4Addr::LOCALHOST, at };
        let end = End { netns: PathBuf::from("/ns/a"), interface: "eth0".to_owned() };
        let ways = [
            way(At::Switch { input: "va".to_owned(), output: "vb".to_owned() }),
            way(At::Sender(end.clone())),
            way(At::Receiver(end)),
        ];
        let created = creates("fd-a-1", &ways, Keeper::Socket);
        assert_eq!(created, ["nft bridge fd-a-1", "nft netdev fd-a-1 in /ns/a"]);
        let typed: Vec<String> = created.iter().filter_map(|created| by_hand(created)).collect();
        assert_eq!(typed, ["nft delete table bridge fd-a-1", "nsenter --net=/ns/a nft delete table netdev fd-a-1"]);
        assert_eq!(by_hand(&creates("fd-a-1", &ways[..1], Keeper::Nobody)[0]).as_deref(), Some(typed[0].as_str()));
    }
}
