//! Sessions over registers. One version comes before another when its last write had ended before the first write of the
//! other began; that much order every store must keep, and nothing is said about versions written side by side.

use super::calls::{Call, Calls};
use super::sessions::{Oldest, Question, age, words};
use super::{Anomaly, Asked, Ended, Findings, Model};
use crate::hash::FastMap;
use crate::history::Value;
use crate::intern::{Interner, at};

/// A value of a key. Places are counted from 1; the initial version began and ended at 0.
#[derive(Clone, Copy, Debug)]
struct Version {
    /// Where the first write of it began.
    begins: usize,
    /// Where the last one ended; none when one may happen still, or nobody wrote it.
    ends: Option<usize>,
    is_written: bool,
}

/// What is done to a key.
enum Access<'a> {
    Write(&'a Value, &'a Value),
    Read(&'a Value, Option<&'a Value>),
    Nothing,
}

struct Registers<'a> {
    keys: Interner,
    names: Interner,
    versions: Vec<Version>,
    initial: &'a Value,
}

impl Registers<'_> {
    fn key(&mut self, key: &Value) -> u32 {
        self.keys.any(0, key).0
    }

    fn version(&mut self, key: u32, value: &Value) -> usize {
        let (number, _, is_new) = self.names.any(key, value);
        if is_new {
            let is_initial = value == self.initial;
            let ends = is_initial.then_some(0);
            self.versions.push(Version {
                begins: if is_initial { 0 } else { usize::MAX },
                ends,
                is_written: is_initial,
            });
        }
        at(number)
    }

    fn written(&mut self, key: u32, value: &Value, call: &Call<'_>) {
        let place = self.version(key, value);
        let version = &mut self.versions[place];
        version.begins = version.begins.min(call.begins + 1);
        version.ends = match call.acked() {
            None => None,
            Some(ends) if version.is_written => version.ends.map(|last| last.max(ends + 1)),
            Some(ends) => Some(ends + 1),
        };
        version.is_written = true;
    }
}

/// The acknowledged writes of a key: where each began, and the first end of those that began there or later.
type Replacing = Vec<(usize, usize)>;

pub(super) fn check(asked: &mut Asked<'_, '_>, calls: &Calls<'_>, findings: &mut Findings) -> Result<(), Ended> {
    let initial = &asked.options.initial;
    let mut all = Registers { keys: Interner::default(), names: Interner::default(), versions: Vec::new(), initial };
    let mut replacing: Vec<Replacing> = Vec::new();
    for call in &calls.all {
        asked.watch.spend(2)?;
        let access = access(calls, call).ok_or_else(|| asked.alien(calls.op(call.shown)))?;
        let Access::Write(key, value) = access else { continue };
        if call.has_failed() {
            continue;
        }
        let key = all.key(key);
        all.written(key, value, call);
        if let Some(ends) = call.acked() {
            if replacing.len() <= at(key) {
                replacing.resize_with(at(key) + 1, Vec::new);
            }
            replacing[at(key)].push((call.begins + 1, ends));
        }
    }
    for of_key in &mut replacing {
        let mut first = usize::MAX;
        for (_, ends) in of_key.iter_mut().rev() {
            first = first.min(*ends);
            *ends = first;
        }
    }
    reads(asked, calls, (&mut all, &replacing), findings)
}

/// The write or version with the latest beginning that a process knows of a key: beginning, and the operation.
type Known = FastMap<(i64, u32), (usize, usize)>;

fn reads(
    asked: &mut Asked<'_, '_>,
    calls: &Calls<'_>,
    (all, replacing): (&mut Registers<'_>, &[Replacing]),
    findings: &mut Findings,
) -> Result<(), Ended> {
    let mut known: Known = FastMap::default();
    let mut oldest = Oldest::default();
    for call in &calls.all {
        asked.watch.spend(2)?;
        let (key, value) = match access(calls, call) {
            Some(Access::Write(key, _)) => {
                if asked.model == Model::ReadYourWrites && call.acked().is_some() {
                    known.insert((call.process, all.key(key)), (call.begins + 1, call.shown));
                }
                continue;
            }
            Some(Access::Read(key, Some(value))) => (key, value),
            Some(Access::Read(_, None) | Access::Nothing) | None => continue,
        };
        findings.looked_at += 1;
        let number = all.key(key);
        let place = all.version(number, value);
        let version = all.versions[place];
        if !version.is_written {
            findings.add(Anomaly::Unexpected, &[call.shown], || {
                format!("{value} was read, and nobody wrote it, nor is it the initial value")
            });
            continue;
        }
        match Question::of(asked.model) {
            Question::Staleness => {
                let Some(replaced) = version.ends.and_then(|ends| replaced(replacing.get(at(number))?, ends)) else {
                    continue;
                };
                let Some(age) = age(calls, asked.options.staleness, replaced, call.begins)? else { continue };
                oldest.note(age);
                if age.is_too_old {
                    findings.add(Anomaly::TooStale, &[replaced, call.begins, call.shown], || {
                        format!("{value} was read, and had been replaced {}", words(age))
                    });
                }
            }
            Question::OwnWrites => {
                let own = known.get(&(call.process, number)).copied();
                if let Some((_, shown)) = own.filter(|(begins, _)| version.ends.is_some_and(|ends| ends < *begins)) {
                    findings.add(Anomaly::OwnWriteMissing, &[shown, call.shown], || {
                        format!("process {} read {value}, which was there before its own write", call.process)
                    });
                }
            }
            Question::Order => {
                let entry = known.entry((call.process, number)).or_insert((version.begins, call.shown));
                if version.ends.is_some_and(|ends| ends < entry.0) {
                    let before = entry.1;
                    findings.add(Anomaly::NonmonotonicRead, &[before, call.shown], || {
                        format!("process {} read {value}, and before that a later version", call.process)
                    });
                } else if version.begins >= entry.0 {
                    *entry = (version.begins, call.shown);
                }
            }
        }
    }
    findings.count("reads", findings.looked_at);
    if asked.model == Model::BoundedStaleness {
        oldest.figures(findings);
    }
    Ok(())
}

/// Where the first acknowledged write ended that began after a version had ended.
fn replaced(writes: &[(usize, usize)], ends: usize) -> Option<usize> {
    let next = writes.partition_point(|(begins, _)| *begins <= ends);
    writes.get(next).map(|(_, first)| *first)
}

fn access<'a>(calls: &Calls<'a>, call: &Call<'a>) -> Option<Access<'a>> {
    match call.f {
        "write" => {
            let (key, value) = keyed(call.asked);
            Some(Access::Write(key, value))
        }
        "cas" if calls.op(call.shown).compare_false => Some(Access::Nothing),
        "cas" => {
            let (first, second) = call.asked.pair()?;
            match second.pair() {
                Some((_, to)) => Some(Access::Write(first, to)),
                None => Some(Access::Write(WHOLE, second)),
            }
        }
        "read" => {
            let answer = call.answered.map(keyed);
            Some(Access::Read(answer.map_or(WHOLE, |(key, _)| key), answer.map(|(_, value)| value)))
        }
        _ => None,
    }
}

/// The key of a register that has none.
const WHOLE: &Value = &Value::Nil;

fn keyed(value: &Value) -> (&Value, &Value) {
    value.pair().unwrap_or((WHOLE, value))
}
