//! Accesses of registers, as Plume and AWDIT write them, as operations.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::edn::Mistake;
use super::packed::Sink;
use super::plume::{Access, INITIAL};
use super::{Format, ImportError, Kind, Process, RawOp, Value, awdit, plume};

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
    scan_as(text, format, take).map_err(|mistake| mistake.place(text))
}

fn scan_as(text: &str, format: Format, take: impl FnMut(Access) -> bool) -> Result<(), Mistake> {
    if format == Format::Awdit { awdit::scan(text, take) } else { plume::scan(text, take) }
}

/// Each transaction is one `ok` operation `txn`; a read of the initial value is one of nil.
pub(super) fn read(text: &str, format: Format, sink: &mut impl Sink) -> Result<(), Mistake> {
    let mut places: HashMap<(i64, i64), usize> = HashMap::new();
    let mut txns: Vec<(Access, Vec<Access>)> = Vec::new();
    let mut zeros: HashSet<i64> = HashSet::new();
    scan_as(text, format, |access| {
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
