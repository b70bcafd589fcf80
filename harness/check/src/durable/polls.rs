//! Reads operations of Jepsen's `kafka`: messages, and what each process did in its order.

use super::calls::{Call, Calls, entries};
use super::log::{Message, may_be};
use super::{Asked, Ended, Findings};
use crate::history::Value;
use crate::intern::{Interner, at};

/// What a process did.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// It was told the offset of a message it sent.
    Sent { key: u32, offset: i64 },
    /// It got a message.
    Polled { key: u32, offset: i64 },
    /// Its place in every key is another from here on.
    Reset,
}

impl Act {
    pub(super) fn key(self) -> u32 {
        match self {
            Self::Sent { key, .. } | Self::Polled { key, .. } => key,
            Self::Reset => 0,
        }
    }
}

/// Everything that was sent and polled.
#[derive(Default, Debug)]
pub(super) struct Acts {
    pub(super) keys: Vec<String>,
    pub(super) messages: Vec<Message>,
    /// With their calls, in the order in which those begin.
    pub(super) all: Vec<(usize, Act)>,
    key_names: Interner,
    names: Interner,
}

/// A micro-operation.
enum Micro<'a> {
    /// What was sent, and the offset it got.
    Send(&'a Value, &'a Value, Option<i64>),
    Poll(&'a [(Value, Value)]),
    /// A poll before it is answered.
    Asks,
}

impl Acts {
    pub(super) fn read(asked: &mut Asked<'_, '_>, calls: &Calls<'_>, findings: &mut Findings) -> Result<Self, Ended> {
        let mut acts = Self::default();
        for (number, call) in calls.all.iter().enumerate() {
            asked.watch.spend(1)?;
            match call.f {
                "send" | "poll" | "txn" => {}
                "assign" | "subscribe" | "crash" => {
                    acts.all.push((number, Act::Reset));
                    continue;
                }
                "debug-topic-partitions" => continue,
                _ => return Err(asked.alien(calls.op(call.shown))),
            }
            let micros = call.answered.unwrap_or(call.asked).list().unwrap_or_default();
            for item in micros {
                let micro = micro(item, call).ok_or_else(|| asked.alien(calls.op(call.shown)))?;
                match micro {
                    Micro::Asks => {}
                    Micro::Send(key, value, offset) => acts.sent((number, call), (key, value), offset),
                    Micro::Poll(by_key) => {
                        findings.looked_at += 1;
                        for (key, messages) in by_key {
                            let messages = messages.list().unwrap_or_default();
                            asked.watch.spend(messages.len())?;
                            for message in messages {
                                let (offset, value) = message
                                    .pair()
                                    .and_then(|(offset, value)| Some((offset.int()?, value)))
                                    .ok_or_else(|| asked.alien(calls.op(call.shown)))?;
                                acts.polled((number, call), (key, value), offset);
                            }
                        }
                    }
                }
            }
        }
        findings.count("polls", findings.looked_at);
        findings.count("messages", acts.messages.len());
        Ok(acts)
    }

    /// Keys of JSON's maps are texts even where those of sends are numbers.
    fn message(&mut self, key: &Value, value: &Value) -> &mut Message {
        let name = key.name().map_or_else(|| key.to_string(), ToOwned::to_owned);
        let (key, _, is_new) = self.key_names.any(0, &Value::Text(name.as_str().into()));
        if is_new {
            self.keys.push(name);
        }
        let (number, _, is_new) = self.names.any(key, value);
        if is_new {
            let value = value.clone();
            let (may_be, offsets) = (false, Vec::new());
            self.messages.push(Message { key, value, may_be, tried: None, acked: None, polled: None, offsets });
        }
        &mut self.messages[at(number)]
    }

    fn sent(&mut self, (number, call): (usize, &Call<'_>), (key, value): (&Value, &Value), offset: Option<i64>) {
        let message = self.message(key, value);
        message.may_be |= may_be(call.outcome);
        message.tried = message.tried.or(Some(call.shown));
        if call.acked().is_none() {
            return;
        }
        message.acked = message.acked.or(Some(call.shown));
        if let Some(offset) = offset {
            message.is_at(offset, call.shown);
            let key = message.key;
            self.all.push((number, Act::Sent { key, offset }));
        }
    }

    fn polled(&mut self, (number, call): (usize, &Call<'_>), (key, value): (&Value, &Value), offset: i64) {
        let message = self.message(key, value);
        message.polled = message.polled.or(Some(call.shown));
        message.is_at(offset, call.shown);
        let key = message.key;
        self.all.push((number, Act::Polled { key, offset }));
    }
}

impl Message {
    fn is_at(&mut self, offset: i64, shown: usize) {
        if self.offsets.iter().all(|(known, _)| *known != offset) {
            self.offsets.push((offset, shown));
        }
    }
}

fn micro<'a>(item: &'a Value, call: &Call<'_>) -> Option<Micro<'a>> {
    match item.list()? {
        [name, key, sent] if name.name() == Some("send") => match sent.pair() {
            Some((offset, value)) if call.answered.is_some() => Some(Micro::Send(key, value, offset.int())),
            Some(_) | None => Some(Micro::Send(key, sent, None)),
        },
        [name, got] if name.name() == Some("poll") => entries(got).map(Micro::Poll),
        [name] if name.name() == Some("poll") => Some(Micro::Asks),
        _ => None,
    }
}
