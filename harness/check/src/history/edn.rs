//! A reader of EDN and JSON values, which are one grammar but for a few marks.
//!
//! Grammars: <https://github.com/edn-format/edn> and RFC 8259.

use super::ImportError;
use super::value::Value;

/// How deep values may be nested, so that no file exhausts the stack.
const DEPTH: usize = 64;

/// What is wrong at a byte of a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mistake {
    at: usize,
    expected: String,
}

impl Mistake {
    pub(super) fn new(at: usize, expected: impl Into<String>) -> Self {
        Self { at, expected: expected.into() }
    }

    /// In a text of which this one begins so many bytes further.
    pub(super) fn further(self, bytes: usize) -> Self {
        Self { at: self.at + bytes, ..self }
    }

    /// With line and column.
    pub(super) fn place(self, text: &str) -> ImportError {
        let before = text.get(..self.at).unwrap_or(text);
        let line = newlines(before.as_bytes()) + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        ImportError { line, column, expected: self.expected }
    }
}

/// Ends of lines. Once over a file in all, and the compiler makes vectors of it.
#[expect(clippy::naive_bytecount, reason = "not worth a dependency")]
pub(super) fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// Which grammar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dialect {
    Edn,
    Json,
}

/// Reads one value of EDN.
pub fn parse_edn(text: &str) -> Result<Value, ImportError> {
    parse(text, Dialect::Edn)
}

/// Reads one value of JSON.
pub fn parse_json(text: &str) -> Result<Value, ImportError> {
    parse(text, Dialect::Json)
}

fn parse(text: &str, dialect: Dialect) -> Result<Value, ImportError> {
    let mut reader = Reader::new(text, dialect);
    let value = reader.value().and_then(|value| {
        reader.skip_blank()?;
        reader.is_at_end().then_some(value).ok_or_else(|| reader.mistake("the end"))
    });
    value.map_err(|mistake| mistake.place(text))
}

/// A place in a text.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    dialect: Dialect,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, dialect: Dialect) -> Self {
        Self { text, at: 0, depth: 0, dialect }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Goes on at another place.
    pub(super) fn set_at(&mut self, at: usize) {
        self.at = at;
    }

    pub(super) fn set_dialect(&mut self, dialect: Dialect) {
        self.dialect = dialect;
    }

    pub(super) fn mistake(&self, expected: impl Into<String>) -> Mistake {
        Mistake::new(self.at, expected)
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn peek_second(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at + 1).copied()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    /// Takes this byte if it is next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Skips white space, commas (which are white space in EDN), comments and discarded values.
    pub(super) fn skip_blank(&mut self) -> Result<(), Mistake> {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' | b',' => self.at += 1,
                b';' if self.dialect == Dialect::Edn => {
                    let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
                    self.at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                }
                b'#' if self.dialect == Dialect::Edn && self.peek_second() == Some(b'_') => {
                    self.at += 2;
                    self.value()?;
                }
                _ => break,
            }
        }
        Ok(())
    }

    /// Skips the tag of a tagged value, if one is next.
    pub(super) fn skip_tag(&mut self) -> Result<(), Mistake> {
        self.skip_blank()?;
        if self.peek() == Some(b'#') && self.peek_second().is_some_and(|byte| byte.is_ascii_alphabetic()) {
            self.at += 1;
            self.token();
            self.skip_blank()?;
        }
        Ok(())
    }

    /// A value, after any blanks.
    pub(super) fn value(&mut self) -> Result<Value, Mistake> {
        self.skip_tag()?;
        let Some(byte) = self.peek() else { return Err(self.mistake("a value, not the end of the file")) };
        match byte {
            b'0'..=b'9' | b'-' | b'+' => Ok(self.number()),
            b'"' => Ok(Value::Text(self.string()?)),
            b':' if self.dialect == Dialect::Edn => {
                self.at += 1;
                let name = self.token();
                if name.is_empty() {
                    Err(self.mistake("the name of a keyword"))
                } else {
                    Ok(Value::Keyword(name.into()))
                }
            }
            b'[' => self.items(b']').map(Value::List),
            b'(' if self.dialect == Dialect::Edn => self.items(b')').map(Value::List),
            b'{' => self.entries(),
            b'#' if self.dialect == Dialect::Edn => match self.peek_second() {
                Some(b'{') => {
                    self.at += 1;
                    self.items(b'}').map(Value::Set)
                }
                // `##Inf`, `##NaN`.
                Some(b'#') => {
                    let start = self.at;
                    self.at += 2;
                    self.token();
                    Ok(Value::Literal(self.since(start).into()))
                }
                _ => Err(self.mistake("a set or a tag after `#`")),
            },
            b'\\' if self.dialect == Dialect::Edn => Ok(Value::Literal(self.character().into())),
            b']' | b'}' | b')' => Err(self.mistake(format!("a value, not `{}`", char::from(byte)))),
            _ => self.word(),
        }
    }

    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// Everything up to a delimiter.
    pub(super) fn token(&mut self) -> &'a str {
        let start = self.at;
        let rest = self.text.as_bytes().get(start..).unwrap_or_default();
        self.at += rest.iter().position(|byte| is_delimiter(*byte)).unwrap_or(rest.len());
        self.since(start)
    }

    fn number(&mut self) -> Value {
        let token = self.token();
        match parse_int(token).or_else(|| token.strip_suffix('N').and_then(parse_int)) {
            Some(number) => Value::Int(number),
            None => Value::Literal(token.into()),
        }
    }

    fn character(&mut self) -> &'a str {
        let start = self.at;
        self.at += 1;
        let first = self.text.get(self.at..).and_then(|rest| rest.chars().next());
        self.at += first.map_or(0, char::len_utf8);
        self.token();
        self.since(start)
    }

    fn word(&mut self) -> Result<Value, Mistake> {
        let start = self.at;
        match (self.token(), self.dialect) {
            ("nil", Dialect::Edn) | ("null", Dialect::Json) => Ok(Value::Nil),
            ("true", _) => Ok(Value::Bool(true)),
            ("false", _) => Ok(Value::Bool(false)),
            (token, Dialect::Edn) if !token.is_empty() => Ok(Value::Literal(token.into())),
            _ => Err(Mistake::new(start, "a value")),
        }
    }

    /// A name as the key of a map or the value of `:type`: a keyword, or a string without escapes.
    pub(super) fn name(&mut self) -> Result<Option<&'a str>, Mistake> {
        self.skip_blank()?;
        match self.peek() {
            Some(b':') => {
                self.at += 1;
                Ok(Some(self.token()))
            }
            Some(b'"') => {
                let start = self.at + 1;
                let rest = self.text.as_bytes().get(start..).unwrap_or_default();
                let length = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'));
                match length.filter(|length| rest.get(*length) == Some(&b'"')) {
                    Some(length) => {
                        self.at = start + length + 1;
                        Ok(self.text.get(start..start + length))
                    }
                    None => Ok(None),
                }
            }
            _ => Ok(None),
        }
    }

    fn string(&mut self) -> Result<Box<str>, Mistake> {
        let open = self.at;
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let Some(length) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
                return Err(Mistake::new(open, "a closing quote for this string"));
            };
            let piece = self.text.get(self.at..self.at + length).unwrap_or_default();
            self.at += length;
            if self.take(b'"') {
                return Ok(if out.is_empty() { piece.into() } else { (out + piece).into() });
            }
            out.push_str(piece);
            out.push(self.escape()?);
        }
    }

    /// One character written with a backslash.
    fn escape(&mut self) -> Result<char, Mistake> {
        let start = self.at;
        self.at += 1;
        let byte = self.peek();
        self.at += usize::from(byte.is_some_and(|byte| byte.is_ascii()));
        let plain = match byte {
            Some(b'n') => Some('\n'),
            Some(b't') => Some('\t'),
            Some(b'r') => Some('\r'),
            Some(b'b') => Some('\u{8}'),
            Some(b'f') => Some('\u{c}'),
            Some(mark @ (b'"' | b'\\' | b'/')) => Some(char::from(mark)),
            Some(b'u') => self.unicode(),
            _ => None,
        };
        plain.ok_or_else(|| Mistake::new(start, "an escape: one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX"))
    }

    /// Four hexadecimal digits, twice for characters beyond the first plane.
    fn unicode(&mut self) -> Option<char> {
        let first = self.unit()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        if !(self.take(b'\\') && self.take(b'u')) {
            return None;
        }
        let second = self.unit().filter(|unit| (0xdc00..0xe000).contains(unit))?;
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))
    }

    fn unit(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        let sound = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        sound.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
    }

    fn deeper(&mut self) -> Result<(), Mistake> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.mistake(format!("values nested at most {DEPTH} deep")));
        }
        Ok(())
    }

    fn items(&mut self, close: u8) -> Result<Box<[Value]>, Mistake> {
        let open = self.at;
        self.at += 1;
        self.deeper()?;
        // Most lists are pairs; a list that fills its vector is not copied.
        let mut items = Vec::with_capacity(2);
        loop {
            self.skip_blank()?;
            if self.take(close) {
                self.depth -= 1;
                return Ok(items.into());
            }
            self.closable(open, close)?;
            items.push(self.value()?);
        }
    }

    /// At the end of the text the mistake is what was never closed.
    fn closable(&self, open: usize, close: u8) -> Result<(), Mistake> {
        if self.is_at_end() {
            return Err(Mistake::new(open, format!("a closing `{}` for this", char::from(close))));
        }
        Ok(())
    }

    fn entries(&mut self) -> Result<Value, Mistake> {
        let mut entries = Vec::new();
        self.map_entries(|reader| {
            let key = reader.value()?;
            reader.colon()?;
            entries.push((key, reader.value()?));
            Ok(())
        })?;
        Ok(Value::Map(entries.into()))
    }

    /// Between key and value of JSON.
    pub(super) fn colon(&mut self) -> Result<(), Mistake> {
        if self.dialect == Dialect::Json {
            self.skip_blank()?;
            if !self.take(b':') {
                return Err(self.mistake("`:` after a key"));
            }
        }
        Ok(())
    }

    /// Reads a map whose entries `entry` reads.
    pub(super) fn map_entries(
        &mut self,
        mut entry: impl FnMut(&mut Self) -> Result<(), Mistake>,
    ) -> Result<(), Mistake> {
        let open = self.at;
        self.at += 1;
        self.deeper()?;
        loop {
            self.skip_blank()?;
            if self.take(b'}') {
                self.depth -= 1;
                return Ok(());
            }
            self.closable(open, b'}')?;
            entry(self)?;
        }
    }
}

/// Digits with a sign, without the generality (and the time) of [`str::parse`] for the short ones.
fn parse_int(token: &str) -> Option<i64> {
    if token.len() > 18 || token.starts_with('-') || token.starts_with('+') {
        return token.parse().ok();
    }
    let digits = token.bytes();
    digits.clone().next()?;
    digits
        .map(|byte| byte.is_ascii_digit().then(|| i64::from(byte - b'0')))
        .try_fold(0, |sum, digit| Some(sum * 10 + digit?))
}

fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',' | b'"' | b'[' | b']' | b'{' | b'}' | b'(' | b')' | b';')
}
