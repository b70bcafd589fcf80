//! A generated set: histories that have an order by construction, and the same with a violation planted. Nearly all must
//! be decided within the limits, and every decision must match the construction.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use firedrill_check::history::{self, Value};
use firedrill_check::linear::{self, Limits, Model, Stop, Verdict};

/// A generator of numbers (Knuth's MMIX constants).
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % end
    }
}

/// An object that does what it should.
#[derive(Default)]
struct Object {
    value: usize,
    fresh: usize,
    elements: BTreeSet<usize>,
    queue: VecDeque<usize>,
    held: bool,
    accounts: [i64; 3],
    revision: usize,
    text: String,
}

/// An operation and its argument.
fn asked(model: Model, object: &mut Object, draw: &mut Draw) -> (&'static str, String) {
    object.fresh += 1;
    let (fresh, few) = (object.fresh, draw.below(5));
    match (model, draw.below(3)) {
        (Model::Register | Model::CasRegister | Model::Set | Model::Counter | Model::Bank, 0) => {
            ("read", "nil".to_owned())
        }
        (Model::CasRegister, 1) => ("cas", format!("[{} {few}]", draw.below(5))),
        (Model::Register | Model::CasRegister, _) => ("write", few.to_string()),
        (Model::Set, _) => ("add", fresh.to_string()),
        (Model::Counter, _) => ("add", few.to_string()),
        (Model::Queue, 0) => ("dequeue", "nil".to_owned()),
        (Model::Queue, _) => ("enqueue", fresh.to_string()),
        (Model::Lock, 0) => ("release", "nil".to_owned()),
        (Model::Lock, _) => ("acquire", "nil".to_owned()),
        (Model::Bank, _) => ("transfer", format!("{{:from {} :to {} :amount {few}}}", draw.below(3), draw.below(3))),
        (Model::MultiRegister, 0) => ("txn", "[[:r :x nil] [:r :y nil]]".to_owned()),
        (Model::MultiRegister, _) => ("txn", format!("[[:w :x {few}] [:w :y {few}]]")),
        (Model::Kv, 0) => ("get", "[7 nil]".to_owned()),
        (Model::Kv, 1) => ("put", format!("[7 \"{few}\"]")),
        (Model::Kv, _) => ("append", format!("[7 \"{few}\"]")),
        (Model::EtcdTxn, 0) => ("txn", "{:success [[:get k]]}".to_owned()),
        (Model::EtcdTxn, 1) => {
            ("txn", format!("{{:compare [[= k :value {}]] :success [[:put k {few}]]}}", draw.below(5)))
        }
        (Model::EtcdTxn, _) => ("txn", format!("{{:success [[:put k {few}]]}}")),
    }
}

/// Numbers in a text, in order.
fn numbers(text: &str) -> Vec<usize> {
    text.split(|character: char| !character.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

/// Lets it take effect: what is answered, or nothing when it fails.
fn answer(model: Model, object: &mut Object, f: &str, argument: &str) -> Option<String> {
    let words = numbers(argument);
    let told = match (model, f) {
        (Model::Register | Model::CasRegister | Model::Counter, "read") => object.value.to_string(),
        (Model::Register | Model::CasRegister, "write") => {
            object.value = words[0];
            argument.to_owned()
        }
        (Model::Register | Model::CasRegister, _) => {
            (object.value == words[0]).then(|| object.value = words[1])?;
            argument.to_owned()
        }
        (Model::Set, "read") => format!("{:?}", object.elements).replace(',', "").replace('{', "#{"),
        (Model::Set, _) => {
            object.elements.insert(words[0]);
            argument.to_owned()
        }
        (Model::Counter, _) => {
            object.value += words[0];
            argument.to_owned()
        }
        (Model::Queue, "dequeue") => {
            object.queue.pop_front().map_or_else(|| "nil".to_owned(), |value| value.to_string())
        }
        (Model::Queue, _) => {
            object.queue.push_back(words[0]);
            argument.to_owned()
        }
        (Model::Lock, f) => {
            let held = f == "acquire";
            (object.held != held).then(|| object.held = held)?;
            "nil".to_owned()
        }
        (Model::Bank, "read") => {
            let [a, b, c] = object.accounts;
            format!("{{0 {a} 1 {b} 2 {c}}}")
        }
        (Model::Bank, _) => {
            let amount = i64::try_from(words[2]).unwrap_or_default();
            object.accounts[words[0]] -= amount;
            object.accounts[words[1]] += amount;
            argument.to_owned()
        }
        (Model::MultiRegister, _) if words.is_empty() => format!("[[:r :x {0}] [:r :y {0}]]", object.value),
        (Model::MultiRegister, _) => {
            object.value = words[0];
            argument.to_owned()
        }
        (Model::Kv, "get") => format!("[7 {:?}]", object.text),
        (Model::Kv, f) => {
            if f == "put" {
                object.text.clear();
            }
            object.text += &words[1].to_string();
            argument.to_owned()
        }
        (Model::EtcdTxn, _) if argument.contains(":get") => {
            let value = if object.revision == 0 { "nil".to_owned() } else { object.value.to_string() };
            format!("{{:succeeded true :results [[:get k {value}]] :revision {}}}", object.revision + 1)
        }
        (Model::EtcdTxn, _) => {
            let holds = words.len() == 1 || (object.revision > 0 && object.value == words[0]);
            if holds {
                object.value = words[words.len() - 1];
                object.revision += 1;
            }
            format!("{{:succeeded {holds} :revision {}}}", object.revision + 1)
        }
    };
    Some(told)
}

/// What no order explains, between two events of the history that has one.
fn planted(model: Model) -> (&'static str, &'static str, &'static str) {
    match model {
        Model::Register | Model::CasRegister | Model::Counter => ("read", "nil", "999999"),
        Model::Set => ("read", "nil", "#{999999}"),
        Model::Queue => ("dequeue", "nil", "999999"),
        Model::Lock => ("acquire", "nil", "nil"),
        Model::Bank => ("read", "nil", "{0 1 1 1 2 1}"),
        Model::MultiRegister => ("txn", "[[:r :x nil] [:r :y nil]]", "[[:r :x 1] [:r :y 2]]"),
        Model::Kv => ("get", "[7 nil]", "[7 \"x\"]"),
        Model::EtcdTxn => ("txn", "{:success [[:put k 1]]}", "{:succeeded true :revision 1}"),
    }
}

/// A call in flight: its operation, its argument, and what it answered when it took effect.
type Busy = (&'static str, String, Option<Option<String>>);

/// A history of so many calls; with a violation, it is somewhere in its second half.
fn generated(model: Model, seed: usize, calls: usize, violated: bool) -> String {
    let mut draw = Draw(u64::try_from(seed).unwrap_or_default());
    let mut object = Object::default();
    let mut text = String::new();
    let mut busy: Vec<Option<Busy>> = vec![None; 6];
    let mut process: Vec<usize> = (0..6).collect();
    let (mut begun, mut next) = (0, 6);
    let mut plant = violated.then(|| calls / 2 + draw.below(calls / 2));
    while begun < calls || busy.iter().any(Option::is_some) {
        let who = draw.below(6);
        let mut line = |process: usize, kind: &str, f: &str, value: &str| {
            let _written = writeln!(text, "{{:process {process} :type :{kind} :f :{f} :value {value}}}");
        };
        match busy[who].take() {
            None if begun < calls => {
                let (f, argument) = asked(model, &mut object, &mut draw);
                line(process[who], "invoke", f, &argument);
                busy[who] = Some((f, argument, None));
                begun += 1;
            }
            None => {}
            Some((f, argument, None)) => {
                let told = answer(model, &mut object, f, &argument);
                busy[who] = Some((f, argument, Some(told)));
            }
            // Crashes are rare, and releases and dequeues do not crash: who took what would be open for ever.
            Some((f, argument, Some(Some(_))))
                if !matches!(f, "acquire" | "release" | "dequeue") && draw.below(50) == 0 =>
            {
                line(process[who], "info", f, &argument);
                (process[who], next) = (next, next + 1);
            }
            Some((f, argument, Some(told))) => match told {
                Some(told) => line(process[who], "ok", f, &told),
                None => line(process[who], "fail", f, &argument),
            },
        }
        if plant.is_some_and(|at| begun >= at) {
            let (f, argument, told) = planted(model);
            // A second holder: the lock is held, and nobody else is about to do anything.
            let quiet = model != Model::Lock || (object.held && busy.iter().all(Option::is_none));
            if quiet {
                line(9999, "invoke", f, argument);
                line(9999, "ok", f, told);
                plant = None;
            }
        }
    }
    text
}

#[test]
fn a_simple_operation_takes_at_most_forty_bytes() {
    let mut text = String::new();
    let mut keyed = String::new();
    for call in 0..20_000 {
        let line = |value: &str, kind: &str| {
            let process = call % 10;
            let f = if call % 2 == 0 { "write" } else { "read" };
            format!(
                "{{\"index\":{call},\"time\":{call}000,\"process\":{process},\"type\":\"{kind}\",\"f\":\"{f}\",\"value\":{value}}}\n"
            )
        };
        let asked = |value: String| if call % 2 == 0 { value } else { "null".to_owned() };
        // Values that are all different, and up to a million.
        let value = (call * 50).to_string();
        text += &(line(&asked(value.clone()), "invoke") + &line(&value, "ok"));
        let (key, value) = (call % 1000, (call % 5).to_string());
        keyed +=
            &(line(&format!("[{key},{}]", asked(value.clone())), "invoke") + &line(&format!("[{key},{value}]"), "ok"));
    }
    for text in [text, keyed] {
        let history = history::load_packed(text.as_bytes()).unwrap();
        assert_eq!(history.len(), 40_000);
        let bytes = history.bytes();
        assert!(bytes <= 40 * 20_000, "{bytes} bytes for 20000 operations");
    }
}

#[test]
fn planted_violations_are_found_and_nothing_else_is() {
    let (mut decided, mut all, mut violations) = (0_u32, 0_u32, 0_u32);
    for model in Model::ALL {
        for seed in 0..10_usize {
            let violated = seed % 2 == 1;
            let text = generated(*model, seed, 30 + seed * 8, violated);
            // The lock may never have been quiet.
            let violated = violated && text.contains(":process 9999");
            let history = history::load_packed(text.as_bytes()).unwrap();
            let looks = AtomicU32::new(0);
            let exceeded = |_| (looks.fetch_add(1, Ordering::Relaxed) > 2000).then_some(Stop::Time);
            let limits = Limits { exceeded: &exceeded, memory: 256 << 20 };
            let initial = if matches!(model, Model::Register | Model::CasRegister) {
                Value::Int(0)
            } else if *model == Model::MultiRegister {
                history::parse_edn("{:x 0 :y 0}").unwrap()
            } else {
                Value::Nil
            };
            let verdict = linear::check(&history, *model, &initial, &limits).unwrap().verdict;
            all += 1;
            violations += u32::from(violated);
            match verdict {
                Verdict::Valid => assert!(!violated, "{model:?} {seed}\n{text}"),
                Verdict::Violated(found) => assert!(violated, "{model:?} {seed} {found:?}\n{text}"),
                Verdict::Unknown { .. } => continue,
                Verdict::Nothing => panic!("{model:?} {seed}"),
            }
            decided += 1;
        }
    }
    assert!(decided * 100 >= all * 95, "{decided} of {all} decided");
    assert!(violations * 100 >= all * 40, "{violations} of {all} were planted");
}
