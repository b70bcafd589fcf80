//! The calls of a recorded run as a history, as Jepsen would have written it.

use firedrill_core::history::{Answer, Call, FinalRead, Op, Outcome, ProcessId, Reply, Step};
use firedrill_core::time::RunTime;

use super::{Format, Kind, Loaded, Names, Process, RawOp, Value};

/// How transactions are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// A single step as an operation on an object of its own, for linearizability.
    Objects,
    /// All as transactions of micro-operations.
    Transactions,
    /// The rows of a ledger as elements of a set; nothing else.
    Ledger,
}

/// The calls of a run that have this form, in the order of time. Those that failed before anything was sent are there as
/// failed; those that were shed were never made.
pub fn from_calls(calls: &[Call], form: Form) -> Loaded {
    let mut names = Names::default();
    let events = events(calls, form);
    let ops = events.iter().zip(1..).filter_map(|(&(at, _, ended, place), line)| {
        let call = &calls[place];
        let (kind, answers) = match &call.completed {
            Some((_, Outcome::Ok(Reply::Answers(answers)))) if ended => (Kind::Ok, Some(answers.as_slice())),
            Some((_, Outcome::Ok(_))) if ended => (Kind::Ok, None),
            Some((_, Outcome::Fail(_))) if ended => (Kind::Fail, None),
            Some((_, Outcome::Info(_))) if ended => (Kind::Info, None),
            Some(_) | None => (Kind::Invoke, None),
        };
        let told = match (&call.op, &call.completed) {
            (Op::Txn(steps), _) => told(steps, answers, form),
            (Op::Insert { row }, _) => Told { f: "add", value: number(*row), refused: false },
            (Op::Scan, Some((_, Outcome::Ok(Reply::Rows(rows))))) if ended => {
                Told { f: "read", value: list(rows.iter().copied().map(number)), refused: false }
            }
            (Op::Scan, _) => Told { f: "read", value: Value::Nil, refused: false },
            (Op::CreateLedger | Op::CreateStore { .. }, _) => return None,
        };
        Some(RawOp {
            index: Some(i64::from(line) - 1),
            time: i64::try_from(at.as_nanos()).ok(),
            process: Process::Client(i64::from(call.process.0)),
            kind,
            f: names.get(told.f),
            value: told.value,
            compare_false: told.refused,
            line: usize::try_from(line).unwrap_or(usize::MAX),
        })
    });
    Loaded { format: Format::Recorded, ops: ops.collect() }
}

/// Adds what each node held at the end: a read of all, by a client of its own, after everything else.
pub fn add_final_reads(history: &mut Loaded, finals: &[FinalRead]) {
    let numbers =
        history.ops.iter().filter_map(|op| if let Process::Client(number) = op.process { Some(number) } else { None });
    let last = numbers.max().unwrap_or(-1);
    for (read, process) in finals.iter().zip(last + 1..) {
        let (kind, value) = match &read.rows {
            Ok(rows) => (Kind::Ok, list(rows.iter().copied().map(number))),
            Err(_) => (Kind::Info, Value::Nil),
        };
        for (kind, value) in [(Kind::Invoke, Value::Nil), (kind, value)] {
            let place = history.ops.len();
            history.ops.push(RawOp {
                index: i64::try_from(place).ok(),
                time: i64::try_from(read.at.as_nanos()).ok(),
                process: Process::Client(process),
                kind,
                f: "read".into(),
                value,
                compare_false: false,
                line: place + 1,
            });
        }
    }
}

/// When, in which order at that moment, whether it is the end, and the place of the call.
type Event = (RunTime, u32, bool, usize);

/// Invocations come before completions of the same moment, because the two overlap as far as the clock can tell; but what
/// one process does stays in its order.
fn events(calls: &[Call], form: Form) -> Vec<Event> {
    let fits = |op: &Op| match form {
        Form::Objects | Form::Transactions => matches!(op, Op::Txn(_)),
        Form::Ledger => matches!(op, Op::Insert { .. } | Op::Scan),
    };
    let made = |call: &Call| fits(&call.op) && !call.is_shed();
    let mut places: Vec<usize> = (0..calls.len()).filter(|place| made(&calls[*place])).collect();
    places.sort_by_key(|place| (calls[*place].process, calls[*place].invoked));
    let mut events: Vec<Event> = Vec::new();
    let mut last: Option<(ProcessId, RunTime, u32)> = None;
    for place in places {
        let call = &calls[place];
        let rank = match last {
            Some((process, at, rank)) if process == call.process && at == call.invoked => rank + 1,
            Some(_) | None => 0,
        };
        events.push((call.invoked, rank, false, place));
        last = call.completed.as_ref().map(|(at, _)| {
            let rank = if *at == call.invoked { rank + 1 } else { 1 };
            events.push((*at, rank, true, place));
            (call.process, *at, rank)
        });
    }
    events.sort_unstable();
    events
}

struct Told {
    f: &'static str,
    value: Value,
    refused: bool,
}

fn number(value: u64) -> Value {
    i64::try_from(value).map_or_else(|_| Value::Literal(value.to_string().into()), Value::Int)
}

fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value::List(values.into_iter().collect())
}

fn keyword(word: &str) -> Value {
    Value::Keyword(word.into())
}

fn told(steps: &[Step], answers: Option<&[Answer]>, form: Form) -> Told {
    let answer = |place: usize| answers.and_then(|answers| answers.get(place));
    let refused = matches!(answer(0), Some(Answer::Refused));
    let single = |f, value| Told { f, value, refused };
    if form == Form::Transactions {
        return transaction(steps, answers);
    }
    match steps {
        [Step::Read { key }] => single("read", list([number(*key), held(answer(0))])),
        [Step::Write { key, value }] => single("write", list([number(*key), number(*value)])),
        [Step::Compare { key, from, to }] => single("cas", list([number(*key), list([number(*from), number(*to)])])),
        [Step::Transfer { from, to, amount }] => {
            let of = |name: &str, value: u64| (keyword(name), number(value));
            single("transfer", Value::Map(Box::new([of("from", *from), of("to", *to), of("amount", *amount)])))
        }
        [Step::Balance { .. }, ..] => {
            let balances = steps.iter().enumerate().filter_map(|(place, step)| match (step, answer(place)) {
                (Step::Balance { account }, Some(Answer::Value(Some(held)))) => Some((number(*account), number(*held))),
                _ => None,
            });
            let value = answers.map_or(Value::Nil, |_| Value::Map(balances.collect()));
            single("read", value)
        }
        _ => transaction(steps, answers),
    }
}

fn transaction(steps: &[Step], answers: Option<&[Answer]>) -> Told {
    let answer = |place: usize| answers.and_then(|answers| answers.get(place));
    let steps = steps.iter().enumerate().map(|(place, step)| micro(*step, answer(place)));
    Told { f: "txn", value: list(steps), refused: false }
}

fn held(answer: Option<&Answer>) -> Value {
    match answer {
        Some(Answer::Value(Some(value))) => number(*value),
        Some(Answer::List(values)) => list(values.iter().copied().map(number)),
        Some(Answer::Value(None) | Answer::Done | Answer::Refused) | None => Value::Nil,
    }
}

fn micro(step: Step, answer: Option<&Answer>) -> Value {
    match step {
        Step::Append { key, value } => list([keyword("append"), number(key), number(value)]),
        Step::Write { key, value } => list([keyword("w"), number(key), number(value)]),
        Step::List { key } | Step::Read { key } => list([keyword("r"), number(key), held(answer)]),
        Step::Compare { key, from, to } => list([keyword("cas"), number(key), number(from), number(to)]),
        Step::Transfer { from, to, amount } => list([keyword("transfer"), number(from), number(to), number(amount)]),
        Step::Balance { account } => list([keyword("balance"), number(account), held(answer)]),
    }
}

impl Loaded {
    /// Whether somebody did something.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use firedrill_core::history::Route;

    use super::*;
    use crate::history::{load, to_edn};

    fn call(process: u32, steps: &[Step], span: (u64, u64), answers: Option<Vec<Answer>>) -> Call {
        let outcome = answers.map_or_else(|| Outcome::info("?"), |answers| Outcome::Ok(Reply::Answers(answers)));
        Call {
            process: ProcessId(process),
            op: Op::Txn(Arc::from(steps)),
            due: RunTime::from_nanos(span.0),
            invoked: RunTime::from_nanos(span.0),
            completed: Some((RunTime::from_nanos(span.1), outcome)),
            route: Route::Router,
            served_by: None,
            epoch: None,
            receipt: None,
        }
    }

    #[test]
    fn what_is_exported_is_read_back_the_same() {
        let calls = [
            call(0, &[Step::Write { key: 1, value: 2 }], (10, 40), Some(vec![Answer::Done])),
            call(1, &[Step::Read { key: 1 }], (20, 30), Some(vec![Answer::Value(None)])),
            call(2, &[Step::Compare { key: 1, from: 2, to: 3 }], (41, 50), Some(vec![Answer::Refused])),
            call(3, &[Step::Append { key: 1, value: 1 }, Step::List { key: 1 }], (40, 60), None),
        ];
        let history = from_calls(&calls, Form::Objects);
        let lines: Vec<String> = history.ops.iter().map(ToString::to_string).collect();
        assert_eq!(lines[1], "line 2: process 1 invoke read [1 nil]");
        assert_eq!(
            lines[3], "line 4: process 3 invoke txn [[:append 1 1] [:r 1 nil]]",
            "before the end of that moment"
        );
        let back = load(to_edn(&history).as_bytes()).unwrap();
        let plain = |history: &Loaded| -> Vec<(Kind, Arc<str>, Value, bool)> {
            let part = |op: &RawOp| (op.kind, Arc::clone(&op.f), op.value.clone(), op.compare_false);
            history.ops.iter().map(part).collect()
        };
        assert_eq!(plain(&back), plain(&history));
        assert!(from_calls(&calls, Form::Ledger).is_empty());
    }

    #[test]
    fn a_ledger_is_a_set_of_rows() {
        let of = |op: Op, span: (u64, u64), reply: Reply| Call {
            op,
            completed: Some((RunTime::from_nanos(span.1), Outcome::Ok(reply))),
            ..call(u32::try_from(span.0).unwrap(), &[], span, None)
        };
        let calls = [
            of(Op::CreateLedger, (0, 5), Reply::Done),
            of(Op::Insert { row: 7 }, (10, 40), Reply::Done),
            of(Op::Scan, (50, 60), Reply::Rows(vec![7])),
        ];
        let history = from_calls(&calls, Form::Ledger);
        let lines: Vec<String> = history.ops.iter().map(|op| format!("{} {} {}", op.kind, op.f, op.value)).collect();
        assert_eq!(lines, ["invoke add 7", "ok add 7", "invoke read nil", "ok read [7]"]);
        assert!(from_calls(&calls, Form::Objects).is_empty());
    }
}
