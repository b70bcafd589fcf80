//! `register`: reads, writes and compare-and-sets of single registers, for linearizability.

use std::collections::BTreeMap;
use std::sync::Arc;

use firedrill_core::history::{Answer, Call, Op, OpKind, Outcome, ProcessId, Reply, Step};
use firedrill_core::seed::ChaCha8Rng;
use firedrill_core::spec::Fields;
use firedrill_core::workload::{Workload, WorkloadEntry, WorkloadSpec};
use rand::RngExt as _;

use crate::keys::{Keys, KeysSpec};

/// Its place in the registry.
pub const ENTRY: WorkloadEntry = WorkloadEntry {
    kind: "register",
    summary: "reads, writes and compare-and-sets of single registers",
    example: r#"
[workload]
kind           = "register"
clients        = 8
rate           = "200/s"
keys           = 8
writes-per-key = 64      # then another key takes its place
"#,
    ops: &[OpKind::Register],
    checks: &["corruption-detected", "linearizable", "no-corruption", "progress"],
    parse,
};

struct Spec(KeysSpec);

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn WorkloadSpec>> {
    Some(Box::new(Spec(KeysSpec::parse(fields)?)))
}

impl WorkloadSpec for Spec {
    fn open(&self) -> Box<dyn Workload> {
        Box::new(Registers { keys: self.0.open(), seen: BTreeMap::new() })
    }
}

struct Registers {
    keys: Keys,
    /// What each key was last seen to hold, so that compare-and-sets have a chance.
    seen: BTreeMap<u64, u64>,
}

impl Workload for Registers {
    fn setup(&self) -> Vec<Op> {
        vec![Op::CreateStore { accounts: 0, balance: 0 }]
    }

    fn next(&mut self, _who: ProcessId, rng: &mut ChaCha8Rng) -> Op {
        let step = match rng.random_range(0..10_u8) {
            0..5 => Step::Read { key: self.keys.read(rng) },
            5..8 => {
                let (key, value) = self.keys.write(rng);
                Step::Write { key, value }
            }
            _ => {
                let (key, to) = self.keys.write(rng);
                match self.seen.get(&key) {
                    Some(from) => Step::Compare { key, from: *from, to },
                    None => Step::Write { key, value: to },
                }
            }
        };
        Op::Txn(Arc::new([step]))
    }

    fn observe(&mut self, call: &Call) {
        let (Op::Txn(steps), Some((_, Outcome::Ok(Reply::Answers(answers))))) = (&call.op, &call.completed) else {
            return;
        };
        for (step, answer) in steps.iter().zip(answers) {
            let seen = match (step, answer) {
                (Step::Read { key }, Answer::Value(Some(value)))
                | (Step::Write { key, value } | Step::Compare { key, to: value, .. }, Answer::Done) => (*key, *value),
                _ => continue,
            };
            self.seen.insert(seen.0, seen.1);
        }
    }

    fn finale(&self) -> Vec<Op> {
        Vec::new()
    }
}
