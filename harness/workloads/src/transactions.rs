//! `list-append` and `rw-register`: transactions of several reads and writes over a few keys, from whose answers the order
//! of transactions can be inferred (Kingsbury and Alvaro, Elle, VLDB 2020).

use firedrill_core::history::{Op, OpKind, ProcessId, Step};
use firedrill_core::seed::ChaCha8Rng;
use firedrill_core::spec::Fields;
use firedrill_core::workload::{Workload, WorkloadEntry, WorkloadSpec};
use rand::RngExt as _;

use crate::keys::{Keys, KeysSpec};

/// `list-append` in the registry.
pub const LIST_APPEND: WorkloadEntry = WorkloadEntry {
    kind: "list-append",
    summary: "transactions that append to lists and read them: the strongest evidence of isolation anomalies",
    example: r#"
[workload]
kind           = "list-append"
clients        = 8
rate           = "200/s"
keys           = 8
writes-per-key = 64      # then another key takes its place
max-steps      = 4       # a transaction has 1 to so many
"#,
    ops: &[OpKind::Lists],
    checks: &["corruption-detected", "isolation", "no-corruption", "progress"],
    parse: |fields| parse(fields, Kind::Lists),
};

/// `rw-register` in the registry.
pub const RW_REGISTER: WorkloadEntry = WorkloadEntry {
    kind: "rw-register",
    summary: "transactions that read and write registers",
    example: r#"
[workload]
kind    = "rw-register"
clients = 8
rate    = "200/s"
"#,
    ops: &[OpKind::Registers],
    checks: &["corruption-detected", "isolation", "no-corruption", "progress"],
    parse: |fields| parse(fields, Kind::Registers),
};

#[derive(Clone, Copy, Debug)]
enum Kind {
    Lists,
    Registers,
}

#[derive(Clone, Copy, Debug)]
struct Spec {
    kind: Kind,
    keys: KeysSpec,
    most: u32,
}

fn parse(fields: &mut Fields<'_, '_>, kind: Kind) -> Option<Box<dyn WorkloadSpec>> {
    let most = fields.or("max-steps", 4_u32);
    let keys = KeysSpec::parse(fields);
    if !(1..=64).contains(&most) {
        let help = "`max-steps` takes 1 to 64".to_owned();
        fields.wrong("max-steps", "a transaction cannot have so many steps", help);
        return None;
    }
    Some(Box::new(Spec { kind, keys: keys?, most }))
}

impl WorkloadSpec for Spec {
    fn open(&self) -> Box<dyn Workload> {
        Box::new(Transactions { keys: self.keys.open(), kind: self.kind, most: self.most })
    }
}

struct Transactions {
    keys: Keys,
    kind: Kind,
    most: u32,
}

impl Workload for Transactions {
    fn setup(&self) -> Vec<Op> {
        vec![Op::CreateStore { accounts: 0, balance: 0 }]
    }

    fn next(&mut self, _who: ProcessId, rng: &mut ChaCha8Rng) -> Op {
        let count = rng.random_range(1..=self.most);
        let mut steps = Vec::new();
        for _ in 0..count {
            steps.push(match (rng.random_bool(0.5), self.kind) {
                (true, Kind::Lists) => Step::List { key: self.keys.read(rng) },
                (true, Kind::Registers) => Step::Read { key: self.keys.read(rng) },
                (false, kind) => {
                    let (key, value) = self.keys.write(rng);
                    match kind {
                        Kind::Lists => Step::Append { key, value },
                        Kind::Registers => Step::Write { key, value },
                    }
                }
            });
        }
        Op::Txn(steps.into())
    }

    fn finale(&self) -> Vec<Op> {
        Vec::new()
    }
}
