#![no_main]
//! Goes on after an access in this format, so that the format is the one detected.

#[path = "../../tests/it/importer.rs"]
mod importer;

const FIRST: &str = "w 1 1\n-----\n";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| importer::any_bytes(&[FIRST.as_bytes(), bytes].concat()));
