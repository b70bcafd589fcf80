//! Text with colours, through which nothing of a server's own control characters gets.

use firedrill_core::verdict::Verdict;

use crate::clean;

/// How a text is to look on the terminal it goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Style {
    /// Whether colours (ANSI SGR) may be used.
    pub colour: bool,
    /// Whether the terminal shows more than ASCII.
    pub unicode: bool,
}

impl Style {
    /// For files and pipes: no colours, all characters.
    pub const PLAIN: Self = Self { colour: false, unicode: true };

    /// A verdict in its colour: green for pass, yellow for what proves nothing or is slow, red for what is broken.
    pub fn verdict(self, verdict: Verdict) -> String {
        self.paint(Paint::of(verdict), &verdict.to_string())
    }

    /// Text in a colour, if colours may be used. Control characters in it are made visible.
    pub fn paint(self, paint: Paint, text: &str) -> String {
        let text = self.text(text);
        match (self.colour, paint.code()) {
            (true, Some(code)) => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            (true, None) | (false, _) => text,
        }
    }

    /// Text made harmless for a terminal; our own typographic characters spelt out where only ASCII is shown.
    pub fn text(self, text: &str) -> String {
        let clean = clean::line(text);
        if self.unicode {
            return clean;
        }
        let replaced = clean.replace('·', "|").replace('→', "->").replace('≤', "<=").replace('…', "...");
        replaced.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
    }
}

/// What a piece of text is, by which it gets its colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Paint {
    /// As the terminal has it.
    Plain,
    /// A heading.
    Bold,
    /// Of lesser weight.
    Dim,
    /// It holds.
    Good,
    /// It proves nothing, or is slow.
    Doubt,
    /// It is broken.
    Bad,
}

impl Paint {
    /// The colour of a verdict.
    pub const fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Good,
            Verdict::Slow | Verdict::Invalid | Verdict::Aborted => Self::Doubt,
            Verdict::Fail | Verdict::Dirty => Self::Bad,
        }
    }

    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Bold => Some("1"),
            Self::Dim => Some("2"),
            Self::Good => Some("1;32"),
            Self::Doubt => Some("1;33"),
            Self::Bad => Some("1;31"),
        }
    }
}

/// Lines being written.
pub(crate) struct Canvas {
    style: Style,
    out: String,
}

impl Canvas {
    pub(crate) fn new(style: Style) -> Self {
        Self { style, out: String::new() }
    }

    /// Adds text to the current line.
    pub(crate) fn put(&mut self, paint: Paint, text: &str) {
        self.out.push_str(&self.style.paint(paint, text));
    }

    /// Adds text, then spaces up to `width` characters (not counting colours), at least one.
    pub(crate) fn column(&mut self, paint: Paint, text: &str, width: usize) {
        self.put(paint, text);
        let used = self.style.text(text).chars().count();
        self.out.push_str(&" ".repeat(width.saturating_sub(used).max(1)));
    }

    /// Adds a whole line, indented.
    pub(crate) fn line(&mut self, indent: usize, text: &str) {
        self.out.push_str(&" ".repeat(indent));
        self.put(Paint::Plain, text);
        self.end();
    }

    /// Adds a heading on a line of its own.
    pub(crate) fn heading(&mut self, text: &str) {
        self.put(Paint::Bold, text);
        self.end();
    }

    pub(crate) fn indent(&mut self, width: usize) {
        self.out.push_str(&" ".repeat(width));
    }

    pub(crate) fn end(&mut self) {
        self.out.truncate(self.out.trim_end_matches(' ').len());
        self.out.push('\n');
    }

    pub(crate) fn finish(self) -> String {
        self.out
    }
}
