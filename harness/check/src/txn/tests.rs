//! Planted histories: each anomaly once, what it violates, and what must hold of every history.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::history::load;

/// Lines of `type process [micro-operations]`.
pub(super) fn history(lines: &str) -> Loaded {
    let mut text = String::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.splitn(3, ' ');
        let (kind, process) = (words.next().unwrap(), words.next().unwrap());
        writeln!(text, "{{:type :{kind}, :process {process}, :f :txn, :value {}}}", words.next().unwrap()).unwrap();
    }
    load(text.as_bytes()).unwrap()
}

fn judge(lines: &str, model: Model, options: &Options) -> Report {
    check(&history(lines), model, options).unwrap()
}

/// What was found, but for the remark that nothing depends on anything.
fn names(report: &Report) -> Vec<&'static str> {
    let found = report.anomalies.iter().filter(|anomaly| **anomaly != Anomaly::EmptyTransactionGraph);
    found.map(|anomaly| anomaly.name()).collect()
}

fn asked(anomaly: &str) -> Options {
    Options { consistency: Vec::new(), anomalies: Anomaly::named(anomaly).unwrap(), ..Options::default() }
}

const LIST: Model = Model::ListAppend;
const REGISTER: Model = Model::RwRegister;

/// What lists show: names, and a history of each.
pub(super) const PLANTED: &[(&[&str], &str)] = &[
    (
        &["G0"],
        "ok 0 [[:append 1 1] [:append 2 1]]
           ok 1 [[:append 1 2] [:append 2 2]]
           ok 2 [[:r 1 [1 2]] [:r 2 [2 1]]]",
    ),
    (
        &["G1c"],
        "ok 0 [[:append 1 1] [:r 2 [1]]]
           ok 1 [[:append 2 1] [:r 1 [1]]]",
    ),
    (
        &["G-single-item"],
        "ok 0 [[:append 1 1] [:append 2 1]]
           ok 1 [[:r 1 [1]] [:r 2 []]]",
    ),
    (
        &["G-nonadjacent-item"],
        "invoke 1 [[:append 1 1]]
           invoke 2 [[:r 1 nil] [:r 2 nil]]
           invoke 3 [[:append 2 1]]
           invoke 4 [[:r 2 nil] [:r 1 nil]]
           ok 1 [[:append 1 1]]
           ok 2 [[:r 1 [1]] [:r 2 []]]
           ok 3 [[:append 2 1]]
           ok 4 [[:r 2 [1]] [:r 1 []]]",
    ),
    (
        &["G2-item"],
        "ok 0 [[:append 1 1] [:r 2 []]]
           ok 1 [[:append 2 1] [:r 1 []]]",
    ),
    (
        &["G-single-item-realtime"],
        "ok 0 [[:append 1 1]]
           ok 1 [[:r 1 []]]",
    ),
    (
        &["G1c-realtime"],
        "ok 0 [[:r 1 [1]]]
           ok 1 [[:append 1 1]]",
    ),
    (
        &["G0-realtime"],
        "ok 0 [[:append 1 1]]
           ok 1 [[:append 1 2]]
           invoke 2 [[:r 1 nil]]
           info 2 [[:r 1 nil]]
           ok 3 [[:append 2 3]]
           invoke 4 [[:r 1 nil]]
           ok 4 [[:r 1 [2 1]]]",
    ),
    (
        &["G1a"],
        "fail 0 [[:append 1 1]]
           ok 1 [[:append 2 1]]
           ok 2 [[:r 1 [1]]]",
    ),
    (
        &["G1b", "internal"],
        "ok 0 [[:append 1 1] [:append 1 2]]
           invoke 1 [[:r 1 nil] [:r 1 nil]]
           ok 1 [[:r 1 [1]] [:r 1 [1 2]]]",
    ),
    (
        &["G1a", "dirty-update"],
        "fail 0 [[:append 1 1]]
           ok 1 [[:append 1 2]]
           ok 2 [[:r 1 [1 2]]]",
    ),
    (
        &["duplicate-elements"],
        "ok 0 [[:append 1 1]]
           ok 1 [[:append 1 2]]
           ok 2 [[:r 1 [1 2 1]]]",
    ),
    (
        &["incompatible-order"],
        "invoke 0 [[:append 1 1]]
           invoke 1 [[:append 1 2]]
           ok 0 [[:append 1 1]]
           ok 1 [[:append 1 2]]
           ok 2 [[:r 1 [1 2]]]
           ok 3 [[:r 1 [2 1]]]",
    ),
    (
        &["garbage-read"],
        "ok 0 [[:append 1 1]]
           ok 1 [[:r 1 [1 7]]]",
    ),
    (
        &["internal"],
        "ok 0 [[:append 1 1] [:r 1 []]]
           ok 1 [[:append 1 2]]
           ok 2 [[:r 1 [1 2]]]",
    ),
    (
        &["G2-item", "lost-update"],
        "ok 0 [[:append 1 1]]
           ok 1 [[:r 1 [1]] [:append 1 2]]
           ok 2 [[:r 1 [1]] [:append 1 3]]",
    ),
];

#[test]
fn lists_show_what_is_planted() {
    for (expected, lines) in PLANTED {
        let report = judge(lines, LIST, &Options::default());
        for name in *expected {
            assert!(names(&report).contains(name), "{name} of {:?} in\n{lines}", names(&report));
            let alone = judge(lines, LIST, &asked(name));
            assert_eq!((alone.verdict, names(&alone)), (Verdict::Violated, vec![*name]), "{lines}");
            assert!(alone.witnesses.iter().all(|witness| !witness.reasons.is_empty()));
        }
        assert_eq!(report.verdict, Verdict::Violated);
    }
}

#[test]
fn processes_have_an_order() {
    let session = |consistency| Options { consistency: vec![consistency], ..Options::default() };
    let lines = "ok 0 [[:append 1 1]]
        ok 0 [[:r 1 []]]";
    let report = judge(lines, LIST, &session(Consistency::StrongSessionSerializable));
    assert_eq!(names(&report), ["G-single-item-process"]);
    assert_eq!(report.violates, [Consistency::StrongSessionSnapshotIsolation]);
    assert_eq!(judge(lines, LIST, &session(Consistency::Serializable)).verdict, Verdict::Valid);
    assert_eq!(names(&judge("ok 0 [[:r 1 [1]]]\nok 0 [[:append 1 1]]", LIST, &asked("G1c-process"))), ["G1c-process"]);
    let writes = "ok 0 [[:append 1 1]]\nok 0 [[:append 1 2]]\nok 1 [[:r 1 [2 1]]]";
    assert_eq!(names(&judge(writes, LIST, &asked("G0-process"))), ["G0-process"]);
}

#[test]
fn several_antidependencies_and_an_order() {
    let adjacent = "invoke 2 [[:append 1 1] [:r 3 nil]]
        ok 3 [[:append 3 1]]
        ok 4 [[:r 1 []]]
        ok 2 [[:append 1 1] [:r 3 []]]";
    let nonadjacent = "invoke 2 [[:append 1 1]]
        invoke 3 [[:r 1 nil] [:r 3 nil]]
        ok 4 [[:append 3 1]]
        ok 1 [[:r 1 []]]
        ok 2 [[:append 1 1]]
        ok 3 [[:r 1 [1]] [:r 3 []]]";
    for (lines, name) in [(adjacent, "G2-item"), (nonadjacent, "G-nonadjacent-item")] {
        assert_eq!(names(&judge(lines, LIST, &Options::default())), [format!("{name}-realtime")]);
        let data = Options { consistency: vec![Consistency::Serializable], ..Options::default() };
        assert_eq!(judge(lines, LIST, &data).verdict, Verdict::Valid);
        let session = lines.replace("ok 3 [[:append 3 1]]\n        ok 4", "ok 4 [[:append 3 1]]\n        ok 4");
        let session = session.replace("ok 1 [[:r 1 []]]", "ok 4 [[:r 1 []]]");
        assert_eq!(names(&judge(&session, LIST, &asked(&format!("{name}-process")))), [format!("{name}-process")]);
    }
}

#[test]
fn the_shortest_cycle_is_told_in_words() {
    let lines = "ok 0 [[:append :x 1] [:append :y 1]]
        ok 1 [[:r :x [1]] [:r :y []]]";
    let report = judge(lines, LIST, &Options::default());
    let witness = &report.witnesses[0];
    let expected = ["T2 read 1 in key :x, which T1 appended", "T2 read key :y without 1, which T1 appended"];
    assert_eq!(witness.reasons, expected);
    assert_eq!(witness.relations, [Relation::WriteRead, Relation::ReadWrite]);
    assert_eq!(witness.transactions, [0, 1]);
}

#[test]
fn unknown_outcomes_are_used_only_when_they_show() {
    let unseen = "info 0 [[:append 1 1] [:append 2 1]]
        ok 1 [[:r 1 []] [:append 3 1]]
        ok 2 [[:r 3 [1]]]";
    assert_eq!(judge(unseen, LIST, &Options::default()).verdict, Verdict::Valid);
    let seen = "info 0 [[:append 1 1] [:append 2 1]]
        ok 1 [[:r 1 [1]] [:r 2 []]]";
    assert_eq!(names(&judge(seen, LIST, &Options::default())), ["G-single-item"]);
}

#[test]
fn nothing_to_check_is_not_valid() {
    let report = judge("invoke 0 [[:append 1 1]]", LIST, &Options::default());
    assert_eq!((report.verdict, report.anomalies), (Verdict::Unknown, vec![Anomaly::EmptyTransactionGraph]));
}

#[test]
fn what_is_not_of_the_model_is_refused_with_its_line() {
    for (model, lines) in [
        (LIST, "ok 0 [[:w 1 1]]"),
        (REGISTER, "ok 0 [[:append 1 1]]"),
        (LIST, "ok 0 7"),
        (LIST, "ok 0 [[:r 1 7]]"),
        (REGISTER, "ok 0 [[:w 1 nil]]"),
        (LIST, "ok 0 [[:append 1 1]]\nok 1 [[:append 1 1]]"),
    ] {
        let error = check(&history(lines), model, &Options::default()).unwrap_err();
        assert!(error.to_string().contains("line "), "{error}");
    }
}

#[test]
fn registers_show_what_is_planted() {
    let wfr = Options { wfr_keys: true, ..Options::default() };
    let linearizable = Options { linearizable_keys: true, ..Options::default() };
    let sequential = Options { sequential_keys: true, ..Options::default() };
    let planted = [
        ("G1a", &wfr, "fail 0 [[:w 1 1]]\nok 1 [[:w 2 2]]\nok 2 [[:r 1 1]]"),
        ("G1b", &wfr, "ok 0 [[:w 1 1] [:w 1 2]]\nok 1 [[:r 1 1]]"),
        ("G1c", &wfr, "ok 0 [[:w 1 1] [:r 2 1]]\nok 1 [[:w 2 1] [:r 1 1]]"),
        ("internal", &wfr, "ok 0 [[:w 1 1] [:r 1 2]]\nok 1 [[:w 1 2]]"),
        ("lost-update", &wfr, "ok 0 [[:r 1 nil] [:w 1 1]]\nok 1 [[:r 1 nil] [:w 1 2]]"),
        ("G-single-item", &wfr, "ok 0 [[:w 1 1] [:w 2 1]]\nok 1 [[:r 1 1] [:r 2 nil]]"),
        ("G2-item", &wfr, "ok 0 [[:w 1 1] [:r 2 nil]]\nok 1 [[:w 2 1] [:r 1 nil]]"),
        ("cyclic-versions", &wfr, "ok 0 [[:r 1 1] [:w 1 2]]\nok 1 [[:r 1 2] [:w 1 1]]"),
        ("cyclic-versions", &linearizable, "ok 0 [[:w 1 1]]\nok 1 [[:w 1 2]]\nok 2 [[:r 1 1]]"),
        ("cyclic-versions", &sequential, "ok 0 [[:w 1 1]]\nok 0 [[:w 1 2]]\nok 0 [[:r 1 1]]"),
        (
            "G0",
            &sequential,
            "invoke 0 [[:w 1 1] [:w 2 1]]
            invoke 1 [[:r 1 nil]]
            ok 2 [[:w 1 2] [:w 2 2]]
            ok 3 [[:r 1 2]]
            ok 0 [[:w 1 1] [:w 2 1]]
            ok 3 [[:r 1 1]]
            ok 4 [[:r 2 1]]
            ok 4 [[:r 2 2]]
            ok 1 [[:r 1 nil]]",
        ),
        ("G-single-item-realtime", &wfr, "ok 0 [[:w 1 1]]\nok 1 [[:r 1 nil]]"),
    ];
    for (name, options, lines) in planted {
        let report = judge(lines, REGISTER, options);
        assert!(names(&report).contains(&name), "{name} of {:?} in\n{lines}", names(&report));
    }
}

#[test]
fn registers_count_what_is_not_known() {
    let lines = "invoke 0 [[:w 1 1]]\nok 1 [[:w 1 2]]\nok 0 [[:w 1 1]]\nok 2 [[:r 1 9]]\nok 2 [[:w 2 1]]";
    let report = judge(lines, REGISTER, &Options::default());
    assert_eq!((report.verdict, report.unknown_keys, report.garbage_reads), (Verdict::Valid, 1, 1));
    assert_eq!(names(&judge(lines, REGISTER, &asked("garbage-read"))), ["garbage-read"]);
    let known = Options { linearizable_keys: true, ..Options::default() };
    assert_eq!(judge("ok 0 [[:w 1 1]]\nok 1 [[:w 1 2]]", REGISTER, &known).unknown_keys, 0);
}

/// What a transaction does: keys, and whether each is written.
pub(super) type Plan = Vec<Vec<(u8, bool)>>;

pub(super) fn plan() -> impl Strategy<Value = Plan> {
    prop::collection::vec(prop::collection::vec((0..4_u8, any::<bool>()), 1..5), 2..30)
}

/// Performs one transaction after the other. `rename` changes keys and values.
pub(super) fn serial(plan: &Plan, model: Model, rename: bool) -> Vec<String> {
    let mut state: Vec<Vec<usize>> = vec![Vec::new(); 4];
    let mut value = 0;
    let shown = |value: usize| if rename { format!("\"v{}\"", 7 * value) } else { value.to_string() };
    let mut lines = Vec::new();
    for (number, txn) in plan.iter().enumerate() {
        let mut mops = Vec::new();
        for (key, is_write) in txn {
            let of = &mut state[usize::from(*key)];
            let key = if rename { format!(":k{}", 9 - key) } else { key.to_string() };
            if *is_write {
                value += 1;
                of.push(value);
                let name = if model == LIST { "append" } else { "w" };
                mops.push(format!("[:{name} {key} {}]", shown(value)));
            } else if model == LIST {
                let list: Vec<String> = of.iter().map(|value| shown(*value)).collect();
                mops.push(format!("[:r {key} [{}]]", list.join(" ")));
            } else {
                mops.push(format!("[:r {key} {}]", of.last().map_or("nil".to_owned(), |value| shown(*value))));
            }
        }
        lines.push(format!("ok {} [{}]", number % 3, mops.join(" ")));
    }
    lines
}

pub(super) fn everything() -> Options {
    Options { linearizable_keys: true, sequential_keys: true, wfr_keys: true, ..Options::default() }
}

proptest! {
    #[test]
    fn serial_executions_pass(plan in plan()) {
        for model in [LIST, REGISTER] {
            let report = judge(&serial(&plan, model, false).join("\n"), model, &everything());
            prop_assert_ne!(report.verdict, Verdict::Violated, "{:?}", report.witnesses);
        }
    }

    #[test]
    fn a_planted_stale_read_is_found_wherever_it_is(plan in plan(), before in 0..30_usize, after in 0..30_usize) {
        let mut lines = serial(&plan, LIST, false);
        let write = before.min(lines.len());
        lines.insert(write, "ok 7 [[:append 8 1] [:append 9 1]]".to_owned());
        let read = write + 1 + after.min(lines.len() - write - 1);
        lines.insert(read, "ok 8 [[:r 8 []]]".to_owned());
        let report = judge(&lines.join("\n"), LIST, &Options::default());
        prop_assert_eq!(names(&report), ["G-single-item-realtime"]);
        prop_assert_eq!(report.witnesses[0].reasons.len(), 2);
        lines[read] = "ok 8 [[:r 8 [1]] [:r 9 []]]".to_owned();
        prop_assert_eq!(names(&judge(&lines.join("\n"), LIST, &Options::default())), ["G-single-item"]);
        let text = lines.join("\n").replace(":append", ":w").replace("[1]", "1").replace("[]", "nil");
        let of_registers: Vec<&str> = text.lines().filter(|line| line.starts_with("ok 7") || line.starts_with("ok 8")).collect();
        let report = judge(&of_registers.join("\n"), REGISTER, &Options::default());
        prop_assert_eq!(names(&report), ["G-single-item"]);
    }

    #[test]
    fn renaming_and_shuffling_keep_the_verdict(plan in plan(), order in any::<u64>()) {
        for model in [LIST, REGISTER] {
            let mut plain = serial(&plan, model, false);
            let mut renamed = serial(&plan, model, true);
            // A fixed permutation, so that most histories are not serial any more.
            let length = plain.len();
            for place in 0..length {
                let other = usize::try_from(order.rotate_left(u32::try_from(place).unwrap()) % 97).unwrap() % length;
                plain.swap(place, other);
                renamed.swap(place, other);
            }
            let (one, other) =
                (judge(&plain.join("\n"), model, &everything()), judge(&renamed.join("\n"), model, &everything()));
            prop_assert_eq!(one.verdict, other.verdict);
            prop_assert_eq!(one.anomalies, other.anomalies);
            prop_assert_eq!(one.unknown_keys, other.unknown_keys);
            let data = Options { consistency: vec![Consistency::Serializable], ..Options::default() };
            if model == LIST {
                prop_assert_ne!(judge(&plain.join("\n"), model, &data).verdict, Verdict::Violated);
            }
        }
    }
}
