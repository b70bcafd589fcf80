//! The test format of AWDIT: `r key value` and `w key value`, `-----` between transactions, `=====` between sessions.
//!
//! Sessions and transactions are numbered in file order. A read of 0 is one of the initial value when nobody writes 0.
//! Format: the artifact of "AWDIT: An Optimal Weak Database Isolation Tester" (PLDI 2025).

use super::edn::Mistake;
use super::plume::{Access, Cursor};

/// Whether the text begins with such a line.
pub(crate) fn is_awdit(text: &str) -> bool {
    let start = text.trim_start();
    ["r ", "w ", "r\t", "w\t", "---", "==="].iter().any(|begin| start.starts_with(begin))
}

/// Reads every access, in file order, until `take` says that it is enough.
pub(crate) fn scan(text: &str, mut take: impl FnMut(Access) -> bool) -> Result<(), Mistake> {
    let mut cursor = Cursor { bytes: text.as_bytes(), at: 0 };
    let (mut session, mut txn) = (0, 0);
    let mut line = 1;
    while let Some(first) = cursor.peek() {
        match first {
            b'\n' => {
                line += 1;
                cursor.at += 1;
                continue;
            }
            b' ' | b'\t' | b'\r' => {
                cursor.at += 1;
                continue;
            }
            b'-' | b'=' => {
                rule(&mut cursor, first)?;
                txn += 1;
                session += i64::from(first == b'=');
            }
            b'r' | b'w' => {
                cursor.at += 1;
                if !cursor.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
                    return Err(cursor.mistake("a blank and a key after r or w"));
                }
                let key = cursor.number("a key: a whole number")?;
                let value = cursor.number("a value: a whole number")?;
                if !take(Access { is_write: first == b'w', key, value, session, txn, line }) {
                    return Ok(());
                }
            }
            _ => return Err(cursor.mistake("`r key value`, `w key value`, `-----` or `=====`")),
        }
        while cursor.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
            cursor.at += 1;
        }
        if cursor.peek().is_some_and(|byte| byte != b'\n') {
            return Err(cursor.mistake("the end of the line"));
        }
    }
    Ok(())
}

/// A line of at least three of these.
fn rule(cursor: &mut Cursor<'_>, mark: u8) -> Result<(), Mistake> {
    let start = cursor.at;
    while cursor.peek() == Some(mark) {
        cursor.at += 1;
    }
    if cursor.at - start < 3 {
        return Err(Mistake::new(start, "`-----` between transactions or `=====` between sessions"));
    }
    Ok(())
}
