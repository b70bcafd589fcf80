//! Calls to blocks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::column::{put, put_difference};
use super::{BLOCK_HEADER, Column, HEADER, MAGIC, VERSION, block_crc, op_tag, option_tag, outcome_tag, txn};
use crate::cluster::NodeName;
use crate::history::{Call, Op, Outcome, Reply, Route};

/// A block is worth writing when it holds about this many bytes; see [`HistoryEncoder::is_full`].
pub const BLOCK_BYTES: usize = 64 << 10;

/// Turns calls into the bytes of a history file. Does no writing itself: the caller appends the header, then every
/// block that [`take_block`](Self::take_block) gives, about every 100 ms or when [`is_full`](Self::is_full) says so.
#[derive(Default)]
pub struct HistoryEncoder {
    columns: [Vec<u8>; Column::ALL.len()],
    strings: BTreeMap<Arc<str>, u64>,
    count: u32,
    bytes: usize,
    last: Last,
    used: Used,
}

/// What the differences of the next call refer to; each block begins with zeros.
#[derive(Default)]
struct Last {
    row: u64,
    due: u64,
    epoch: u64,
    receipt: u64,
}

/// Which of the columns that may be left out hold something.
#[derive(Default)]
struct Used {
    served_by: bool,
    epoch: bool,
    receipt: bool,
}

impl HistoryEncoder {
    /// An encoder, and the header that begins the file.
    pub fn new() -> (Self, Vec<u8>) {
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&0_u32.to_le_bytes());
        (Self::default(), header)
    }

    /// Adds a call to the block in the making.
    pub fn push(&mut self, call: &Call) {
        let before = self.size();
        put(self.column(Column::Process), u64::from(call.process.0));
        self.push_op(&call.op);
        let (due, invoked) = (call.due.as_nanos(), call.invoked.as_nanos());
        let base = std::mem::replace(&mut self.last.due, due);
        put_difference(self.column(Column::Due), due, base);
        put_difference(self.column(Column::Invoked), invoked, due);
        self.push_outcome(call, invoked);
        let route = match &call.route {
            Route::Router => 0,
            Route::Direct(node) => 1 + self.node(node),
        };
        put(self.column(Column::Route), route);
        let served_by = call.served_by.as_ref().map_or(0, |node| 1 + self.node(node));
        put(self.column(Column::ServedBy), served_by);
        let epoch = call.epoch.map(|epoch| epoch.0);
        push_option(&mut self.columns[index(Column::Epoch)], &mut self.last.epoch, epoch);
        let receipt = call.receipt.map(|receipt| receipt.0);
        push_option(&mut self.columns[index(Column::Receipt)], &mut self.last.receipt, receipt);
        self.used.served_by |= call.served_by.is_some();
        self.used.epoch |= call.epoch.is_some();
        self.used.receipt |= call.receipt.is_some();
        self.count += 1;
        self.bytes += self.size() - before;
    }

    /// Whether the block in the making has [`BLOCK_BYTES`] or more.
    pub const fn is_full(&self) -> bool {
        self.bytes >= BLOCK_BYTES
    }

    /// The block in the making, if there is anything in it; the next call begins another.
    pub fn take_block(&mut self) -> Option<Vec<u8>> {
        if self.count == 0 {
            return None;
        }
        let done = std::mem::take(self);
        let mut payload = Vec::with_capacity(done.bytes + 64);
        for column in Column::ALL {
            let wanted = match column {
                Column::ServedBy => done.used.served_by,
                Column::Epoch => done.used.epoch,
                Column::Receipt => done.used.receipt,
                Column::Strings => !done.strings.is_empty(),
                Column::Process | Column::Op | Column::Due | Column::Invoked | Column::Outcome | Column::Route => true,
            };
            if wanted {
                let bytes = &done.columns[index(column)];
                put(&mut payload, column.id());
                put(&mut payload, len(bytes));
                payload.extend_from_slice(bytes);
            }
        }
        // A block of 4 GiB would be one single scan of half a billion rows; nothing that fits in memory twice.
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
        let count = done.count.to_le_bytes();
        let mut block = Vec::with_capacity(BLOCK_HEADER + payload.len());
        block.extend_from_slice(&length);
        block.extend_from_slice(&block_crc(length, count, &payload).to_le_bytes());
        block.extend_from_slice(&count);
        block.extend_from_slice(&payload);
        Some(block)
    }

    fn push_op(&mut self, op: &Op) {
        let column = &mut self.columns[index(Column::Op)];
        match op {
            Op::CreateLedger => column.push(op_tag::CREATE_LEDGER),
            Op::Insert { row } => {
                column.push(op_tag::INSERT);
                let base = std::mem::replace(&mut self.last.row, *row);
                put_difference(column, *row, base);
            }
            Op::Scan => column.push(op_tag::SCAN),
            Op::CreateStore { accounts, balance } => {
                column.push(op_tag::CREATE_STORE);
                put(column, *accounts);
                put(column, *balance);
            }
            Op::Txn(steps) => {
                column.push(op_tag::TXN);
                txn::put_steps(column, steps);
            }
        }
    }

    fn push_outcome(&mut self, call: &Call, invoked: u64) {
        let Some((at, outcome)) = &call.completed else {
            self.column(Column::Outcome).push(outcome_tag::OPEN);
            return;
        };
        let (tag, reason) = match outcome {
            Outcome::Ok(Reply::Done) => (outcome_tag::DONE, None),
            Outcome::Ok(Reply::Rows(_)) => (outcome_tag::ROWS, None),
            Outcome::Ok(Reply::Answers(_)) => (outcome_tag::ANSWERS, None),
            Outcome::Fail(why) => (outcome_tag::FAIL, Some(self.string(why))),
            Outcome::Info(why) => (outcome_tag::INFO, Some(self.string(why))),
        };
        let column = self.column(Column::Outcome);
        column.push(tag);
        put_difference(column, at.as_nanos(), invoked);
        if let Some(reason) = reason {
            put(column, reason);
        }
        match outcome {
            Outcome::Ok(Reply::Rows(rows)) => txn::put_rows(column, rows),
            Outcome::Ok(Reply::Answers(answers)) => txn::put_answers(column, answers),
            Outcome::Ok(Reply::Done) | Outcome::Fail(_) | Outcome::Info(_) => {}
        }
    }

    fn column(&mut self, column: Column) -> &mut Vec<u8> {
        &mut self.columns[index(column)]
    }

    fn node(&mut self, node: &NodeName) -> u64 {
        self.string(node.as_str())
    }

    /// The number of a string in this block's table.
    fn string(&mut self, text: &str) -> u64 {
        if let Some(number) = self.strings.get(text) {
            return *number;
        }
        let number = u64::try_from(self.strings.len()).unwrap_or(u64::MAX);
        self.strings.insert(Arc::from(text), number);
        let column = self.column(Column::Strings);
        put(column, u64::try_from(text.len()).unwrap_or(u64::MAX));
        column.extend_from_slice(text.as_bytes());
        number
    }

    fn size(&self) -> usize {
        self.columns.iter().map(Vec::len).sum()
    }
}

fn push_option(column: &mut Vec<u8>, last: &mut u64, value: Option<u64>) {
    match value {
        None => column.push(option_tag::NONE),
        Some(value) if value == *last => column.push(option_tag::SAME),
        Some(value) => {
            column.push(option_tag::VALUE);
            put_difference(column, value, *last);
            *last = value;
        }
    }
}

fn index(column: Column) -> usize {
    usize::try_from(column.id()).unwrap_or(usize::MAX)
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
