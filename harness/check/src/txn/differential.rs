//! Small histories, decided a second time by trying everything: every serial order, and every simple cycle of
//! dependencies; and the short way of reading beside the importers.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::crew::Crew;
use crate::history;

/// Micro-operations of a small history: key, and whether it is written.
pub(super) type Plan = Vec<Vec<(usize, bool)>>;

/// What a transaction sees: that of the first so many transactions of a common order, by key.
#[derive(Clone, Debug)]
pub(super) struct Small {
    pub(super) plan: Plan,
    /// Of each transaction and key, how many versions its reads skip at the end.
    pub(super) stale: Vec<usize>,
    pub(super) kinds: Vec<&'static str>,
    pub(super) overlap: usize,
}

pub(super) fn small() -> impl Strategy<Value = Small> {
    let txn = prop::collection::vec((0..3_usize, any::<bool>()), 1..4);
    let kind = prop::sample::select(vec!["ok", "ok", "ok", "ok", "ok", "info", "fail"]);
    prop::collection::vec((txn, 0..6_usize, kind), 2..6).prop_flat_map(|txns| {
        (Just(txns), 0..4_usize).prop_map(|(txns, overlap)| Small {
            plan: txns.iter().map(|(txn, _, _)| txn.clone()).collect(),
            stale: txns.iter().map(|(_, stale, _)| stale.saturating_sub(3)).collect(),
            kinds: txns.iter().map(|(_, _, kind)| *kind).collect(),
            overlap,
        })
    })
}

/// A micro-operation with its result: the lists before and after it, in versions of the key.
#[derive(Clone, Debug)]
pub(super) enum Done {
    Append(usize, usize),
    Read(usize, Vec<usize>),
}

/// Executes the transactions one after the other; stale ones read lists without their last elements. A read sees the
/// transaction's own appends.
pub(super) fn execute(small: &Small) -> Vec<Vec<Done>> {
    let mut lists: Vec<Vec<usize>> = vec![Vec::new(); 3];
    let mut next = 0;
    let mut done = Vec::new();
    for (number, txn) in small.plan.iter().enumerate() {
        let mut own: Vec<Vec<usize>> = vec![Vec::new(); 3];
        let before: Vec<usize> = lists.iter().map(Vec::len).collect();
        let mut mops = Vec::new();
        for (key, is_write) in txn {
            if *is_write {
                next += 1;
                own[*key].push(next);
                mops.push(Done::Append(*key, next));
                if small.kinds[number] != "fail" {
                    lists[*key].push(next);
                }
            } else {
                let skipped = if own[*key].is_empty() { small.stale[number] } else { 0 };
                let mut seen: Vec<usize> = lists[*key][..before[*key].saturating_sub(skipped)].to_vec();
                seen.extend(&own[*key]);
                mops.push(Done::Read(*key, seen));
            }
        }
        done.push(mops);
    }
    done
}

/// As Jepsen writes it. Of a register only the last element of a list is shown.
pub(super) fn text(small: &Small, done: &[Vec<Done>], model: Model, is_json: bool) -> String {
    let mut events: Vec<(usize, String)> = Vec::new();
    for (number, mops) in done.iter().enumerate() {
        let shown = |has_results: bool| {
            let mops: Vec<String> = mops
                .iter()
                .map(|mop| match (mop, model, has_results) {
                    (Done::Append(key, value), Model::ListAppend, _) => format!("[:append {key} {value}]"),
                    (Done::Append(key, value), Model::RwRegister, _) => format!("[:w {key} {value}]"),
                    (Done::Read(key, _), _, false) => format!("[:r {key} nil]"),
                    (Done::Read(key, list), Model::ListAppend, true) => format!("[:r {key} {list:?}]"),
                    (Done::Read(key, list), Model::RwRegister, true) => {
                        format!("[:r {key} {}]", list.last().map_or("nil".to_owned(), ToString::to_string))
                    }
                })
                .collect();
            mops.join(" ")
        };
        let kind = small.kinds[number];
        let (begins, ends) = (4 * number, 4 * (number + small.overlap) + 2);
        let mut event = |place: usize, kind: &str, has_results: bool| {
            let mops = shown(has_results);
            events.push((place, format!("{{:process {number} :type :{kind} :f :txn :value [{mops}]}}")));
        };
        event(begins, "invoke", false);
        event(ends, kind, kind == "ok");
    }
    events.sort();
    let mut out = String::new();
    for (_, event) in events {
        let event = if is_json {
            let quoted = event.replace(":process", "\"process\":").replace(" :type :", ", \"type\": \"");
            let quoted = quoted.replace(" :f :txn :value", "\", \"f\": \"txn\", \"value\":").replace("nil", "null");
            let quoted = quoted.replace(":append ", "\"append\", ").replace(":w ", "\"w\", ").replace(":r ", "\"r\", ");
            let spaced = quoted.replace("] [", "], [");
            let comma = |name: &str, text: String| {
                let parts: Vec<String> = text.split(name).map(str::to_owned).collect();
                parts.iter().skip(1).fold(parts[0].clone(), |text, part| text + name + &part.replacen(' ', ", ", 1))
            };
            ["\"append\", ", "\"w\", ", "\"r\", "]
                .iter()
                .fold(spaced, |text, name| comma(name, text))
                .replace(",,", ",")
        } else {
            event
        };
        writeln!(out, "{event}").unwrap();
    }
    out
}

/// Which transactions took effect: of the unknown ones, those of which an append was read.
fn effective(small: &Small, done: &[Vec<Done>]) -> Vec<bool> {
    let read = |value: &usize| {
        let in_ok = done.iter().zip(&small.kinds).filter(|(_, kind)| **kind == "ok");
        in_ok.flat_map(|(mops, _)| mops).any(|mop| matches!(mop, Done::Read(_, list) if list.contains(value)))
    };
    let is_read = |mops: &Vec<Done>| mops.iter().any(|mop| matches!(mop, Done::Append(_, value) if read(value)));
    done.iter().zip(&small.kinds).map(|(mops, kind)| *kind == "ok" || (*kind == "info" && is_read(mops))).collect()
}

/// Whether some serial order of what took effect explains every read. What was never read may also be at the end.
pub(super) fn is_serializable(small: &Small, done: &[Vec<Done>], in_realtime: bool) -> bool {
    let effective = effective(small, done);
    let members: Vec<usize> = (0..done.len()).filter(|number| effective[*number]).collect();
    let before = |a: usize, b: usize| in_realtime && small.kinds[a] == "ok" && a + small.overlap < b;
    serial(small, done, &members, &mut Vec::new(), &vec![Vec::new(); 3], &before)
}

fn serial(
    small: &Small,
    done: &[Vec<Done>],
    members: &[usize],
    taken: &mut Vec<usize>,
    lists: &[Vec<usize>],
    before: &dyn Fn(usize, usize) -> bool,
) -> bool {
    if taken.len() == members.len() {
        return true;
    }
    members.iter().any(|next| {
        let is_left = |other: &&usize| !taken.contains(other) && *other != next;
        if taken.contains(next) || members.iter().filter(is_left).any(|other| before(*other, *next)) {
            return false;
        }
        let mut lists = lists.to_vec();
        for mop in &done[*next] {
            match mop {
                Done::Append(key, value) => lists[*key].push(*value),
                Done::Read(key, list) if small.kinds[*next] == "ok" && lists[*key] != *list => return false,
                Done::Read(..) => {}
            }
        }
        taken.push(*next);
        let found = serial(small, done, members, taken, &lists, before);
        taken.pop();
        found
    })
}

pub(super) fn names(report: &Report) -> BTreeSet<&'static str> {
    report.anomalies.iter().map(|anomaly| anomaly.name()).filter(|name| *name != "empty-transaction-graph").collect()
}

pub(super) fn asked(consistency: Consistency) -> Options {
    Options { consistency: vec![consistency], ..Options::default() }
}

pub(super) fn slowly(text: &str, model: Model, options: &Options) -> Report {
    check(&history::load(text.as_bytes()).unwrap(), model, options).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Lists show the order of what was read. A history without an anomaly has a serial order, and one with an anomaly has
    /// none.
    #[test]
    fn lists_are_serializable_when_some_serial_order_explains_them(small in small()) {
        let done = execute(&small);
        let text = text(&small, &done, Model::ListAppend, false);
        for (model, in_realtime) in [(Consistency::Serializable, false), (Consistency::StrongSerializable, true)] {
            let report = slowly(&text, Model::ListAppend, &asked(model));
            let expected = is_serializable(&small, &done, in_realtime);
            prop_assert_eq!(report.verdict != Verdict::Violated, expected, "{:?} of\n{}", names(&report), text);
        }
    }

    /// Of registers only what must be so is inferred: whatever has a serial order shows no anomaly.
    #[test]
    fn registers_with_a_serial_order_show_no_anomaly(small in small()) {
        let done = execute(&small);
        let text = text(&small, &done, Model::RwRegister, false);
        let options = Options { wfr_keys: true, linearizable_keys: true, sequential_keys: true, ..Options::default() };
        let report = slowly(&text, Model::RwRegister, &options);
        if is_serializable(&small, &done, true) {
            prop_assert_ne!(report.verdict, Verdict::Violated, "{:?} of\n{}", names(&report), text);
        }
    }

    #[test]
    fn the_short_way_reads_what_the_importers_read(small in small(), is_json in any::<bool>()) {
        let done = execute(&small);
        for model in [Model::ListAppend, Model::RwRegister] {
            let text = text(&small, &done, model, is_json);
            prop_assert!(scan::scan(&text, model, Crew::ALONE, &mut Watch::unlimited()).unwrap().is_some(), "{}", text);
            let options = Options { wfr_keys: true, ..Options::default() };
            let judged = judge(&text, model, &options, &mut Watch::unlimited()).unwrap();
            let slow = slowly(&text, model, &options);
            prop_assert_eq!(judged.report.verdict, slow.verdict, "{}", text);
            prop_assert_eq!(names(&judged.report), names(&slow), "{}", text);
            prop_assert_eq!(judged.report.transactions, slow.transactions);
            prop_assert_eq!(judged.report.unknown_keys, slow.unknown_keys);
            let history = history::load(text.as_bytes()).unwrap();
            prop_assert_eq!(judged.events, history.ops.len());
            for (place, op) in &judged.ops {
                prop_assert_eq!(op, &history.ops[*place]);
            }
        }
    }

    /// Neighbouring invocations, or neighbouring completions, of different processes may change places.
    #[test]
    fn neighbours_in_time_keep_the_verdict(small in small(), place in 0..10_usize) {
        let done = execute(&small);
        for model in [Model::ListAppend, Model::RwRegister] {
            let text = text(&small, &done, model, false);
            let mut lines: Vec<&str> = text.lines().collect();
            let place = place % (lines.len() - 1);
            let is_invoke = |line: &str| line.contains(":invoke");
            if is_invoke(lines[place]) != is_invoke(lines[place + 1]) {
                continue;
            }
            lines.swap(place, place + 1);
            let options = Options { wfr_keys: true, linearizable_keys: true, ..Options::default() };
            let (one, other) = (slowly(&text, model, &options), slowly(&lines.join("\n"), model, &options));
            prop_assert_eq!(one.verdict, other.verdict, "{}", text);
            prop_assert_eq!(names(&one), names(&other), "{}", text);
        }
    }
}

#[test]
fn what_is_written_otherwise_is_left_to_the_importers() {
    let op = "{:process 0 :type :ok :f :txn :value [[:append 1 1] [:r 1 [1]]]}";
    let scanned =
        |text: &str| scan::scan(text, Model::ListAppend, Crew::ALONE, &mut Watch::unlimited()).unwrap().is_some();
    let next = op.replace(":process 0", ":process 1").replace("[:append 1 1] ", "");
    let sound = [op.to_owned(), format!("[{op}]"), format!("[{op},\n{next}]\n"), format!("{op}\n{next}\n")];
    for text in sound {
        assert!(scanned(&text), "{text}");
    }
    let odd = [
        format!("{op} {op}"),
        format!("{op}\n\n{next}"),
        format!("[{op}"),
        format!("{op}]"),
        format!("[{op}]\n{next}"),
        op.replace("1 1", "1 1.5"),
        op.replace("[1]", "[1 :x]"),
        op.replace(":value", ":value #_ 1"),
        op.replace("txn", "read"),
        op.replace(":ok", ":done"),
        op.replace(":append 1", ":append :x"),
        op.replace(":process 0 ", ""),
        format!("; a comment\n{op}"),
        format!("{}\n{op}", op.replace(":ok", ":info")),
        "[]".to_owned(),
    ];
    for text in odd {
        assert!(!scanned(&text), "{text}");
    }
    let twice = format!("{op}\n{}", op.replace(":r 1 [1]", ":r 1 nil"));
    let error = judge(&twice, Model::ListAppend, &Options::default(), &mut Watch::unlimited()).unwrap_err();
    assert_eq!(error.to_string(), "line 2: the value 1 of key 1 is written a second time, first in line 1");
}

#[test]
fn a_limit_gives_unknown() {
    let lines: Vec<String> =
        (0..9_000).map(|n| format!("{{:process 0 :type :ok :f :txn :value [[:append {n} 1] [:r {n} [1]]]}}")).collect();
    let stopped = |_| Some(Stop::Memory);
    for text in [lines.join("\n"), lines.join(" ")] {
        let judged = judge(&text, Model::ListAppend, &Options::default(), &mut Watch::new(&stopped)).unwrap();
        assert_eq!((judged.report.verdict, judged.report.stopped), (Verdict::Unknown, Some(Stop::Memory)));
    }
}
