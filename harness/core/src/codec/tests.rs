use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::cluster::{Epoch, NodeName, Position};
use crate::history::{Answer, Call, Op, Outcome, ProcessId, Reply, Route, Step};
use crate::time::RunTime;

fn node() -> impl Strategy<Value = NodeName> {
    prop_oneof![Just("n1"), Just("n2"), Just("nœud")].prop_map(NodeName::new)
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..2000_u64, any::<u64>(), Just(u64::MAX)]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Ok(Reply::Done)),
        vec(number(), 0..6).prop_map(|rows| Outcome::Ok(Reply::Rows(rows))),
        vec(answer(), 0..4).prop_map(|answers| Outcome::Ok(Reply::Answers(answers))),
        ".{0,8}".prop_map(Outcome::fail),
        ".{0,8}".prop_map(Outcome::info),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        Just(Answer::Done),
        Just(Answer::Refused),
        option::of(number()).prop_map(Answer::Value),
        vec(number(), 0..4).prop_map(Answer::List),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    (0..7_u8, number(), number(), number()).prop_map(|(kind, a, b, c)| match kind {
        0 => Step::Append { key: a, value: b },
        1 => Step::List { key: a },
        2 => Step::Write { key: a, value: b },
        3 => Step::Read { key: a },
        4 => Step::Compare { key: a, from: b, to: c },
        5 => Step::Transfer { from: a, to: b, amount: c },
        _ => Step::Balance { account: a },
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        Just(Op::CreateLedger),
        number().prop_map(|row| Op::Insert { row }),
        Just(Op::Scan),
        (number(), number()).prop_map(|(accounts, balance)| Op::CreateStore { accounts, balance }),
        vec(step(), 0..4).prop_map(|steps| Op::Txn(steps.into())),
    ]
}

prop_compose! {
    fn call()(
        process in any::<u32>(),
        op in op(),
        due in number(),
        invoked in number(),
        completed in option::of((number(), outcome())),
        route in prop_oneof![Just(Route::Router), node().prop_map(Route::Direct)],
        served_by in option::of(node()),
        epoch in option::of(number()),
        receipt in option::of(number()),
    ) -> Call {
        Call {
            process: ProcessId(process),
            op,
            due: RunTime::from_nanos(due),
            invoked: RunTime::from_nanos(invoked),
            completed: completed.map(|(at, outcome)| (RunTime::from_nanos(at), outcome)),
            route,
            served_by,
            epoch: epoch.map(Epoch),
            receipt: receipt.map(Position),
        }
    }
}

/// The file, and where each block ends.
fn encode(blocks: &[Vec<Call>]) -> (Vec<u8>, Vec<usize>) {
    let (mut encoder, mut file) = HistoryEncoder::new();
    let mut ends = vec![file.len()];
    for block in blocks {
        for call in block {
            encoder.push(call);
        }
        file.extend(encoder.take_block().unwrap_or_default());
        ends.push(file.len());
    }
    (file, ends)
}

fn plain(row: u64) -> Call {
    Call {
        process: ProcessId(1),
        op: Op::Insert { row },
        due: RunTime::from_millis(row),
        invoked: RunTime::from_millis(row),
        completed: Some((RunTime::from_millis(row + 1), Outcome::Ok(Reply::Done))),
        route: Route::Router,
        served_by: None,
        epoch: None,
        receipt: None,
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(blocks in vec(vec(call(), 0..8), 0..4)) {
        let (file, _) = encode(&blocks);
        let decoded = decode(&file).unwrap();
        prop_assert_eq!(decoded.torn, None);
        prop_assert_eq!(decoded.calls, blocks.concat());
    }

    #[test]
    fn a_cut_loses_only_the_blocks_behind_it(blocks in vec(vec(call(), 1..4), 1..4)) {
        let (file, ends) = encode(&blocks);
        for cut in 0..=file.len() {
            let decoded = decode(&file[..cut]).unwrap();
            let whole = ends.iter().skip(1).filter(|end| **end <= cut).count();
            prop_assert_eq!(decoded.calls, blocks[..whole].concat());
            prop_assert_eq!(decoded.torn.is_none(), ends.contains(&cut));
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed(blocks in vec(vec(call(), 1..4), 1..4), place in any::<prop::sample::Index>(), bit in 0..8) {
        let (mut file, ends) = encode(&blocks);
        let place = place.index(file.len());
        file[place] ^= 1_u8 << bit;
        if place < HEADER {
            prop_assert!(decode(&file).is_err());
        } else {
            let decoded = decode(&file).unwrap();
            prop_assert!(decoded.torn.is_some());
            let whole = ends.iter().skip(1).filter(|end| **end <= place).count();
            prop_assert_eq!(decoded.calls, blocks[..whole].concat());
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..200), count in any::<u32>()) {
        let (_, mut file) = HistoryEncoder::new();
        let length = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        file.extend(length);
        file.extend(block_crc(length, count.to_le_bytes(), &bytes).to_le_bytes());
        file.extend(count.to_le_bytes());
        file.extend(&bytes);
        if let Ok(decoded) = decode(&file) {
            let whole = if decoded.torn.is_none() { count } else { 0 };
            prop_assert_eq!(u32::try_from(decoded.calls.len()), Ok(whole));
        }
    }
}

#[test]
fn later_formats_are_refused_by_name() {
    let (_, header) = HistoryEncoder::new();
    let changed = |at: usize, to: u8| {
        let mut file = header.clone();
        file[at] = to;
        decode(&file).unwrap_err()
    };
    assert_eq!(changed(0, b'X'), DecodeError::NotAHistory);
    assert_eq!(changed(6, 2), DecodeError::Version(2));
    assert_eq!(changed(8, 1), DecodeError::Flags(1));
}

/// A block with one more column than version 1 has.
fn with_column(id: u8) -> Vec<u8> {
    let (file, _) = encode(&[vec![plain(7)]]);
    let mut payload = file[HEADER + BLOCK_HEADER..].to_vec();
    payload.extend([id, 2, 0xaa, 0xbb]);
    let (length, count) = (u32::try_from(payload.len()).unwrap().to_le_bytes(), 1_u32.to_le_bytes());
    let mut file = file[..HEADER].to_vec();
    file.extend(length);
    file.extend(block_crc(length, count, &payload).to_le_bytes());
    file.extend(count);
    file.extend(payload);
    file
}

#[test]
fn unknown_columns_are_skipped_only_where_they_may_be() {
    assert_eq!(decode(&with_column(64)).unwrap().calls, [plain(7)]);
    assert_eq!(decode(&with_column(10)), Err(DecodeError::Column { at: HEADER, column: 10 }));
}

#[test]
fn blocks_fill_up_and_calls_are_small() {
    let (mut encoder, _) = HistoryEncoder::new();
    assert_eq!(encoder.take_block(), None);
    let mut pushed = 0;
    while !encoder.is_full() {
        encoder.push(&plain(pushed));
        pushed += 1;
    }
    let block = encoder.take_block().unwrap();
    let each = block.len() / usize::try_from(pushed).unwrap();
    assert!(each <= 20, "{each} bytes for a plain call");
    assert!(!encoder.is_full());
}
