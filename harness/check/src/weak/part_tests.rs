//! The smallest part that shows a broken level is a history that breaks it.

use proptest::prelude::*;

use super::definition::{jepsen, small};
use super::tests::serial;
use super::*;
use crate::evidence::{Relation, describe, svg};
use crate::history::{to_edn, to_json_lines};

fn judged(text: &str) -> Report {
    judge(text, &Level::ALL, &mut Watch::unlimited()).unwrap()
}

fn names(report: &Report) -> Vec<String> {
    report.anomalies.iter().map(|anomaly| anomaly.name()).collect()
}

/// Each anomaly has evidence, which shows it alone, written and read again, and cannot be made smaller.
fn evidence_shows(text: &str) -> Report {
    let report = judged(text);
    let shown: Vec<String> = report.evidence.iter().map(|evidence| evidence.anomaly.clone()).collect();
    assert_eq!(shown, names(&report), "{text}");
    for evidence in &report.evidence {
        for text in [to_edn(&evidence.history), to_json_lines(&evidence.history)] {
            let again = judged(&text);
            let same = again.evidence.iter().find(|of| of.anomaly == evidence.anomaly);
            let same = same.unwrap_or_else(|| panic!("{} of {:?} in\n{text}", evidence.anomaly, names(&again)));
            assert_eq!(same.transactions.len(), evidence.transactions.len(), "{text}");
        }
        assert!(!evidence.reasons.is_empty() && !describe(evidence).is_empty());
        let picture = svg(std::slice::from_ref(evidence));
        assert_eq!(picture.matches("<rect class=\"card").count(), evidence.transactions.len(), "{picture}");
    }
    report
}

#[test]
fn a_chain_over_sessions_is_part_of_the_evidence() {
    let text = "w(1,1,0,0)\nr(1,1,1,1)\nw(2,1,1,1)\nr(2,1,2,2)\nw(7,7,3,3)\nr(1,0,2,4)\n";
    let report = judge(text, &[Level::named("cc").unwrap()], &mut Watch::unlimited()).unwrap();
    let [evidence] = &report.evidence[..] else { panic!("{:?}", report.evidence) };
    let expected = "{:index 0, :process 0, :type :ok, :f :txn, :value [[:w 1 1]]}
{:index 1, :process 1, :type :ok, :f :txn, :value [[:r 1 1] [:w 2 1]]}
{:index 2, :process 2, :type :ok, :f :txn, :value [[:r 2 1]]}
{:index 3, :process 2, :type :ok, :f :txn, :value [[:r 1 nil]]}
";
    assert_eq!(to_edn(&evidence.history), expected);
    assert!(evidence.reasons.iter().any(|reason| reason.edge.is_some_and(|edge| edge.2 == Relation::Commit)));
    assert!(evidence.transactions.iter().any(|txn| txn.process.is_none()), "the initial values");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn small_histories_that_break_a_level_have_evidence(txns in small()) {
        evidence_shows(&jepsen(&txns));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn a_planted_chain_is_all_that_is_left_of_a_large_history(seed in any::<u64>(), at in 0..300_usize) {
        let mut lines = serial(12, 400, 20, seed);
        let planted = ["w(90,1,90,9000)", "r(90,1,91,9001)", "w(91,1,91,9001)", "r(91,1,92,9002)", "r(90,0,92,9003)"];
        for (number, line) in planted.iter().enumerate() {
            lines.insert(at + 100 * number, (*line).to_owned());
        }
        let levels = [Level::named("cc").unwrap()];
        let report = judge(&lines.join("\n"), &levels, &mut Watch::unlimited()).unwrap();
        let [evidence] = &report.evidence[..] else { panic!("{:?}", report.evidence) };
        let sessions: Vec<i64> = evidence.transactions.iter().filter_map(|txn| txn.process).collect();
        prop_assert!(sessions.iter().all(|session| (90..93).contains(session)), "{}", to_edn(&evidence.history));
        prop_assert_eq!(evidence.history.ops.len(), 4);
    }
}
