//! What is claimed of a part against the whole, and against that part alone.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::super::check;
use super::*;
use crate::history::{Kind, load_packed, load_packed_text_until};
use crate::limits::Watch;

/// Writes and reads by turns, three events for both, the read with this number stale.
fn text(calls: usize, stale: usize) -> String {
    let call = |number: usize| {
        let read = if number == stale { 0 } else { number };
        format!(
            "{{\"process\":0,\"type\":\"ok\",\"f\":\"write\",\"value\":{number}}}\n\
             {{\"process\":0,\"type\":\"invoke\",\"f\":\"read\",\"value\":null}}\n\
             {{\"process\":0,\"type\":\"ok\",\"f\":\"read\",\"value\":{read}}}\n"
        )
    };
    (1..=calls).map(call).collect()
}

const FREE: Limits<'static> = Limits { exceeded: &|_| None, memory: 1 << 30 };
const ASKED: (Model, &Value) = (Model::Register, &Value::Nil);

#[test]
fn what_was_read_is_verified() {
    let text = text(40_000, 0);
    let asked = AtomicUsize::new(0);
    let exceeded = |_| (asked.fetch_add(1, Ordering::Relaxed) > 2).then_some(Stop::Memory);
    let (mut history, stop) = load_packed_text_until(&text, &mut Watch::new(&exceeded)).unwrap();
    assert!(stop == Some(Stop::Memory) && (3..120_000).contains(&history.len()), "{} events", history.len());
    history.truncate(history.len() / 3 * 3);
    let report = explain_beginning(&history, ASKED, Stop::Memory, &FREE).unwrap();
    let calls = history.len() / 3 * 2;
    let verdict = Verdict::Unknown { why: Stop::Memory, verified: calls, of: calls, key: None };
    assert_eq!(report, Report { verdict, calls, objects: 1, only_first: Some(history.len()) });
}

#[test]
fn the_longest_part_counts_that_was_verified() {
    let history = load_packed(text(30_000, 0).as_bytes()).unwrap();
    let mut last = 0;
    for questions in [0, 1, 5, 12, 1000] {
        let asked = AtomicUsize::new(0);
        let exceeded = |_| (asked.fetch_add(1, Ordering::Relaxed) >= questions).then_some(Stop::Time);
        let limits = Limits { exceeded: &exceeded, memory: 1 << 30 };
        let report = explain_beginning(&history, ASKED, Stop::Memory, &limits).unwrap();
        let Verdict::Unknown { why: Stop::Memory, verified, .. } = report.verdict else { panic!("{report:?}") };
        assert!(verified >= last && report.only_first >= Some(verified), "{report:?}");
        last = verified;
    }
    assert_eq!(last, 60_000);
}

#[test]
fn a_violation_in_what_was_read_is_one_of_the_whole() {
    let mut history = load_packed(text(20_000, 9000).as_bytes()).unwrap();
    let whole = check(&history, ASKED.0, ASKED.1, &FREE).unwrap();
    let Verdict::Violated(found) = whole.verdict else { panic!("{whole:?}") };
    history.truncate(30_000);
    assert_eq!(history.len(), 30_000);
    let report = explain_beginning(&history, ASKED, Stop::Time, &FREE).unwrap();
    let Verdict::Violated(again) = &report.verdict else { panic!("{report:?}") };
    assert_eq!((again.begins, again.ends, report.only_first), (found.begins, found.ends, Some(30_000)));
    history.truncate(24_000);
    let report = explain_beginning(&history, ASKED, Stop::Time, &FREE).unwrap();
    assert!(matches!(report.verdict, Verdict::Unknown { verified: 16_000, .. }), "{report:?}");
}

#[test]
fn without_a_read_nobody_knows_what_a_pair_is() {
    // Of one object this has no order. Reads that follow may show that there are two, which have.
    let text = "{:process 0 :type :ok :f :write :value [1 1]}
        {:process 0 :type :ok :f :write :value [2 2]}
        {:process 0 :type :ok :f :read :value [1 1]}";
    let history = load_packed(text.as_bytes()).unwrap();
    assert!(matches!(check(&history, ASKED.0, ASKED.1, &FREE).unwrap().verdict, Verdict::Violated(_)));
    let report = explain_beginning(&history, ASKED, Stop::Time, &FREE).unwrap();
    assert_eq!(report.verdict, Verdict::Unknown { why: Stop::Time, verified: 2, of: 3, key: None });
}

/// What clients do side by side, in JSON lines: at its moves, one of so many begins a call, lets it take effect, and ends it, by
/// turns. The numbers are chances: of a hundred, two calls crash, and two that only read are answered wrongly.
fn generated(model: Model, clients: usize, moves: impl Iterator<Item = (usize, u8)>) -> String {
    let names = if model == Model::Queue { ["enqueue", "dequeue"] } else { ["write", "read"] };
    let mut process: Vec<usize> = (0..clients).collect();
    let mut busy: Vec<Option<(bool, usize, Option<String>)>> = vec![None; clients];
    let (mut held, mut fresh, mut text) = (VecDeque::new(), 0, String::new());
    for (client, chance) in moves {
        let mut line = |process: usize, kind: &str, puts: bool, value: &str| {
            let f = names[usize::from(!puts)];
            let _written =
                writeln!(text, "{{\"process\":{process},\"type\":\"{kind}\",\"f\":\"{f}\",\"value\":{value}}}");
        };
        match busy[client].take() {
            None => {
                let puts = chance % 2 == 0;
                fresh += usize::from(puts);
                line(process[client], "invoke", puts, &if puts { fresh.to_string() } else { "null".to_owned() });
                busy[client] = Some((puts, fresh, None));
            }
            Some((true, value, None)) => {
                if model != Model::Queue {
                    held.clear();
                }
                held.push_back(value);
                busy[client] = Some((true, value, Some(value.to_string())));
            }
            Some((false, _, None)) => {
                let got = if model == Model::Queue { held.pop_front() } else { held.back().copied() };
                let told = got.map_or_else(|| "null".to_owned(), |value| value.to_string());
                busy[client] = Some((false, 0, Some(told)));
            }
            Some((puts, value, Some(_))) if (96..98).contains(&chance) => {
                line(process[client], "info", puts, &if puts { value.to_string() } else { "null".to_owned() });
                process[client] += clients;
            }
            Some((false, _, Some(_))) if chance >= 98 => line(process[client], "ok", false, &fresh.to_string()),
            Some((puts, _, Some(told))) => line(process[client], "ok", puts, &told),
        }
    }
    text
}

/// Limits that are reached after so many questions.
fn after(questions: usize) -> impl Fn(usize) -> Option<Stop> + Sync {
    let asked = AtomicUsize::new(0);
    move |_| (asked.fetch_add(1, Ordering::Relaxed) >= questions).then_some(Stop::Time)
}

/// Whether so many first events of a history have an order, for all that is known when the last of them happens.
fn is_valid(history: &Packed, events: usize, model: Model) -> bool {
    let mut part = history.clone();
    part.truncate(events);
    let verdict = check(&part, model, &Value::Nil, &FREE).unwrap().verdict;
    assert!(!matches!(verdict, Verdict::Unknown { .. }));
    !matches!(verdict, Verdict::Violated(_))
}

/// Places of the events that end a call of which the result is known.
fn answers(history: &Packed) -> Vec<usize> {
    let is_answer = |place: &usize| history.event(*place).is_some_and(|event| event.kind == Kind::Ok);
    (0..history.len()).filter(is_answer).collect()
}

#[test]
fn nearly_all_that_was_read_is_verified_wherever_it_ends() {
    for model in [Model::Queue, Model::Register] {
        // Knuth's MMIX constants.
        let mut chance = 42_u64;
        let mut draw = |end: u64| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (chance >> 33) % end
        };
        let mut moves = Vec::new();
        for _ in 0..60_000 {
            moves.push((usize::try_from(draw(10)).unwrap(), u8::try_from(draw(96)).unwrap()));
        }
        let whole = load_packed(generated(model, 10, moves.into_iter()).as_bytes()).unwrap();
        for cut in [1000, 4097, 9_003, 17_001, 30_010, whole.len()] {
            let mut read = whole.clone();
            read.truncate(cut);
            let all = answers(&read).len();
            let exceeded = after(500);
            let limits = Limits { exceeded: &exceeded, memory: 64 << 20 };
            let report = explain_beginning(&read, (model, &Value::Nil), Stop::Memory, &limits).unwrap();
            let Verdict::Unknown { verified, .. } = report.verdict else { panic!("{report:?}") };
            assert!(verified <= all && verified + 60 >= all, "{model:?} {cut}: {verified} of {all}, {report:?}");
        }
    }
}

proptest! {
    #[test]
    fn what_is_claimed_of_a_part_holds_of_it_alone_and_of_the_whole(
        moves in prop::collection::vec((0_usize..4, 0_u8..100), 1..100),
        cut in any::<prop::sample::Index>(),
        first in 1_usize..40,
        questions in prop_oneof![Just(usize::MAX), 0_usize..40],
        model in prop_oneof![Just(Model::Queue), Just(Model::Register)],
    ) {
        let whole = load_packed(generated(model, 4, moves.into_iter()).as_bytes()).unwrap();
        let mut read = whole.clone();
        read.truncate(cut.index(whole.len() + 1));
        let exceeded = after(questions);
        let limits = Limits { exceeded: &exceeded, memory: 1 << 30 };
        let report = explain_parts(&read, (model, &Value::Nil), Stop::Time, (first, &limits)).unwrap();
        let events = report.only_first.unwrap();
        match report.verdict {
            Verdict::Violated(_) => {
                prop_assert!(!is_valid(&whole, whole.len(), model));
                prop_assert!(!is_valid(&read, events, model));
            }
            Verdict::Unknown { verified, of, .. } => {
                // Until the first answer that is not said to be verified.
                let answers = answers(&read);
                prop_assert!(verified <= of && of <= answers.len());
                let until = answers.get(verified).copied().unwrap_or(read.len()).min(events);
                prop_assert!(is_valid(&read, until, model), "{verified} of {of} of {events}");
            }
            Verdict::Valid | Verdict::Nothing => prop_assert!(false, "a part is never all"),
        }
    }
}
