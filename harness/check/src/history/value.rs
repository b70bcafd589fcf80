//! Values of EDN and JSON.

use std::fmt;
use std::fmt::Write as _;

/// A value. Lists and vectors are the same; the tag of a tagged value is dropped.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Value {
    /// `nil`, `null`.
    Nil,
    /// `true`, `false`.
    Bool(bool),
    /// A whole number that fits.
    Int(i64),
    /// A string.
    Text(Box<str>),
    /// `:x`, without the colon. JSON has none.
    Keyword(Box<str>),
    /// A vector, list or array.
    List(Box<[Value]>),
    /// A set of EDN, in file order.
    Set(Box<[Value]>),
    /// A map, in file order.
    Map(Box<[(Value, Value)]>),
    /// Anything else as it is written: symbols, characters, fractions, numbers that do not fit.
    Literal(Box<str>),
}

impl Value {
    /// The text of a keyword or string: JSON writes `"append"` where EDN writes `:append`.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Keyword(text) => Some(text),
            Self::Nil
            | Self::Bool(_)
            | Self::Int(_)
            | Self::List(_)
            | Self::Set(_)
            | Self::Map(_)
            | Self::Literal(_) => None,
        }
    }

    /// The number, when it is one.
    pub fn int(&self) -> Option<i64> {
        if let Self::Int(number) = self { Some(*number) } else { None }
    }

    /// The elements of a list, vector or array.
    pub fn list(&self) -> Option<&[Value]> {
        if let Self::List(items) = self { Some(items) } else { None }
    }

    /// Both elements of a list of two.
    pub fn pair(&self) -> Option<(&Value, &Value)> {
        if let Some([first, second]) = self.list() { Some((first, second)) } else { None }
    }

    /// Whether it is nil.
    pub fn is_nil(&self) -> bool {
        matches!(self, Self::Nil)
    }

    /// Writes it as JSON. Keywords and literals become strings, sets become arrays, keys of maps become strings.
    pub fn write_json(&self, out: &mut String) {
        match self {
            Self::Nil => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => {
                // Writing to a string cannot fail, here and below.
                let _written = write!(out, "{value}");
            }
            Self::Literal(text) if is_json_number(text) => out.push_str(text),
            Self::Text(text) | Self::Keyword(text) | Self::Literal(text) => write_quoted(text, out),
            Self::List(items) | Self::Set(items) => {
                out.push('[');
                for (place, item) in items.iter().enumerate() {
                    out.push_str(if place == 0 { "" } else { "," });
                    item.write_json(out);
                }
                out.push(']');
            }
            Self::Map(entries) => {
                out.push('{');
                for (place, (key, value)) in entries.iter().enumerate() {
                    out.push_str(if place == 0 { "" } else { "," });
                    match key.name() {
                        Some(name) => write_quoted(name, out),
                        None => write_quoted(&key.to_string(), out),
                    }
                    out.push(':');
                    value.write_json(out);
                }
                out.push('}');
            }
        }
    }
}

impl fmt::Display for Value {
    /// As EDN.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Text(text) => {
                let mut quoted = String::new();
                write_quoted(text, &mut quoted);
                f.write_str(&quoted)
            }
            Self::Keyword(name) => write!(f, ":{name}"),
            Self::List(items) => write_items(f, "[", items, "]"),
            Self::Set(items) => write_items(f, "#{", items, "}"),
            Self::Map(entries) => {
                f.write_str("{")?;
                for (place, (key, value)) in entries.iter().enumerate() {
                    let gap = if place == 0 { "" } else { ", " };
                    write!(f, "{gap}{key} {value}")?;
                }
                f.write_str("}")
            }
            Self::Literal(text) => f.write_str(text),
        }
    }
}

fn write_items(f: &mut fmt::Formatter<'_>, open: &str, items: &[Value], close: &str) -> fmt::Result {
    f.write_str(open)?;
    for (place, item) in items.iter().enumerate() {
        let gap = if place == 0 { "" } else { " " };
        write!(f, "{gap}{item}")?;
    }
    f.write_str(close)
}

/// A string in quotes, escaped so that both EDN and JSON read it.
pub(super) fn write_quoted(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if u32::from(control) < 0x20 => {
                let _written = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// Whether JSON would read this literal as a number: digits with a fraction or exponent, or too large for an `i64`.
fn is_json_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let whole = digits.bytes().take_while(u8::is_ascii_digit).count();
    let rest = digits.get(whole..).unwrap_or_default();
    let sound_whole = whole == 1 || (whole > 1 && !digits.starts_with('0'));
    let (fraction, exponent) = match rest.split_once(['e', 'E']) {
        Some((fraction, exponent)) => (fraction, Some(exponent)),
        None => (rest, None),
    };
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let sound_fraction = fraction.is_empty() || fraction.strip_prefix('.').is_some_and(all_digits);
    let sound_exponent = exponent.is_none_or(|text| all_digits(text.strip_prefix(['-', '+']).unwrap_or(text)));
    sound_whole && sound_fraction && sound_exponent
}
