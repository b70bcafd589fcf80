//! `run.json` and the way back.

use firedrill_core::record::RUN_SCHEMA;
use firedrill_reports::json::{ReadError, read, render};

use crate::sample;

fn written(record: &firedrill_core::record::ScenarioRecord) -> Vec<u8> {
    let mut bytes = Vec::new();
    render(record, &mut bytes).unwrap();
    bytes
}

#[test]
fn what_is_written_reads_back_the_same_to_the_last_byte() {
    for record in [sample::passing(), sample::failing(), sample::dirty(), sample::expecting(true)] {
        let bytes = written(&record);
        let again = read(&bytes).unwrap();
        assert_eq!(again, record);
        assert_eq!(written(&again), bytes);
    }
}

#[test]
fn numbers_json_has_no_word_for_do_not_make_it_unreadable() {
    let mut record = sample::passing();
    record.runs[0].load.latency = [f64::NAN, f64::INFINITY, 0.5];
    record.runs[0].findings[0].figures.insert("rate".to_owned(), f64::NAN);
    record.runs[0].faults[0].recovery.outage = Some(f64::INFINITY);
    let again = read(&written(&record)).unwrap();
    assert_eq!(again.runs[0].load.latency[2].to_string(), "0.5");
    assert!(!again.runs[0].findings[0].figures.contains_key("rate"));
    assert_eq!(again.runs[0].faults[0].recovery.outage, None);
}

#[test]
fn newer_schema_is_refused_with_a_clear_message() {
    let newer = format!("{{\"schema\": {}, \"version\": \"9.0.0\", \"all\": \"new\"}}", RUN_SCHEMA + 1);
    let error = read(newer.as_bytes()).unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, ReadError::Newer { .. }));
    assert!(said.contains("schema 2") && said.contains("9.0.0") && said.contains("knows up to 1"), "{said}");
}

#[test]
fn other_files_are_not_taken_for_records() {
    assert!(matches!(read(b"{}"), Err(ReadError::NotARecord)));
    assert!(matches!(read(b"{\"schema\": 1}"), Err(ReadError::Broken(_))));
    assert!(matches!(read(b"not json"), Err(ReadError::Broken(_))));
}
