//! The definition itself, tried on every commit order of small histories.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::tests::verdicts;
use super::*;

/// An operation of a small history: a write of a key, or a read of what a transaction left there.
#[derive(Clone, Copy, Debug)]
struct Op {
    is_write: bool,
    key: usize,
    /// Whose write is read; the initial value when it is nobody's.
    from: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Small {
    session: usize,
    ops: Vec<Op>,
    kind: &'static str,
    begins: usize,
    ends: usize,
}

/// Every write has the value `10 * transaction + place`.
fn value(of: &Small, number: usize, key: usize) -> Option<usize> {
    let last = of.ops.iter().rposition(|op| op.is_write && op.key == key);
    last.map(|place| 10 * (number + 1) + place)
}

fn read(txns: &[Small], op: Op) -> Option<(usize, usize)> {
    let of = txns.get(op.from)?;
    Some((op.from, value(of, op.from, op.key)?))
}

fn mops(txns: &[Small], number: usize) -> Vec<(bool, usize, usize)> {
    let of = txns[number].ops.iter().enumerate();
    of.map(|(place, op)| {
        let value = if op.is_write { 10 * (number + 1) + place } else { read(txns, *op).map_or(0, |(_, value)| value) };
        (op.is_write, op.key, value)
    })
    .collect()
}

fn plume(txns: &[Small]) -> String {
    let mut text = String::new();
    for (number, txn) in txns.iter().enumerate() {
        for (is_write, key, value) in mops(txns, number) {
            let name = if is_write { 'w' } else { 'r' };
            writeln!(text, "{name}({key},{value},{},{number})", txn.session).unwrap();
        }
    }
    text
}

pub(super) fn jepsen(txns: &[Small]) -> String {
    let mut events: Vec<(usize, String)> = Vec::new();
    for (number, txn) in txns.iter().enumerate() {
        let shown: Vec<String> = mops(txns, number)
            .into_iter()
            .map(|(is_write, key, value)| match (is_write, value) {
                (true, value) => format!("[:w {key} {value}]"),
                (false, 0) => format!("[:r {key} nil]"),
                (false, value) => format!("[:r {key} {value}]"),
            })
            .collect();
        for (place, kind) in [(txn.begins, "invoke"), (txn.ends, txn.kind)] {
            let (session, shown) = (txn.session, shown.join(" "));
            events.push((place, format!("{{:process {session} :type :{kind} :f :txn :value [{shown}]}}\n")));
        }
    }
    events.sort();
    events.into_iter().map(|(_, text)| text).collect()
}

/// The definition: some order of all transactions explains everything. Transaction 0 writes the initial values.
fn by_definition(txns: &[Small], level: Level) -> bool {
    let takes_part = |number: usize| txns[number].kind != "fail";
    let count = txns.len() + 1;
    let mut so = vec![vec![false; count]; count];
    let mut wr = so.clone();
    // Reader, place of the read, key, and whom from.
    let mut reads: Vec<(usize, usize, usize, usize)> = Vec::new();
    for (number, txn) in txns.iter().enumerate().filter(|(number, _)| takes_part(*number)) {
        so[0][number + 1] = true;
        for (other, before) in txns.iter().enumerate().filter(|(other, _)| takes_part(*other)) {
            so[other + 1][number + 1] |= other < number && before.session == txn.session;
            so[other + 1][number + 1] |= level.realtime && before.kind == "ok" && before.ends < txn.begins;
        }
        if txn.kind != "ok" {
            continue;
        }
        for (place, op) in txn.ops.iter().enumerate().filter(|(_, op)| !op.is_write) {
            let from = read(txns, *op);
            let own = txn.ops[..place].iter().rposition(|own| own.is_write && own.key == op.key);
            if let Some(own) = own {
                if from != Some((number, 10 * (number + 1) + own)) {
                    return false;
                }
                continue;
            }
            let from = from.map_or(0, |(from, _)| from + 1);
            if from == number + 1 || (from > 0 && !takes_part(from - 1)) {
                return false;
            }
            wr[from][number + 1] = true;
            reads.push((number + 1, place, op.key, from));
        }
    }
    let mut hb: Vec<Vec<bool>> = (0..count).map(|a| (0..count).map(|b| so[a][b] || wr[a][b]).collect()).collect();
    for via in 0..count {
        for a in 0..count {
            for b in 0..count {
                hb[a][b] |= hb[a][via] && hb[via][b];
            }
        }
    }
    let writes = |of: usize, key: usize| of == 0 || txns[of - 1].ops.iter().any(|op| op.is_write && op.key == key);
    let mut demands: Vec<(usize, usize)> = Vec::new();
    for (reader, place, key, from) in &reads {
        for seen in (0..count).filter(|seen| seen != from && seen != reader && writes(*seen, *key)) {
            if seen > 0 && !takes_part(seen - 1) {
                continue;
            }
            let is_seen = match level.axiom {
                Axiom::ReadCommitted => reads.iter().any(|of| of.0 == *reader && of.1 < *place && of.3 == seen),
                Axiom::ReadAtomic => so[seen][*reader] || wr[seen][*reader],
                Axiom::Causal => hb[seen][*reader],
            };
            if is_seen {
                demands.push((seen, *from));
            }
        }
    }
    demands.extend((0..count).flat_map(|a| (0..count).map(move |b| (a, b))).filter(|(a, b)| hb[*a][*b]));
    exists(&mut Vec::new(), count, &demands)
}

/// Whether some order of all has each first before its second.
fn exists(order: &mut Vec<usize>, count: usize, demands: &[(usize, usize)]) -> bool {
    if order.len() == count {
        return demands.iter().all(|(a, b)| order.iter().position(|x| x == a) < order.iter().position(|x| x == b));
    }
    (0..count).any(|next| {
        if order.contains(&next) || demands.iter().any(|(a, b)| *b == next && !order.contains(a)) {
            return false;
        }
        order.push(next);
        let found = exists(order, count, demands);
        order.pop();
        found
    })
}

#[test]
fn small_histories_are_judged_by_the_definition() {
    let op = |code: usize| match code {
        0 | 1 => Op { is_write: true, key: code, from: 0 },
        _ => Op { is_write: false, key: code % 2, from: [0, 1, 2, 9][code / 2 - 1] },
    };
    let mut seen = std::collections::BTreeSet::new();
    // Every sixty-first history of three transactions of two operations each, in two and in three sessions.
    for code in (0..1_000_000_usize).step_by(61) {
        let digit = |place: u32| op(code / 10_usize.pow(place) % 10);
        let sessions = if code % 2 == 0 { [0, 0, 1] } else { [0, 1, 2] };
        let txns: Vec<Small> = (0..3)
            .map(|number| {
                let ops =
                    vec![digit(2 * u32::try_from(number).unwrap()), digit(2 * u32::try_from(number).unwrap() + 1)];
                Small { session: sessions[number], ops, kind: "ok", begins: 2 * number, ends: 2 * number + 1 }
            })
            .collect();
        let text = plume(&txns);
        let expected: String =
            Level::ALL[..3].iter().map(|level| if by_definition(&txns, *level) { '1' } else { '0' }).collect();
        assert_eq!(verdicts(&text), expected, "{text}");
        seen.insert(expected);
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

pub(super) fn small() -> impl Strategy<Value = Vec<Small>> {
    let op = (any::<bool>(), 0..3_usize, 0..6_usize).prop_map(|(is_write, key, from)| Op { is_write, key, from });
    let txn = (
        0..3_usize,
        prop::collection::vec(op, 1..4),
        prop::sample::select(vec!["ok", "ok", "ok", "ok", "info", "fail"]),
    );
    (prop::collection::vec(txn, 1..6), prop::collection::vec(0..3_usize, 40)).prop_map(|(plan, turns)| {
        let mut txns: Vec<Small> = Vec::new();
        let mut retired = 0;
        let mut names = [0, 1, 2];
        for (session, ops, kind) in plan {
            let process = names[session];
            if kind == "info" {
                retired += 1;
                names[session] = 3 * retired + session;
            }
            txns.push(Small { session: process, ops, kind, begins: usize::MAX, ends: usize::MAX });
        }
        // Each turn is the next event of a session.
        let turns = turns.into_iter().chain((0..40).map(|turn| turn % 3));
        for (place, turn) in turns.enumerate() {
            let next = txns.iter_mut().find(|txn| txn.session % 3 == turn && txn.ends == usize::MAX);
            match next {
                Some(txn) if txn.begins == usize::MAX => txn.begins = place,
                Some(txn) => txn.ends = place,
                None => {}
            }
        }
        txns
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn outcomes_and_real_time_follow_the_definition(txns in small()) {
        let text = jepsen(&txns);
        for level in Level::ALL {
            let report = judge(&text, &[level], &mut Watch::unlimited()).unwrap();
            prop_assert_eq!(report.verdict == Verdict::Valid, by_definition(&txns, level), "{} of\n{}", level, text);
            prop_assert_eq!(report.verdict == Verdict::Violated, !report.witnesses.is_empty());
        }
    }

    #[test]
    fn renaming_and_neighbours_in_time_keep_the_verdict(txns in small(), swap in 0..12_usize) {
        let plain = jepsen(&txns);
        let mut renamed = txns.clone();
        for txn in &mut renamed {
            txn.session = 100 - txn.session;
            txn.ops.iter_mut().for_each(|op| op.key = 7 - op.key);
        }
        let mut lines: Vec<&str> = plain.lines().collect();
        let is_invoke = |line: &str| line.contains(":invoke");
        let place = swap % lines.len();
        // Neighbouring invocations, or neighbouring completions, of different processes.
        if place + 1 < lines.len() && is_invoke(lines[place]) == is_invoke(lines[place + 1]) {
            lines.swap(place, place + 1);
        }
        let verdict = |text: &str, level: Level| judge(text, &[level], &mut Watch::unlimited()).unwrap().verdict;
        for level in Level::ALL {
            prop_assert_eq!(verdict(&plain, level), verdict(&jepsen(&renamed), level), "{}", plain);
            prop_assert_eq!(verdict(&plain, level), verdict(&lines.join("\n"), level), "{}", plain);
        }
    }
}
