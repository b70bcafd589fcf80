//! Why a history is not one of transactions.

use thiserror::Error;

use crate::history::{ImportError, RawOp, Unloaded, Value};
use crate::limits::Stop;

/// Why a history is not one of transactions of this model.
#[derive(Clone, PartialEq, Eq, Error, Debug)]
pub enum TxnError {
    /// The calls cannot be told apart.
    #[error("{0}")]
    Calls(#[from] ImportError),
    /// Something else than a list of micro-operations of the model.
    #[error("line {line}: expected {expected}, found {found}")]
    Shape {
        /// Line, from 1.
        line: usize,
        /// What should have been there.
        expected: &'static str,
        /// What was there.
        found: String,
    },
    /// The model can only be checked when every write of a key has its own value.
    #[error("line {second}: the value {value} of key {key} is written a second time, first in line {first}")]
    WrittenTwice {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// Line of the first write, from 1.
        first: usize,
        /// Line of the second write, from 1.
        second: usize,
    },
}

impl TxnError {
    pub(crate) fn shape(op: &RawOp, expected: &'static str, found: &Value) -> Self {
        Self::Shape { line: op.line, expected, found: found.to_string() }
    }

    /// The micro-operations of a transaction.
    pub(crate) fn items(op: &RawOp) -> Result<&[Value], Self> {
        op.value.list().ok_or_else(|| Self::shape(op, "a list of micro-operations", &op.value))
    }
}

/// Why there are no transactions.
#[derive(Debug)]
pub(crate) enum Unread {
    Mistake(TxnError),
    Stopped(Stop),
}

impl From<TxnError> for Unread {
    fn from(error: TxnError) -> Self {
        Self::Mistake(error)
    }
}

impl From<ImportError> for Unread {
    fn from(error: ImportError) -> Self {
        Self::Mistake(TxnError::Calls(error))
    }
}

impl From<Unloaded> for Unread {
    fn from(unloaded: Unloaded) -> Self {
        match unloaded {
            Unloaded::Mistake(error) => error.into(),
            Unloaded::Stopped(stop) => Self::Stopped(stop),
        }
    }
}

impl From<Stop> for Unread {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}
