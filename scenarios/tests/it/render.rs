//! Mistakes as plain text: message, place, the line with its word underlined, help.

use std::fmt::Write as _;

use firedrill_core::spec::Mistake;

pub(crate) fn mistakes(text: &str, mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|mistake| one(text, mistake)).collect::<Vec<_>>().join("\n")
}

fn one(text: &str, mistake: &Mistake) -> String {
    let before = &text[..mistake.span.start];
    let line_number = before.matches('\n').count() + 1;
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let column = text[line_start..mistake.span.start].chars().count();
    let end = mistake.span.end.min(line_start + line.len()).max(mistake.span.start);
    let width = text[mistake.span.start..end].chars().count().max(1);
    let gutter = format!("{line_number}");
    let mut rendered = format!("{}\n  at {line_number}:{}\n", mistake.message, column + 1);
    writeln!(rendered, "  {gutter} | {line}").unwrap();
    let (pad, underline) = (" ".repeat(gutter.len()), "^".repeat(width));
    writeln!(rendered, "  {pad} | {}{underline} {}", " ".repeat(column), mistake.label).unwrap();
    if let Some(help) = &mistake.help {
        writeln!(rendered, "  help: {help}").unwrap();
    }
    rendered
}
