//! `ledger`: every operation adds one row that nobody else adds, and nothing is ever changed or removed.
//!
//! So every acknowledged row must be there at the end, a row that is there was written, and absence of a row of unknown
//! outcome proves that it did not happen.

use firedrill_core::history::{Op, OpKind, ProcessId};
use firedrill_core::seed::ChaCha8Rng;
use firedrill_core::spec::Fields;
use firedrill_core::workload::{Workload, WorkloadEntry, WorkloadSpec};

/// Its place in the registry.
pub const ENTRY: WorkloadEntry = WorkloadEntry {
    kind: "ledger",
    summary: "adds unique rows, and reads them all back through every node at the end",
    example: r#"
[workload]
kind    = "ledger"
clients = 16
rate    = "400/s"
routes  = ["router", "direct"]
"#,
    ops: &[OpKind::Ledger],
    checks: &[
        "corruption-detected",
        "no-acked-loss",
        "no-corruption",
        "progress",
        "replicas-converge",
        "single-writer",
    ],
    parse,
};

struct LedgerSpec;

#[expect(clippy::unnecessary_wraps, reason = "the signature of every entry's parse")]
fn parse(_fields: &mut Fields<'_, '_>) -> Option<Box<dyn WorkloadSpec>> {
    Some(Box::new(LedgerSpec))
}

impl WorkloadSpec for LedgerSpec {
    fn open(&self) -> Box<dyn Workload> {
        Box::new(Ledger { written: 0 })
    }
}

/// Rows are numbered from 1 in the order they come due, whoever adds them.
struct Ledger {
    written: u64,
}

impl Workload for Ledger {
    fn setup(&self) -> Vec<Op> {
        vec![Op::CreateLedger]
    }

    fn next(&mut self, _who: ProcessId, _rng: &mut ChaCha8Rng) -> Op {
        self.written += 1;
        Op::Insert { row: self.written }
    }

    fn finale(&self) -> Vec<Op> {
        vec![Op::Scan]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_core::seed::Seed;

    #[test]
    fn no_row_is_added_twice_and_each_opening_starts_over() {
        let mut rng = Seed(1).stream("workload");
        for _ in 0..2 {
            let mut ledger = LedgerSpec.open();
            let rows: Vec<Op> = (0..100).map(|i| ledger.next(ProcessId(i % 7), &mut rng)).collect();
            let want: Vec<Op> = (1..=100).map(|row| Op::Insert { row }).collect();
            assert_eq!(rows, want);
        }
    }
}
