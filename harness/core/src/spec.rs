//! Reading a TOML table strictly: every mistake is collected with its place, unknown keys are mistakes, and nothing
//! stops at the first one.
//!
//! A plug-in's `parse` is handed [`Fields`], takes the keys it knows, and never sees the rest of the file.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::harm::Chance;
use crate::units::{self, Bytes, Rate, Ratio};

/// One thing wrong in a file: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mistake {
    /// The mistake in one sentence, lower case, no full stop.
    pub message: String,
    /// Bytes of the file that are underlined.
    pub span: Range<usize>,
    /// A few words beside the underline.
    pub label: String,
    /// What to do next.
    pub help: Option<String>,
}

/// The mistakes of one file, collected while it is read.
#[derive(Default, Debug)]
pub struct Mistakes(RefCell<Vec<Mistake>>);

impl Mistakes {
    /// Notes a mistake.
    pub fn note(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        let mistake = Mistake { message: message.into(), span, label: label.into(), help: help.into() };
        self.0.borrow_mut().push(mistake);
    }

    /// How many so far.
    pub fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// All of them, in the order of the file.
    pub fn into_sorted(self) -> Vec<Mistake> {
        let mut all = self.0.into_inner();
        all.sort_by_key(|mistake| (mistake.span.start, mistake.span.end));
        all
    }
}

/// A value that can be read from TOML.
pub trait FromValue: Sized {
    /// What is expected, with an example: `a duration, as "5s"`.
    const EXPECTS: &'static str;

    /// Reads the value. `Err` says what is wrong in a full clause; an empty string means "not of the expected kind".
    fn from_value(value: &DeValue<'_>) -> Result<Self, String>;
}

fn text<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
    value.as_str().ok_or_else(String::new)
}

impl FromValue for String {
    const EXPECTS: &'static str = "a text in quotes";

    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        text(value).map(ToOwned::to_owned)
    }
}

impl FromValue for bool {
    const EXPECTS: &'static str = "true or false";

    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_bool().ok_or_else(String::new)
    }
}

impl FromValue for u64 {
    const EXPECTS: &'static str = "a whole number, 0 or more";

    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        let number = value.as_integer().ok_or_else(String::new)?;
        Self::from_str_radix(&number.as_str().replace('_', ""), number.radix()).map_err(|_| String::new())
    }
}

impl FromValue for u32 {
    const EXPECTS: &'static str = "a whole number, 0 or more";

    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        u64::from_value(value)?.try_into().map_err(|_| String::new())
    }
}

impl FromValue for Duration {
    const EXPECTS: &'static str = "a duration with its unit, as \"250ms\", \"5s\" or \"2m\"";

    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        units::duration(text(value)?)
    }
}

impl FromValue for Ratio {
    const EXPECTS: &'static str = "a percentage, as \"99.9%\"";

    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        text(value)?.parse()
    }
}

impl FromValue for Chance {
    const EXPECTS: &'static str = "a percentage above 0, as \"1%\"";

    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        text(value)?.parse()
    }
}

impl FromValue for Rate {
    const EXPECTS: &'static str = "a rate, as \"400/s\"";

    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        text(value)?.parse()
    }
}

impl FromValue for Bytes {
    const EXPECTS: &'static str = "a size, as \"64MiB\"";

    fn from_value(value: &DeValue<'_>) -> Result<Self, String> {
        text(value)?.parse()
    }
}

/// A value with its place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Its bytes in the file.
    pub span: Range<usize>,
}

/// The fields of one table, taken key by key; [`Fields::finish`] reports those nobody took.
pub struct Fields<'a, 'i> {
    table: &'a DeTable<'i>,
    span: Range<usize>,
    title: String,
    known: BTreeSet<String>,
    mistakes: &'a Mistakes,
}

impl<'a, 'i> Fields<'a, 'i> {
    /// Starts reading `table`, which the messages call `title` (as `[[fault]]`) and whose bytes are `span`.
    pub fn new(table: &'a DeTable<'i>, span: Range<usize>, title: impl Into<String>, mistakes: &'a Mistakes) -> Self {
        Self { table, span, title: title.into(), known: BTreeSet::new(), mistakes }
    }

    /// The mistakes collected so far, to add one's own.
    pub fn mistakes(&self) -> &'a Mistakes {
        self.mistakes
    }

    /// The bytes of the whole table (its header).
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// What the messages call this table.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Whether the key is there, without taking it.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The keys that are there and not yet taken, with their places.
    pub fn untaken(&self) -> Vec<Placed<String>> {
        let left = self.table.iter().filter(|(key, _)| !self.known.contains(key.get_ref().as_ref()));
        left.map(|(key, _)| Placed { value: key.get_ref().to_string(), span: key.span() }).collect()
    }

    /// The raw value of a key, taken.
    pub fn raw(&mut self, key: &str) -> Option<&'a Spanned<DeValue<'i>>> {
        self.known.insert(key.to_owned());
        self.table.get(key)
    }

    /// An optional value with its place. A wrong value is noted and reads as absent.
    pub fn placed<T: FromValue>(&mut self, key: &str) -> Option<Placed<T>> {
        let value = self.raw(key)?;
        match T::from_value(value.get_ref()) {
            Ok(read) => Some(Placed { value: read, span: value.span() }),
            Err(reason) => {
                let message = if reason.is_empty() { format!("`{key}` must be {}", T::EXPECTS) } else { reason };
                self.mistakes.note(value.span(), message, "here", how_to_write(key, T::EXPECTS));
                None
            }
        }
    }

    /// An optional value.
    pub fn optional<T: FromValue>(&mut self, key: &str) -> Option<T> {
        self.placed(key).map(|placed| placed.value)
    }

    /// A value or its default.
    pub fn or<T: FromValue>(&mut self, key: &str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// A value that must be there.
    pub fn required_placed<T: FromValue>(&mut self, key: &str) -> Option<Placed<T>> {
        if !self.has(key) {
            self.known.insert(key.to_owned());
            let (title, expects) = (&self.title, T::EXPECTS);
            let help = format!("add `{key} = …`: {expects}");
            self.mistakes.note(self.span.clone(), format!("{title} lacks `{key}`"), "this table", help);
            return None;
        }
        self.placed(key)
    }

    /// A name that must be there, of which these are known; only a missing one is noted here.
    pub fn required_name(&mut self, key: &str, known: &[&str]) -> Option<Placed<String>> {
        if !self.has(key) {
            self.known.insert(key.to_owned());
            let help = format!("add `{key} = …`, one of: {}", known.join(", "));
            self.mistakes.note(self.span.clone(), format!("{} lacks `{key}`", self.title), "this table", help);
            return None;
        }
        self.placed(key)
    }

    /// A value that must be there.
    pub fn required<T: FromValue>(&mut self, key: &str) -> Option<T> {
        self.required_placed(key).map(|placed| placed.value)
    }

    /// One word out of a closed set, or the default.
    pub fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)], default: T) -> T {
        self.optional_word(key, words).unwrap_or(default)
    }

    /// One word out of a closed set, that must be there.
    pub fn required_word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let placed = self.required_name(key, &names)?;
        self.choose(key, &placed, words)
    }

    /// One word out of a closed set.
    pub fn optional_word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let placed = self.placed::<String>(key)?;
        self.choose(key, &placed, words)
    }

    fn choose<T: Copy>(&self, key: &str, placed: &Placed<String>, words: &[(&str, T)]) -> Option<T> {
        let found = words.iter().find(|(word, _)| *word == placed.value);
        if found.is_none() {
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let message = format!("`{}` is not a value of `{key}`", placed.value);
            self.mistakes.note(placed.span.clone(), message, "not known", suggest(&placed.value, &names));
        }
        found.map(|(_, value)| *value)
    }

    /// A list of values; a single value reads as a list of one.
    pub fn list<T: FromValue>(&mut self, key: &str) -> Vec<Placed<T>> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            return self.placed(key).into_iter().collect();
        };
        let mut read = Vec::new();
        for item in array {
            match T::from_value(item.get_ref()) {
                Ok(value) => read.push(Placed { value, span: item.span() }),
                Err(reason) => {
                    let message =
                        if reason.is_empty() { format!("each of `{key}` must be {}", T::EXPECTS) } else { reason };
                    self.mistakes.note(item.span(), message, "here", format!("`{key}` takes a list of {}", T::EXPECTS));
                }
            }
        }
        read
    }

    /// A sub-table, if there.
    pub fn table(&mut self, key: &str, title: impl Into<String>) -> Option<Fields<'a, 'i>> {
        let value = self.raw(key)?;
        if let Some(table) = value.get_ref().as_table() {
            return Some(Fields::new(table, value.span(), title, self.mistakes));
        }
        let help = format!("write it as a table: `[{key}]` on a line of its own, or `{key} = {{ … }}`");
        self.mistakes.note(value.span(), format!("`{key}` must be a table"), "here", help);
        None
    }

    /// An array of tables (`[[key]]`).
    pub fn tables(&mut self, key: &str) -> Vec<Fields<'a, 'i>> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let title = format!("[[{key}]]");
        let Some(array) = value.get_ref().as_array() else {
            let help = format!("write it as `[[{key}]]`, once for each");
            self.mistakes.note(value.span(), format!("`{key}` must be a list of tables"), "here", help);
            return Vec::new();
        };
        let mut read = Vec::new();
        for item in array {
            if let Some(table) = item.get_ref().as_table() {
                read.push(Fields::new(table, item.span(), title.clone(), self.mistakes));
            } else {
                let help = format!("write it as `[[{key}]]`, once for each");
                self.mistakes.note(item.span(), format!("each `{key}` must be a table"), "here", help);
            }
        }
        read
    }

    /// Notes a mistake at the value of `key` (or at the table if it is not there).
    pub fn wrong(&self, key: &str, message: impl Into<String>, help: impl Into<Option<String>>) {
        let span = self.table.get(key).map_or(self.span.clone(), Spanned::span);
        self.mistakes.note(span, message, "here", help);
    }

    /// Reports the keys that nobody took.
    pub fn finish(self) {
        let known: Vec<&str> = self.known.iter().map(String::as_str).collect();
        for key in self.untaken() {
            let message = format!("{} has no key `{}`", self.title, key.value);
            self.mistakes.note(key.span, message, "unknown key", suggest(&key.value, &known));
        }
    }
}

/// The first example of what is expected, as a line to write; else what is expected.
fn how_to_write(key: &str, expects: &str) -> String {
    let example = expects.split_once('"').and_then(|(_, rest)| rest.split_once('"'));
    match example {
        Some((example, _)) => format!("write it as `{key} = \"{example}\"`"),
        None => format!("`{key}` takes {expects}"),
    }
}

/// "did you mean" for a word against those that exist; lists them when none is near.
pub fn suggest(word: &str, known: &[&str]) -> Option<String> {
    let near = known
        .iter()
        .map(|candidate| (strsim::normalized_damerau_levenshtein(word, candidate), *candidate))
        .filter(|(score, candidate)| *score >= 0.5 || candidate.contains(word) || word.contains(candidate))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((_, candidate)) => Some(format!("did you mean `{candidate}`?")),
        None if known.is_empty() => None,
        None => Some(format!("known: {}", known.join(", "))),
    }
}
