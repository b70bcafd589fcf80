//! Operations on Redis, and what an answer proves.

use std::sync::Arc;

use async_trait::async_trait;
use firedrill_core::cluster::NodeName;
use firedrill_core::history::{Answer, Op, Outcome, Reply, Step};
use firedrill_core::platform::{Dialer, NodeAddress, Vantage};
use firedrill_core::system::{Client, Completion};

use super::resp::{Resp, Said};
use super::{MASTER, PORT, SENTINEL_PORT};
use crate::route;

/// The set with the rows of the ledger.
/// Removes whatever is ours.
const FORGET: &str = "for _, key in ipairs(redis.call('KEYS', 'firedrill:*')) do redis.call('DEL', key) end return 1";
const LEDGER: &str = "firedrill:ledger";
/// Sets a key if it holds what is expected.
const COMPARE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) return 1 else return 0 end";
/// Errors that Redis raises before it executes a command.
const REFUSALS: [&str; 7] = ["READONLY", "NOREPLICAS", "LOADING", "MASTERDOWN", "OOM", "MISCONF", "NOSCRIPT"];

/// A connection to one Redis.
pub(super) struct RedisClient {
    node: NodeName,
    resp: Resp,
}

/// Connects to a node, whatever it is.
pub(super) async fn direct(dial: &dyn Dialer, vantage: Vantage, node: &NodeName) -> Result<RedisClient, String> {
    let resp = Resp::open(dial, vantage, node, PORT).await?;
    Ok(RedisClient { node: node.clone(), resp })
}

/// As clients of Sentinel do: asks one sentinel after the other who the master is, connects there, and makes sure that it
/// takes itself for one.
pub(super) async fn through_sentinels(
    dial: &Arc<dyn Dialer>,
    vantage: Vantage,
    places: &[NodeAddress],
) -> Result<RedisClient, String> {
    let nodes: Vec<NodeName> = places.iter().map(|place| place.node.clone()).collect();
    let attempt = |sentinel| try_one(Arc::clone(dial), vantage, sentinel, places.to_vec());
    let first = route::first_good(&nodes, attempt).await;
    first.map_err(|refusals| format!("no sentinel leads to a master ({})", refusals.join(", ")))
}

async fn try_one(
    dial: Arc<dyn Dialer>,
    vantage: Vantage,
    sentinel: NodeName,
    places: Vec<NodeAddress>,
) -> Result<RedisClient, String> {
    let said = |reason: String| format!("{sentinel}: {reason}");
    let mut resp = Resp::open(&*dial, vantage, &sentinel, SENTINEL_PORT).await.map_err(said)?;
    let answer = resp.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]).await.map_err(said)?;
    let address = answer.list().first().and_then(Said::text).unwrap_or_default().to_owned();
    let master = places.iter().find(|place| place.address.to_string() == address);
    let master = master.ok_or_else(|| said(format!("knows no master ({address})")))?;
    let mut client = direct(&*dial, vantage, &master.node).await.map_err(said)?;
    let role = client.resp.ask(&["ROLE"]).await.map_err(said)?;
    match role.list().first().and_then(Said::text) {
        Some("master") => Ok(client),
        _ => Err(said(format!("{} is no master yet", master.node))),
    }
}

impl RedisClient {
    async fn write(&mut self, words: &[&str], reply: impl FnOnce(&Said) -> Reply) -> Completion {
        match self.resp.ask(words).await {
            Ok(Said::Error(why)) if REFUSALS.iter().any(|refusal| why.starts_with(refusal)) => {
                self.done(Outcome::fail(why), true)
            }
            Ok(Said::Error(why)) => self.done(Outcome::info(why), true),
            Ok(answer) => self.done(Outcome::Ok(reply(&answer)), true),
            Err(why) => self.done(Outcome::info(why), false),
        }
    }

    /// A read changes nothing, so a failed one certainly did not happen.
    async fn read(&mut self, words: &[&str], reply: impl FnOnce(&Said) -> Option<Reply>) -> Completion {
        match self.resp.ask(words).await {
            Ok(Said::Error(why)) => self.done(Outcome::fail(why), true),
            Ok(answer) => match reply(&answer) {
                Some(reply) => self.done(Outcome::Ok(reply), true),
                None => self.done(Outcome::fail("a value that firedrill did not write"), true),
            },
            Err(why) => self.done(Outcome::fail(why), false),
        }
    }

    async fn step(&mut self, step: Step) -> Completion {
        let register = |key: u64| format!("firedrill:register:{key}");
        match step {
            Step::Read { key } => {
                let value = |said: &Said| {
                    if *said == Said::Nil {
                        return Some(Answer::Value(None));
                    }
                    Some(Answer::Value(Some(said.text()?.parse().ok()?)))
                };
                self.read(&["GET", &register(key)], |said| Some(Reply::Answers(vec![value(said)?]))).await
            }
            Step::Write { key, value } => {
                let done = |_: &Said| Reply::Answers(vec![Answer::Done]);
                self.write(&["SET", &register(key), &value.to_string()], done).await
            }
            Step::Compare { key, from, to } => {
                let answer = |said: &Said| if *said == Said::Number(1) { Answer::Done } else { Answer::Refused };
                let words = ["EVAL", COMPARE, "1", &register(key), &from.to_string(), &to.to_string()];
                self.write(&words, |said| Reply::Answers(vec![answer(said)])).await
            }
            Step::Append { .. } | Step::List { .. } | Step::Transfer { .. } | Step::Balance { .. } => {
                self.done(Outcome::fail(format!("Redis cannot {step} here")), true)
            }
        }
    }

    fn done(&self, outcome: Outcome, usable: bool) -> Completion {
        Completion { outcome, served_by: Some(self.node.clone()), epoch: None, receipt: None, usable }
    }
}

#[async_trait]
impl Client for RedisClient {
    async fn invoke(&mut self, op: &Op) -> Completion {
        match op {
            // Nothing has to be made; but servers that live on may have what an earlier run wrote.
            Op::CreateLedger | Op::CreateStore { .. } => self.write(&["EVAL", FORGET, "0"], |_| Reply::Done).await,
            Op::Insert { row } => self.write(&["SADD", LEDGER, &row.to_string()], |_| Reply::Done).await,
            Op::Scan => {
                let rows = |said: &Said| {
                    let row = |one: &Said| one.text()?.parse().ok();
                    let mut rows = said.list().iter().map(row).collect::<Option<Vec<u64>>>()?;
                    rows.sort_unstable();
                    Some(Reply::Rows(rows))
                };
                self.read(&["SMEMBERS", LEDGER], rows).await
            }
            Op::Txn(steps) => match steps.as_ref() {
                [step] => self.step(*step).await,
                _ => self.done(Outcome::fail("Redis' clients here perform one step at a time"), true),
            },
        }
    }
}
