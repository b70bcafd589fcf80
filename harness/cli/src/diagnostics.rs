//! Mistakes of a scenario file as people see them: every one at once, the word underlined, and what to do.

use std::fmt;

use firedrill_core::spec::Mistake;
use firedrill_reports::console::{Paint, Style};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use crate::terminal::Terminal;

#[derive(Debug)]
struct Rendered<'a> {
    mistake: &'a Mistake,
    source: &'a NamedSource<String>,
    length: usize,
    style: Style,
}

impl fmt::Display for Rendered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.style.text(&self.mistake.message))
    }
}

impl std::error::Error for Rendered<'_> {}

impl Diagnostic for Rendered<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.mistake.help.as_ref()?;
        Some(Box::new(self.style.text(help)))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let start = self.mistake.span.start.min(self.length);
        let end = self.mistake.span.end.clamp(start, self.length);
        let label = self.style.text(&self.mistake.label);
        Some(Box::new(std::iter::once(LabeledSpan::new(Some(label), start, end - start))))
    }
}

/// The mistakes of one file, then a line that counts them.
pub(crate) fn render(file: &str, text: &str, mistakes: &[Mistake], terminal: Terminal) -> String {
    let style = terminal.style;
    let shown = printable(text, style);
    let source = NamedSource::new(style.text(file), shown).with_language("TOML");
    let handler = GraphicalReportHandler::new_themed(theme(style))
        .with_width(terminal.width)
        .with_links(false)
        .with_context_lines(1)
        .without_cause_chain();
    let mut out = String::new();
    for mistake in mistakes {
        let rendered = Rendered { mistake, source: &source, length: text.len(), style };
        // A span that miette cannot show still has its message.
        if handler.render_report(&mut out, &rendered).is_err() {
            out.push_str(&style.text(&mistake.message));
        }
        out.push('\n');
    }
    let count = if mistakes.len() == 1 { "1 mistake".to_owned() } else { format!("{} mistakes", mistakes.len()) };
    out.push_str(&style.paint(Paint::Bad, &format!("{count} in {file}")));
    out.push('\n');
    out
}

fn theme(style: Style) -> GraphicalTheme {
    match (style.unicode, style.colour) {
        (true, true) => GraphicalTheme::unicode(),
        (true, false) => GraphicalTheme::unicode_nocolor(),
        (false, true) => GraphicalTheme { characters: miette::ThemeCharacters::ascii(), ..GraphicalTheme::unicode() },
        (false, false) => GraphicalTheme::none(),
    }
}

/// The file with what a terminal would obey, or cannot show, replaced by as many bytes, so that spans stay right.
fn printable(text: &str, style: Style) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c.to_string(),
            _ if c.is_control() || (!style.unicode && !c.is_ascii()) => "?".repeat(c.len_utf8()),
            _ => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect_file;

    const PLAIN: Terminal = Terminal { style: Style::PLAIN, live: false, width: 80 };

    fn mistakes() -> Vec<Mistake> {
        vec![
            Mistake {
                message: "[cluster] has no key `nods`".to_owned(),
                span: 24..28,
                label: "unknown key".to_owned(),
                help: Some("did you mean `nodes`?".to_owned()),
            },
            Mistake {
                message: "the file ends too early".to_owned(),
                span: 900..901,
                label: "here".to_owned(),
                help: None,
            },
        ]
    }

    #[test]
    fn every_mistake_is_shown_and_counted() {
        let text = "firedrill = 1\n[cluster]\nnods = 3 # \u{1b}[2J\n";
        let shown = render("a.toml", text, &mistakes(), PLAIN);
        expect_file!["../tests/it/snapshots/diagnostics.txt"].assert_eq(&shown);
        let ascii = Terminal { style: Style { colour: false, unicode: false }, ..PLAIN };
        assert!(render("a.toml", text, &mistakes(), ascii).is_ascii());
        let coloured = Terminal { style: Style { colour: true, unicode: true }, ..PLAIN };
        assert!(render("a.toml", text, &mistakes(), coloured).contains("\u{1b}["));
        assert!(!shown.contains('\u{1b}'));
    }

    #[test]
    fn any_span_is_survived() {
        let text = "name = \"Zürich\"\n";
        for (start, end) in [(0, 0), (9, 10), (8, 9), (16, 16), (17, 40), (0, 16)] {
            let mistake = Mistake { message: "m".to_owned(), span: start..end, label: "l".to_owned(), help: None };
            assert!(render("a.toml", text, &[mistake], PLAIN).contains("1 mistake in a.toml"), "{start}..{end}");
        }
    }
}
