//! What the terminal can show: colours, more than ASCII, lines redrawn in place.

use std::io::IsTerminal as _;

use firedrill_reports::console::Style;

/// One output stream and what may be written to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Terminal {
    /// Colours and characters.
    pub(crate) style: Style,
    /// Whether lines may be redrawn in place.
    pub(crate) live: bool,
    /// Characters in a line.
    pub(crate) width: usize,
}

/// The width of what is not a terminal: wide enough for paths, narrow enough for the log viewer of a CI.
const PLAIN_WIDTH: usize = 110;

impl Terminal {
    /// Standard output.
    pub(crate) fn stdout() -> Self {
        Self::decide(std::io::stdout().is_terminal(), &|name| std::env::var(name).ok())
    }

    /// Standard error.
    pub(crate) fn stderr() -> Self {
        Self::decide(std::io::stderr().is_terminal(), &|name| std::env::var(name).ok())
    }

    /// `NO_COLOR` (no-color.org) wins over `CLICOLOR_FORCE` (bixense.com/clicolors), and both over what the stream is.
    fn decide(terminal: bool, variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let on = |name: &str| given(name).is_some_and(|value| value != "0" && value != "false");
        let dumb = given("TERM").is_some_and(|term| term == "dumb");
        let colour = if given("NO_COLOR").is_some() {
            false
        } else if on("CLICOLOR_FORCE") {
            true
        } else {
            terminal && !dumb && given("CLICOLOR").is_none_or(|value| value != "0")
        };
        let locale = given("LC_ALL").or_else(|| given("LC_CTYPE")).or_else(|| given("LANG")).unwrap_or_default();
        let unicode = ["utf-8", "utf8"].iter().any(|name| locale.to_ascii_lowercase().contains(name));
        let width = if terminal {
            terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0))
        } else {
            PLAIN_WIDTH
        };
        Self { style: Style { colour, unicode }, live: terminal && !dumb && !on("CI"), width: width.max(20) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(terminal: bool, variables: &[(&str, &str)]) -> Terminal {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Terminal::decide(terminal, &find)
    }

    #[test]
    fn colours_follow_the_conventions() {
        for (terminal, variables, want) in [
            (true, &[][..], true),
            (false, &[][..], false),
            (true, &[("NO_COLOR", "1")][..], false),
            (true, &[("NO_COLOR", "")][..], true),
            (false, &[("CLICOLOR_FORCE", "1")][..], true),
            (false, &[("CLICOLOR_FORCE", "0")][..], false),
            (true, &[("CLICOLOR", "0")][..], false),
            (true, &[("TERM", "dumb")][..], false),
            (true, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")][..], false),
        ] {
            assert_eq!(decide(terminal, variables).style.colour, want, "{variables:?}");
        }
    }

    #[test]
    fn nothing_is_redrawn_in_ci_or_in_a_file() {
        assert!(decide(true, &[]).live);
        assert!(!decide(false, &[]).live);
        assert!(!decide(true, &[("CI", "true")]).live);
        assert!(decide(true, &[("CI", "false")]).live);
        assert!(!decide(true, &[("TERM", "dumb")]).live);
    }

    #[test]
    fn characters_follow_the_locale() {
        assert!(decide(false, &[("LANG", "de_DE.UTF-8")]).style.unicode);
        assert!(!decide(false, &[("LANG", "de_DE.UTF-8"), ("LC_ALL", "C")]).style.unicode);
        assert!(decide(false, &[("LC_ALL", "C.utf8")]).style.unicode);
        assert!(!decide(false, &[]).style.unicode);
    }
}
