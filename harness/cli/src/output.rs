//! The two streams. A reader that has gone away (`| head`) is not an error and never keeps a run from healing.

use std::io::{self, Write as _};

/// Writes to standard output.
pub(crate) fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    drop(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
}

/// Writes to standard error.
pub(crate) fn error(text: &str) {
    drop(io::stderr().lock().write_all(text.as_bytes()));
}
