//! Jepsen's `bank`: every read of all balances has the same sum. Without a first value that is the sum of the first read.

use super::calls::{Calls, entries};
use super::{Anomaly, Asked, Ended, Findings};
use crate::history::Value;

pub(super) fn check(asked: &mut Asked<'_, '_>, calls: &Calls<'_>, findings: &mut Findings) -> Result<(), Ended> {
    let mut total = total(asked)?;
    let mut of: Option<usize> = None;
    let answers = calls.all.iter().filter_map(|call| entries(call.answered?));
    let accounts = answers.map(<[_]>::len).max();
    for call in &calls.all {
        asked.watch.spend(1)?;
        match call.f {
            "transfer" => continue,
            "read" => {}
            _ => return Err(asked.alien(calls.op(call.shown))),
        }
        let Some(answer) = call.answered.filter(|answer| !answer.is_nil()) else { continue };
        let balances = entries(answer).ok_or_else(|| asked.alien(calls.op(call.shown)))?;
        asked.watch.spend(balances.len())?;
        let mut sum = 0_i128;
        let mut is_whole = true;
        for (account, balance) in balances {
            match balance {
                Value::Int(balance) => {
                    sum += i128::from(*balance);
                    if *balance < 0 {
                        findings.add(Anomaly::NegativeBalance, &[call.shown], || {
                            format!("account {account} has {balance}")
                        });
                    }
                }
                Value::Nil => {
                    is_whole = false;
                    findings.add(Anomaly::NilBalance, &[call.shown], || format!("account {account} has no balance"));
                }
                Value::Bool(_)
                | Value::Text(_)
                | Value::Keyword(_)
                | Value::List(_)
                | Value::Set(_)
                | Value::Map(_)
                | Value::Literal(_) => return Err(asked.alien(calls.op(call.shown))),
            }
        }
        // A read of some accounts says nothing of the sum of all.
        if !is_whole || Some(balances.len()) != accounts {
            continue;
        }
        findings.looked_at += 1;
        let expected = *total.get_or_insert(sum);
        if sum != expected {
            let ops: Vec<usize> = of.into_iter().chain([call.shown]).collect();
            findings.add(Anomaly::WrongTotal, &ops, || {
                format!("process {} read a total of {sum}, not {expected}", call.process)
            });
        }
        of = of.or(Some(call.shown));
    }
    findings.count("reads", findings.looked_at);
    Ok(())
}

/// The sum that was given: as a number, or as balances by account.
fn total(asked: &Asked<'_, '_>) -> Result<Option<i128>, Ended> {
    let expected = "the sum of all balances, or {\"account\": balance, …}";
    let initial = &asked.options.initial;
    if initial.is_nil() {
        return Ok(None);
    }
    if let Some(total) = initial.int() {
        return Ok(Some(i128::from(total)));
    }
    let balances = entries(initial).ok_or_else(|| asked.initial(expected))?;
    let each = balances.iter().map(|(_, balance)| balance.int().map(i128::from));
    each.sum::<Option<i128>>().map(Some).ok_or_else(|| asked.initial(expected))
}
