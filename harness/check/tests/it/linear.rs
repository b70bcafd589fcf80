//! Whole histories against every model: valid ones pass, planted violations are found, and what does not matter does not.

use std::fmt::Write as _;

use firedrill_check::history::{self, Loaded, Packed, Value};
use firedrill_check::linear::{self, Limits, Model, Refusal, Report, Verdict};
use proptest::prelude::*;

fn load(text: &str) -> Loaded {
    history::load(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn check(history: &Loaded, model: Model, initial: &str) -> Result<Report, Refusal> {
    let initial = history::parse_edn(initial).unwrap_or_else(|error| panic!("{error}"));
    linear::explain(&Packed::from(history), model, &initial, &Limits { exceeded: &|_| None, memory: 1 << 30 })
}

fn verdict(history: &Loaded, model: Model, initial: &str) -> &'static str {
    match check(history, model, initial).unwrap_or_else(|error| panic!("{error}")).verdict {
        Verdict::Valid => "valid",
        Verdict::Violated(_) => "violated",
        Verdict::Unknown { .. } => "unknown",
        Verdict::Nothing => "nothing",
    }
}

/// One call after the other, each `f argument → result`; `?` as a result never returns.
fn serial(calls: &[(&str, &str, &str)]) -> Loaded {
    let mut text = String::new();
    for (process, (f, argument, result)) in calls.iter().enumerate() {
        let mut line = |kind: &str, value: &str| {
            // Writing to a string cannot fail.
            let _written = writeln!(text, "{{:process {process}, :type :{kind}, :f :{f}, :value {value}}}");
        };
        line("invoke", argument);
        match *result {
            "?" => line("info", argument),
            "failed" => line("fail", argument),
            result => line("ok", result),
        }
    }
    load(&text)
}

/// A model, its initial value, the verdict, and calls one after the other.
type Row<'a> = (Model, &'a str, &'a str, &'a [(&'a str, &'a str, &'a str)]);

/// Calls of locks with owners and tokens, of banks and of stores with revisions.
const RARER: &[Row<'static>] = &[
    (Model::Lock, "nil", "valid", &[("acquire", "nil", "3"), ("release", "nil", "nil"), ("acquire", "nil", "5")]),
    (Model::Lock, "nil", "violated", &[("acquire", "nil", "3"), ("release", "nil", "nil"), ("acquire", "nil", "3")]),
    (Model::Lock, "7", "violated", &[("acquire", "nil", "7")]),
    (
        Model::Lock,
        "nil",
        "violated",
        &[
            ("acquire", "nil", "3"),
            ("release", "nil", "nil"),
            ("acquire", "nil", "nil"),
            ("release", "nil", "nil"),
            ("acquire", "nil", "4"),
        ],
    ),
    (
        Model::Lock,
        "nil",
        "valid",
        &[
            ("acquire", "nil", "3"),
            ("release", "nil", "nil"),
            ("acquire", "nil", "nil"),
            ("release", "nil", "nil"),
            ("acquire", "nil", "5"),
        ],
    ),
    (Model::Lock, "nil", "violated", &[("reentrant-acquire", "nil", "nil"), ("reentrant-acquire", "nil", "nil")]),
    (Model::Lock, "nil", "violated", &[("reentrant-acquire", "nil", "nil"), ("reentrant-release", "nil", "nil")]),
    (
        Model::Bank,
        "{\"a\" 9}",
        "valid",
        &[("transfer", "{:from :a :to :b :amount 4}", "nil"), ("read", "nil", "{:a 5 :b 4}")],
    ),
    (
        Model::Bank,
        "{\"a\" 9}",
        "violated",
        &[("transfer", "{:from :a :to :b :amount 4}", "nil"), ("read", "nil", "{:a 5 :b 5}")],
    ),
    (Model::Bank, "{\"a\" 9}", "valid", &[("transfer", "{:from :a :to :b :amount 4}", "?"), ("read", "nil", "{:a 9}")]),
    (Model::Bank, "nil", "violated", &[("read", "nil", "{0 1}")]),
    (
        Model::EtcdTxn,
        "nil",
        "valid",
        &[
            ("txn", "{:success [[:put k 5]]}", "{:succeeded true, :revision 2}"),
            (
                "txn",
                "{:compare [[= k :value 5]], :success [[:put k 6] [:delete j]]}",
                "{:succeeded true, :results [], :revision 3}",
            ),
            ("txn", "{:success [[:get k]]}", "{:succeeded true, :results [[:get k 6 3]], :revision 3}"),
            ("txn", "{:compare [[\">\" k :mod-revision 2] [!= k :version 1]], :success [[:delete k]]}", "?"),
            ("txn", "{:compare [[= k :create-revision 0]], :failure [[:get k]]}", "{:succeeded true, :revision 4}"),
        ],
    ),
    (Model::EtcdTxn, "nil", "violated", &[("txn", "{:success [[:put k 5]]}", "{:revision 3}")]),
    (Model::EtcdTxn, "9", "valid", &[("txn", "{:success [[:put k 5]]}", "{:revision 10}")]),
    (Model::EtcdTxn, "nil", "violated", &[("txn", "{:success [[:delete k]]}", "{:revision 2}")]),
    (Model::EtcdTxn, "nil", "violated", &[("txn", "{:compare [[!= k :value 5]]}", "{:succeeded true}")]),
    (
        Model::EtcdTxn,
        "nil",
        "violated",
        &[
            ("txn", "{:success [[:put k 5]]}", "{}"),
            ("txn", "{:success [[:get k]]}", "{:succeeded true :results [[:get k nil]]}"),
        ],
    ),
    (
        Model::EtcdTxn,
        "nil",
        "violated",
        &[
            ("txn", "{:success [[:put k 5] [:put j 5]]}", "{}"),
            ("txn", "{:compare [[< j :version 1]] :failure [[:get j]]}", "{:succeeded false :results [[:get j 5 3]]}"),
        ],
    ),
];

#[test]
fn a_holder_may_acquire_a_reentrant_lock_again_and_nobody_else_may() {
    let history = |third: &str| {
        let calls =
            [("0", "reentrant-acquire", "4"), ("0", "reentrant-acquire", "4"), ("0", "reentrant-release", "nil")];
        let calls = calls.into_iter().chain([(third, "reentrant-acquire", if third == "0" { "4" } else { "5" })]);
        let lines = calls.map(|(p, f, value)| format!("{{:process {p} :type :ok :f :{f} :value {value}}}"));
        load(&lines.collect::<Vec<_>>().join("\n"))
    };
    assert_eq!(verdict(&history("0"), Model::Lock, "nil"), "valid");
    assert_eq!(verdict(&history("1"), Model::Lock, "nil"), "violated", "it was released once of twice");
}

#[test]
fn every_model_knows_right_from_wrong() {
    let set = "#{1 2}";
    let table: &[Row] = &[
        (Model::Register, "nil", "valid", &[("read", "nil", "nil"), ("write", "1", "1"), ("read", "nil", "1")]),
        (Model::Register, "nil", "violated", &[("write", "1", "1"), ("read", "nil", "nil")]),
        (Model::Register, "nil", "violated", &[("write", "1", "failed"), ("read", "nil", "1")]),
        (Model::Register, "nil", "valid", &[("write", "1", "?"), ("read", "nil", "nil"), ("read", "nil", "1")]),
        (Model::Register, "nil", "violated", &[("write", "1", "?"), ("read", "nil", "1"), ("read", "nil", "nil")]),
        (Model::Register, "0", "valid", &[("read", "nil", "nil"), ("read", "nil", "0")]),
        (Model::CasRegister, "0", "valid", &[("cas", "[0 1]", "[0 1]"), ("read", "nil", "1")]),
        (Model::CasRegister, "0", "violated", &[("cas", "[1 2]", "[1 2]")]),
        (Model::CasRegister, "0", "violated", &[("cas", "[0 1]", "failed"), ("read", "nil", "1")]),
        (Model::CasRegister, "nil", "valid", &[("write", "[:a 1]", "[:a 1]"), ("read", "[:b nil]", "[:b nil]")]),
        (Model::CasRegister, "nil", "violated", &[("write", "[:a 1]", "[:a 1]"), ("read", "[:a nil]", "[:a nil]")]),
        (
            Model::MultiRegister,
            "{:x 0 :y 0}",
            "valid",
            &[
                ("txn", "[[:write :x 1]]", "[[:write :x 1]]"),
                ("txn", "[[:r :x nil] [:r :y nil]]", "[[:r :x 1] [:r :y 0]]"),
            ],
        ),
        (
            Model::MultiRegister,
            "{:x 0 :y 0}",
            "violated",
            &[("txn", "[[:w :x 1] [:w :y 1]]", "?"), ("txn", "[[:r :x nil] [:r :y nil]]", "[[:r :x 1] [:r :y 0]]")],
        ),
        (Model::Kv, "nil", "valid", &[("append", "[1 \"a\"]", "[1 \"a\"]"), ("get", "[1 nil]", "[1 \"a\"]")]),
        (Model::Kv, "nil", "violated", &[("append", "[1 \"a\"]", "[1 \"a\"]"), ("get", "[1 nil]", "[1 \"\"]")]),
        (Model::Kv, "nil", "valid", &[("put", "[1 \"a\"]", "[1 \"a\"]"), ("get", "[2 nil]", "[2 \"\"]")]),
        (
            Model::Set,
            "nil",
            "valid",
            &[("add", "1", "1"), ("add", "2", "?"), ("read", "nil", set), ("read", "nil", "[2 1]")],
        ),
        (Model::Set, "nil", "violated", &[("add", "1", "1"), ("add", "2", "2"), ("read", "nil", "#{2}")]),
        (Model::Queue, "nil", "valid", &[("enqueue", "1", "1"), ("enqueue", "2", "2"), ("dequeue", "nil", "1")]),
        (Model::Queue, "nil", "violated", &[("enqueue", "1", "1"), ("enqueue", "2", "2"), ("dequeue", "nil", "2")]),
        (Model::Queue, "nil", "valid", &[("enqueue", "1", "1"), ("dequeue", "nil", "?"), ("dequeue", "nil", "nil")]),
        (Model::Queue, "nil", "violated", &[("enqueue", "1", "1"), ("dequeue", "nil", "nil")]),
        (Model::Counter, "nil", "valid", &[("add", "2", "2"), ("add", "-1", "?"), ("read", "nil", "1")]),
        (Model::Counter, "5", "violated", &[("add", "2", "2"), ("read", "nil", "2")]),
        (
            Model::Lock,
            "nil",
            "valid",
            &[("acquire", "nil", "nil"), ("release", "nil", "nil"), ("acquire", "nil", "nil")],
        ),
        (Model::Lock, "nil", "violated", &[("acquire", "nil", "nil"), ("acquire", "nil", "nil")]),
        (Model::Lock, "true", "violated", &[("acquire", "nil", "nil")]),
        (Model::Lock, "nil", "valid", &[("acquire", "nil", "failed")]),
    ];
    for (model, initial, want, calls) in table.iter().chain(RARER) {
        assert_eq!(verdict(&serial(calls), *model, initial), *want, "{model:?} {initial} {calls:?}");
    }
    for model in Model::ALL {
        let tried: Vec<&str> = table.iter().chain(RARER).filter(|row| row.0 == *model).map(|row| row.2).collect();
        assert!(tried.contains(&"valid") && tried.contains(&"violated"), "{model:?}");
        assert_eq!(verdict(&load("[]"), *model, "nil"), "nothing");
        let strange = check(&serial(&[("jump", "[1 2]", "[1 2]")]), *model, "nil").unwrap_err().to_string();
        assert!(strange.contains("line 1") && strange.contains(model.name()), "{strange}");
    }
    assert!(check(&load("[]"), Model::Counter, "\"x\"").is_err(), "not an initial value");
}

#[test]
fn a_violation_is_told_with_what_is_around_it() {
    let history = serial(&[("write", "[7 1]", "[7 1]"), ("write", "[7 2]", "?"), ("read", "[7 nil]", "[7 3]")]);
    let Verdict::Violated(found) = check(&history, Model::Register, "nil").unwrap().verdict else {
        panic!("not found")
    };
    let told = linear::describe(&Packed::from(&history), &found);
    assert_eq!(
        told,
        "no order: process 2 read [7 nil] → ok [7 3] (lines 5 to 6)\n  \
         could not take effect; calls of key 7 that ended before it and have their place: 1\n  \
         when the last of them ended, the state may have been: 1\n  \
         these calls contradict each other, whatever became of all others:\n    \
         process 2 read [7 nil] → ok [7 3] (lines 5 to 6)\n  \
         the calls before it and beside it:\n    \
         process 0 write [7 1] → ok (lines 1 to 2)\n    \
         process 1 write [7 2] → unknown (from line 3)\n"
    );
    assert_eq!(found.key, Some(Value::Int(7)));
}

#[test]
fn the_fewest_calls_that_contradict_each_other_are_named() {
    // Two writes and a stale read, among others that have nothing to do with it.
    for other in ["write", "cas"] {
        let noise = |value: i64| match other {
            "write" => ("write", value.to_string(), value.to_string()),
            _ => ("read", "nil".to_owned(), "2".to_owned()),
        };
        let mut calls = vec![("write", "1".to_owned(), "1".to_owned()), ("write", "2".to_owned(), "2".to_owned())];
        calls.extend((0..20).map(|_| noise(2)));
        calls.push(("read", "nil".to_owned(), "1".to_owned()));
        calls.extend((0..20).map(noise));
        let calls: Vec<(&str, &str, &str)> = calls.iter().map(|(f, a, b)| (*f, a.as_str(), b.as_str())).collect();
        let history = serial(&calls);
        let Verdict::Violated(found) = check(&history, Model::CasRegister, "0").unwrap().verdict else {
            panic!("not found")
        };
        assert_eq!((found.begins, found.ends), (44, 45), "the shortest prefix");
        let lines: Vec<&str> = found.core.iter().map(|(begins, _)| &*history.ops[*begins].f).collect();
        assert_eq!(lines, ["write", if other == "write" { "write" } else { "read" }, "read"], "{found:?}");
        assert_eq!(found.core[0], (0, 1));
        let drawn = linear::svg(&Packed::from(&history), &found);
        assert_eq!(drawn.matches("class=\"core").count(), 2);
        assert_eq!(drawn.matches("class=\"bad").count(), 1);
        assert!(drawn.matches("class=\"point").count() >= 7, "each of those before took effect\n{drawn}");
    }
}

/// A step of the generator: who moves, and what it does if it is free.
type Move = (usize, u8, i64, i64, bool);

/// A call in flight: its value, its move, and its result when it took effect.
type Busy = (String, u8, i64, i64, Option<(&'static str, String)>);

/// A register's history that has an order: each call takes effect at some move between its first and its last.
fn generated(moves: &[Move]) -> Vec<String> {
    let mut state = 0;
    let mut lines = Vec::new();
    let mut busy: Vec<Option<Busy>> = vec![None; 4];
    let mut process = [0, 1, 2, 3];
    for (who, f, a, b, crash) in moves.iter().copied() {
        let name = |f: u8| ["read", "write", "cas"][usize::from(f % 3)];
        let line = |p: i64, kind: &str, f: u8, value: &str| {
            format!("{{:process {p}, :type :{kind}, :f :{}, :value {value}}}", name(f))
        };
        match busy[who].take() {
            None => {
                let value = ["nil".to_owned(), a.to_string(), format!("[{a} {b}]")][usize::from(f % 3)].clone();
                lines.push(line(process[who], "invoke", f, &value));
                busy[who] = Some((value, f, a, b, None));
            }
            Some((value, f, a, b, None)) => {
                let result = match f % 3 {
                    0 => ("ok", state.to_string()),
                    1 => {
                        state = a;
                        ("ok", value.clone())
                    }
                    _ if state == a => {
                        state = b;
                        ("ok", value.clone())
                    }
                    _ => ("fail", value.clone()),
                };
                busy[who] = Some((value, f, a, b, Some(result)));
            }
            Some((value, f, _, _, Some(_))) if crash => {
                lines.push(line(process[who], "info", f, &value));
                process[who] += 4;
            }
            Some((_, f, _, _, Some((kind, value)))) => lines.push(line(process[who], kind, f, &value)),
        }
    }
    lines
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    prop::collection::vec((0_usize..4, any::<u8>(), 0_i64..4, 0_i64..4, prop::bool::weighted(0.1)), 1..150)
}

proptest! {
    #[test]
    fn what_has_an_order_is_valid(moves in moves()) {
        let history = load(&format!("[{}]", generated(&moves).join("\n")));
        prop_assert_ne!(verdict(&history, Model::CasRegister, "0"), "violated");
        prop_assert_ne!(verdict(&history, Model::CasRegister, "0"), "unknown");
    }

    #[test]
    fn a_planted_violation_is_found(moves in moves(), place in any::<prop::sample::Index>()) {
        let mut lines = generated(&moves);
        let at = place.index(lines.len() + 1);
        lines.insert(at, "{:process 900, :type :invoke, :f :read, :value nil}".to_owned());
        lines.insert(at + 1, "{:process 900, :type :ok, :f :read, :value 77}".to_owned());
        prop_assert_eq!(verdict(&load(&lines.join("\n")), Model::CasRegister, "0"), "violated");
    }

    #[test]
    fn names_and_the_order_of_equals_do_not_matter(moves in moves(), wrong in any::<prop::sample::Index>(), swaps in any::<u64>()) {
        // A result turned into another makes about half of them violated.
        let mut lines = generated(&moves);
        let at = wrong.index(lines.len().max(1));
        if let Some(line) = lines.get_mut(at) {
            *line = line.replace(":value 1}", ":value 2}");
        }
        let history = load(&lines.join("\n"));
        let want = verdict(&history, Model::CasRegister, "0");
        let mut swapped = history.clone();
        for place in 1..swapped.ops.len() {
            let (left, right) = (&swapped.ops[place - 1], &swapped.ops[place]);
            let begins = |op: &history::RawOp| op.kind == history::Kind::Invoke;
            if begins(left) == begins(right) && left.process != right.process && (swaps >> (place % 64)) & 1 == 1 {
                swapped.ops.swap(place - 1, place);
            }
        }
        prop_assert_eq!(verdict(&swapped, Model::CasRegister, "0"), want);
        let mut renamed = history.clone();
        for op in &mut renamed.ops {
            op.value = renamed_value(&op.value);
            if let history::Process::Client(number) = &mut op.process {
                *number = 1000 - *number;
            }
        }
        prop_assert_eq!(verdict(&renamed, Model::CasRegister, "\"v0\""), want);
        let json = load(&history::to_json_lines(&history));
        prop_assert_eq!(verdict(&json, Model::CasRegister, "0"), want);
    }
}

fn renamed_value(value: &Value) -> Value {
    match value {
        Value::Int(number) => Value::Text(format!("v{number}").into()),
        Value::List(items) => Value::List(items.iter().map(renamed_value).collect()),
        Value::Nil
        | Value::Bool(_)
        | Value::Text(_)
        | Value::Keyword(_)
        | Value::Set(_)
        | Value::Map(_)
        | Value::Literal(_) => value.clone(),
    }
}
