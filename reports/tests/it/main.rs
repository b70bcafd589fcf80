//! What reports say, against files; and that nothing a server says can break them.

#![expect(clippy::unwrap_used, clippy::assigning_clones, reason = "a test that cannot go on must say so")]

mod console;
mod json;
mod junit;
mod sample;
