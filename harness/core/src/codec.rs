//! The history on disk: a header, then checksummed blocks of calls in columns.
//!
//! ```text
//! header   "FDHIST" | version u16 | flags u32                                   12 bytes, little endian
//! block    payload length u32 | crc32 u32 | count of calls u32 | payload        crc over length, count and payload
//! payload  { column id varint | length varint | bytes }*
//! ```
//!
//! Blocks stand on their own (each has its table of strings and its own base for differences), so that what is lost to a
//! crash or a full disk is the tail and nothing else. Columns that hold nothing are left out. A later version may add
//! columns: ids from 64 on may be skipped by readers that do not know them, smaller ones may not.

mod column;
mod decode;
mod encode;
mod txn;

pub use decode::{DecodeError, Decoded, decode};
pub use encode::{BLOCK_BYTES, HistoryEncoder};

const MAGIC: &[u8; 6] = b"FDHIST";
const VERSION: u16 = 1;
const HEADER: usize = 12;
const BLOCK_HEADER: usize = 12;
/// Columns from this id on may be skipped by readers that do not know them.
const SKIPPABLE: u64 = 64;

/// CRC-32 (IEEE 802.3), as every file of a run uses it.
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

fn block_crc(length: [u8; 4], count: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(&count);
    hasher.update(payload);
    hasher.finalize()
}

/// The columns of version 1, in the order they are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Column {
    /// Length and bytes of each string; the others refer to them by number, from 0.
    Strings,
    /// Process ids.
    Process,
    /// A tag, for inserts the difference to the row before, for transactions a count and their steps.
    Op,
    /// Difference to the due time before.
    Due,
    /// Difference to the due time of the same call.
    Invoked,
    /// A tag; if completed the difference to the invocation, then a reason, the rows or the answers.
    Outcome,
    /// 0 is the router, else 1 + the number of the node's name.
    Route,
    /// 0 is nobody, else 1 + the number of the node's name.
    ServedBy,
    /// A tag, then the value.
    Epoch,
    /// A tag, then the difference to the receipt before.
    Receipt,
}

impl Column {
    const ALL: [Self; 10] = [
        Self::Strings,
        Self::Process,
        Self::Op,
        Self::Due,
        Self::Invoked,
        Self::Outcome,
        Self::Route,
        Self::ServedBy,
        Self::Epoch,
        Self::Receipt,
    ];

    /// Its id in the file. Never reused for something else.
    const fn id(self) -> u64 {
        match self {
            Self::Strings => 0,
            Self::Process => 1,
            Self::Op => 2,
            Self::Due => 3,
            Self::Invoked => 4,
            Self::Outcome => 5,
            Self::Route => 6,
            Self::ServedBy => 7,
            Self::Epoch => 8,
            Self::Receipt => 9,
        }
    }

    fn from_id(id: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.id() == id)
    }
}

/// Tags of [`Column::Op`].
mod op_tag {
    pub(super) const CREATE_LEDGER: u8 = 0;
    pub(super) const INSERT: u8 = 1;
    pub(super) const SCAN: u8 = 2;
    pub(super) const CREATE_STORE: u8 = 3;
    pub(super) const TXN: u8 = 4;
}

/// Tags of [`Column::Outcome`].
mod outcome_tag {
    pub(super) const OPEN: u8 = 0;
    pub(super) const DONE: u8 = 1;
    pub(super) const ROWS: u8 = 2;
    pub(super) const FAIL: u8 = 3;
    pub(super) const INFO: u8 = 4;
    pub(super) const ANSWERS: u8 = 5;
}

/// Tags of the steps of a transaction, in [`Column::Op`].
mod step_tag {
    pub(super) const APPEND: u8 = 0;
    pub(super) const LIST: u8 = 1;
    pub(super) const WRITE: u8 = 2;
    pub(super) const READ: u8 = 3;
    pub(super) const COMPARE: u8 = 4;
    pub(super) const TRANSFER: u8 = 5;
    pub(super) const BALANCE: u8 = 6;
}

/// Tags of the answers of a transaction, in [`Column::Outcome`].
mod answer_tag {
    pub(super) const DONE: u8 = 0;
    pub(super) const REFUSED: u8 = 1;
    pub(super) const NOTHING: u8 = 2;
    pub(super) const VALUE: u8 = 3;
    pub(super) const LIST: u8 = 4;
}

/// Tags of [`Column::Epoch`] and [`Column::Receipt`].
mod option_tag {
    pub(super) const NONE: u8 = 0;
    pub(super) const SAME: u8 = 1;
    pub(super) const VALUE: u8 = 2;
}

#[cfg(test)]
mod tests;
