//! The smallest part that shows an anomaly is a history that shows it.

use proptest::prelude::*;

use super::differential::{execute, names, small, text};
use super::tests::{PLANTED, everything, history, plan, serial};
use super::*;
use crate::evidence::{Evidence, describe, html, svg};
use crate::history::{self, Kind, RawOp, to_edn, to_json_lines};

fn judged(history: &Loaded, model: Model, options: &Options) -> Judged {
    judge_loaded(history, model, options, &mut Watch::unlimited()).unwrap()
}

/// Each anomaly has evidence, which shows it alone, written and read again, and cannot be made smaller.
fn evidence_shows(history: &Loaded, model: Model, options: &Options) -> Vec<Evidence> {
    let all = judged(history, model, options);
    let shown: Vec<&str> = all.evidence.iter().map(|evidence| evidence.anomaly.as_str()).collect();
    assert_eq!(shown.into_iter().collect::<std::collections::BTreeSet<_>>(), names(&all.report), "{}", to_edn(history));
    for evidence in &all.evidence {
        let alone = &evidence.history;
        for text in [to_edn(alone), to_json_lines(alone)] {
            let again = judge(&text, model, options, &mut Watch::unlimited()).unwrap();
            assert!(names(&again.report).contains(&*evidence.anomaly), "{} in\n{text}", evidence.anomaly);
            let same = again.evidence.iter().find(|of| of.anomaly == evidence.anomaly).unwrap();
            assert_eq!(same.transactions.len(), evidence.transactions.len(), "{text}");
        }
        for op in &alone.ops {
            let whole: Vec<&RawOp> = history.ops.iter().filter(|of| of.line == op.line).collect();
            let is_of_it = |of: &&RawOp| of.process == op.process && (of.kind == op.kind || op.kind == Kind::Info);
            assert!(whole.iter().any(is_of_it), "{op} of\n{}", to_edn(history));
        }
        let cycle: Vec<_> = evidence.reasons.iter().filter_map(|reason| reason.edge).collect();
        assert!(cycle.iter().all(|(from, to, _)| *from < evidence.named && *to < evidence.named));
        assert!(!evidence.reasons.is_empty() && evidence.transactions.len() <= evidence.of);
    }
    all.evidence
}

#[test]
fn planted_anomalies_have_evidence_that_is_drawn() {
    for (_, lines) in PLANTED {
        let found = evidence_shows(&history(lines), Model::ListAppend, &Options::default());
        for evidence in &found {
            let picture = svg(std::slice::from_ref(evidence));
            assert_eq!(picture.matches("<rect class=\"card").count(), evidence.transactions.len(), "{picture}");
            let edges = evidence.reasons.iter().filter(|reason| reason.edge.is_some()).count();
            assert_eq!(picture.matches("<path class=\"edge\"").count(), edges, "{picture}");
            assert_eq!(describe(evidence).lines().count(), 1 + evidence.transactions.len() + evidence.reasons.len());
        }
        assert_eq!(html(&found).matches("<svg").count(), found.len());
    }
}

/// Here it is transactions far from the cycle that order the versions in it.
#[test]
fn what_no_part_near_it_shows_has_evidence() {
    let lines = "ok 1 [[:r 0 29] [:r 3 25] [:w 2 31]]
        ok 1 [[:r 3 2] [:w 2 3] [:r 1 nil]]
        ok 0 [[:w 3 6] [:w 0 7]]
        ok 1 [[:w 1 8] [:w 0 9] [:w 2 10] [:w 0 11]]
        ok 2 [[:w 1 4] [:r 3 2] [:w 3 5]]
        ok 2 [[:w 3 32] [:w 3 33] [:r 3 33] [:r 2 31]]
        ok 1 [[:w 3 22] [:w 3 23] [:w 2 24] [:w 3 25]]
        ok 2 [[:r 3 35] [:w 1 36] [:w 2 37] [:r 3 35]]
        ok 2 [[:w 2 17] [:w 2 18] [:w 0 19]]
        ok 0 [[:w 0 29] [:w 2 30] [:r 2 30]]
        ok 1 [[:w 3 35] [:r 3 35] [:r 0 34]]
        ok 0 [[:w 0 1] [:w 3 2] [:r 0 1]]
        ok 1 [[:r 0 11] [:w 1 14] [:w 0 15] [:w 2 16]]
        ok 0 [[:w 1 20] [:r 2 18] [:w 0 21] [:r 3 12]]
        ok 2 [[:r 1 8]]
        ok 0 [[:r 3 33] [:w 0 34]]
        ok 0 [[:w 3 12] [:w 1 13] [:r 3 12]]
        ok 2 [[:w 0 26] [:w 0 27] [:w 2 28]]";
    let found = evidence_shows(&history(lines), Model::RwRegister, &everything());
    assert!(found.iter().any(|evidence| evidence.anomaly == "G1c-realtime"));
}

#[test]
fn only_what_matters_is_left() {
    let lines = "ok 0 [[:append 5 1] [:append 1 1] [:append 2 1]]
        ok 1 [[:append 1 2]]
        ok 2 [[:append 1 3] [:r 5 [1]]]
        ok 3 [[:r 1 [1 2]] [:r 5 [1]] [:r 2 []]]
        ok 4 [[:r 1 [1 2 3]] [:append 9 1]]";
    let all = judged(&history(lines), Model::ListAppend, &Options::default());
    let text = to_edn(&all.evidence[0].history);
    let expected = "{:index 0, :process 0, :type :ok, :f :txn, :value [[:append 1 1] [:append 2 1]]}
{:index 1, :process 3, :type :ok, :f :txn, :value [[:r 1 [1]] [:r 2 []]]}
";
    let other = expected.replace("1 1] [:append 2", "5 1] [:append 2").replace(":r 1 [1]", ":r 5 [1]");
    assert!(text == expected || text == other, "{text}");
    let words = describe(&all.evidence[0]);
    for wanted in [
        "G-single-item, shown by 2 of 5 transactions",
        "T1: line 1: process 0 ok [",
        "T2: line 4",
        " …]",
        "- T1 -wr-> T2: T2 read 1 in key",
    ] {
        assert!(words.contains(wanted), "no {wanted:?} in\n{words}");
    }
}

#[test]
fn those_that_show_the_order_of_versions_come_after_those_of_the_cycle() {
    let lines = "ok 0 [[:append 1 1] [:append 2 1]]
        ok 1 [[:append 1 2] [:append 2 2]]
        ok 3 [[:append 4 1]]
        ok 2 [[:r 1 [1 2]] [:r 2 [2 1]]]";
    let options = Options { consistency: vec![Consistency::ReadUncommitted], ..Options::default() };
    let all = judged(&history(lines), Model::ListAppend, &options);
    let [evidence] = &all.evidence[..] else { panic!("{:?}", all.evidence) };
    assert_eq!((evidence.named, evidence.transactions.len()), (2, 3));
    assert_eq!(evidence.transactions[2].lines, (4, Some(4)));
    assert_eq!(evidence.reasons[0].edge, Some((0, 1, Relation::WriteWrite)));
}

#[test]
fn a_step_of_real_time_names_lines_of_the_file() {
    let lines = "ok 5 [[:append 7 1]]
        ok 0 [[:append 1 1]]
        ok 5 [[:append 7 2]]
        ok 1 [[:r 1 []]]";
    let all = judged(&history(lines), Model::ListAppend, &Options::default());
    let words: Vec<&str> = all.evidence[0].reasons.iter().map(|reason| reason.words.as_str()).collect();
    assert!(words.contains(&"T1 ended (line 2) before T2 began (line 4)"), "{words:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn small_histories_with_anomalies_have_evidence(small in small()) {
        let done = execute(&small);
        for model in [Model::ListAppend, Model::RwRegister] {
            let text = text(&small, &done, model, false);
            evidence_shows(&history::load(text.as_bytes()).unwrap(), model, &everything());
        }
    }

    #[test]
    fn planted_anomalies_have_evidence_in_large_histories(plan in plan(), planted in 0..PLANTED.len(), place: prop::sample::Index) {
        let (_, lines) = PLANTED[planted];
        let mut all = serial(&plan, Model::ListAppend, false);
        let place = place.index(all.len());
        // Keys and processes of their own.
        let own = |line: &str| {
            let (kind, rest) = line.trim().split_once(' ').unwrap();
            let rest = rest.replace("[:append ", "[:append 9").replace("[:r ", "[:r 9");
            format!("{kind} 9{rest}")
        };
        for line in lines.lines().rev() {
            all.insert(place, own(line));
        }
        let found = evidence_shows(&history(&all.join("\n")), Model::ListAppend, &Options::default());
        prop_assert!(found.iter().all(|evidence| evidence.transactions.len() <= lines.lines().count()), "{:?}", found);
    }

    #[test]
    fn shuffled_histories_have_evidence(plan in plan(), order in any::<u64>()) {
        for model in [Model::ListAppend, Model::RwRegister] {
            let mut lines = serial(&plan, model, false);
            let length = lines.len();
            for place in 0..length {
                let other = usize::try_from(order.rotate_left(u32::try_from(place).unwrap()) % 97).unwrap() % length;
                lines.swap(place, other);
            }
            evidence_shows(&history(&lines.join("\n")), model, &everything());
        }
    }
}
