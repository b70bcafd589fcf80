//! Operations on etcd, and what an answer proves.

use std::sync::Arc;

use async_trait::async_trait;
use firedrill_core::cluster::NodeName;
use firedrill_core::history::{Answer, Op, Outcome, Reply, Step};
use firedrill_core::platform::{Dialer, Vantage};
use firedrill_core::system::{Client, Completion, ConnectError};
use serde_json::{Value, json};

use super::PORT;
use super::gateway::{self, Good, encoded};
use super::options::Reads;
use crate::http::Http;
use crate::route;

/// Rows that are read at once: an answer is bounded.
const PAGE: usize = 5000;
/// Below it are the rows of the ledger, with leading zeros so that their order is that of the numbers.
const LEDGER: &str = "ledger/";
/// The keys after all rows of the ledger: `0` follows `/`.
const LEDGER_END: &str = "ledger0";

/// A connection to one member.
pub(super) struct EtcdClient {
    node: NodeName,
    http: Http,
    reads: Reads,
}

/// Connects to the first of `nodes` that answers and knows a leader; to a single one whatever it knows.
pub(super) async fn connect(
    dial: &Arc<dyn Dialer>,
    vantage: Vantage,
    nodes: &[NodeName],
    reads: Reads,
) -> Result<EtcdClient, ConnectError> {
    let choosy = nodes.len() > 1;
    let first = route::first_good(nodes, |node| try_one(Arc::clone(dial), vantage, node, choosy)).await;
    match first {
        Ok((node, http)) => Ok(EtcdClient { node, http, reads }),
        Err(refusals) => Err(ConnectError(format!("no member can be used ({})", refusals.join(", ")))),
    }
}

async fn try_one(
    dial: Arc<dyn Dialer>,
    vantage: Vantage,
    node: NodeName,
    choosy: bool,
) -> Result<(NodeName, Http), String> {
    let said = |reason: String| format!("{node}: {reason}");
    let mut http = Http::open_from(&*dial, vantage, &node, PORT).await.map_err(said)?;
    if choosy && gateway::status(&mut http).await.map_err(said)?.leader == 0 {
        return Err(said("knows no leader".to_owned()));
    }
    Ok((node, http))
}

const REGISTERS: &str = "register/";
/// The first key that is no register's.
const REGISTERS_END: &str = "register0";

fn register(key: u64) -> String {
    format!("{REGISTERS}{key}")
}

impl EtcdClient {
    /// The member.
    pub(super) fn node(&self) -> &NodeName {
        &self.node
    }

    async fn write(&mut self, path: &str, body: &Value, reply: impl FnOnce(&Good) -> Reply) -> Completion {
        match gateway::ask(&mut self.http, path, body).await {
            Ok(Ok(good)) => {
                let outcome = Outcome::Ok(reply(&good));
                self.done(outcome, Some(&good))
            }
            // Whatever etcd refuses with, it may have proposed the write before (a timeout, a change of leader).
            Ok(Err(why)) | Err(why) => self.lost(Outcome::info(why)),
        }
    }

    /// Removes all keys from one on and before another.
    async fn forget(&mut self, from: &str, end: &str) -> Completion {
        let body = json!({ "key": encoded(from), "range_end": encoded(end) });
        self.write("/v3/kv/deleterange", &body, |_| Reply::Done).await
    }

    /// Reads keys. A read changes nothing, so a failed one certainly did not happen.
    async fn read(&mut self, body: &Value, reply: impl FnOnce(&Good) -> Option<Reply>) -> Completion {
        match gateway::ask(&mut self.http, "/v3/kv/range", body).await {
            Ok(Ok(good)) => match reply(&good) {
                Some(reply) => self.done(Outcome::Ok(reply), Some(&good)),
                None => self.done(Outcome::fail("a key or value that firedrill did not write"), Some(&good)),
            },
            Ok(Err(why)) | Err(why) => self.lost(Outcome::fail(why)),
        }
    }

    /// Reads all rows that this member has, so that members can be compared: page after page, at the revision of the first.
    async fn scan(&mut self) -> Completion {
        let (mut rows, mut from, mut first): (Vec<u64>, String, Option<Good>) = (Vec::new(), LEDGER.to_owned(), None);
        loop {
            let revision = first.as_ref().map_or(0, |first| first.stamp.revision);
            let body = json!({
                "key": encoded(&from), "range_end": encoded(LEDGER_END), "serializable": true, "keys_only": true,
                "limit": PAGE, "revision": revision,
            });
            let good = match gateway::ask(&mut self.http, "/v3/kv/range", &body).await {
                Ok(Ok(good)) => good,
                Ok(Err(why)) | Err(why) => return self.lost(Outcome::fail(why)),
            };
            let row = |(key, _): &(String, String)| key.strip_prefix(LEDGER)?.parse::<u64>().ok();
            let Some(page) = good.pairs.iter().map(row).collect::<Option<Vec<u64>>>() else {
                return self.done(Outcome::fail("a key that firedrill did not write"), Some(&good));
            };
            rows.extend(&page);
            // The next key there can be.
            let next = good.pairs.last().filter(|_| page.len() == PAGE).map(|(last, _)| format!("{last}\0"));
            let first = first.get_or_insert(good);
            let Some(next) = next else { return self.done(Outcome::Ok(Reply::Rows(rows)), Some(first)) };
            from = next;
        }
    }

    async fn step(&mut self, step: Step) -> Completion {
        let done = |_: &Good| Reply::Answers(vec![Answer::Done]);
        match step {
            Step::Read { key } => {
                let body = json!({ "key": encoded(&register(key)), "serializable": self.reads == Reads::Serializable });
                let value = |good: &Good| match good.pairs.first() {
                    None => Some(Reply::Answers(vec![Answer::Value(None)])),
                    Some((_, value)) => {
                        value.parse().ok().map(|value| Reply::Answers(vec![Answer::Value(Some(value))]))
                    }
                };
                self.read(&body, value).await
            }
            Step::Write { key, value } => {
                self.write("/v3/kv/put", &gateway::put(&register(key), &value.to_string()), done).await
            }
            Step::Compare { key, from, to } => {
                let body = gateway::compare_and_put(&register(key), &from.to_string(), &to.to_string());
                let answer = |good: &Good| if good.succeeded { Answer::Done } else { Answer::Refused };
                self.write("/v3/kv/txn", &body, |good| Reply::Answers(vec![answer(good)])).await
            }
            Step::Append { .. } | Step::List { .. } | Step::Transfer { .. } | Step::Balance { .. } => {
                self.lost(Outcome::fail(format!("etcd cannot {step}")))
            }
        }
    }

    fn done(&self, outcome: Outcome, good: Option<&Good>) -> Completion {
        Completion {
            outcome,
            served_by: Some(self.node.clone()),
            epoch: good.map(|good| good.stamp.epoch()),
            receipt: good.map(|good| good.stamp.position()),
            usable: true,
        }
    }

    fn lost(&self, outcome: Outcome) -> Completion {
        Completion { usable: false, ..self.done(outcome, None) }
    }
}

#[async_trait]
impl Client for EtcdClient {
    async fn invoke(&mut self, op: &Op) -> Completion {
        match op {
            // Nothing has to be made; but a cluster that lives on may have what an earlier run wrote.
            Op::CreateLedger => self.forget(LEDGER, LEDGER_END).await,
            Op::CreateStore { .. } => self.forget(REGISTERS, REGISTERS_END).await,
            Op::Insert { row } => {
                let body = gateway::put(&format!("{LEDGER}{row:020}"), "1");
                self.write("/v3/kv/put", &body, |_| Reply::Done).await
            }
            Op::Scan => self.scan().await,
            Op::Txn(steps) => match steps.as_ref() {
                [step] => self.step(*step).await,
                _ => self.lost(Outcome::fail("etcd's clients here perform one step at a time")),
            },
        }
    }
}
