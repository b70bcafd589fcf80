//! Histories that others recorded: of Jepsen (EDN, JSON lines), of Porcupine's test data (two text formats), of Plume and
//! of AWDIT, read as they are, paired into calls, and written as Jepsen would.
//!
//! File order is the order: `:index` and `:time` may be missing, negative or run backwards. What a model makes of an
//! operation's name and value is not known here.

mod accesses;
mod awdit;
mod edn;
mod export;
mod jepsen;
mod loading;
mod packed;
mod pair;
mod plume;
mod porcupine;
mod recorded;
mod value;

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::limits::Stop;

pub(crate) use accesses::{format as access_format, scan as scan_accesses};
pub use edn::{parse_edn, parse_json};
pub use export::{edn_line, json_line, to_edn, to_json_lines};
pub use loading::{
    format_of, load, load_packed, load_packed_text_by, load_packed_text_until, load_packed_text_within,
    load_packed_within, load_text_by, load_text_within, load_within,
};
pub use packed::Packed;
pub(crate) use pair::calls_within;
pub use pair::{Call, calls};
pub(crate) use plume::{Access, INITIAL};
pub use recorded::{Form, add_final_reads, from_calls};
pub use value::Value;

pub(crate) use packed::{Event, Item, View};
pub(crate) use pair::Pair;

/// A history as its file has it.
#[derive(Clone, PartialEq, Debug)]
pub struct Loaded {
    /// How it was written.
    pub format: Format,
    /// Every operation, those of the nemesis too, in file order.
    pub ops: Vec<RawOp>,
}

/// How a file was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Operation maps in EDN: in one vector or list, or one after the other.
    JepsenEdn,
    /// Operation maps in JSON, one a line or in one array.
    JepsenJson,
    /// The log lines of Porcupine's etcd histories.
    PorcupineLog,
    /// The key-value histories of Porcupine: EDN maps with a `:key`.
    PorcupineKv,
    /// Calls of a run of firedrill's own.
    Recorded,
    /// Accesses of registers as Plume writes them.
    Plume,
    /// Accesses of registers in AWDIT's test format.
    Awdit,
}

impl Format {
    /// Whether the order of the events is that of real time. Where it is not, only the order of each session is known.
    pub fn has_realtime(self) -> bool {
        match self {
            Self::JepsenEdn | Self::JepsenJson | Self::PorcupineLog | Self::PorcupineKv | Self::Recorded => true,
            Self::Plume | Self::Awdit => false,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::JepsenEdn => "Jepsen EDN",
            Self::JepsenJson => "Jepsen JSON lines",
            Self::PorcupineLog => "Porcupine's etcd log",
            Self::PorcupineKv => "Porcupine's key-value text",
            Self::Recorded => "a run of firedrill",
            Self::Plume => "Plume text",
            Self::Awdit => "AWDIT's test format",
        })
    }
}

/// One event: a call begins, or ends.
#[derive(Clone, PartialEq, Debug)]
pub struct RawOp {
    /// `:index`, when the file has it. The order is that of [`Loaded::ops`].
    pub index: Option<i64>,
    /// Nanoseconds, when the file has it.
    pub time: Option<i64>,
    /// Who.
    pub process: Process,
    /// What became of it.
    pub kind: Kind,
    /// The name of the operation without a colon; empty when it is nil.
    pub f: Arc<str>,
    /// Arguments or results. A Porcupine `:key` is put in front: `[key value]`.
    pub value: Value,
    /// This is an `ok` compare-and-set that found another value: it happened and changed nothing.
    pub compare_false: bool,
    /// Line of the file, from 1.
    pub line: usize,
}

impl fmt::Display for RawOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.f.is_empty() { "nil" } else { &self.f };
        write!(f, "line {}: process {} {} {} {}", self.line, self.process, self.kind, name, self.value)
    }
}

/// Who performs operations.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Process {
    /// A client: it has one operation in flight and is retired after `info`.
    Client(i64),
    /// Somebody else, as the nemesis. It bears on no verdict.
    Named(Arc<str>),
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(number) => number.fmt(f),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// What an event says of its call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It begins.
    Invoke,
    /// It happened.
    Ok,
    /// It did not happen.
    Fail,
    /// Nobody knows: it may take effect at any later time.
    Info,
}

impl Kind {
    /// As Jepsen writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invoke => "invoke",
            Self::Ok => "ok",
            Self::Fail => "fail",
            Self::Info => "info",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a file is not a history.
#[derive(Clone, PartialEq, Eq, Error, Debug)]
#[error("line {line}, column {column}: expected {expected}")]
pub struct ImportError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What should have been there.
    pub expected: String,
}

/// Why a history was not read within limits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unloaded {
    /// It is none.
    Mistake(ImportError),
    /// A limit was reached.
    Stopped(Stop),
}

impl From<Stop> for Unloaded {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}

impl From<ImportError> for Unloaded {
    fn from(error: ImportError) -> Self {
        Self::Mistake(error)
    }
}

/// Gives equal names one allocation. Histories have few names, so that a linear search is the fastest.
#[derive(Default, Debug)]
struct Names(Vec<Arc<str>>);

impl Names {
    /// More than these are allocated one by one.
    const KEPT: usize = 64;

    fn get(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.iter().find(|known| ***known == *name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = name.into();
        if self.0.len() < Self::KEPT {
            self.0.push(Arc::clone(&new));
        }
        new
    }
}
