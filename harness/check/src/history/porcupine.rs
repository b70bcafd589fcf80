//! The log lines of Porcupine's etcd histories: `INFO  jepsen.util - 3 :invoke :cas [1 2]`, in columns of blanks or tabs.

use super::edn::{Dialect, Mistake, Reader};
use super::packed::Sink;
use super::{Kind, Names, Process, RawOp};

const MARK: &str = "jepsen.util -";

/// Whether the first line that is not empty is such a log line.
pub(super) fn is_log(text: &str) -> bool {
    text.lines().find(|line| !line.trim().is_empty()).is_some_and(|line| line.contains(MARK))
}

/// Reads every line that is one of an operation.
pub(super) fn read(text: &str, sink: &mut impl Sink) -> Result<(), Mistake> {
    let mut names = Names::default();
    let mut start = 0;
    for (place, line) in text.split_inclusive('\n').enumerate() {
        if !sink.goes_on() {
            break;
        }
        if !line.trim().is_empty() {
            sink.take(operation(line, start, place + 1, &mut names)?);
        }
        start += line.len();
    }
    Ok(())
}

fn operation(line: &str, start: usize, number: usize, names: &mut Names) -> Result<RawOp, Mistake> {
    let Some(mark) = line.find(MARK) else {
        return Err(Mistake::new(start, format!("a log line with `{MARK}`")));
    };
    let columns = mark + MARK.len();
    let rest = line.get(columns..).unwrap_or_default();
    let mut reader = Reader::new(rest, Dialect::Edn);
    let at = |reader: &Reader<'_>| start + columns + reader.at();
    let read = |reader: &mut Reader<'_>, expected: &str| {
        reader.skip_blank().and_then(|()| {
            let column = at(reader);
            let value = reader.value().map_err(|_| Mistake::new(column, expected))?;
            Ok((value, column))
        })
    };
    let (process, column) = read(&mut reader, "a process")?;
    let process = match (process.int(), process.name()) {
        (Some(number), _) => Process::Client(number),
        (None, Some(name)) => Process::Named(names.get(name)),
        (None, None) => return Err(Mistake::new(column, "a process: a number or a keyword")),
    };
    let (kind, column) = read(&mut reader, "one of :invoke, :ok, :fail, :info")?;
    let kind = match kind.name() {
        Some("invoke") => Kind::Invoke,
        Some("ok") => Kind::Ok,
        Some("fail") => Kind::Fail,
        Some("info") => Kind::Info,
        Some(_) | None => return Err(Mistake::new(column, "one of :invoke, :ok, :fail, :info")),
    };
    let (f, column) = read(&mut reader, "the name of an operation")?;
    let Some(f) = f.name() else { return Err(Mistake::new(column, "the name of an operation")) };
    let (value, _) = read(&mut reader, "a value")?;
    // These histories write `:fail :cas` for a compare that was false: it happened, and says what the value was not.
    let compare_false = kind == Kind::Fail && f == "cas";
    let kind = if compare_false { Kind::Ok } else { kind };
    let f = names.get(f);
    reader.skip_blank().map_err(|_| Mistake::new(at(&reader), "the end of the line"))?;
    // The nemesis adds words of its own.
    if !reader.is_at_end() && matches!(process, Process::Client(_)) {
        return Err(Mistake::new(at(&reader), "the end of the line"));
    }
    Ok(RawOp { index: None, time: None, process, kind, f, value, compare_false, line: number })
}
