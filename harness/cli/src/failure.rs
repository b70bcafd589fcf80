//! Why a verb could not do its work: what is wrong, what to do next, and the exit code.

use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

use firedrill_core::verdict::exit;
use firedrill_reports::console::Paint;

use crate::terminal::Terminal;

/// A refusal or an error, to be printed once at the end.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: u8,
    /// What is wrong.
    pub(crate) message: String,
    /// Further lines.
    pub(crate) details: Vec<String>,
    /// What to do next.
    pub(crate) help: Option<String>,
}

impl Failure {
    /// With an exit code.
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Vec::new(), help: None }
    }

    /// The command line or a file is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(exit::USAGE, message)
    }

    /// Says what to do next.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds what lies behind it.
    #[must_use]
    pub(crate) fn because(mut self, error: &dyn Error) -> Self {
        let mut cause = Some(error);
        // A chain of errors is as deep as our own nesting; the bound is for one that refers to itself.
        for _ in 0..16 {
            let Some(error) = cause else { break };
            self.details.push(error.to_string());
            cause = error.source();
        }
        self
    }

    fn render(&self, terminal: Terminal) -> String {
        let style = terminal.style;
        let mut out = format!("{} {}\n", style.paint(Paint::Bad, "error:"), style.text(&self.message));
        for detail in &self.details {
            // Writing to a string cannot fail.
            let _written = writeln!(out, "  {}", style.text(detail));
        }
        if let Some(help) = &self.help {
            let _written = writeln!(out, "  {} {}", style.paint(Paint::Bold, "help:"), style.text(help));
        }
        out
    }

    /// Prints it and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        crate::output::error(&self.render(Terminal::stderr()));
        ExitCode::from(self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_reports::console::Style;

    #[test]
    fn says_what_why_and_what_next() {
        let cause = std::io::Error::other("disk \u{1b}[2Jfull");
        let failure = Failure::usage("runs cannot be written").because(&cause).help("free some space");
        let terminal = Terminal { style: Style::PLAIN, live: false, width: 80 };
        assert_eq!(
            failure.render(terminal),
            "error: runs cannot be written\n  disk ␛[2Jfull\n  help: free some space\n"
        );
        assert_eq!(failure.code, 2);
    }
}
