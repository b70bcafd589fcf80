//! The JSON gateway of etcd's version 3 interface: keys and values are base64, numbers of 64 bits are texts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use firedrill_core::cluster::{Epoch, Position};
use hyper::Method;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::http::Http;

/// Base64 of a key or value.
pub(super) fn encoded(text: &str) -> String {
    BASE64.encode(text)
}

/// Where an answer is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Stamp {
    /// The member that answered.
    pub(super) member: u64,
    /// Its term.
    pub(super) term: u64,
    /// The revision of its store.
    pub(super) revision: u64,
}

impl Stamp {
    pub(super) fn epoch(self) -> Epoch {
        Epoch(self.term)
    }

    pub(super) fn position(self) -> Position {
        Position(self.revision)
    }
}

/// A good answer.
#[derive(Debug)]
pub(super) struct Good {
    pub(super) stamp: Stamp,
    pub(super) succeeded: bool,
    /// Keys and values, in key order.
    pub(super) pairs: Vec<(String, String)>,
}

/// What one member says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Status {
    pub(super) version: String,
    pub(super) stamp: Stamp,
    /// The member that leads, 0 if it knows none.
    pub(super) leader: u64,
}

/// Asks a member for its status.
pub(super) async fn status(http: &mut Http) -> Result<Status, String> {
    let answer: Answer = http.json(Method::POST, "/v3/maintenance/status", "{}".to_owned()).await?;
    let stamp = answer.header.ok_or_else(|| answer.error.unwrap_or_default())?;
    Ok(Status { version: answer.version, stamp: stamp.stamp(), leader: answer.leader })
}

/// Asks and reads the answer. The outer error is of the connection, the inner one etcd's own word.
pub(super) async fn ask(http: &mut Http, path: &str, body: &Value) -> Result<Result<Good, String>, String> {
    let answer: Answer = http.json(Method::POST, path, body.to_string()).await?;
    let Some(header) = answer.header else { return Ok(Err(answer.error.unwrap_or_else(|| "no header".to_owned()))) };
    let pairs = answer.kvs.iter().map(|pair| Ok((decoded(&pair.key)?, decoded(&pair.value)?)));
    let pairs = pairs.collect::<Result<Vec<_>, String>>()?;
    Ok(Ok(Good { stamp: header.stamp(), succeeded: answer.succeeded, pairs }))
}

/// The body of a put.
pub(super) fn put(key: &str, value: &str) -> Value {
    json!({ "key": encoded(key), "value": encoded(value) })
}

/// The body that sets a key to a value if it holds another.
pub(super) fn compare_and_put(key: &str, from: &str, to: &str) -> Value {
    json!({
        "compare": [{ "key": encoded(key), "target": "VALUE", "result": "EQUAL", "value": encoded(from) }],
        "success": [{ "request_put": put(key, to) }],
    })
}

fn decoded(text: &str) -> Result<String, String> {
    let bytes = BASE64.decode(text).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

#[derive(Deserialize)]
struct Answer {
    header: Option<Header>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    version: String,
    #[serde(default, deserialize_with = "number")]
    leader: u64,
    #[serde(default)]
    succeeded: bool,
    #[serde(default)]
    kvs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Header {
    #[serde(default, deserialize_with = "number")]
    member_id: u64,
    #[serde(default, deserialize_with = "number")]
    raft_term: u64,
    #[serde(default, deserialize_with = "number")]
    revision: u64,
}

impl Header {
    fn stamp(&self) -> Stamp {
        Stamp { member: self.member_id, term: self.raft_term, revision: self.revision }
    }
}

#[derive(Deserialize)]
struct Pair {
    key: String,
    #[serde(default)]
    value: String,
}
