//! What a fault or a lab could leave behind, as it was found at one time, and what differs between two times. Every item
//! brings the commands along that undo a difference of it, because only who finds it knows how to reach it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::platform::Residue;

/// Stands for the earlier state in [`Item::reset`].
pub const WAS: &str = "{was}";

/// Everything a fault or a lab could leave behind.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Inventory {
    /// Kind (`nft table`, `mount`, `stopped process`…), then name, then how it was found. Once, but for names that several
    /// processes share: each state that any of them is in.
    pub items: BTreeMap<String, BTreeMap<String, Vec<Item>>>,
}

/// Something as it was found. Where a command is empty, the difference that it would undo is none.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Item {
    /// How it is, as the tool that sets it would be told: `up mtu 1500`. Empty for what is only there or not.
    pub state: String,
    /// The command that brings it back into an earlier state, for which [`WAS`] stands.
    pub reset: String,
    /// The command that makes it again when it is gone.
    pub remake: String,
    /// The command that removes it.
    pub remove: String,
}

impl Item {
    /// Something that should not be there, and the command that removes it.
    pub fn stray(remove: impl Into<String>) -> Self {
        Self { remove: remove.into(), ..Self::default() }
    }
}

impl Inventory {
    /// Notes an item; one in the same state as another of its kind and name is the same one.
    pub fn note(&mut self, kind: &str, name: impl Into<String>, item: Item) {
        let items = self.items.entry(kind.to_owned()).or_default().entry(name.into()).or_default();
        if items.iter().all(|known| known.state != item.state) {
            items.push(item);
        }
    }

    /// Adds all of another.
    pub fn extend(&mut self, other: Self) {
        for (kind, names) in other.items {
            for (name, items) in names {
                for item in items {
                    self.note(&kind, name.clone(), item);
                }
            }
        }
    }

    /// Puts words before every command, so that it is run in the place where the items were found; but for our own, which
    /// find the place by themselves.
    #[must_use]
    pub fn reached_by(mut self, prefix: &str) -> Self {
        let items = self.items.values_mut().flat_map(BTreeMap::values_mut).flatten();
        let commands = items.flat_map(|item| [&mut item.reset, &mut item.remake, &mut item.remove]);
        let there = commands.filter(|command| !command.is_empty() && !command.starts_with("firedrill "));
        there.for_each(|command| command.insert_str(0, prefix));
        self
    }

    /// What is there after and was not, what has changed, and what is gone; each with the command that undoes it.
    pub fn differences(&self, after: &Self) -> Vec<Residue> {
        let mut found = Vec::new();
        let mut note = |what: String, remedy: String| {
            if !remedy.is_empty() {
                found.push(Residue { what, remedy });
            }
        };
        for (kind, name, now) in after.each() {
            let before = self.get(kind, name);
            for item in now.iter().filter(|item| before.iter().all(|before| before.state != item.state)) {
                match before.first() {
                    None if item.state.is_empty() => note(format!("{kind} {name}"), item.remove.clone()),
                    None => note(format!("{kind} {name}: {}", item.state), item.remove.clone()),
                    Some(was) => {
                        let what = format!("{kind} {name} was {}, is {}", was.state, item.state);
                        note(what, item.reset.replace(WAS, &was.state));
                    }
                }
            }
        }
        for (kind, name, was) in self.each() {
            if let ([], Some(was)) = (after.get(kind, name), was.first()) {
                note(format!("{kind} {name} is gone"), was.remake.clone());
            }
        }
        found
    }

    fn get(&self, kind: &str, name: &str) -> &[Item] {
        self.items.get(kind).and_then(|names| names.get(name)).map_or(&[], Vec::as_slice)
    }

    fn each(&self) -> impl Iterator<Item = (&str, &str, &[Item])> {
        let names = self.items.iter().flat_map(|(kind, names)| names.iter().map(move |named| (kind, named)));
        names.map(|(kind, (name, items))| (kind.as_str(), name.as_str(), items.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(state: &str) -> Item {
        Item {
            state: state.to_owned(),
            reset: format!("ip link set eth0 {WAS}"),
            remake: "ip link add eth0".to_owned(),
            remove: "ip link del eth0".to_owned(),
        }
    }

    fn with(items: &[(&str, &str, Item)]) -> Inventory {
        let mut inventory = Inventory::default();
        for (kind, name, item) in items {
            inventory.note(kind, *name, item.clone());
        }
        inventory
    }

    #[track_caller]
    fn check(before: &[(&str, &str, Item)], after: &[(&str, &str, Item)], want: &[(&str, &str)]) {
        let found = with(before).differences(&with(after));
        let found: Vec<_> = found.iter().map(|residue| (residue.what.as_str(), residue.remedy.as_str())).collect();
        assert_eq!(found, want);
    }

    #[test]
    fn what_was_added_changed_or_lost_differs() {
        let up = [("link", "eth0 of n1", link("up mtu 1500"))];
        let down = [("link", "eth0 of n1", link("down mtu 900"))];
        check(&up, &up, &[]);
        check(&[], &up, &[("link eth0 of n1: up mtu 1500", "ip link del eth0")]);
        check(&up, &[], &[("link eth0 of n1 is gone", "ip link add eth0")]);
        let what = "link eth0 of n1 was up mtu 1500, is down mtu 900";
        check(&up, &down, &[(what, "ip link set eth0 up mtu 1500")]);
        let stopped = [("stopped process", "a (7) of n1", Item::stray("kill -CONT 7"))];
        check(&[], &stopped, &[("stopped process a (7) of n1", "kill -CONT 7")]);
        check(&stopped, &[], &[]);
    }

    #[test]
    fn of_processes_with_one_name_only_a_state_that_none_was_in_differs() {
        let limit = |state: &str, pid: u32| {
            let reset = format!("prlimit --pid {pid} --nofile={WAS}");
            ("process limit", "nofile of a of n1", Item { state: state.to_owned(), reset, ..Item::default() })
        };
        check(&[limit("9:9", 1), limit("20:20", 2)], &[limit("20:20", 3)], &[]);
        check(&[], &[limit("9:9", 1)], &[]);
        check(
            &[limit("9:9", 1)],
            &[limit("9:9", 1), limit("5:9", 2)],
            &[("process limit nofile of a of n1 was 9:9, is 5:9", "prlimit --pid 2 --nofile=9:9")],
        );
    }

    #[test]
    fn a_place_is_put_before_every_command_that_there_is() {
        let there = with(&[("file", "x", Item::stray("rm x"))]).reached_by("nsenter --target 5 ");
        assert_eq!(there.items["file"]["x"], [Item::stray("nsenter --target 5 rm x")]);
    }
}
