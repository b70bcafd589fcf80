//! Each model on executions of an object that keeps its promise, with violations planted into them.

mod planted;
mod world;

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::history::{Kind, Process, load};
use crate::limits::Watch;
use planted::{PLANTED, PLANTED_IN_SETS};
use world::execution;

fn judged(text: &str, model: Model) -> Report {
    let history = load(text.as_bytes()).unwrap();
    check(&history, model, &Options::default(), &mut Watch::unlimited()).unwrap()
}

fn names(report: &Report) -> Vec<&'static str> {
    report.violated.iter().map(|found| found.anomaly.name()).collect()
}

/// Calls one after the other, `process f asked => answer`; `!` instead of `=>` is a failure, `?` an unknown outcome.
fn calls(script: &str) -> String {
    let mut text = String::new();
    for call in script.split(';').map(str::trim).filter(|call| !call.is_empty()) {
        let mut words = call.splitn(3, ' ');
        let (process, f, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let mut line = |kind: &str, value: &str| {
            writeln!(text, "{{:process {process} :type :{kind} :f :{f} :value {}}}", value.trim()).unwrap();
        };
        match (rest.split_once("=>"), rest.split_once('!'), rest.split_once('?')) {
            (Some((asked, answer)), ..) => {
                line("invoke", asked);
                line("ok", answer);
            }
            (_, Some((asked, _)), _) => {
                line("invoke", asked);
                line("fail", asked);
            }
            (_, _, Some((asked, _))) => {
                line("invoke", asked);
                line("info", asked);
            }
            _ => line("ok", rest),
        }
    }
    text
}

#[test]
fn each_anomaly_is_found_alone() {
    for (model, anomaly, script) in PLANTED.iter().chain(PLANTED_IN_SETS) {
        let report = judged(&calls(script), *model);
        assert_eq!((report.verdict, names(&report)), (Verdict::Violated, vec![*anomaly]), "{model:?} {script}");
        assert!(report.violated[0].examples[0].ops.len() <= 3, "{model:?} {script}");
    }
}

#[test]
fn what_only_may_be_is_no_violation() {
    for (model, script) in [
        (Model::SetFull, "90 add 1 ?; 91 read nil => []; 92 add 2 !; 91 read nil => []; 93 add 3 => 3"),
        (Model::Ledger, "90 add 1 ?; 92 add 2 => 2; 91 read nil => [1 2]; 93 add 3 => 3"),
        (
            Model::Log,
            "90 send [[:send 9 1]] ?; 92 send [[:send 9 2]] => [[:send 9 [5 2]]]; 91 poll [[:poll]] => [[:poll {\"9\" [[3 1] [5 2]]}]]; 91 assign [9] => [9]; 91 poll [[:poll]] => [[:poll {9 [[3 1]]}]]",
        ),
        (Model::TotalQueue, "90 enqueue 1 => 1; 91 dequeue nil ?; 92 drain nil => []"),
        (Model::BankSum, "90 transfer {:from 0 :to 1 :amount 5} ?; 91 read nil => {0 -5 1 15}; 91 read nil => {0 10}"),
        (
            Model::CounterBounds,
            "90 add 5 ?; 91 add -2 ?; 92 read nil => 3; 92 read nil => 0; 92 read nil => -2; 92 read nil => 5",
        ),
        (Model::Monotonic, "90 write 1 ?; 91 read nil => 1; 92 write 2 => 2; 91 read nil => 2; 91 read nil => 1"),
        (Model::ReadYourWrites, "90 write 1 => 1; 91 write 2 ?; 90 read nil => 2"),
        (Model::BoundedStaleness, "90 write 1 => 1; 91 write 2 ?; 90 read nil => 1; 90 read nil => 2"),
        (Model::PrefixOfLog, "90 read [:primary nil] => [:primary [1]]; 91 read [:n2 nil] => [:n2 [1 2]]"),
        (
            Model::PrefixOfLog,
            "91 state [:n2 nil] => [:n2 {a 1}]; 91 state [:n2 nil] => [:n2 {}]; 90 read [:primary nil] => [:primary [[:put a 1] [:delete a] [:put a 1]]]; 91 state [:n2 nil] => [:n2 {c 1}]",
        ),
    ] {
        let report = judged(&calls(script), model);
        assert_eq!(report.verdict, Verdict::Valid, "{model:?} {script} {report:?}");
    }
}

#[test]
fn what_is_noted_counts_when_it_is_asked_about() {
    let text = calls("90 add 1 => 1; 91 read nil => []; 91 read nil => [1]; 92 add 2 => 2");
    let history = load(text.as_bytes()).unwrap();
    let report = judged(&text, Model::SetFull);
    assert_eq!(report.verdict, Verdict::Valid);
    assert_eq!(
        report.noted.iter().map(|found| found.anomaly).collect::<Vec<_>>(),
        [Anomaly::Stale, Anomaly::NeverRead]
    );
    let options = Options { anomalies: Some(vec![Anomaly::Stale]), ..Options::default() };
    let report = check(&history, Model::SetFull, &options, &mut Watch::unlimited()).unwrap();
    assert_eq!((report.verdict, names(&report)), (Verdict::Violated, vec!["stale"]));
}

#[test]
fn staleness_is_measured_by_the_times_of_the_history() {
    let at = |time: u64, kind: &str, f: &str, value: &str| {
        format!("{{:process {} :type :{kind} :f :{f} :value {value} :time {time}}}\n", u8::from(f == "read"))
    };
    let text = at(0, "invoke", "write", "1")
        + &at(10_000_000, "ok", "write", "1")
        + &at(15_000_000, "invoke", "read", "nil")
        + &at(16_000_000, "ok", "read", "nil");
    let history = load(text.as_bytes()).unwrap();
    let judged = |millis| {
        let options = Options { staleness: Duration::from_millis(millis), ..Options::default() };
        check(&history, Model::BoundedStaleness, &options, &mut Watch::unlimited()).unwrap()
    };
    assert_eq!(judged(4).verdict, Verdict::Violated);
    assert_eq!(judged(5).verdict, Verdict::Valid);
    assert!(judged(5).figures.contains(&Figure { name: "worst-staleness-ns", value: 5_000_000 }));
    let timeless = load(calls("0 write 1 => 1; 1 read nil => nil").as_bytes()).unwrap();
    let options = Options { staleness: Duration::from_millis(1), ..Options::default() };
    let refused = check(&timeless, Model::BoundedStaleness, &options, &mut Watch::unlimited());
    assert!(matches!(refused, Err(Refusal::Timeless { .. })));
}

#[test]
fn nothing_to_look_at_and_other_operations_are_told_apart() {
    for model in Model::ALL {
        assert_eq!(judged("[]", *model).verdict, Verdict::Nothing, "{model:?}");
        let alien = load(b"{:process 0 :type :ok :f :dance :value [1 2 3]}").unwrap();
        let refused = check(&alien, *model, &Options::default(), &mut Watch::unlimited());
        assert!(matches!(refused, Err(Refusal::Operation { .. })), "{model:?}");
        let stop = Watch::new(&|_| Some(Stop::Time));
        let report = check(&alien, *model, &Options::default(), &mut { stop }).unwrap();
        assert_eq!(report.verdict, Verdict::Unknown(Stop::Time));
    }
}

fn models() -> impl Strategy<Value = (Model, bool)> {
    let sessions = Model::ALL
        .iter()
        .copied()
        .filter(|model| matches!(model, Model::Monotonic | Model::ReadYourWrites | Model::BoundedStaleness));
    let all: Vec<(Model, bool)> =
        Model::ALL.iter().map(|model| (*model, false)).chain(sessions.map(|model| (model, true))).collect();
    prop::sample::select(all)
}

/// The verdict and the anomalies of a history.
fn verdict(history: &Loaded, model: Model) -> (Verdict, Vec<&'static str>) {
    let report = check(history, model, &Options::default(), &mut Watch::unlimited()).unwrap();
    (report.verdict, names(&report))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn executions_of_a_sound_object_pass((model, sets) in models(), seed: u64) {
        let text = execution(model, seed, sets);
        let report = judged(&text, model);
        prop_assert!(matches!(report.verdict, Verdict::Valid | Verdict::Nothing), "{:?}\n{:?}\n{}", model, report, text);
    }

    #[test]
    fn planted_violations_are_found((model, sets) in models(), seed: u64, place: prop::sample::Index) {
        let table = if sets { PLANTED_IN_SETS } else { PLANTED };
        let of_model: Vec<_> = table.iter().filter(|(of, ..)| *of == model).collect();
        let (_, anomaly, script) = place.get(&of_model);
        // The log of another run would not be one log.
        let before = if model == Model::PrefixOfLog { String::new() } else { execution(model, seed, sets) };
        let report = judged(&(before + &calls(script)), model);
        prop_assert_eq!(report.verdict, Verdict::Violated);
        prop_assert!(names(&report).contains(anomaly), "{:?} {} {:?}", model, anomaly, report);
    }

    #[test]
    fn names_and_the_order_of_what_is_concurrent_do_not_matter(
        (model, sets) in models(), seed: u64, planted: bool, swaps in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let table = if sets { PLANTED_IN_SETS } else { PLANTED };
        let script = table.iter().find(|(of, ..)| planted && *of == model).map_or("", |(_, _, script)| script);
        let mut history = load((execution(model, seed, sets) + &calls(script)).as_bytes()).unwrap();
        let before = verdict(&history, model);
        for swap in swaps {
            let place = swap.index(history.ops.len() - 1);
            let (first, second) = (&history.ops[place], &history.ops[place + 1]);
            let is_alike = (first.kind == Kind::Invoke) == (second.kind == Kind::Invoke);
            if is_alike && first.process != second.process {
                history.ops.swap(place, place + 1);
            }
        }
        prop_assert_eq!(&verdict(&history, model), &before);
        for op in &mut history.ops {
            if let Process::Client(process) = &mut op.process {
                *process = 1_000_000 - *process * 3;
            }
        }
        prop_assert_eq!(&verdict(&history, model), &before);
    }
}
