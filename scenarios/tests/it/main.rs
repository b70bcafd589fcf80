//! The scenario language against small stand-ins for the registries: what it knows must not depend on the real ones.

#![expect(clippy::unwrap_used, reason = "what a test cannot read fails it")]

mod broken;
#[expect(clippy::unnecessary_wraps, reason = "the signature of every entry's parse")]
mod fakes;
mod library;
mod read;
mod render;
