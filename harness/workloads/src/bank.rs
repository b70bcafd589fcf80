//! `bank`: transfers between accounts, and reads of all balances in one transaction: their sum never changes.

use std::sync::Arc;

use firedrill_core::history::{Op, OpKind, ProcessId, Step};
use firedrill_core::seed::ChaCha8Rng;
use firedrill_core::spec::Fields;
use firedrill_core::workload::{Workload, WorkloadEntry, WorkloadSpec};
use rand::RngExt as _;

/// Its place in the registry.
pub const ENTRY: WorkloadEntry = WorkloadEntry {
    kind: "bank",
    summary: "transfers between accounts, and reads of all balances, whose sum must not change",
    example: r#"
[workload]
kind     = "bank"
clients  = 8
rate     = "200/s"
accounts = 8
balance  = 100      # of each account at first
"#,
    ops: &[OpKind::Bank],
    checks: &["bank", "corruption-detected", "no-corruption", "progress"],
    parse,
};

#[derive(Clone, Copy, Debug)]
struct Spec {
    accounts: u64,
    balance: u64,
}

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn WorkloadSpec>> {
    let spec = Spec { accounts: fields.or("accounts", 8), balance: fields.or("balance", 100) };
    if !(2..=1000).contains(&spec.accounts) {
        let help = "`accounts` takes 2 to 1000".to_owned();
        fields.wrong("accounts", "a bank needs two accounts to move money between", help);
        return None;
    }
    Some(Box::new(spec))
}

impl WorkloadSpec for Spec {
    fn open(&self) -> Box<dyn Workload> {
        Box::new(*self)
    }
}

impl Workload for Spec {
    fn setup(&self) -> Vec<Op> {
        vec![Op::CreateStore { accounts: self.accounts, balance: self.balance }]
    }

    fn next(&mut self, _who: ProcessId, rng: &mut ChaCha8Rng) -> Op {
        if rng.random_bool(0.25) {
            return Op::Txn((0..self.accounts).map(|account| Step::Balance { account }).collect());
        }
        let from = rng.random_range(0..self.accounts);
        let to = (from + rng.random_range(1..self.accounts)) % self.accounts;
        Op::Txn(Arc::new([Step::Transfer { from, to, amount: rng.random_range(1..=5) }]))
    }

    fn finale(&self) -> Vec<Op> {
        Vec::new()
    }
}
