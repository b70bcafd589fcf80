use firedrill_check::CHECKS;
use firedrill_core::spec::{Fields, Mistakes};
use toml::de::DeTable;

use crate::build::parse;

#[test]
fn names_are_alphabetical_and_once() {
    let names: Vec<&str> = CHECKS.iter().map(|entry| entry.name).collect();
    let wanted = [
        "bank",
        "corruption-detected",
        "isolation",
        "linearizable",
        "no-acked-loss",
        "no-corruption",
        "progress",
        "replicas-converge",
        "single-writer",
    ];
    assert_eq!(names, wanted);
}

#[test]
fn every_example_parses_and_says_its_own_name() {
    for entry in CHECKS {
        let table = DeTable::parse(entry.example).unwrap();
        let mistakes = Mistakes::default();
        let mut file = Fields::new(table.get_ref(), table.span(), "the file", &mistakes);
        for mut fields in file.tables("invariant") {
            assert_eq!(fields.required::<String>("check").as_deref(), Some(entry.name));
            for key in ["when", "grace"] {
                assert!(!fields.has(key) || entry.takes_when, "{} shows {key}", entry.name);
                fields.optional::<String>(key);
            }
            let check = (entry.parse)(&mut fields).expect("the example parses");
            assert_eq!(check.name(), entry.name);
            fields.finish();
        }
        assert_eq!(mistakes.count(), 0, "{}: {mistakes:?}", entry.name);
    }
}

#[test]
fn progress_reads_its_options_strictly() {
    for (keys, complaint) in [
        ("", "lacks `min`"),
        ("min = \"0/s\"", "more than zero"),
        ("min = \"50\"", "is not a rate"),
        ("must = \"stall\"\nmin = \"50/s\"", "no meaning"),
        ("must = \"rest\"", "not a value"),
        ("min = \"5/s\"\nmax = \"9/s\"", "no key `max`"),
    ] {
        let mistakes = parse("progress", keys).err().unwrap_or_default();
        assert!(mistakes.iter().any(|mistake| mistake.message.contains(complaint)), "{keys}: {mistakes:?}");
    }
}
