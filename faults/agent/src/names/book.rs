//! What a name server knows: the nodes, and who is misled about whom. Pure.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use firedrill_core::cluster::NodeName;
use firedrill_core::harm::NameAnswer;
use firedrill_core::platform::NodeAddress;

use super::message::Said;

/// Who is misled about whom, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Lie {
    /// The tag of the action.
    pub(super) tag: String,
    /// Who asks, by address.
    pub(super) askers: BTreeSet<Ipv4Addr>,
    /// For whose names.
    pub(super) names: BTreeSet<NodeName>,
    /// What is answered.
    pub(super) answer: NameAnswer,
}

/// The nodes and the lies in force.
#[derive(Debug)]
pub(super) struct Book {
    nodes: Vec<NodeAddress>,
    lies: Vec<Lie>,
}

impl Book {
    pub(super) fn new(nodes: Vec<NodeAddress>) -> Self {
        Self { nodes, lies: Vec::new() }
    }

    /// The tags of the lies in force.
    pub(super) fn tags(&self) -> Vec<String> {
        self.lies.iter().map(|lie| lie.tag.clone()).collect()
    }

    /// From now on.
    pub(super) fn add(&mut self, lie: Lie) -> Result<(), String> {
        if self.lies.iter().any(|other| other.tag == lie.tag) {
            return Err(format!("{} is in force already", lie.tag));
        }
        if let Some(unknown) = lie.names.iter().find(|name| self.nodes.iter().all(|node| node.node != **name)) {
            return Err(format!("there is no name {unknown}"));
        }
        self.lies.push(lie);
        Ok(())
    }

    /// No longer.
    pub(super) fn remove(&mut self, tag: &str) {
        self.lies.retain(|lie| lie.tag != tag);
    }

    fn about<'a>(&'a self, asker: Ipv4Addr, name: &'a str) -> impl Iterator<Item = NameAnswer> + 'a {
        let concerned = move |lie: &&Lie| lie.askers.contains(&asker) && lie.names.iter().any(|of| of.as_str() == name);
        self.lies.iter().filter(concerned).map(|lie| lie.answer)
    }

    /// How late who asks for a name is answered now: of several delays the longest.
    pub(super) fn delay(&self, asker: Ipv4Addr, name: &str) -> Duration {
        let late = |answer: NameAnswer| if let NameAnswer::Delay { delay } = answer { Some(delay) } else { None };
        self.about(asker, name).filter_map(late).max().unwrap_or_default()
    }

    /// What who asks for a name (in lower case) is answered now: of several lies the last one told.
    pub(super) fn say(&self, asker: Ipv4Addr, name: &str) -> Said {
        let Some(place) = self.nodes.iter().position(|node| node.node.as_str().eq_ignore_ascii_case(name)) else {
            return Said::NoSuchName;
        };
        let truth = self.nodes[place].address;
        let next = self.nodes[(place + 1) % self.nodes.len()].address;
        let lie = |answer: NameAnswer| match answer {
            NameAnswer::Wrong { address } => Some(Said::Address(address)),
            NameAnswer::OtherNode => Some(Said::Address(next)),
            NameAnswer::Failure => Some(Said::Failure),
            NameAnswer::NoSuchName => Some(Said::NoSuchName),
            NameAnswer::Delay { .. } => None,
        };
        self.about(asker, name).filter_map(lie).last().unwrap_or(Said::Address(truth))
    }
}

#[cfg(test)]
mod tests {
    use firedrill_core::platform::lab_addresses;

    use super::*;

    const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 250);

    fn of(number: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, number)
    }

    fn lie(tag: &str, asker: u8, name: &str, answer: NameAnswer) -> Lie {
        Lie { tag: tag.to_owned(), askers: [of(asker)].into(), names: [NodeName::new(name)].into(), answer }
    }

    #[test]
    fn only_who_is_meant_is_misled_and_only_about_whom() {
        let mut book = Book::new(lab_addresses(&NodeName::numbered(3)));
        book.add(lie("a", 1, "n3", NameAnswer::OtherNode)).unwrap();
        for (asker, name, want) in [
            (1, "n3", Said::Address(of(1))),
            (1, "n2", Said::Address(of(2))),
            (2, "n3", Said::Address(of(3))),
            (1, "n4", Said::NoSuchName),
        ] {
            assert_eq!(book.say(of(asker), name), want, "{asker} asks for {name}");
        }
        book.add(lie("b", 1, "n3", NameAnswer::Delay { delay: Duration::from_secs(1) })).unwrap();
        book.add(lie("c", 1, "n3", NameAnswer::Wrong { address: NOBODY })).unwrap();
        assert_eq!(book.say(of(1), "n3"), Said::Address(NOBODY), "the last");
        assert_eq!((book.delay(of(1), "n3"), book.delay(of(1), "n2")), (Duration::from_secs(1), Duration::ZERO));
        book.remove("c");
        assert_eq!(book.say(of(1), "n3"), Said::Address(of(1)));
        book.remove("a");
        book.remove("b");
        assert_eq!((book.say(of(1), "n3"), book.tags()), (Said::Address(of(3)), Vec::new()));
    }

    #[test]
    fn a_tag_is_used_once_and_names_must_be_known() {
        let mut book = Book::new(lab_addresses(&NodeName::numbered(1)));
        assert!(book.add(lie("a", 1, "n2", NameAnswer::Failure)).is_err());
        book.add(lie("a", 1, "n1", NameAnswer::Failure)).unwrap();
        assert!(book.add(lie("a", 1, "n1", NameAnswer::Failure)).is_err());
    }
}
