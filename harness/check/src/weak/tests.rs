//! Planted histories, and large ones.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

pub(super) fn verdicts(text: &str) -> String {
    let holds = |level: &Level| judge(text, &[*level], &mut Watch::unlimited()).unwrap().verdict == Verdict::Valid;
    Level::ALL[..3].iter().map(|level| if holds(level) { '1' } else { '0' }).collect()
}

fn anomalies(text: &str) -> Vec<String> {
    let report = judge(text, &Level::ALL, &mut Watch::unlimited()).unwrap();
    assert!(report.witnesses.iter().all(|witness| !witness.reasons.is_empty() && !witness.transactions.is_empty()));
    report.anomalies.iter().map(|anomaly| anomaly.name()).collect()
}

#[test]
fn each_level_forbids_what_it_should() {
    for (expected, text) in [
        ("111", "w(1,1,0,0)\nr(1,1,1,1)\n"),
        // Fractured: one key new, the other old, in this order of reads.
        ("100", "w(1,1,0,0)\nw(2,1,0,0)\nr(2,0,1,1)\nr(1,1,1,1)\n"),
        // And in the other order, which read committed forbids too.
        ("000", "w(1,1,0,0)\nw(2,1,0,0)\nr(1,1,1,1)\nr(2,0,1,1)\n"),
        // Lines of transactions between each other.
        ("000", "w(1,1,0,0)\nr(1,1,1,1)\nw(2,1,0,0)\nr(2,0,1,1)\n"),
        ("111", "w(1,1,0,0)\nr(1,1,1,1)\nw(2,1,0,2)\nr(2,0,1,1)\n"),
        // The session's own write is not seen.
        ("100", "w(1,1,0,0)\nr(1,0,0,1)\n"),
        // A chain over two sessions is not seen.
        ("110", "w(1,1,0,0)\nr(1,1,1,1)\nw(2,1,1,1)\nr(2,1,2,2)\nr(1,0,3,3)\nr(1,0,2,4)\n"),
        // Two sessions see two writes in two orders: causal, but not more.
        ("111", "w(1,1,0,0)\nw(2,1,1,1)\nr(1,1,2,2)\nr(2,0,2,2)\nr(2,1,3,3)\nr(1,0,3,3)\n"),
        // Lost update.
        ("111", "r(1,0,0,0)\nw(1,1,0,0)\nr(1,0,1,1)\nw(1,2,1,1)\n"),
        // Reads of one transaction go backwards.
        ("000", "w(1,1,0,0)\nw(1,2,0,1)\nr(1,2,1,2)\nr(1,1,1,2)\n"),
        // And forwards, which only read committed allows.
        ("100", "w(1,1,0,0)\nw(1,2,0,1)\nr(1,1,1,2)\nr(1,2,1,2)\n"),
        // Seen before it was there.
        ("000", "r(1,1,0,0)\nw(2,1,0,1)\nr(2,1,1,2)\nw(1,1,1,3)\n"),
    ] {
        assert_eq!(verdicts(text), expected, "{text}");
    }
}

#[test]
fn single_reads_break_every_level() {
    for (name, text) in [
        ("garbage-read", "w(1,1,0,0)\nr(1,7,1,1)\n"),
        ("G1b", "w(1,1,0,0)\nw(1,2,0,0)\nr(1,1,1,1)\n"),
        ("internal", "w(1,1,0,0)\nr(1,0,0,0)\n"),
        ("future-read", "r(1,1,0,0)\nw(1,1,0,0)\n"),
        ("G1a", "{:process 0 :type :fail :f :txn :value [[:w 1 1]]} {:process 1 :type :ok :f :txn :value [[:r 1 1]]}"),
    ] {
        assert_eq!(verdicts(text), "000", "{text}");
        assert!(anomalies(text).contains(&name.to_owned()), "{name} of {:?}", anomalies(text));
    }
}

#[test]
fn the_initial_transaction_is_before_all() {
    assert_eq!(verdicts("w(1,5,0,-1)\nr(1,5,0,0)\nw(1,6,0,0)\nr(1,6,1,1)\n"), "111");
    assert_eq!(verdicts("w(1,6,0,0)\nr(1,6,1,1)\nr(1,5,1,2)\nw(1,5,9,-1)\n"), "110");
}

#[test]
fn awdit_text_is_the_same_history() {
    let text = "w 0 0\nw 1 0\n=====\nw 0 1\n-----\nr 0 1\nr 1 0\n=====\nw 1 1\n-----\nr 1 1\nr 0 0\n";
    assert_eq!(verdicts(text), "111");
    assert_eq!(verdicts("w 0 1\nw 1 1\n=====\nr 1 1\nr 0 0\n\n"), "000");
    for (text, expected) in [
        ("w 0 1\nx 1", "line 2, column 1: expected `r key value`, `w key value`, `-----` or `=====`"),
        ("w 0 1\n--\n", "line 2, column 1: expected `-----`"),
        ("r 0\n", "line 1, column 4: expected a value"),
        ("r 0 1 2\n", "line 1, column 7: expected the end of the line"),
        ("r(1,2,3,4)\n  r(1;2,3,4)", "line 2, column 6: expected `,` and a value"),
        ("r(1,2,3,4) r(1,2,3,4)", "line 1, column 12: expected the end of the line"),
        ("w(1,2,3,)", "line 1, column 9: expected a transaction"),
        (
            "w(1,2,3,99999999999999999999)",
            "line 1, column 9: expected a transaction: a whole number of at most 63 bits",
        ),
        ("w(1,2,0,0)\nw(1,2,1,1)", "line 2: the value 2 of key 1 is written a second time, first in line 1"),
    ] {
        let error = judge(text, &Level::ALL, &mut Watch::unlimited()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn limits_are_kept() {
    let stopped = |_| Some(Stop::Time);
    let text: String = (0..20_000).fold(String::new(), |mut text, number| {
        writeln!(text, "w(1,{number},0,{number})").unwrap();
        text
    });
    let report = judge(&text, &Level::ALL, &mut Watch::new(&stopped)).unwrap();
    assert_eq!(report.verdict, Verdict::Unknown(Stop::Time));
    assert_eq!(judge("[]", &Level::ALL, &mut Watch::unlimited()).unwrap().verdict, Verdict::Nothing);
}

#[test]
fn real_time_counts_when_asked() {
    let stale = "{:process 0 :type :ok :f :txn :value [[:w 1 1]]} {:process 1 :type :ok :f :txn :value [[:r 1 nil]]}";
    assert_eq!(verdicts(stale), "111");
    let found = anomalies(stale);
    assert_eq!(found, ["cyclic-commit-order-strong-ra", "cyclic-commit-order-strong-cc"]);
    let future = "{:process 0 :type :ok :f :txn :value [[:r 1 1]]} {:process 1 :type :ok :f :txn :value [[:w 1 1]]}";
    assert_eq!(anomalies(future), ["cyclic-causality"]);
}

/// A larger history: each transaction reads the newest values, in the order of the file.
pub(super) fn serial(sessions: usize, txns: usize, keys: usize, seed: u64) -> Vec<String> {
    let (mut state, mut random) = (vec![0; keys], seed);
    let mut next = move |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % below
    };
    let mut lines = Vec::new();
    let mut value = 0;
    for txn in 0..txns {
        let session = next(sessions);
        for _ in 0..4 {
            let key = next(keys);
            if next(2) == 0 {
                lines.push(format!("r({key},{},{session},{txn})", state[key]));
            } else {
                value += 1;
                state[key] = value;
                lines.push(format!("w({key},{value},{session},{txn})"));
            }
        }
    }
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn large_serial_executions_pass_and_a_planted_stale_chain_is_found(seed in any::<u64>(), at in 0..300_usize) {
        let mut lines = serial(12, 400, 20, seed);
        prop_assert_eq!(verdicts(&lines.join("\n")), "111");
        // Keys and sessions of their own: written, overwritten after it was seen, and read old by one that saw the new.
        let planted = ["w(90,1,90,9000)", "r(90,1,91,9001)", "w(91,1,91,9001)", "r(91,1,92,9002)", "r(90,0,92,9003)"];
        for (number, line) in planted.iter().enumerate() {
            lines.insert(at + 100 * number, (*line).to_owned());
        }
        prop_assert_eq!(verdicts(&lines.join("\n")), "110");
        let found = anomalies(&lines.join("\n"));
        prop_assert!(found.contains(&"cyclic-commit-order-cc".to_owned()), "{:?}", found);
    }
}
