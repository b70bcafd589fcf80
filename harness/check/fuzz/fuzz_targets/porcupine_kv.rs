#![no_main]
//! Goes on after an operation in this format, so that the format is the one detected.

#[path = "../../tests/it/importer.rs"]
mod importer;

const FIRST: &str = "{:process 0, :type :invoke, :f :get, :key \"0\", :value nil}\n";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| importer::any_bytes(&[FIRST.as_bytes(), bytes].concat()));
