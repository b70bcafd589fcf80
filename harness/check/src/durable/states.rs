//! Which states the prefixes of a log of `[put key value]` and `[delete key]` leave.

use super::Anomaly;
use crate::hash::FastMap;
use crate::history::Value;

/// What the log does to each key: after so many elements, its value, or none once it is deleted.
pub(super) struct States<'a> {
    keys: FastMap<String, Vec<(usize, Option<&'a Value>)>>,
}

fn name(key: &Value) -> String {
    key.name().map_or_else(|| key.to_string(), ToOwned::to_owned)
}

impl<'a> States<'a> {
    pub(super) fn new(log: &'a [Value]) -> Self {
        let mut keys: FastMap<String, Vec<(usize, Option<&'a Value>)>> = FastMap::default();
        for (element, length) in log.iter().zip(1..) {
            match element.list() {
                Some([what, key, value]) if what.name() == Some("put") => {
                    keys.entry(name(key)).or_default().push((length, Some(value)));
                }
                Some([what, key]) if what.name() == Some("delete") => {
                    keys.entry(name(key)).or_default().push((length, None));
                }
                Some(_) | None => {}
            }
        }
        Self { keys }
    }

    /// What is wrong with a state, if no prefix leaves it.
    ///
    /// The shortest prefix that may do grows until every key is as that prefix leaves it, or one cannot be so any more.
    pub(super) fn compare(&self, state: &[(Value, Value)]) -> Option<(Anomaly, String)> {
        let mut held: FastMap<String, &Value> = FastMap::default();
        for (key, value) in state {
            held.insert(name(key), value);
        }
        let mut stray: Vec<&String> = held.keys().filter(|key| !self.keys.contains_key(*key)).collect();
        stray.sort_unstable();
        if let Some(key) = stray.first() {
            return Some((Anomaly::Diverged, format!("it has {key}, of which the primary's log knows nothing")));
        }
        let mut names: Vec<&String> = self.keys.keys().collect();
        names.sort_unstable();
        let mut length = 0;
        loop {
            let before = length;
            for key in &names {
                match next(&self.keys[*key], held.get(*key).copied(), length) {
                    Ok(at_least) => length = at_least,
                    Err(wrong) => return Some((wrong.anomaly(), wrong.words(key, length))),
                }
            }
            if length == before {
                return None;
            }
        }
    }
}

/// The shortest prefix, not shorter than this, that leaves a key so.
fn next(changes: &[(usize, Option<&Value>)], held: Option<&Value>, length: usize) -> Result<usize, Wrong> {
    let now = changes.partition_point(|(from, _)| *from <= length);
    let current = now.checked_sub(1).and_then(|last| changes[last].1);
    if current == held {
        return Ok(length);
    }
    if let Some((from, _)) = changes[now..].iter().find(|(_, value)| *value == held) {
        return Ok(*from);
    }
    let had = |value: &Value| changes.iter().any(|(_, known)| *known == Some(value));
    Err(match (held, current) {
        (Some(value), None) if had(value) => Wrong::Deleted,
        (Some(value), Some(_)) if had(value) => Wrong::Replaced,
        (Some(_), _) => Wrong::Stray,
        (None, _) => Wrong::Missing,
    })
}

/// Why a key is as no prefix leaves it.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    Deleted,
    Replaced,
    Stray,
    Missing,
}

impl Wrong {
    fn anomaly(self) -> Anomaly {
        match self {
            Self::Deleted => Anomaly::ResurrectedKey,
            Self::Replaced => Anomaly::Reordered,
            Self::Stray => Anomaly::Diverged,
            Self::Missing => Anomaly::Gap,
        }
    }

    fn words(self, key: &str, length: usize) -> String {
        match self {
            Self::Deleted => {
                format!("{key} is there, which was deleted before element {length} of the log, which is there too")
            }
            Self::Replaced => {
                format!("{key} has a value that was replaced before element {length} of the log, which is there too")
            }
            Self::Missing => format!("{key} is missing, though element {length} of the log is there"),
            Self::Stray => format!("{key} has a value that the log never gave it"),
        }
    }
}
