//! Checks of transactions, each with a run that is fine and one with a planted violation.

use std::sync::Arc;

use firedrill_check::CHECKS;
use firedrill_core::check::{Finding, Question, When};
use firedrill_core::history::{Answer, Call, Op, Outcome, ProcessId, Reply, Route, Step};
use firedrill_core::record::Recorded;
use firedrill_core::spec::{Fields, Mistakes};
use firedrill_core::time::RunTime;
use firedrill_core::verdict::Verdict;
use toml::de::DeTable;

/// One process each, one after the other.
fn run(txns: &[(&[Step], &[Answer])]) -> Recorded {
    let call = |(number, (steps, answers)): (u32, &(&[Step], &[Answer]))| {
        let at = |offset: u64| RunTime::from_nanos(u64::from(number) * 10 + offset);
        Call {
            process: ProcessId(number),
            op: Op::Txn(Arc::from(*steps)),
            due: at(0),
            invoked: at(0),
            completed: Some((at(5), Outcome::Ok(Reply::Answers(answers.to_vec())))),
            route: Route::Router,
            served_by: None,
            epoch: None,
            receipt: None,
        }
    };
    Recorded { calls: (0..).zip(txns).map(call).collect(), ..Recorded::default() }
}

fn judge(name: &str, options: &str, run: &Recorded) -> Finding {
    let entry = CHECKS.iter().find(|entry| entry.name == name).expect("in the registry");
    let (table, mistakes) = (DeTable::parse(options).expect("TOML"), Mistakes::default());
    let check =
        (entry.parse)(&mut Fields::new(table.get_ref(), 0..0, "the check", &mistakes)).expect("options that parse");
    check.check(run, &Question { when: &When::Always, grace: std::time::Duration::ZERO })
}

const WRITE: Step = Step::Write { key: 1, value: 1 };
const READ: Step = Step::Read { key: 1 };

#[test]
fn a_stale_read_is_not_linearizable() {
    let of = |read| run(&[(&[WRITE], &[Answer::Done]), (&[READ], &[Answer::Value(read)])]);
    assert_eq!(judge("linearizable", "", &of(Some(1))).verdict, Verdict::Pass);
    let stale = judge("linearizable", "", &of(None));
    assert_eq!(stale.verdict, Verdict::Fail, "{stale:?}");
    assert!(stale.summary.contains("read [1 nil]"), "{stale:?}");
    assert_eq!(judge("linearizable", "", &Recorded::default()).verdict, Verdict::Invalid);
}

#[test]
fn a_lost_update_is_not_serializable_but_read_committed() {
    let both = |key, value| [Step::List { key }, Step::Append { key, value }];
    let (one, two) = (both(1, 1), both(1, 2));
    let read = [Step::List { key: 1 }];
    // Both find nothing and append.
    let lost = run(&[
        (&one, &[Answer::List(vec![]), Answer::Done]),
        (&two, &[Answer::List(vec![]), Answer::Done]),
        (&read, &[Answer::List(vec![1, 2])]),
    ]);
    let found = judge("isolation", "level = \"serializable\"", &lost);
    assert_eq!(found.verdict, Verdict::Fail, "{found:?}");
    assert!(found.summary.contains("lost-update"), "{found:?}");
    assert!(found.evidence.contains(&"lost-update, shown by 2 of 3 transactions:".to_owned()), "{found:?}");
    assert_eq!(judge("isolation", "level = \"read-committed\"", &lost).verdict, Verdict::Pass);
    let fine = run(&[
        (&one, &[Answer::List(vec![]), Answer::Done]),
        (&two, &[Answer::List(vec![1]), Answer::Done]),
        (&read, &[Answer::List(vec![1, 2])]),
    ]);
    assert_eq!(judge("isolation", "level = \"serializable\"", &fine).verdict, Verdict::Pass);
}

#[test]
fn money_that_is_missing_is_missed() {
    let read = [Step::Balance { account: 0 }, Step::Balance { account: 1 }];
    let of = |second| run(&[(&read, &[Answer::Value(Some(90)), Answer::Value(second)])]);
    assert_eq!(judge("bank", "total = 200", &of(Some(110))).verdict, Verdict::Pass);
    assert_eq!(judge("bank", "total = 200", &of(Some(100))).verdict, Verdict::Fail);
    assert_eq!(judge("bank", "total = 200", &of(None)).verdict, Verdict::Fail);
    assert_eq!(judge("bank", "total = 200", &Recorded::default()).verdict, Verdict::Invalid);
}
