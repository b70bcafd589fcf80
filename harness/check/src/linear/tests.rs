//! The search against a brute-force checker, on every small history and on random ones.

use super::bank::Business;
use super::lock::{Fence, Lock, Turn};
use super::plan::{Plan, Span};
use super::search::{self, Found};
use super::spec::{Micro, Op, Spec, State};
use super::unique::{self, Decided};
use super::{Limits, Stop};
use proptest::prelude::*;

const FREE: Limits<'static> = Limits { exceeded: &|_| None, memory: 1 << 30 };

fn searched(initial: &State, ops: &[Op], spans: &[Span]) -> bool {
    let mut spec = Spec::new(initial.clone(), ops.to_vec());
    match search::search(&Plan::new(spans), &mut spec, &FREE) {
        Found::Order => true,
        Found::NoOrder { .. } => false,
        Found::Stopped { .. } => panic!("no limit was set"),
    }
}

/// Tries every order.
fn brute(state: &State, ops: &[Op], spans: &[Span], done: &mut Vec<bool>) -> bool {
    let open: Vec<usize> = (0..spans.len()).filter(|span| !done[*span]).collect();
    if open.iter().all(|span| spans[*span].ends.is_none()) {
        return true;
    }
    let first_end = open.iter().filter_map(|span| spans[*span].ends).min().unwrap();
    for span in open {
        if spans[span].begins > first_end {
            continue;
        }
        if let Some(after) = state.step(&ops[spans[span].op]) {
            done[span] = true;
            let found = brute(&after, ops, spans, done);
            done[span] = false;
            if found {
                return true;
            }
        }
    }
    false
}

fn broad_level(found: &Found) -> usize {
    if let Found::NoOrder { level, .. } = found { *level } else { panic!("{found:?}") }
}

fn agree(initial: &State, ops: &[Op], spans: &[Span]) -> bool {
    let want = brute(initial, ops, spans, &mut vec![false; spans.len()]);
    assert_eq!(searched(initial, ops, spans), want, "{ops:?} {spans:?}");
    let spec = Spec::new(initial.clone(), ops.to_vec());
    if let Some(decided) = unique::decide(&spec, spans) {
        assert_eq!(decided == Decided::Order, want, "{ops:?} {spans:?} {decided:?}");
        if let Decided::NoOrder(why) = decided {
            let broad =
                search::only(&Plan::new(spans), &mut Spec::new(initial.clone(), ops.to_vec()), &FREE, usize::MAX, 0);
            let (last, _) = unique::shortest(&spec, spans, why);
            let level = Plan::new(&unique::until(spans, last + 1)).levels.len();
            assert_eq!(level, broad_level(&broad) + 1, "{ops:?} {spans:?} {broad:?}");
        }
    }
    want
}

/// Every way in which `calls` calls can overlap: sequences of events, each the next beginning, or one of the ends.
fn overlaps(calls: usize) -> Vec<Vec<(usize, Option<usize>)>> {
    fn further(
        spans: &mut Vec<(usize, Option<usize>)>,
        at: usize,
        calls: usize,
        out: &mut Vec<Vec<(usize, Option<usize>)>>,
    ) {
        if spans.len() == calls {
            out.push(spans.clone());
        }
        if spans.len() < calls {
            spans.push((at, None));
            further(spans, at + 1, calls, out);
            spans.pop();
        }
        for span in 0..spans.len() {
            if spans[span].1.is_none() {
                spans[span].1 = Some(at);
                further(spans, at + 1, calls, out);
                spans[span].1 = None;
            }
        }
    }
    let mut out = Vec::new();
    further(&mut Vec::new(), 0, calls, &mut out);
    out
}

#[test]
fn every_history_of_three_calls_is_decided_as_brute_force_does() {
    let register =
        vec![Op::Read(0), Op::Read(1), Op::Write(0), Op::Write(1), Op::Cas(0, 1), Op::Cas(1, 0), Op::CasFalse(0)];
    let set = vec![
        Op::Insert(1),
        Op::Insert(2),
        Op::Elements([].into()),
        Op::Elements([1].into()),
        Op::Elements([1, 2].into()),
    ];
    let queue =
        vec![Op::Enqueue(1), Op::Enqueue(2), Op::Dequeue(1), Op::Dequeue(2), Op::DequeueNothing, Op::DequeueSomething];
    let counter = vec![Op::Add(1), Op::Add(2), Op::Add(-1), Op::Sum(0), Op::Sum(1), Op::Sum(2)];
    let turn = |owner, fence| Op::Lock(Turn::Acquire { owner, fence });
    let lock = vec![
        turn(None, Fence::Never),
        Op::Lock(Turn::Release { owner: None }),
        turn(Some(1), Fence::Is(2)),
        turn(Some(1), Fence::Unknown),
        turn(Some(2), Fence::Is(3)),
        Op::Lock(Turn::Release { owner: Some(1) }),
    ];
    let bank = vec![
        Op::Bank(Business::Transfer(0, 1, 1)),
        Op::Bank(Business::Transfer(1, 0, 1)),
        Op::Bank(Business::Balances([(0, 0), (1, 0)].into())),
        Op::Bank(Business::Balances([(1, 1)].into())),
    ];
    let text = vec![
        Op::Get("".into()),
        Op::Get("a".into()),
        Op::Get("ab".into()),
        Op::Put("a".into()),
        Op::Append("b".into()),
    ];
    let registers = vec![
        Op::Txn([Micro::Read(0, 0), Micro::Read(1, 0)].into()),
        Op::Txn([Micro::Read(0, 1), Micro::Write(1, 1)].into()),
        Op::Txn([Micro::Write(0, 1)].into()),
        Op::Txn([Micro::Read(1, 1)].into()),
    ];
    let shapes = overlaps(3);
    for (initial, ops) in [
        (State::Value(0), register),
        (State::Set([].into()), set),
        (State::Queue([].into()), queue),
        (State::Sum(0), counter),
        (State::Lock(Lock { held: 0, owner: None, fence: 0, exact: true }), lock),
        (State::Balances([0, 0].into()), bank),
        (State::Text("".into()), text),
        (State::Values([0, 0].into()), registers),
    ] {
        let (mut valid, mut violated) = (0_u32, 0_u32);
        for shape in &shapes {
            for choice in 0..ops.len().pow(3) {
                let chosen = [choice % ops.len(), choice / ops.len() % ops.len(), choice / ops.len().pow(2)];
                let spans: Vec<Span> =
                    shape.iter().zip(chosen).map(|(&(begins, ends), op)| Span { begins, ends, op }).collect();
                let count = if agree(&initial, &ops, &spans) { &mut valid } else { &mut violated };
                *count += 1;
            }
        }
        assert!(valid > 100 && violated > 0, "{initial:?}: {valid} valid, {violated} violated");
    }
}

/// Calls as (ticks to the beginning, how long, whether it crashes, operation).
fn spans_of(calls: &[(usize, usize, bool, usize)]) -> Vec<Span> {
    let mut at = 0;
    let mut events: Vec<(usize, usize, Option<usize>, usize)> = Vec::new();
    for (number, &(gap, long, crashed, op)) in calls.iter().enumerate() {
        at += gap;
        events.push((at * 100 + number, number, (!crashed).then_some((at + long) * 100 + 50 + number), op));
    }
    events.sort_unstable();
    events.into_iter().map(|(begins, _, ends, op)| Span { begins, ends, op }).collect()
}

proptest! {
    #[test]
    fn random_histories_are_decided_as_brute_force_does(
        calls in prop::collection::vec((0_usize..3, 0_usize..6, prop::bool::weighted(0.2), 0_usize..7), 1..9),
    ) {
        let ops = [Op::Read(0), Op::Read(1), Op::Read(2), Op::Write(1), Op::Write(2), Op::Cas(1, 2), Op::Cas(2, 1)];
        agree(&State::Value(0), &ops, &spans_of(&calls));
    }

    #[test]
    fn different_values_are_decided_without_a_search_as_with_one(
        calls in prop::collection::vec((0_usize..3, 0_usize..8, prop::bool::weighted(0.2), any::<prop::sample::Index>()), 1..9),
        kind in 0_usize..3,
    ) {
        // The first operations happen once at most, the others as often as they come.
        let (initial, once, often) = match kind {
            0 => {
                let once = [Op::Write(1), Op::Write(2), Op::Write(3), Op::Cas(0, 4), Op::Cas(1, 5), Op::Cas(5, 6), Op::Cas(4, 7)];
                (State::Value(0), once.to_vec(), (0..8).map(Op::Read).collect::<Vec<_>>())
            }
            1 => {
                let sets: [&[u32]; 6] = [&[9], &[1, 9], &[2, 9], &[1, 2, 9], &[1, 2, 3, 9], &[1]];
                (State::Set([9].into()), (1..4).map(Op::Insert).collect(), sets.map(|set| Op::Elements(set.iter().copied().collect())).to_vec())
            }
            _ => {
                let once: Vec<Op> = (1..5).map(Op::Enqueue).chain((0..5).map(Op::Dequeue)).collect();
                (State::Queue([0].into()), once, vec![Op::DequeueNothing])
            }
        };
        let ops: Vec<Op> = once.iter().chain(&often).cloned().collect();
        let mut used = vec![false; ops.len()];
        let calls: Vec<(usize, usize, bool, usize)> = calls.into_iter().map(|(gap, long, crashed, index)| {
            let mut op = index.index(ops.len());
            while op < once.len() && std::mem::replace(&mut used[op], true) {
                op += 1;
            }
            // A dequeue that crashed does not know what it took.
            (gap, long, crashed && !matches!(ops[op], Op::Dequeue(_)), op)
        }).collect();
        let spans = spans_of(&calls);
        agree(&initial, &ops, &spans);
        prop_assert!(unique::decide(&Spec::new(initial, ops), &spans).is_some());
    }

    #[test]
    fn both_searches_agree(
        calls in prop::collection::vec((0_usize..2, 0_usize..8, prop::bool::weighted(0.3), 0_usize..7), 1..40),
    ) {
        let ops = [Op::Read(0), Op::Read(1), Op::Read(2), Op::Write(1), Op::Write(2), Op::Cas(1, 2), Op::Cas(2, 1)];
        let plan = Plan::new(&spans_of(&calls));
        let broad = search::only(&plan, &mut Spec::new(State::Value(0), ops.to_vec()), &FREE, usize::MAX, 0);
        let deep = search::only(&plan, &mut Spec::new(State::Value(0), ops.to_vec()), &FREE, 0, usize::MAX);
        prop_assert_eq!(matches!(broad, Found::Order), matches!(deep, Found::Order), "{:?} {:?}", broad, deep);
    }
}

#[test]
fn identical_crashed_calls_are_one_class_and_spent_one_by_one() {
    let ops = [Op::Write(1), Op::Write(2), Op::Read(1), Op::Read(2)];
    let crashed = Span { begins: 0, ends: None, op: 0 };
    let read = |begins, op| Span { begins, ends: Some(begins + 1), op };
    let write = |begins| Span { begins, ends: Some(begins + 1), op: 1 };
    let once = vec![crashed, read(10, 2), write(20), read(30, 2)];
    assert!(!agree(&State::Value(0), &ops, &once), "one crashed write cannot happen twice");
    let twice = vec![crashed, Span { begins: 1, ..crashed }, read(10, 2), write(20), read(30, 2)];
    assert!(agree(&State::Value(0), &ops, &twice));
    let late = vec![crashed, read(10, 2), write(20), read(30, 2), Span { begins: 40, ..crashed }];
    assert!(!agree(&State::Value(0), &ops, &late), "it began too late");
}

#[test]
fn limits_end_a_search_and_say_how_far_it_came() {
    let ops: Vec<Op> = (0..40).map(Op::Write).chain([Op::Read(1), Op::Read(99)]).collect();
    let sound = Span { begins: 0, ends: Some(1), op: 1 };
    let mut spans = vec![sound, Span { begins: 2, ends: Some(3), op: 40 }];
    spans.extend((0..40).map(|op| Span { begins: 10 + op, ends: Some(200 + op), op }));
    spans.push(Span { begins: 100, ends: Some(300), op: 41 });
    let plan = Plan::new(&spans);
    let time = Limits { exceeded: &|_| Some(Stop::Time), memory: usize::MAX };
    let mut spec = Spec::new(State::Value(0), ops.clone());
    let Found::Stopped { level, why: Stop::Time } = search::search(&plan, &mut spec, &time) else { panic!("no time") };
    assert!(level >= 2, "{level}");
    let memory = Limits { exceeded: &|_| None, memory: 1 << 20 };
    let mut spec = Spec::new(State::Value(0), ops);
    let Found::Stopped { level, why: Stop::Memory } = search::search(&plan, &mut spec, &memory) else {
        panic!("no memory")
    };
    assert!(level >= 2, "{level}");
}
