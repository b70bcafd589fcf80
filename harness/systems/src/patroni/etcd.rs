//! What etcd is asked: who leads the members, and what Patroni keeps there. Speaks the JSON gateway of etcd's
//! version 3 interface, which exists since 3.4 at this path; numbers of 64 bits are texts in it, keys are base64.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::Method;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::SCOPE;
use crate::http::Http;

/// What one member says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Status {
    /// Its version.
    pub(super) version: String,
    /// Whether it knows a leader.
    pub(super) has_leader: bool,
    /// Whether it leads.
    pub(super) leads: bool,
}

/// What Patroni keeps below its scope, as one member has it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Scope {
    /// Revision of the store the answer is of.
    pub(super) revision: u64,
    /// The leader key: who holds it, and the revision of its last change.
    pub(super) leader: Option<(String, u64)>,
    /// Whom Patroni may promote, by the key `sync`.
    pub(super) sync_standbys: BTreeSet<String>,
}

/// A change of the leader key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Change {
    /// Who holds it now; `None` when it was deleted or its lease ran out.
    pub(super) holder: Option<String>,
    /// Revision of the change.
    pub(super) revision: u64,
}

/// One message of a watch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Notice {
    /// Revision of the store when it was sent.
    pub(super) revision: u64,
    /// Changes, oldest first.
    pub(super) changes: Vec<Change>,
    /// Whether the watch has ended: it has to be begun again from what is there.
    pub(super) ended: bool,
}

/// Asks a member for its status.
pub(super) async fn status(http: &mut Http) -> Result<Status, String> {
    let answer: StatusAnswer = http.json(Method::POST, "/v3/maintenance/status", "{}".to_owned()).await?;
    Ok(Status {
        version: answer.version,
        has_leader: answer.leader != 0,
        leads: answer.leader != 0 && answer.leader == answer.header.member_id,
    })
}

/// Reads what one member has of Patroni's keys. Serializable: a member without a majority answers too, with what it
/// has, so that members can be compared.
pub(super) async fn scope(http: &mut Http) -> Result<Scope, String> {
    let prefix = format!("/service/{SCOPE}/");
    let end = format!("/service/{SCOPE}0"); // '0' follows '/'
    let body = json!({ "key": BASE64.encode(&prefix), "range_end": BASE64.encode(end), "serializable": true });
    let answer: RangeAnswer = http.json(Method::POST, "/v3/kv/range", body.to_string()).await?;
    let mut scope = Scope { revision: answer.header.revision, ..Scope::default() };
    for pair in &answer.kvs {
        match pair.key()?.strip_prefix(&prefix) {
            Some("leader") => scope.leader = Some((pair.text()?, pair.mod_revision)),
            Some("sync") => scope.sync_standbys = sync_standbys(&pair.text()?),
            Some(_) | None => {}
        }
    }
    Ok(scope)
}

/// The body that begins a watch of the leader key after `revision`.
pub(super) fn watch_request(revision: u64) -> String {
    let key = BASE64.encode(format!("/service/{SCOPE}/leader"));
    let start = revision.saturating_add(1).to_string();
    json!({ "create_request": { "key": key, "start_revision": start } }).to_string()
}

/// Reads one message of a watch.
pub(super) fn notice(line: &[u8]) -> Result<Notice, String> {
    let message: WatchMessage = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let Some(result) = message.result else {
        return Ok(Notice { ended: true, ..Notice::default() });
    };
    let change = |event: &WatchEvent| {
        let deleted = event.kind.as_deref() == Some("DELETE");
        let holder = if deleted { None } else { Some(event.kv.text()?) };
        Ok(Change { holder, revision: event.kv.mod_revision })
    };
    let changes = result.events.iter().map(change).collect::<Result<Vec<Change>, String>>()?;
    Ok(Notice { revision: result.header.revision, changes, ended: result.canceled })
}

/// The standbys in Patroni's `sync` key: one name, or several joined by commas; null when there is none.
fn sync_standbys(value: &str) -> BTreeSet<String> {
    #[derive(Deserialize)]
    struct Sync {
        sync_standby: Option<String>,
    }
    let names = serde_json::from_str::<Sync>(value).ok().and_then(|sync| sync.sync_standby).unwrap_or_default();
    names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect()
}

fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

#[derive(Deserialize, Default)]
struct Header {
    #[serde(default, deserialize_with = "number")]
    member_id: u64,
    #[serde(default, deserialize_with = "number")]
    revision: u64,
}

#[derive(Deserialize)]
struct StatusAnswer {
    #[serde(default)]
    header: Header,
    #[serde(default)]
    version: String,
    #[serde(default, deserialize_with = "number")]
    leader: u64,
}

#[derive(Deserialize)]
struct RangeAnswer {
    header: Header,
    #[serde(default)]
    kvs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default, deserialize_with = "number")]
    mod_revision: u64,
}

impl Pair {
    fn key(&self) -> Result<String, String> {
        decoded(&self.key)
    }

    fn text(&self) -> Result<String, String> {
        decoded(&self.value)
    }
}

fn decoded(text: &str) -> Result<String, String> {
    let bytes = BASE64.decode(text).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

#[derive(Deserialize)]
struct WatchMessage {
    result: Option<WatchResult>,
}

#[derive(Deserialize)]
struct WatchResult {
    #[serde(default)]
    header: Header,
    #[serde(default)]
    canceled: bool,
    #[serde(default)]
    events: Vec<WatchEvent>,
}

#[derive(Deserialize)]
struct WatchEvent {
    #[serde(rename = "type")]
    kind: Option<String>,
    kv: Pair,
}

#[cfg(test)]
mod tests {
    use super::*;

    // Answers of etcd 3.4.23, as they came.
    const ACQUIRED: &str = r#"{"result":{"header":{"cluster_id":"11620162765247105271","revision":"11"},"events":[{"kv":{"key":"L3NlcnZpY2UvZmlyZWRyaWxsL2xlYWRlcg==","create_revision":"11","mod_revision":"11","version":"1","value":"bjE=","lease":"3930413202225302281"}}]}}"#;
    const EXPIRED: &str = r#"{"result":{"header":{"revision":"61"},"events":[{"type":"DELETE","kv":{"key":"L3NlcnZpY2UvZmlyZWRyaWxsL2xlYWRlcg==","mod_revision":"61"}}]}}"#;
    const COMPACTED: &str = r#"{"result":{"header":{"revision":"900"},"canceled":true,"compact_revision":"800"}}"#;

    #[test]
    fn a_watch_tells_who_holds_the_key_and_when_nobody_does() {
        let change = |holder: Option<&str>, revision| Change { holder: holder.map(ToOwned::to_owned), revision };
        assert_eq!(notice(ACQUIRED.as_bytes()).unwrap().changes, [change(Some("n1"), 11)]);
        assert_eq!(notice(EXPIRED.as_bytes()).unwrap().changes, [change(None, 61)]);
        assert!(notice(COMPACTED.as_bytes()).unwrap().ended);
        assert!(notice(br#"{"error":{"grpc_code":14}}"#).unwrap().ended);
        assert!(notice(b"{").is_err());
    }

    #[test]
    fn the_sync_key_names_one_several_or_none() {
        assert_eq!(sync_standbys(r#"{"leader":"n1","sync_standby":"n3"}"#), BTreeSet::from(["n3".to_owned()]));
        assert_eq!(sync_standbys(r#"{"leader":"n1","sync_standby":"n2,n3"}"#).len(), 2);
        assert!(sync_standbys(r#"{"leader":"n1","sync_standby":null}"#).is_empty());
        assert!(sync_standbys("").is_empty());
    }
}
