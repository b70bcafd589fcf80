//! Faults of disks, on a cluster of their own: what damages files is better kept from the other faults' servers. etcd, of
//! which four clusters more are hardly noticed.

use super::APART;
use firedrill_faults::FAULTS;
use toml::{Table, Value};

/// Everything but the faults. A node whose server a fault has ended stays without, so that there is nothing to settle.
const HEAD: &str = r#"
firedrill = 1
name = "One fault of a disk after another"

[cluster]
system = "etcd"
settle = "2s"

[workload]
kind    = "ledger"
clients = 1
rate    = "5/s"
timeout = "3s"

[steady]
for     = "1s"
within  = "30s"
require = ["primaries == 1"]

[safety]
max-impaired = 100

[[invariant]]
check = "single-writer"
"#;

/// Kind, options in place of those of its example, and when it begins unless that is a second after the heal of the one
/// before it. What may end the server comes last; what is counted where it bites needs one.
const STEPS: &[(&str, &str, &str)] = &[
    ("disk.corrupt", "where = 'rest'", ""),
    ("disk.latency", "chance = '50%'", ""),
    ("disk.stall", "", ""),
    ("disk.throttle", "", ""),
    // What is torn or lost of its log etcd does not survive; of its database it does.
    ("disk.torn-write", "for = '6s'\npath = 'snap'", ""),
    ("disk.lost-fsync", "for = '6s'\npath = 'snap'", "disk-torn-write-4 + 500ms"),
    ("node.power-loss", "", "disk-lost-fsync-5 + 1500ms"),
    ("disk.full", "", "disk-lost-fsync-5.healed + 1s"),
    ("disk.read-only", "", ""),
    ("disk.error", "", ""),
    ("disk.corrupt", "where = 'read'\nbits = 'none'", ""),
];

/// All of them, aimed at `n2`; where nothing is done they need not wait for each other.
pub(super) fn scenario(sabotage: &str) -> String {
    let mut faults: Vec<Value> = Vec::new();
    let mut previous: Option<String> = None;
    for (number, (kind, options, after)) in STEPS.iter().enumerate() {
        let entry = FAULTS.iter().find(|entry| entry.kind == *kind).unwrap();
        let file: Table = entry.example.parse().unwrap();
        let mut fault = file["fault"][0].as_table().unwrap().clone();
        let id = format!("{}-{number}", kind.replace('.', "-"));
        let (start, when) = match (&previous, *after) {
            _ if sabotage == "nothing" => ("at", format!("{}ms", 250 * number)),
            (None, _) => ("at", "1s".to_owned()),
            (Some(previous), "") => ("after", format!("{previous}.healed + 1s")),
            (Some(_), after) => ("after", after.to_owned()),
        };
        // Paths of the examples are PostgreSQL's.
        for key in ["at", "path", "chance"] {
            fault.remove(key);
        }
        fault.extend(
            [("id", id.as_str()), ("on", "n2"), (start, when.as_str()), ("for", "4s")]
                .map(|(key, value)| (key.to_owned(), Value::String(value.to_owned()))),
        );
        fault.extend(options.parse::<Table>().unwrap());
        fault.retain(|_, value| value.as_str() != Some("none"));
        faults.push(Value::Table(fault));
        previous = Some(id);
    }
    let table = Table::from_iter([("fault".to_owned(), Value::Array(faults))]);
    format!("{HEAD}\n{table}")
}

#[test]
fn every_fault_of_a_disk_is_tried() {
    for entry in FAULTS.iter().filter(|entry| entry.deeds.contains(&APART)) {
        assert!(STEPS.iter().any(|(kind, ..)| *kind == entry.kind), "{}", entry.kind);
    }
}
