//! Reads histories in any format, with threads and within limits.

use super::packed::{self, Sink};
use super::{Format, ImportError, Loaded, Packed, RawOp, Unloaded, accesses, edn, jepsen, porcupine};
use crate::crew::Crew;
use crate::limits::{Stop, Watch};

/// The format of a text that begins so, if it is any.
pub fn format_of(beginning: &str) -> Option<Format> {
    if porcupine::is_log(beginning) {
        return Some(Format::PorcupineLog);
    }
    accesses::format(beginning).or_else(|| jepsen::format_of(beginning))
}

/// Reads a history in whatever format it is.
pub fn load(bytes: &[u8]) -> Result<Loaded, ImportError> {
    unlimited(load_within(bytes, &mut Watch::unlimited()))
}

/// Reads a history in whatever format it is, faster than [`load`] and into less memory.
pub fn load_packed(bytes: &[u8]) -> Result<Packed, ImportError> {
    unlimited(load_packed_within(bytes, &mut Watch::unlimited()))
}

pub(super) fn unlimited<T>(read: Result<T, Unloaded>) -> Result<T, ImportError> {
    read.map_err(|error| match error {
        Unloaded::Mistake(error) => error,
        Unloaded::Stopped(_) => ImportError { line: 1, column: 1, expected: "a history within the limits".to_owned() },
    })
}

/// [`load`] that asks whether a limit was reached, again and again while it reads.
pub fn load_within(bytes: &[u8], watch: &mut Watch<'_>) -> Result<Loaded, Unloaded> {
    watch.ask()?;
    load_text_within(utf8(bytes)?, watch)
}

/// [`load_within`] for who knows that it is text.
pub fn load_text_within(text: &str, watch: &mut Watch<'_>) -> Result<Loaded, Unloaded> {
    load_text_by(text, Crew::of_machine(text.len()), watch)
}

/// [`load_text_within`] by so many threads. What is read, and what is refused, does not depend on them.
pub fn load_text_by(text: &str, crew: Crew, watch: &mut Watch<'_>) -> Result<Loaded, Unloaded> {
    whole(text_until(text, crew, watch)?)
}

/// What was read, and the limit that was reached before all was.
type Begun<T> = (T, Option<Stop>);

/// Refuses what is not all.
fn whole<T>((history, stop): Begun<T>) -> Result<T, Unloaded> {
    stop.map_or(Ok(history), |stop| Err(Unloaded::Stopped(stop)))
}

/// Reads until a limit is reached.
fn text_until(text: &str, crew: Crew, watch: &mut Watch<'_>) -> Result<Begun<Loaded>, ImportError> {
    let mut ops = Vec::new();
    if let Some(format) = accesses::format(text) {
        let mut watched = Watched::new(ops, watch);
        accesses::read(text, format, crew, &mut watched).map_err(|mistake| mistake.place(text))?;
        let Watched { sink: ops, stop, .. } = watched;
        // Part of a transaction is no transaction.
        return Ok((Loaded { format, ops: if stop.is_some() { Vec::new() } else { ops } }, stop));
    }
    if porcupine::is_log(text) {
        let mut watched = Watched::new(ops, watch);
        porcupine::read(text, &mut watched).map_err(|mistake| mistake.place(text))?;
        return Ok((Loaded { format: Format::PorcupineLog, ops: watched.sink }, watched.stop));
    }
    let read = jepsen::read_into(text, crew, (&mut ops, watch));
    begun(text, read).map(|(format, stop)| (Loaded { format, ops }, stop))
}

/// The format of what was read, and the limit that ended it.
fn begun(text: &str, read: Result<Format, jepsen::Unsound>) -> Result<Begun<Format>, ImportError> {
    match read {
        Ok(format) => Ok((format, None)),
        Err(jepsen::Unsound::Stopped(stop)) => Ok((format_of(text).unwrap_or(Format::JepsenEdn), Some(stop))),
        Err(jepsen::Unsound::Mistake(mistake)) => Err(mistake.place(text)),
    }
}

/// [`load_packed`] that asks whether a limit was reached, again and again while it reads.
pub fn load_packed_within(bytes: &[u8], watch: &mut Watch<'_>) -> Result<Packed, Unloaded> {
    watch.ask()?;
    load_packed_text_within(utf8(bytes)?, watch)
}

/// [`load_packed_within`] for who knows that it is text.
pub fn load_packed_text_within(text: &str, watch: &mut Watch<'_>) -> Result<Packed, Unloaded> {
    load_packed_text_by(text, Crew::of_machine(text.len()), watch)
}

/// [`load_packed_text_within`] by so many threads. What is read, and what is refused, does not depend on them.
pub fn load_packed_text_by(text: &str, crew: Crew, watch: &mut Watch<'_>) -> Result<Packed, Unloaded> {
    whole(packed_until(text, crew, watch)?)
}

/// [`load_packed_text_within`] that gives what it has read once a limit is reached, and says which one that was.
pub fn load_packed_text_until(text: &str, watch: &mut Watch<'_>) -> Result<(Packed, Option<Stop>), ImportError> {
    packed_until(text, Crew::of_machine(text.len()), watch)
}

fn packed_until(text: &str, crew: Crew, watch: &mut Watch<'_>) -> Result<Begun<Packed>, ImportError> {
    if accesses::format(text).is_some() || porcupine::is_log(text) {
        return text_until(text, crew, watch).map(|(history, stop)| (Packed::from(&history), stop));
    }
    let mut sink = packed::Packing::new(text.len());
    let read = jepsen::read_into(text, crew, (&mut sink, watch));
    begun(text, read).map(|(format, stop)| (sink.finish(format), stop))
}

/// Steps of a [`Watch`] for one operation that is read.
const STEPS_PER_OPERATION: usize = 4;

/// A sink that takes nothing more once a limit was reached.
struct Watched<'a, 'w, S> {
    sink: S,
    watch: &'a mut Watch<'w>,
    stop: Option<Stop>,
}

impl<'a, 'w, S> Watched<'a, 'w, S> {
    fn new(sink: S, watch: &'a mut Watch<'w>) -> Self {
        let stop = watch.ask().err();
        Self { sink, watch, stop }
    }
}

impl<S: Sink> Sink for Watched<'_, '_, S> {
    fn take(&mut self, op: RawOp) {
        self.sink.take(op);
    }

    fn goes_on(&mut self) -> bool {
        self.stop = self.stop.or_else(|| self.watch.spend(STEPS_PER_OPERATION).err());
        self.stop.is_none()
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, ImportError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let sound = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default());
        edn::Mistake::new(sound.len(), "UTF-8").place(&sound)
    })
}
