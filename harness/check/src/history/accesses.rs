//! Accesses of registers, as Plume and AWDIT write them, as operations.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::edn::{Mistake, newlines};
use super::packed::Sink;
use super::plume::{Access, INITIAL};
use super::{Format, ImportError, Kind, Process, RawOp, Value, awdit, plume};
use crate::crew::Crew;

/// The format, when it is one of these two.
pub(crate) fn format(text: &str) -> Option<Format> {
    match (plume::is_plume(text), awdit::is_awdit(text)) {
        (true, _) => Some(Format::Plume),
        (false, true) => Some(Format::Awdit),
        (false, false) => None,
    }
}

/// Reads every access, in file order, until `take` says that it is enough.
pub(crate) fn scan(text: &str, format: Format, take: impl FnMut(Access) -> bool) -> Result<(), ImportError> {
    scan_as(text, format, Crew::of_machine(text.len()), take).map_err(|mistake| mistake.place(text))
}

fn scan_as(text: &str, format: Format, crew: Crew, take: impl FnMut(Access) -> bool) -> Result<(), Mistake> {
    if format == Format::Awdit {
        // What a line means depends on the rules before it.
        awdit::scan(text, take)
    } else if crew.is_alone(text.len()) {
        plume::scan(text, take)
    } else {
        scan_pieces(text, crew, take)
    }
}

/// Lines of Plume's, of which each stands for itself, read by several threads.
fn scan_pieces(text: &str, crew: Crew, mut take: impl FnMut(Access) -> bool) -> Result<(), Mistake> {
    let bytes = text.as_bytes();
    let mut mistake = Ok(());
    let mut lines = 0;
    crew.read(
        0..text.len(),
        |at| {
            at + bytes
                .get(at..)
                .and_then(|rest| rest.iter().position(|byte| *byte == b'\n'))
                .map_or(text.len(), |end| end + 1)
        },
        |range| {
            let piece = text.get(range).unwrap_or_default();
            let mut accesses = Vec::with_capacity(piece.len() / 16);
            let read = plume::scan(piece, |access| {
                accesses.push(access);
                true
            });
            (accesses, read, newlines(piece.as_bytes()))
        },
        |range, (accesses, read, ends)| {
            for access in accesses {
                if !take(Access { line: access.line + lines, ..access }) {
                    return false;
                }
            }
            lines += ends;
            mistake = read.map_err(|mistake| mistake.further(range.start));
            mistake.is_ok()
        },
    );
    mistake
}

/// Each transaction is one `ok` operation `txn`; a read of the initial value is one of nil.
pub(super) fn read(text: &str, format: Format, crew: Crew, sink: &mut impl Sink) -> Result<(), Mistake> {
    let mut places: HashMap<(i64, i64), usize> = HashMap::new();
    let mut txns: Vec<(Access, Vec<Access>)> = Vec::new();
    let mut zeros: HashSet<i64> = HashSet::new();
    scan_as(text, format, crew, |access| {
        let is_initial = format == Format::Plume && access.txn == INITIAL;
        if access.is_write && access.value == 0 && !is_initial {
            zeros.insert(access.key);
        }
        let named = if is_initial { (INITIAL, INITIAL) } else { (access.session, access.txn) };
        let place = *places.entry(named).or_insert_with(|| {
            txns.push((Access { session: named.0, ..access }, Vec::new()));
            txns.len() - 1
        });
        txns[place].1.push(access);
        sink.goes_on()
    })?;
    // The initial transaction comes first wherever its lines are.
    txns.sort_by_key(|(first, _)| !(format == Format::Plume && first.txn == INITIAL));
    let name: Arc<str> = "txn".into();
    let (read, write): (Value, Value) = (Value::Keyword("r".into()), Value::Keyword("w".into()));
    let operation = |(first, accesses): (Access, Vec<Access>)| {
        let is_unwritten = |access: &Access| access.value == 0 && !zeros.contains(&access.key);
        let mop = |access: &Access| {
            let value = if is_unwritten(access) { Value::Nil } else { Value::Int(access.value) };
            let name = if access.is_write { write.clone() } else { read.clone() };
            Value::List([name, Value::Int(access.key), value].into())
        };
        let kept = accesses.iter().filter(|access| !(access.is_write && is_unwritten(access)));
        RawOp {
            index: None,
            time: None,
            process: Process::Client(first.session),
            kind: Kind::Ok,
            f: Arc::clone(&name),
            value: Value::List(kept.map(mop).collect()),
            compare_false: false,
            line: first.line,
        }
    };
    for txn in txns {
        sink.take(operation(txn));
    }
    Ok(())
}
