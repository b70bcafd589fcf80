//! Transactions out of operations in any format.

use super::ops::{Mop, NONE, Outcome, Transactions, Txn};
use super::{Model, TxnError, Unread};
use crate::history::{Loaded, RawOp, Value};
use crate::intern::{at, id};
use crate::limits::Watch;
use crate::micro::{Micro, called, micro};

impl Transactions {
    /// Reads those of a history. Reads of transactions that did not commit are not kept.
    pub(super) fn read(history: &Loaded, model: Model, watch: &mut Watch<'_>) -> Result<Self, Unread> {
        let mut all = Self::default();
        for call in called(history, watch)? {
            let (process, outcome) = (call.process, call.outcome);
            let first = id(all.mops.len());
            let items = TxnError::items(call.op)?;
            watch.spend(items.len() + 1)?;
            all.room(watch)?;
            for item in items {
                all.mop(call.op, item, model, outcome)?;
            }
            let (begins, ends) = (id(call.begins), call.ends.map_or(NONE, id));
            all.txns.push(Txn { process, outcome, begins, ends, mops: first..id(all.mops.len()) });
            all.note_writes(|txn| history.ops[at(txn.begins)].line)?;
        }
        Ok(all)
    }

    fn mop(&mut self, op: &RawOp, item: &Value, model: Model, outcome: Outcome) -> Result<(), TxnError> {
        let expected = match model {
            Model::ListAppend => "a micro-operation [:append key value] or [:r key list]",
            Model::RwRegister => "a micro-operation [:w key value] or [:r key value]",
        };
        let wrong = || TxnError::shape(op, expected, item);
        let Micro { name, key, value } = micro(item).ok_or_else(wrong)?;
        let key = self.key(key);
        let mop = match (name, model) {
            ("append", Model::ListAppend) | ("w", Model::RwRegister) if !value.is_nil() => {
                Mop::Write { key, version: self.version(key, value) }
            }
            ("r", _) if outcome != Outcome::Committed => return Ok(()),
            ("r", Model::RwRegister) => Mop::Read { key, version: self.version(key, value) },
            ("r", Model::ListAppend) => {
                let mut row = self.row(key);
                if !value.is_nil() {
                    for element in value.list().ok_or_else(wrong)? {
                        let version = self.version(key, element);
                        self.next_version(&mut row, version);
                    }
                }
                Mop::ReadList { key, elements: self.end_row(row) }
            }
            _ => return Err(wrong()),
        };
        self.mops.push(mop);
        Ok(())
    }
}
