//! Each model on executions of an object that keeps its promise, with violations planted into them.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::history::{Kind, Process, load};
use crate::limits::Watch;

fn judged(text: &str, model: Model) -> Report {
    let history = load(text.as_bytes()).unwrap();
    check(&history, model, &Options::default(), &mut Watch::unlimited()).unwrap()
}

fn names(report: &Report) -> Vec<&'static str> {
    report.violated.iter().map(|found| found.anomaly.name()).collect()
}

/// Calls one after the other, `process f asked => answer`; `!` instead of `=>` is a failure, `?` an unknown outcome.
fn calls(script: &str) -> String {
    let mut text = String::new();
    for call in script.split(';').map(str::trim).filter(|call| !call.is_empty()) {
        let mut words = call.splitn(3, ' ');
        let (process, f, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let mut line = |kind: &str, value: &str| {
            writeln!(text, "{{:process {process} :type :{kind} :f :{f} :value {}}}", value.trim()).unwrap();
        };
        match (rest.split_once("=>"), rest.split_once('!'), rest.split_once('?')) {
            (Some((asked, answer)), ..) => {
                line("invoke", asked);
                line("ok", answer);
            }
            (_, Some((asked, _)), _) => {
                line("invoke", asked);
                line("fail", asked);
            }
            (_, _, Some((asked, _))) => {
                line("invoke", asked);
                line("info", asked);
            }
            _ => line("ok", rest),
        }
    }
    text
}

/// Of each model what can be wrong: the anomaly, and calls that show it and nothing else.
const PLANTED: &[(Model, &str, &str)] = &[
    (Model::SetFull, "lost", "90 add 9001 => 9001; 91 read nil => []"),
    (Model::SetFull, "lost", "90 add 9001 ?; 91 read nil => [9001]; 91 read nil => []"),
    (Model::SetFull, "unexpected", "90 add 9001 !; 91 read nil => [9001]"),
    (Model::SetFull, "unexpected", "91 read nil => [9001]; 90 add 9001 => 9001"),
    (Model::SetFull, "duplicate", "90 add 9001 => 9001; 91 read nil => [9001 9001]"),
    (Model::Ledger, "lost", "90 add 9001 => 9001; 91 read nil => []"),
    (Model::Ledger, "unexpected", "91 read nil => [9001]"),
    (
        Model::Log,
        "lost",
        "90 send [[:send 9 1]] => [[:send 9 [0 1]]]; 90 send [[:send 9 2]] => [[:send 9 [1 2]]]; 91 poll [[:poll]] => [[:poll {9 [[1 2]]}]]",
    ),
    (
        Model::Log,
        "duplicate",
        "90 send [[:send 9 1]] => [[:send 9 [0 1]]]; 91 poll [[:poll]] => [[:poll {9 [[0 1] [1 1]]}]]",
    ),
    (
        Model::Log,
        "inconsistent-offsets",
        "90 send [[:send 9 1]] => [[:send 9 [0 1]]]; 91 send [[:send 9 2]] => [[:send 9 [0 2]]]; 91 poll [[:poll]] => [[:poll {9 [[0 1]]}]]",
    ),
    (
        Model::Log,
        "nonmonotonic-poll",
        "90 send [[:send 9 1]] => [[:send 9 [0 1]]]; 91 poll [[:poll]] => [[:poll {9 [[0 1]]}]]; 91 poll [[:poll]] => [[:poll {9 [[0 1]]}]]",
    ),
    (
        Model::Log,
        "nonmonotonic-send",
        "90 send [[:send 9 1]] => [[:send 9 [1 1]]]; 90 send [[:send 9 2]] => [[:send 9 [0 2]]]; 91 poll [[:poll]] => [[:poll {}]]",
    ),
    (
        Model::Log,
        "poll-skip",
        "90 send [[:send 9 1] [:send 9 2] [:send 9 3]] => [[:send 9 [0 1]] [:send 9 [1 2]] [:send 9 [2 3]]]; 92 poll [[:poll]] => [[:poll {9 [[0 1] [1 2] [2 3]]}]]; 91 poll [[:poll]] => [[:poll {9 [[0 1] [2 3]]}]]",
    ),
    (Model::Log, "unexpected", "90 send [[:send 9 1]] !; 91 poll [[:poll]] => [[:poll {9 [[0 1]]}]]"),
    (Model::TotalQueue, "lost", "90 enqueue 9001 => 9001; 91 drain nil => []"),
    (Model::TotalQueue, "duplicate", "90 enqueue 9001 => 9001; 91 dequeue nil => 9001; 92 dequeue nil => 9001"),
    (Model::TotalQueue, "unexpected", "91 dequeue nil => 9001"),
    (Model::BankSum, "wrong-total", "90 read nil => {0 10 1 10 2 10}; 91 read nil => {0 10 1 10 2 11}"),
    (Model::BankSum, "nil-balance", "90 read nil => {0 10 1 10 2 10}; 91 read nil => {0 nil 1 10 2 20}"),
    (
        Model::LongFork,
        "long-fork",
        "90 txn [[:w 9001 1]] ?; 91 txn [[:w 9002 1]] ?; 92 txn [[:r 9001 nil] [:r 9002 nil]] => [[:r 9001 1] [:r 9002 nil]]; 93 txn [[:r 9001 nil] [:r 9002 nil]] => [[:r 9001 nil] [:r 9002 1]]",
    ),
    (Model::LongFork, "unexpected", "92 txn [[:r 9001 nil]] => [[:r 9001 1]]"),
    (Model::UniqueIds, "duplicate", "90 generate nil => 9001; 91 generate nil => 9001"),
    (Model::CounterBounds, "out-of-bounds", "91 read nil => 100000"),
    (
        Model::Monotonic,
        "nonmonotonic-read",
        "90 write [9 9001] => [9 9001]; 90 write [9 9002] => [9 9002]; 91 read [9 nil] => [9 9002]; 91 read [9 nil] => [9 9001]",
    ),
    (Model::ReadYourWrites, "own-write-missing", "90 write [9 9001] => [9 9001]; 90 read [9 nil] => [9 nil]"),
    (Model::BoundedStaleness, "too-stale", "90 write [9 9001] => [9 9001]; 91 read [9 nil] => [9 nil]"),
    (Model::PrefixOfLog, "gap", "90 read [:primary nil] => [:primary [1 2 3 4]]; 91 read [:n9 nil] => [:n9 [1 3]]"),
    (
        Model::PrefixOfLog,
        "reordered",
        "90 read [:primary nil] => [:primary [1 2 3 4]]; 91 read [:n9 nil] => [:n9 [1 3 2]]",
    ),
    (
        Model::PrefixOfLog,
        "duplicate",
        "90 read [:primary nil] => [:primary [1 2 3 4]]; 91 read [:n9 nil] => [:n9 [1 2 2]]",
    ),
    (
        Model::PrefixOfLog,
        "diverged",
        "90 read [:primary nil] => [:primary [1 2 3 4]]; 91 read [:n9 nil] => [:n9 [1 9]]",
    ),
    (Model::PrefixOfLog, "diverged", "91 read [:n9 nil] => [:n9 [1 2]]; 90 read [:primary nil] => [:primary [1]]"),
    (
        Model::PrefixOfLog,
        "resurrected-key",
        "91 state [:n9 nil] => [:n9 {a 1 b 2}]; 90 read [:primary nil] => [:primary [[:put a 1] [:delete a] [:put b 2]]]",
    ),
    (
        Model::PrefixOfLog,
        "gap",
        "91 state [:n9 nil] => [:n9 {b 2}]; 90 read [:primary nil] => [:primary [[:put a 1] [:put b 2]]]",
    ),
];

/// The same for sets that only grow.
const PLANTED_IN_SETS: &[(Model, &str, &str)] = &[
    (Model::Monotonic, "nonmonotonic-read", "90 add 9001 => 9001; 91 read nil => [9001]; 91 read nil => []"),
    (Model::Monotonic, "nonmonotonic-write", "90 add 9001 => 9001; 90 add 9002 => 9002; 91 read nil => [9002]"),
    (Model::ReadYourWrites, "own-write-missing", "90 add 9001 => 9001; 90 read nil => []"),
    (Model::BoundedStaleness, "too-stale", "90 add 9001 => 9001; 91 read nil => []"),
];

#[test]
fn each_anomaly_is_found_alone() {
    for (model, anomaly, script) in PLANTED.iter().chain(PLANTED_IN_SETS) {
        let report = judged(&calls(script), *model);
        assert_eq!((report.verdict, names(&report)), (Verdict::Violated, vec![*anomaly]), "{model:?} {script}");
        assert!(report.violated[0].examples[0].ops.len() <= 3, "{model:?} {script}");
    }
}

#[test]
fn what_only_may_be_is_no_violation() {
    for (model, script) in [
        (Model::SetFull, "90 add 1 ?; 91 read nil => []; 92 add 2 !; 91 read nil => []; 93 add 3 => 3"),
        (Model::Ledger, "90 add 1 ?; 92 add 2 => 2; 91 read nil => [1 2]; 93 add 3 => 3"),
        (
            Model::Log,
            "90 send [[:send 9 1]] ?; 92 send [[:send 9 2]] => [[:send 9 [5 2]]]; 91 poll [[:poll]] => [[:poll {\"9\" [[3 1] [5 2]]}]]; 91 assign [9] => [9]; 91 poll [[:poll]] => [[:poll {9 [[3 1]]}]]",
        ),
        (Model::TotalQueue, "90 enqueue 1 => 1; 91 dequeue nil ?; 92 drain nil => []"),
        (Model::BankSum, "90 transfer {:from 0 :to 1 :amount 5} ?; 91 read nil => {0 -5 1 15}; 91 read nil => {0 10}"),
        (
            Model::CounterBounds,
            "90 add 5 ?; 91 add -2 ?; 92 read nil => 3; 92 read nil => 0; 92 read nil => -2; 92 read nil => 5",
        ),
        (Model::Monotonic, "90 write 1 ?; 91 read nil => 1; 92 write 2 => 2; 91 read nil => 2; 91 read nil => 1"),
        (Model::ReadYourWrites, "90 write 1 => 1; 91 write 2 ?; 90 read nil => 2"),
        (Model::BoundedStaleness, "90 write 1 => 1; 91 write 2 ?; 90 read nil => 1; 90 read nil => 2"),
        (Model::PrefixOfLog, "90 read [:primary nil] => [:primary [1]]; 91 read [:n2 nil] => [:n2 [1 2]]"),
        (
            Model::PrefixOfLog,
            "91 state [:n2 nil] => [:n2 {a 1}]; 91 state [:n2 nil] => [:n2 {}]; 90 read [:primary nil] => [:primary [[:put a 1] [:delete a] [:put a 1]]]; 91 state [:n2 nil] => [:n2 {c 1}]",
        ),
    ] {
        let report = judged(&calls(script), model);
        assert_eq!(report.verdict, Verdict::Valid, "{model:?} {script} {report:?}");
    }
}

#[test]
fn what_is_noted_counts_when_it_is_asked_about() {
    let text = calls("90 add 1 => 1; 91 read nil => []; 91 read nil => [1]; 92 add 2 => 2");
    let history = load(text.as_bytes()).unwrap();
    let report = judged(&text, Model::SetFull);
    assert_eq!(report.verdict, Verdict::Valid);
    assert_eq!(
        report.noted.iter().map(|found| found.anomaly).collect::<Vec<_>>(),
        [Anomaly::Stale, Anomaly::NeverRead]
    );
    let options = Options { anomalies: Some(vec![Anomaly::Stale]), ..Options::default() };
    let report = check(&history, Model::SetFull, &options, &mut Watch::unlimited()).unwrap();
    assert_eq!((report.verdict, names(&report)), (Verdict::Violated, vec!["stale"]));
}

#[test]
fn staleness_is_measured_by_the_times_of_the_history() {
    let at = |time: u64, kind: &str, f: &str, value: &str| {
        format!("{{:process {} :type :{kind} :f :{f} :value {value} :time {time}}}\n", u8::from(f == "read"))
    };
    let text = at(0, "invoke", "write", "1")
        + &at(10_000_000, "ok", "write", "1")
        + &at(15_000_000, "invoke", "read", "nil")
        + &at(16_000_000, "ok", "read", "nil");
    let history = load(text.as_bytes()).unwrap();
    let judged = |millis| {
        let options = Options { staleness: Duration::from_millis(millis), ..Options::default() };
        check(&history, Model::BoundedStaleness, &options, &mut Watch::unlimited()).unwrap()
    };
    assert_eq!(judged(4).verdict, Verdict::Violated);
    assert_eq!(judged(5).verdict, Verdict::Valid);
    assert!(judged(5).figures.contains(&Figure { name: "worst-staleness-ns", value: 5_000_000 }));
    let timeless = load(calls("0 write 1 => 1; 1 read nil => nil").as_bytes()).unwrap();
    let options = Options { staleness: Duration::from_millis(1), ..Options::default() };
    let refused = check(&timeless, Model::BoundedStaleness, &options, &mut Watch::unlimited());
    assert!(matches!(refused, Err(Refusal::Timeless { .. })));
}

#[test]
fn nothing_to_look_at_and_other_operations_are_told_apart() {
    for model in Model::ALL {
        assert_eq!(judged("[]", *model).verdict, Verdict::Nothing, "{model:?}");
        let alien = load(b"{:process 0 :type :ok :f :dance :value [1 2 3]}").unwrap();
        let refused = check(&alien, *model, &Options::default(), &mut Watch::unlimited());
        assert!(matches!(refused, Err(Refusal::Operation { .. })), "{model:?}");
        let stop = Watch::new(&|_| Some(Stop::Time));
        let report = check(&alien, *model, &Options::default(), &mut { stop }).unwrap();
        assert_eq!(report.verdict, Verdict::Unknown(Stop::Time));
    }
}

/// Numbers by chance, from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

/// An object that keeps every promise of every model.
#[derive(Default)]
struct World {
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

    fn elements_or_sum(&self) -> String {
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
fn execution(model: Model, seed: u64, sets: bool) -> String {
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

fn models() -> impl Strategy<Value = (Model, bool)> {
    let sessions = Model::ALL
        .iter()
        .copied()
        .filter(|model| matches!(model, Model::Monotonic | Model::ReadYourWrites | Model::BoundedStaleness));
    let all: Vec<(Model, bool)> =
        Model::ALL.iter().map(|model| (*model, false)).chain(sessions.map(|model| (model, true))).collect();
    prop::sample::select(all)
}

/// The verdict and the anomalies of a history.
fn verdict(history: &Loaded, model: Model) -> (Verdict, Vec<&'static str>) {
    let report = check(history, model, &Options::default(), &mut Watch::unlimited()).unwrap();
    (report.verdict, names(&report))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn executions_of_a_sound_object_pass((model, sets) in models(), seed: u64) {
        let text = execution(model, seed, sets);
        let report = judged(&text, model);
        prop_assert!(matches!(report.verdict, Verdict::Valid | Verdict::Nothing), "{:?}\n{:?}\n{}", model, report, text);
    }

    #[test]
    fn planted_violations_are_found((model, sets) in models(), seed: u64, place: prop::sample::Index) {
        let table = if sets { PLANTED_IN_SETS } else { PLANTED };
        let of_model: Vec<_> = table.iter().filter(|(of, ..)| *of == model).collect();
        let (_, anomaly, script) = place.get(&of_model);
        // The log of another run would not be one log.
        let before = if model == Model::PrefixOfLog { String::new() } else { execution(model, seed, sets) };
        let report = judged(&(before + &calls(script)), model);
        prop_assert_eq!(report.verdict, Verdict::Violated);
        prop_assert!(names(&report).contains(anomaly), "{:?} {} {:?}", model, anomaly, report);
    }

    #[test]
    fn names_and_the_order_of_what_is_concurrent_do_not_matter(
        (model, sets) in models(), seed: u64, planted: bool, swaps in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let table = if sets { PLANTED_IN_SETS } else { PLANTED };
        let script = table.iter().find(|(of, ..)| planted && *of == model).map_or("", |(_, _, script)| script);
        let mut history = load((execution(model, seed, sets) + &calls(script)).as_bytes()).unwrap();
        let before = verdict(&history, model);
        for swap in swaps {
            let place = swap.index(history.ops.len() - 1);
            let (first, second) = (&history.ops[place], &history.ops[place + 1]);
            let is_alike = (first.kind == Kind::Invoke) == (second.kind == Kind::Invoke);
            if is_alike && first.process != second.process {
                history.ops.swap(place, place + 1);
            }
        }
        prop_assert_eq!(&verdict(&history, model), &before);
        for op in &mut history.ops {
            if let Process::Client(process) = &mut op.process {
                *process = 1_000_000 - *process * 3;
            }
        }
        prop_assert_eq!(&verdict(&history, model), &before);
    }
}
