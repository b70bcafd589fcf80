//! Blocks to calls.

use std::sync::Arc;

use thiserror::Error;

use super::column::Cursor;
use super::{BLOCK_HEADER, Column, HEADER, MAGIC, SKIPPABLE, VERSION, block_crc, op_tag, option_tag, outcome_tag, txn};
use crate::cluster::{Epoch, NodeName, Position};
use crate::history::{Call, Op, Outcome, ProcessId, Reply, Route};
use crate::time::RunTime;

/// A history read from a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// The calls, in the order they were written.
    pub calls: Vec<Call>,
    /// If the file ends in something that is not a whole block: what, and where. The calls are those before it.
    pub torn: Option<String>,
}

/// Why a file cannot be read at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// It does not begin as a history does.
    #[error("not a history of firedrill: it does not begin with FDHIST")]
    NotAHistory,
    /// A later firedrill wrote it.
    #[error("history format {0} is not known to this firedrill, which reads format {VERSION}")]
    Version(u16),
    /// A later firedrill wrote it.
    #[error("history flags {0:#x} are not known to this firedrill")]
    Flags(u32),
    /// A later firedrill wrote it.
    #[error("the block at byte {at} has column {column}, which this firedrill does not know and must not skip")]
    Column {
        /// Where the block begins.
        at: usize,
        /// The column.
        column: u64,
    },
}

/// Reads a history file. A torn or corrupt tail loses only the tail, and [`Decoded::torn`] says so.
pub fn decode(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let mut calls = Vec::new();
    let torn = |calls, why: String| Ok(Decoded { calls, torn: Some(why) });
    if !header(bytes)? {
        return torn(calls, format!("the header is cut off after {} bytes", bytes.len()));
    }
    let mut at = HEADER;
    while at < bytes.len() {
        let rest = &bytes[at..];
        match block(rest, at, &mut calls) {
            Ok(length) => at += length,
            Err(Bad::Newer(error)) => return Err(error),
            Err(Bad::Torn(why)) => {
                return torn(calls, format!("the block at byte {at} {why}; {} bytes are lost", rest.len()));
            }
        }
    }
    Ok(Decoded { calls, torn: None })
}

/// Whether the header is whole.
fn header(bytes: &[u8]) -> Result<bool, DecodeError> {
    let shared = bytes.len().min(MAGIC.len());
    if bytes[..shared] != MAGIC[..shared] {
        return Err(DecodeError::NotAHistory);
    }
    let Some([v0, v1, f0, f1, f2, f3]) = bytes.get(MAGIC.len()..HEADER).and_then(<[u8]>::first_chunk::<6>) else {
        return Ok(false);
    };
    match (u16::from_le_bytes([*v0, *v1]), u32::from_le_bytes([*f0, *f1, *f2, *f3])) {
        (VERSION, 0) => Ok(true),
        (VERSION, flags) => Err(DecodeError::Flags(flags)),
        (version, _) => Err(DecodeError::Version(version)),
    }
}

enum Bad {
    Torn(String),
    Newer(DecodeError),
}

impl From<&str> for Bad {
    fn from(why: &str) -> Self {
        Self::Torn(why.to_owned())
    }
}

/// Reads the block that `rest` begins with, at byte `at` of the file, and returns how long it is.
fn block(rest: &[u8], at: usize, calls: &mut Vec<Call>) -> Result<usize, Bad> {
    let cut_off = || Bad::from("is cut off");
    let (head, rest) = rest.split_first_chunk::<BLOCK_HEADER>().ok_or_else(cut_off)?;
    let [l0, l1, l2, l3, c0, c1, c2, c3, n0, n1, n2, n3] = *head;
    let (length, count) = ([l0, l1, l2, l3], [n0, n1, n2, n3]);
    let size = usize::try_from(u32::from_le_bytes(length)).map_err(|_| cut_off())?;
    let payload = rest.get(..size).ok_or_else(cut_off)?;
    if block_crc(length, count, payload) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err("does not match its checksum".into());
    }
    let mut columns = Columns::read(payload, at)?;
    let whole = calls.len();
    for _ in 0..u32::from_le_bytes(count) {
        let Some(call) = columns.call() else {
            calls.truncate(whole);
            return Err("is malformed, though its checksum matches".into());
        };
        calls.push(call);
    }
    if !columns.at_end() {
        calls.truncate(whole);
        return Err("holds more than it counts, though its checksum matches".into());
    }
    Ok(BLOCK_HEADER + size)
}

/// The columns of one block, each read as far as the calls so far went.
#[derive(Default)]
struct Columns<'a> {
    strings: Vec<(Arc<str>, NodeName)>,
    process: Cursor<'a>,
    op: Cursor<'a>,
    due: Cursor<'a>,
    invoked: Cursor<'a>,
    outcome: Cursor<'a>,
    route: Cursor<'a>,
    served_by: Option<Cursor<'a>>,
    epoch: Option<Cursor<'a>>,
    receipt: Option<Cursor<'a>>,
    last_row: u64,
    last_due: u64,
    last_epoch: u64,
    last_receipt: u64,
}

impl<'a> Columns<'a> {
    fn read(payload: &'a [u8], at: usize) -> Result<Self, Bad> {
        let malformed = || Bad::from("is malformed, though its checksum matches");
        let mut columns = Self::default();
        let mut cursor = Cursor::new(payload);
        while !cursor.is_empty() {
            let id = cursor.varint().ok_or_else(malformed)?;
            let length = cursor.length().ok_or_else(malformed)?;
            let bytes = Cursor::new(cursor.take(length).ok_or_else(malformed)?);
            match Column::from_id(id) {
                Some(Column::Strings) => columns.strings = strings(bytes).ok_or_else(malformed)?,
                Some(Column::Process) => columns.process = bytes,
                Some(Column::Op) => columns.op = bytes,
                Some(Column::Due) => columns.due = bytes,
                Some(Column::Invoked) => columns.invoked = bytes,
                Some(Column::Outcome) => columns.outcome = bytes,
                Some(Column::Route) => columns.route = bytes,
                Some(Column::ServedBy) => columns.served_by = Some(bytes),
                Some(Column::Epoch) => columns.epoch = Some(bytes),
                Some(Column::Receipt) => columns.receipt = Some(bytes),
                None if id >= SKIPPABLE => {}
                None => return Err(Bad::Newer(DecodeError::Column { at, column: id })),
            }
        }
        Ok(columns)
    }

    fn call(&mut self) -> Option<Call> {
        let process = ProcessId(u32::try_from(self.process.varint()?).ok()?);
        let op = self.op()?;
        self.last_due = self.due.difference(self.last_due)?;
        let invoked = self.invoked.difference(self.last_due)?;
        let completed = self.outcome(invoked)?;
        let route = match self.route.length()? {
            0 => Route::Router,
            number => Route::Direct(self.strings.get(number - 1)?.1.clone()),
        };
        let served_by = match &mut self.served_by {
            None => 0,
            Some(cursor) => cursor.length()?,
        };
        let served_by = match served_by {
            0 => None,
            number => Some(self.strings.get(number - 1)?.1.clone()),
        };
        let epoch = optional(self.epoch.as_mut(), &mut self.last_epoch)?.map(Epoch);
        let receipt = optional(self.receipt.as_mut(), &mut self.last_receipt)?.map(Position);
        let (due, invoked) = (RunTime::from_nanos(self.last_due), RunTime::from_nanos(invoked));
        Some(Call { process, op, due, invoked, completed, route, served_by, epoch, receipt })
    }

    fn op(&mut self) -> Option<Op> {
        match self.op.byte()? {
            op_tag::CREATE_LEDGER => Some(Op::CreateLedger),
            op_tag::INSERT => {
                self.last_row = self.op.difference(self.last_row)?;
                Some(Op::Insert { row: self.last_row })
            }
            op_tag::SCAN => Some(Op::Scan),
            op_tag::CREATE_STORE => {
                let accounts = self.op.varint()?;
                Some(Op::CreateStore { accounts, balance: self.op.varint()? })
            }
            op_tag::TXN => txn::steps(&mut self.op).map(|steps| Op::Txn(steps.into())),
            _ => None,
        }
    }

    /// The outer `None` is malformed.
    #[expect(clippy::option_option, reason = "the inner option is the value, the outer one whether it could be read")]
    fn outcome(&mut self, invoked: u64) -> Option<Option<(RunTime, Outcome)>> {
        let tag = self.outcome.byte()?;
        if tag == outcome_tag::OPEN {
            return Some(None);
        }
        let at = RunTime::from_nanos(self.outcome.difference(invoked)?);
        let outcome = match tag {
            outcome_tag::DONE => Outcome::Ok(Reply::Done),
            outcome_tag::ROWS => Outcome::Ok(Reply::Rows(txn::rows(&mut self.outcome)?)),
            outcome_tag::ANSWERS => Outcome::Ok(Reply::Answers(txn::answers(&mut self.outcome)?)),
            outcome_tag::FAIL => Outcome::Fail(self.reason()?),
            outcome_tag::INFO => Outcome::Info(self.reason()?),
            _ => return None,
        };
        Some(Some((at, outcome)))
    }

    fn reason(&mut self) -> Option<Arc<str>> {
        let number = self.outcome.length()?;
        self.strings.get(number).map(|(text, _)| Arc::clone(text))
    }

    fn at_end(&self) -> bool {
        let always = [self.process, self.op, self.due, self.invoked, self.outcome, self.route];
        let sometimes = [self.served_by, self.epoch, self.receipt];
        always.iter().chain(sometimes.iter().flatten()).all(Cursor::is_empty)
    }
}

fn strings(mut cursor: Cursor<'_>) -> Option<Vec<(Arc<str>, NodeName)>> {
    let mut read = Vec::new();
    while !cursor.is_empty() {
        let length = cursor.length()?;
        let text = std::str::from_utf8(cursor.take(length)?).ok()?;
        read.push((Arc::from(text), NodeName::new(text)));
    }
    Some(read)
}

/// The outer `None` is malformed; an absent column holds nothing.
#[expect(clippy::option_option, reason = "the inner option is the value, the outer one whether it could be read")]
fn optional(cursor: Option<&mut Cursor<'_>>, last: &mut u64) -> Option<Option<u64>> {
    let Some(cursor) = cursor else { return Some(None) };
    match cursor.byte()? {
        option_tag::NONE => return Some(None),
        option_tag::SAME => {}
        option_tag::VALUE => *last = cursor.difference(*last)?,
        _ => return None,
    }
    Some(Some(*last))
}
