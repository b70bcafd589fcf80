//! The text format of Plume: one access a line, `r(key,value,session,transaction)` or `w(…)`.
//!
//! Transaction -1 and value 0 are initial. The lines of a transaction need not be together; transactions of a session
//! are in the order of their first lines. Format: <https://github.com/hengxin/PolySI> and the artifact of "Plume:
//! Efficient and Complete Black-Box Checking of Weak Isolation Levels" (OOPSLA 2024).

use super::edn::Mistake;

/// One access of a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Access {
    pub(crate) is_write: bool,
    pub(crate) key: i64,
    pub(crate) value: i64,
    pub(crate) session: i64,
    pub(crate) txn: i64,
    /// From 1.
    pub(crate) line: usize,
}

/// The number of the initial transaction.
pub(crate) const INITIAL: i64 = -1;

/// Whether the text begins with such a line.
pub(crate) fn is_plume(text: &str) -> bool {
    let start = text.trim_start();
    start.starts_with("r(") || start.starts_with("w(")
}

/// Reads every access, in file order, until `take` says that it is enough.
pub(crate) fn scan(text: &str, mut take: impl FnMut(Access) -> bool) -> Result<(), Mistake> {
    let mut cursor = Cursor { bytes: text.as_bytes(), at: 0 };
    let mut line = 1;
    loop {
        while let Some(byte) = cursor.peek().filter(u8::is_ascii_whitespace) {
            line += usize::from(byte == b'\n');
            cursor.at += 1;
        }
        let is_write = match cursor.peek() {
            None => return Ok(()),
            Some(b'r') => false,
            Some(b'w') => true,
            Some(_) => return Err(cursor.mistake("an access: r(key,value,session,transaction) or w(…)")),
        };
        cursor.at += 1;
        cursor.byte(b'(', "`(` after r or w")?;
        let key = cursor.number("a key: a whole number")?;
        cursor.byte(b',', "`,` and a value")?;
        let value = cursor.number("a value: a whole number")?;
        cursor.byte(b',', "`,` and a session")?;
        let session = cursor.number("a session: a whole number")?;
        cursor.byte(b',', "`,` and a transaction")?;
        let txn = cursor.number("a transaction: a whole number")?;
        cursor.byte(b')', "`)` after the transaction")?;
        while cursor.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
            cursor.at += 1;
        }
        if cursor.peek().is_some_and(|byte| byte != b'\n') {
            return Err(cursor.mistake("the end of the line"));
        }
        if !take(Access { is_write, key, value, session, txn, line }) {
            return Ok(());
        }
    }
}

/// A place in the bytes of a text.
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl Cursor<'_> {
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(super) fn mistake(&self, expected: &str) -> Mistake {
        Mistake::new(self.at, expected)
    }

    pub(super) fn skip_spaces(&mut self) {
        while self.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn byte(&mut self, byte: u8, expected: &str) -> Result<(), Mistake> {
        self.skip_spaces();
        if self.peek() != Some(byte) {
            return Err(self.mistake(expected));
        }
        self.at += 1;
        Ok(())
    }

    /// A whole number with an optional sign, after spaces.
    pub(super) fn number(&mut self, expected: &str) -> Result<i64, Mistake> {
        self.skip_spaces();
        let start = self.at;
        let is_negative = self.peek() == Some(b'-');
        self.at += usize::from(is_negative);
        let first = self.at;
        let mut number = 0_i64;
        while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
            let digit = i64::from(digit - b'0');
            let next = number.checked_mul(10).and_then(|number| number.checked_add(digit));
            number = next.ok_or_else(|| Mistake::new(start, format!("{expected} of at most 63 bits")))?;
            self.at += 1;
        }
        if self.at == first {
            return Err(Mistake::new(start, expected));
        }
        Ok(if is_negative { -number } else { number })
    }
}
