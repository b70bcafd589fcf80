//! Locks: plain, held several times by their holder, and with fencing tokens.

use super::models::Alien;
use crate::history::{Packed, Value};

/// A lock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct Lock {
    /// How often it is held.
    pub(super) held: u32,
    /// By whom, when owners matter.
    pub(super) owner: Option<i64>,
    /// The last fencing token, or the least that it can have been.
    pub(super) fence: i64,
    /// Whether the token is known.
    pub(super) exact: bool,
}

/// What an acquisition says of its fencing token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum Fence {
    /// This lock has none.
    Never,
    /// It got one that nobody knows.
    Unknown,
    /// This one.
    Is(i64),
}

/// What is done with a lock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum Turn {
    /// It was free, or held by the same owner, and is held.
    Acquire {
        /// Who may acquire it again.
        owner: Option<i64>,
        /// The token: greater than every one before, or that of the holder who acquires again.
        fence: Fence,
    },
    /// It was held, by this owner if there is one, and is held once less.
    Release {
        /// Who.
        owner: Option<i64>,
    },
}

impl Lock {
    /// Whether it is held, and the last token.
    pub(super) fn first(initial: &Value) -> Option<Self> {
        let (held, fence) = match initial {
            Value::Nil => (false, 0),
            Value::Bool(held) => (*held, 0),
            Value::Int(fence) => (false, *fence),
            Value::Text(_) | Value::Keyword(_) | Value::List(_) | Value::Set(_) | Value::Map(_) | Value::Literal(_) => {
                return None;
            }
        };
        Some(Self { held: u32::from(held), owner: None, fence, exact: true })
    }

    pub(super) fn step(self, turn: Turn) -> Option<Self> {
        match turn {
            Turn::Acquire { owner, fence } if self.held == 0 => {
                let (fence, exact) = match fence {
                    Fence::Never => (self.fence, self.exact),
                    Fence::Unknown => (self.fence.checked_add(1)?, false),
                    Fence::Is(fence) => (Some(fence).filter(|fence| *fence > self.fence)?, true),
                };
                Some(Self { held: 1, owner, fence, exact })
            }
            Turn::Acquire { owner, fence } if owner.is_some() && owner == self.owner => {
                let fence = match fence {
                    Fence::Never | Fence::Unknown => self.fence,
                    Fence::Is(fence) if fence == self.fence || (!self.exact && fence > self.fence) => fence,
                    Fence::Is(_) => return None,
                };
                let exact = self.exact || fence != self.fence;
                Some(Self { held: self.held.checked_add(1)?, fence, exact, ..self })
            }
            Turn::Release { owner } if owner.is_none() || owner == self.owner => {
                let held = self.held.checked_sub(1)?;
                Some(Self { held, owner: self.owner.filter(|_| held > 0), ..self })
            }
            Turn::Acquire { .. } | Turn::Release { .. } => None,
        }
    }

    pub(super) fn words(self) -> String {
        let fence = if self.fence == 0 { String::new() } else { format!(", last fence {}", self.fence) };
        match (self.held, self.owner) {
            (0, _) => format!("free{fence}"),
            (_, None) => format!("held{fence}"),
            (times, Some(owner)) => format!("held {times} times by process {owner}{fence}"),
        }
    }
}

/// Whether somebody was told a fencing token.
pub(super) fn is_fenced(history: &Packed) -> bool {
    history.ops().any(|op| {
        matches!(&*op.f, "acquire" | "reentrant-acquire")
            && (op.value.int().is_some() || op.value.pair().is_some_and(|(_, inner)| inner.int().is_some()))
    })
}

/// What a call does with a lock that has tokens or not.
pub(super) fn turn(f: &str, process: Option<i64>, result: Option<&Value>, fenced: bool) -> Result<Turn, Alien> {
    let fence = match result.and_then(Value::int) {
        Some(fence) => Fence::Is(fence),
        None if fenced => Fence::Unknown,
        None => Fence::Never,
    };
    match f {
        "acquire" => Ok(Turn::Acquire { owner: None, fence }),
        "release" => Ok(Turn::Release { owner: None }),
        "reentrant-acquire" => Ok(Turn::Acquire { owner: Some(process.ok_or(Alien)?), fence }),
        "reentrant-release" => Ok(Turn::Release { owner: Some(process.ok_or(Alien)?) }),
        _ => Err(Alien),
    }
}
