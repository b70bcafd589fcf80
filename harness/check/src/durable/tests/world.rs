//! An object that keeps every promise of every model, and executions of it.

use std::fmt::Write as _;

use super::calls;
use crate::durable::Model;

/// Numbers by chance, from a seed.
pub(super) struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

/// An object that keeps every promise of every model.
#[derive(Default)]
pub(super) struct World {
    next: usize,
    elements: Vec<usize>,
    registers: [Option<usize>; 2],
    log: Vec<String>,
    replicated: [usize; 3],
    messages: [Vec<usize>; 2],
    consumed: Vec<[usize; 2]>,
    sum: usize,
    balances: [usize; 3],
    written: Vec<bool>,
}

impl World {
    /// An operation by its name and its argument.
    fn asks(&mut self, model: Model, draw: &mut Draw) -> (&'static str, String) {
        let is_write = draw.below(2) == 0;
        self.next += 1;
        let next = self.next;
        match model {
            Model::SetFull | Model::Ledger if is_write => ("add", next.to_string()),
            Model::TotalQueue if is_write => ("enqueue", next.to_string()),
            Model::TotalQueue => ("dequeue", "nil".to_owned()),
            Model::Log if is_write => ("send", format!("[[:send {} {next}]]", draw.below(2))),
            Model::Log => ("poll", "[[:poll]]".to_owned()),
            Model::BankSum if is_write => {
                ("transfer", format!("{{:from {} :to {} :amount 1}}", draw.below(3), draw.below(3)))
            }
            Model::LongFork if is_write => {
                self.written.push(false);
                ("txn", format!("[[:w {} 1]]", self.written.len() - 1))
            }
            Model::LongFork => {
                let first = draw.below(self.written.len() + 1) / 3 * 3;
                ("txn", format!("[[:r {first} nil] [:r {} nil] [:r {} nil]]", first + 1, first + 2))
            }
            Model::UniqueIds => ("generate", "nil".to_owned()),
            Model::CounterBounds if is_write => ("add", draw.below(5).to_string()),
            Model::Monotonic | Model::ReadYourWrites | Model::BoundedStaleness if is_write => {
                ("write", format!("[{} {next}]", draw.below(2)))
            }
            Model::Monotonic | Model::ReadYourWrites | Model::BoundedStaleness => {
                ("read", format!("[{} nil]", draw.below(2)))
            }
            Model::PrefixOfLog => (if is_write { "read" } else { "state" }, format!("[{} nil]", draw.below(4))),
            Model::SetFull | Model::Ledger | Model::BankSum | Model::CounterBounds => ("read", "nil".to_owned()),
        }
    }

    /// What the object answers when the operation takes effect.
    fn answers(&mut self, slot: usize, f: &str, asked: &str, draw: &mut Draw) -> String {
        let numbers: Vec<usize> =
            asked.split(|character: char| !character.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
        match (f, numbers.as_slice()) {
            ("add", [amount]) => {
                self.elements.push(*amount);
                self.sum += amount;
                asked.to_owned()
            }
            ("enqueue", [value]) => {
                self.elements.push(*value);
                asked.to_owned()
            }
            ("dequeue", _) if self.elements.is_empty() => "nil".to_owned(),
            ("dequeue", _) => self.elements.swap_remove(draw.below(self.elements.len())).to_string(),
            ("send", [key, value]) => {
                self.messages[*key].push(*value);
                format!("[[:send {key} [{} {value}]]]", self.messages[*key].len() * 2)
            }
            ("poll", _) => {
                if self.consumed.len() <= slot {
                    self.consumed.resize(slot + 1, [0, 0]);
                }
                let mut by_key = String::new();
                for (key, messages) in self.messages.iter().enumerate() {
                    let from = self.consumed[slot][key];
                    let to = from + draw.below(messages.len() - from + 1);
                    let got: Vec<String> =
                        (from..to).map(|place| format!("[{} {}]", place * 2 + 2, messages[place])).collect();
                    write!(by_key, "{key} [{}] ", got.join(" ")).unwrap();
                    self.consumed[slot][key] = to;
                }
                format!("[[:poll {{{by_key}}}]]")
            }
            ("transfer", [from, to, _]) => {
                if self.balances[*from] > 0 {
                    self.balances[*from] -= 1;
                    self.balances[*to] += 1;
                }
                asked.to_owned()
            }
            ("txn", [key, _]) if asked.contains(":w") => {
                self.written[*key] = true;
                asked.to_owned()
            }
            ("txn", keys) => {
                let read = |key: &usize| {
                    let is_written = self.written.get(*key).is_some_and(|written| *written);
                    format!("[:r {key} {}]", if is_written { "1" } else { "nil" })
                };
                format!("[{}]", keys.iter().map(read).collect::<Vec<_>>().join(" "))
            }
            ("generate", _) => {
                self.sum += 1;
                self.sum.to_string()
            }
            ("write", [key, value]) => {
                self.registers[*key] = Some(*value);
                asked.to_owned()
            }
            ("read" | "state", [node]) if asked.starts_with('[') && !self.log.is_empty() => {
                self.replica(f, *node, draw)
            }
            ("read", [key]) => {
                let held = self.registers[*key].map_or_else(|| "nil".to_owned(), |value| value.to_string());
                format!("[{key} {held}]")
            }
            ("read", _) if self.balances.iter().sum::<usize>() > 0 => {
                format!("{{0 {} 1 {} 2 {}}}", self.balances[0], self.balances[1], self.balances[2])
            }
            _ => self.elements_or_sum(),
        }
    }

    pub(super) fn elements_or_sum(&self) -> String {
        // A counter never has its first element, 0, as the set has none.
        if self.written.len() == 1 {
            return self.sum.to_string();
        }
        format!("[{}]", self.elements.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    fn replica(&mut self, f: &str, node: usize, draw: &mut Draw) -> String {
        let key = draw.below(3);
        let next = if draw.below(3) == 0 { format!("[:delete {key}]") } else { format!("[:put {key} {}]", self.next) };
        self.log.push(next);
        let length = match node {
            0 => self.log.len(),
            replica => {
                let has = &mut self.replicated[replica - 1];
                *has += draw.below(self.log.len() - *has + 1);
                *has
            }
        };
        let name = if node == 0 { ":primary".to_owned() } else { format!(":n{node}") };
        if f == "read" {
            return format!("[{name} [{}]]", self.log[..length].join(" "));
        }
        let mut state = std::collections::BTreeMap::new();
        for element in &self.log[..length] {
            let words: Vec<&str> = element.trim_matches(['[', ']']).split(' ').collect();
            if let [_, key, value] = words.as_slice() {
                state.insert(*key, *value)
            } else {
                state.remove(words[1])
            };
        }
        let entries: Vec<String> = state.iter().map(|(key, value)| format!("{key} {value}")).collect();
        format!("[{name} {{{}}}]", entries.join(" "))
    }
}

/// An execution of the object by five clients at once, each of whose operations takes effect between its ends; some are of
/// unknown outcome.
pub(super) fn execution(model: Model, seed: u64, sets: bool) -> String {
    let mut draw = Draw(seed);
    let mut world = World::default();
    match model {
        Model::BankSum => world.balances = [10, 10, 10],
        Model::PrefixOfLog => world.log.push("[:put 0 0]".to_owned()),
        Model::CounterBounds => world.written = vec![false],
        Model::SetFull
        | Model::Ledger
        | Model::Log
        | Model::TotalQueue
        | Model::LongFork
        | Model::UniqueIds
        | Model::Monotonic
        | Model::ReadYourWrites
        | Model::BoundedStaleness => {}
    }
    let asked_model = if sets { Model::SetFull } else { model };
    let mut text = String::new();
    let mut busy: Vec<Option<(&'static str, String, Option<String>)>> = vec![None; 5];
    let mut process: Vec<usize> = (0..5).collect();
    let (mut left, mut fresh) = (40, 5);
    while left > 0 || busy.iter().any(Option::is_some) {
        let slot = draw.below(5);
        let mut line = |kind: &str, f: &str, value: &str| {
            writeln!(text, "{{:process {} :type :{kind} :f :{f} :value {value}}}", process[slot]).unwrap();
        };
        match busy[slot].take() {
            None if left > 0 => {
                left -= 1;
                let (f, asked) = world.asks(asked_model, &mut draw);
                line("invoke", f, &asked);
                busy[slot] = Some((f, asked, None));
            }
            None => {}
            Some((f, asked, None)) => {
                let answer = world.answers(slot, f, &asked, &mut draw);
                busy[slot] = Some((f, asked, Some(answer)));
            }
            Some((f, asked, Some(_))) if !matches!(f, "poll" | "dequeue") && draw.below(15) == 0 => {
                line("info", f, &asked);
                (process[slot], fresh) = (fresh, fresh + 1);
            }
            Some((f, _, Some(answer))) => line("ok", f, &answer),
        }
    }
    if model == Model::TotalQueue {
        let rest = world.elements_or_sum();
        text += &calls(&format!("80 drain nil => {rest}"));
    }
    if model == Model::PrefixOfLog {
        text += &calls(&format!("80 read [0 nil] => [:primary [{}]]", world.log.join(" ")));
    }
    text
}
