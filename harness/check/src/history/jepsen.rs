//! Operation maps: of Jepsen in EDN and JSON, and of Porcupine's key-value histories.

use std::ops::Range;
use std::sync::Arc;

use super::edn::{Dialect, Mistake, Reader};
use super::packed::{Part, Sink};
use super::value::Value;
use super::{Format, Kind, Names, Process, RawOp};
use crate::crew::Crew;
use crate::limits::{Stop, Watch};

const OPERATION: &str = "an operation: a map with :process, :type, :f and :value";

/// Gives every operation of a text to a sink: in one vector, list or array, or one after the other. Several threads read
/// pieces of operations that begin lines, as far as each piece is sound by itself; the rest is read from there on.
pub(super) fn read_into<S: Part>(
    text: &str,
    crew: Crew,
    (sink, watch): (&mut S, &mut Watch<'_>),
) -> Result<Format, Unsound> {
    watch.ask()?;
    let mut reader = Reader::new(text, Dialect::Edn);
    let mut ops = Ops::new(text);
    reader.skip_tag()?;
    let close = match reader.peek() {
        Some(b'[') => Some(b']'),
        Some(b'(') => Some(b')'),
        Some(b'{') => None,
        _ => {
            return Err(reader
                .mistake("a history: operation maps in EDN or JSON, Porcupine's log lines, Plume's or AWDIT's accesses")
                .into());
        }
    };
    let open = reader.at();
    if let Some(close) = close {
        reader.take(if close == b']' { b'[' } else { b'(' });
    }
    let dialect = dialect(text.get(reader.at()..).unwrap_or_default());
    reader.set_dialect(dialect);
    if !crew.is_alone(text.len()) {
        read_pieces(text, dialect, crew, (&mut reader, &mut ops), (sink, watch))?;
    }
    loop {
        watch.spend(STEPS)?;
        reader.skip_tag()?;
        if let Some(close) = close {
            if reader.take(close) {
                break;
            }
            if reader.is_at_end() {
                return Err(Mistake::new(open, format!("a closing `{}` for this", char::from(close))).into());
            }
        } else if reader.is_at_end() {
            break;
        }
        ops.next(&mut reader, dialect, sink)?;
    }
    reader.skip_blank()?;
    if !reader.is_at_end() {
        return Err(reader.mistake("the end of the file after the last operation").into());
    }
    Ok(match dialect {
        Dialect::Json => Format::JepsenJson,
        Dialect::Edn if ops.keyed => Format::PorcupineKv,
        Dialect::Edn => Format::JepsenEdn,
    })
}

/// Takes piece after piece from where the reader is, as long as each is of whole operations.
fn read_pieces<S: Part>(
    text: &str,
    dialect: Dialect,
    crew: Crew,
    (reader, ops): (&mut Reader<'_>, &mut Ops<'_>),
    (sink, watch): (&mut S, &mut Watch<'_>),
) -> Result<(), Stop> {
    let mut stopped = Ok(());
    let read = |range: Range<usize>| {
        let piece = text.get(range)?;
        let mut part = S::fresh(piece.len());
        let mut reader = Reader::new(piece, dialect);
        let mut ops = Ops::new(piece);
        loop {
            reader.skip_tag().ok()?;
            if reader.is_at_end() {
                // What is between the last operation and the end of the piece are lines, too.
                return Some((part, ops.line_of(piece.len()) - 1, ops.keyed));
            }
            ops.next(&mut reader, dialect, &mut part).ok()?;
        }
    };
    crew.read(
        reader.at()..text.len(),
        |at| at + line_with_map(text.as_bytes().get(at..).unwrap_or_default()),
        read,
        |range, found| {
            stopped = watch.ask();
            let Some((part, lines, keyed)) = found.filter(|_| stopped.is_ok()) else { return false };
            let before = ops.line_of(range.start) - 1;
            sink.append(part, before);
            ops.skip(range.end, lines);
            ops.keyed |= keyed;
            reader.set_at(range.end);
            true
        },
    );
    stopped
}

/// Where the first line begins that begins with a map, or the end.
fn line_with_map(bytes: &[u8]) -> usize {
    let mut from = 0;
    while let Some(end) = bytes.get(from..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n')) {
        from += end + 1;
        let line = bytes.get(from..).unwrap_or_default();
        if line.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b',')) == Some(&b'{') {
            return from;
        }
    }
    bytes.len()
}

/// Why reading ended before the end.
pub(super) enum Unsound {
    Mistake(Mistake),
    Stopped(Stop),
}

impl From<Mistake> for Unsound {
    fn from(mistake: Mistake) -> Self {
        Self::Mistake(mistake)
    }
}

impl From<Stop> for Unsound {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}

/// Steps of a [`Watch`] for one operation that is read.
const STEPS: usize = 4;

/// The format of a text that begins so, if it is one of these.
pub(super) fn format_of(beginning: &str) -> Option<Format> {
    let inside = beginning.trim_start().trim_start_matches(['[', '(']).trim_start();
    if !inside.starts_with('{') {
        return None;
    }
    let mut reader = Reader::new(inside, dialect(inside));
    let mut ops = Ops::new(inside);
    // Whatever is wrong with the first operation is told by who reads them all.
    let is_keyed = ops.operation(&mut reader).is_ok() && ops.keyed;
    Some(match dialect(inside) {
        Dialect::Json => Format::JepsenJson,
        Dialect::Edn if is_keyed => Format::PorcupineKv,
        Dialect::Edn => Format::JepsenEdn,
    })
}

/// JSON when the first key is in quotes.
fn dialect(text: &str) -> Dialect {
    let inside = text.trim_start().strip_prefix('{').map(str::trim_start);
    if inside.is_some_and(|inside| inside.starts_with('"')) { Dialect::Json } else { Dialect::Edn }
}

/// What is kept from one operation to the next.
struct Ops<'a> {
    names: Names,
    text: &'a str,
    counted: usize,
    line: usize,
    keyed: bool,
}

impl<'a> Ops<'a> {
    fn new(text: &'a str) -> Self {
        Self { names: Names::default(), text, counted: 0, line: 1, keyed: false }
    }

    /// Goes on at a place, so many lines further than the last.
    fn skip(&mut self, at: usize, lines: usize) {
        self.counted = at;
        self.line += lines;
    }

    /// Gives the operation that begins here to a sink.
    fn next(&mut self, reader: &mut Reader<'_>, dialect: Dialect, sink: &mut impl Sink) -> Result<(), Mistake> {
        if dialect == Dialect::Json {
            let line = self.line_of(reader.at());
            if let Some(end) = sink.simple(self.text, reader.at(), line) {
                reader.set_at(end);
                return Ok(());
            }
        }
        sink.take(self.operation(reader)?);
        Ok(())
    }

    fn line_of(&mut self, at: usize) -> usize {
        let between = self.text.as_bytes().get(self.counted..at).unwrap_or_default();
        self.line += super::edn::newlines(between);
        self.counted = at;
        self.line
    }

    fn operation(&mut self, reader: &mut Reader<'_>) -> Result<RawOp, Mistake> {
        let start = reader.at();
        if reader.peek() != Some(b'{') {
            return Err(reader.mistake(OPERATION));
        }
        let line = self.line_of(start);
        let mut fields = Fields::default();
        reader.map_entries(|reader| fields.entry(reader, &mut self.names))?;
        let missing = |name: &str| Mistake::new(start, format!("{name} in this operation"));
        let mut value = fields.value.unwrap_or(Value::Nil);
        if let Some(key) = fields.key {
            self.keyed = true;
            value = Value::List([key, value].into());
        }
        Ok(RawOp {
            index: fields.index,
            time: fields.time,
            process: fields.process.ok_or_else(|| missing(":process"))?,
            kind: fields.kind.ok_or_else(|| missing(":type"))?,
            f: fields.f.ok_or_else(|| missing(":f"))?,
            value,
            compare_false: fields.compare_false,
            line,
        })
    }
}

/// The fields of one map that matter.
#[derive(Default)]
struct Fields {
    index: Option<i64>,
    time: Option<i64>,
    process: Option<Process>,
    kind: Option<Kind>,
    f: Option<Arc<str>>,
    key: Option<Value>,
    value: Option<Value>,
    compare_false: bool,
}

impl Fields {
    fn entry(&mut self, reader: &mut Reader<'_>, names: &mut Names) -> Result<(), Mistake> {
        let key = reader.name()?;
        if key.is_none() {
            reader.value()?;
        }
        reader.colon()?;
        match key {
            Some("index") => self.index = number(reader, "a whole number or nil as :index")?,
            Some("time") => self.time = number(reader, "a whole number of nanoseconds or nil as :time")?,
            Some("process") => self.process = Some(process(reader, names)?),
            Some("type") => self.kind = Some(kind(reader)?),
            Some("f") => self.f = Some(name(reader, names)?),
            Some("key") => self.key = Some(reader.value()?),
            Some("value") => self.value = Some(reader.value()?),
            Some("compare") => self.compare_false = reader.value()? == Value::Bool(false),
            Some(_) | None => drop(reader.value()?),
        }
        Ok(())
    }
}

fn number(reader: &mut Reader<'_>, expected: &str) -> Result<Option<i64>, Mistake> {
    reader.skip_blank()?;
    let start = reader.at();
    match reader.value()? {
        Value::Nil => Ok(None),
        Value::Int(number) => Ok(Some(number)),
        Value::Bool(_)
        | Value::Text(_)
        | Value::Keyword(_)
        | Value::List(_)
        | Value::Set(_)
        | Value::Map(_)
        | Value::Literal(_) => Err(Mistake::new(start, expected)),
    }
}

fn process(reader: &mut Reader<'_>, names: &mut Names) -> Result<Process, Mistake> {
    if let Some(name) = reader.name()? {
        return Ok(Process::Named(names.get(name)));
    }
    let expected = "a number or a keyword as :process";
    let start = reader.at();
    number(reader, expected)?.map(Process::Client).ok_or_else(|| Mistake::new(start, expected))
}

fn kind(reader: &mut Reader<'_>) -> Result<Kind, Mistake> {
    reader.skip_blank()?;
    let start = reader.at();
    match reader.name()? {
        Some("invoke") => Ok(Kind::Invoke),
        Some("ok") => Ok(Kind::Ok),
        Some("fail") => Ok(Kind::Fail),
        Some("info") => Ok(Kind::Info),
        Some(_) | None => Err(Mistake::new(start, "one of invoke, ok, fail, info as :type")),
    }
}

/// The name of an operation; nil is the empty name.
fn name(reader: &mut Reader<'_>, names: &mut Names) -> Result<Arc<str>, Mistake> {
    if let Some(name) = reader.name()? {
        return Ok(names.get(name));
    }
    let start = reader.at();
    let value = reader.value()?;
    match (&value, value.name()) {
        (Value::Nil, _) => Ok(names.get("")),
        (Value::Literal(name), _) => Ok(names.get(name)),
        (_, Some(name)) => Ok(names.get(name)),
        (_, None) => Err(Mistake::new(start, "a name or nil as :f")),
    }
}
