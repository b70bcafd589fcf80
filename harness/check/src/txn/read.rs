//! Transactions out of operations in any format.

use super::Model;
use super::ops::{Mop, NONE, Outcome, Transactions, Txn, TxnError, Unread};
use crate::history::{Kind, Loaded, Process, RawOp, Value, calls_within};
use crate::intern::id;
use crate::limits::Watch;

impl Transactions {
    /// Reads those of a history. Reads of transactions that did not commit are not kept.
    pub(super) fn read(history: &Loaded, model: Model, watch: &mut Watch<'_>) -> Result<Self, Unread> {
        let mut all = Self::default();
        for call in calls_within(history, watch)? {
            let complete = call.complete.map(|place| &history.ops[place]);
            let op = match (complete, call.invoke) {
                (Some(op), None) => op,
                (Some(op), Some(_)) if op.kind == Kind::Ok || op.value.list().is_some() => op,
                (_, Some(invoke)) => &history.ops[invoke],
                (None, None) => continue,
            };
            let outcome = match complete.map(|op| op.kind) {
                Some(Kind::Ok) => Outcome::Committed,
                Some(Kind::Fail) => Outcome::Aborted,
                Some(Kind::Info | Kind::Invoke) | None => Outcome::Unknown,
            };
            let first = id(all.mops.len());
            let items = op.value.list().ok_or_else(|| TxnError::shape(op, "a list of micro-operations", &op.value))?;
            watch.spend(items.len() + 1)?;
            all.room(watch)?;
            for item in items {
                all.mop(op, item, model, outcome)?;
            }
            let ends = match outcome {
                Outcome::Unknown => NONE,
                Outcome::Committed | Outcome::Aborted => call.complete.map_or(NONE, id),
            };
            let Process::Client(process) = op.process else { continue };
            let mops = first..id(all.mops.len());
            all.txns.push(Txn { process, outcome, begins: id(call.begins()), ends, mops });
            all.note_writes(|txn| history.ops[crate::intern::at(txn.begins)].line)?;
        }
        Ok(all)
    }

    fn mop(&mut self, op: &RawOp, item: &Value, model: Model, outcome: Outcome) -> Result<(), TxnError> {
        let expected = match model {
            Model::ListAppend => "a micro-operation [:append key value] or [:r key list]",
            Model::RwRegister => "a micro-operation [:w key value] or [:r key value]",
        };
        let wrong = || TxnError::shape(op, expected, item);
        let (name, key, value) = match item.list() {
            Some([name, key, value]) => (name, key, value),
            Some([name, key]) => (name, key, &Value::Nil),
            Some(_) | None => return Err(wrong()),
        };
        let key = self.key(key);
        let mop = match (name.name(), model) {
            (Some("append"), Model::ListAppend) | (Some("w"), Model::RwRegister) if !value.is_nil() => {
                Mop::Write { key, version: self.version(key, value) }
            }
            (Some("r"), _) if outcome != Outcome::Committed => return Ok(()),
            (Some("r"), Model::RwRegister) => Mop::Read { key, version: self.version(key, value) },
            (Some("r"), Model::ListAppend) => {
                let mut row = self.row(key);
                if !value.is_nil() {
                    for element in value.list().ok_or_else(wrong)? {
                        let version = self.version(key, element);
                        self.next_version(&mut row, version);
                    }
                }
                Mop::ReadList { key, elements: self.end_row(row) }
            }
            (Some(_) | None, _) => return Err(wrong()),
        };
        self.mops.push(mop);
        Ok(())
    }
}
