//! Rows, and the steps and answers of transactions, in columns.

use super::column::{Cursor, put, put_difference};
use super::{answer_tag, step_tag};
use crate::history::{Answer, Step};

fn put_count(out: &mut Vec<u8>, count: usize) {
    put(out, u64::try_from(count).unwrap_or(u64::MAX));
}

pub(super) fn put_rows(out: &mut Vec<u8>, rows: &[u64]) {
    put_count(out, rows.len());
    let mut base = 0;
    for row in rows {
        put_difference(out, *row, base);
        base = *row;
    }
}

pub(super) fn rows(from: &mut Cursor<'_>) -> Option<Vec<u64>> {
    let count = from.length()?;
    let mut rows = Vec::new();
    let mut base = 0;
    for _ in 0..count {
        base = from.difference(base)?;
        rows.push(base);
    }
    Some(rows)
}

pub(super) fn put_steps(out: &mut Vec<u8>, steps: &[Step]) {
    put_count(out, steps.len());
    for step in steps {
        let (tag, numbers): (u8, &[u64]) = match step {
            Step::Append { key, value } => (step_tag::APPEND, &[*key, *value]),
            Step::List { key } => (step_tag::LIST, &[*key]),
            Step::Write { key, value } => (step_tag::WRITE, &[*key, *value]),
            Step::Read { key } => (step_tag::READ, &[*key]),
            Step::Compare { key, from, to } => (step_tag::COMPARE, &[*key, *from, *to]),
            Step::Transfer { from, to, amount } => (step_tag::TRANSFER, &[*from, *to, *amount]),
            Step::Balance { account } => (step_tag::BALANCE, &[*account]),
        };
        out.push(tag);
        for number in numbers {
            put(out, *number);
        }
    }
}

pub(super) fn steps(from: &mut Cursor<'_>) -> Option<Vec<Step>> {
    let count = from.length()?;
    let mut steps = Vec::new();
    for _ in 0..count {
        let tag = from.byte()?;
        let first = from.varint()?;
        steps.push(match tag {
            step_tag::APPEND => Step::Append { key: first, value: from.varint()? },
            step_tag::LIST => Step::List { key: first },
            step_tag::WRITE => Step::Write { key: first, value: from.varint()? },
            step_tag::READ => Step::Read { key: first },
            step_tag::COMPARE => {
                let found = from.varint()?;
                Step::Compare { key: first, from: found, to: from.varint()? }
            }
            step_tag::TRANSFER => {
                let to = from.varint()?;
                Step::Transfer { from: first, to, amount: from.varint()? }
            }
            step_tag::BALANCE => Step::Balance { account: first },
            _ => return None,
        });
    }
    Some(steps)
}

pub(super) fn put_answers(out: &mut Vec<u8>, answers: &[Answer]) {
    put_count(out, answers.len());
    for answer in answers {
        match answer {
            Answer::Done => out.push(answer_tag::DONE),
            Answer::Refused => out.push(answer_tag::REFUSED),
            Answer::Value(None) => out.push(answer_tag::NOTHING),
            Answer::Value(Some(value)) => {
                out.push(answer_tag::VALUE);
                put(out, *value);
            }
            Answer::List(list) => {
                out.push(answer_tag::LIST);
                put_rows(out, list);
            }
        }
    }
}

pub(super) fn answers(from: &mut Cursor<'_>) -> Option<Vec<Answer>> {
    let count = from.length()?;
    let mut answers = Vec::new();
    for _ in 0..count {
        answers.push(match from.byte()? {
            answer_tag::DONE => Answer::Done,
            answer_tag::REFUSED => Answer::Refused,
            answer_tag::NOTHING => Answer::Value(None),
            answer_tag::VALUE => Answer::Value(Some(from.varint()?)),
            answer_tag::LIST => Answer::List(rows(from)?),
            _ => return None,
        });
    }
    Some(answers)
}
