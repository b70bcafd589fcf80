//! Transactions on PostgreSQL: lists, registers and accounts, one statement for each step, or two where what is written is
//! computed from what was read before.
//!
//! Numbers are written into the statements as they are: they are numbers and nothing else. An error before COMMIT was sent
//! proves that nothing happened; afterwards only what PostgreSQL raises before the commit record does.

use std::fmt::Write as _;

use firedrill_core::history::{Answer, Outcome, Reply, Step};
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use super::client::{acknowledged, failed};
use super::session::{Failure, Session};

/// The level transactions ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isolation {
    /// `READ COMMITTED`.
    ReadCommitted,
    /// `REPEATABLE READ`, which is snapshot isolation.
    RepeatableRead,
    /// `SERIALIZABLE`.
    Serializable,
}

/// The levels by the words of scenarios.
pub(super) const LEVELS: [(&str, Isolation); 3] = [
    ("read-committed", Isolation::ReadCommitted),
    ("repeatable-read", Isolation::RepeatableRead),
    ("serializable", Isolation::Serializable),
];

/// How a step that depends on what is there is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Writes {
    /// In one statement, whose row lock keeps others out even under read committed.
    Atomic,
    /// By reading in one statement and writing what was computed from it in another, as applications do.
    Separate,
}

/// The ways by the words of scenarios.
pub(super) const WRITES: [(&str, Writes); 2] = [("atomic", Writes::Atomic), ("separate", Writes::Separate)];

impl Isolation {
    const fn sql(self) -> &'static str {
        match self {
            Self::ReadCommitted => "READ COMMITTED",
            Self::RepeatableRead => "REPEATABLE READ",
            Self::Serializable => "SERIALIZABLE",
        }
    }
}

/// The statements that make the store.
pub(super) fn create(accounts: u64, balance: u64) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS firedrill_lists (key bigint PRIMARY KEY, list bigint[] NOT NULL);
         CREATE TABLE IF NOT EXISTS firedrill_registers (key bigint PRIMARY KEY, value bigint NOT NULL);
         CREATE TABLE IF NOT EXISTS firedrill_accounts (account bigint PRIMARY KEY, balance bigint NOT NULL);
         TRUNCATE firedrill_lists, firedrill_registers, firedrill_accounts;
         INSERT INTO firedrill_accounts SELECT account, {balance} FROM generate_series(0, {accounts} - 1) AS account
             ON CONFLICT DO NOTHING"
    )
}

/// Performs a transaction. Also tells whether the session can take another.
pub(super) async fn perform(
    session: &mut Session,
    steps: &[Step],
    isolation: Isolation,
    writes: Writes,
) -> (Outcome, bool) {
    let begin = format!("BEGIN ISOLATION LEVEL {}", isolation.sql());
    if let Err(failure) = run(session, &begin).await {
        return (Outcome::fail(failure.reason()), !failure.ends_session());
    }
    let mut answers = Vec::new();
    for step in steps {
        match one(session, *step, writes).await {
            Ok(answer) => answers.push(answer),
            Err(failure) => {
                // COMMIT was not sent: whatever becomes of the session, nothing of this is kept.
                let usable = !failure.ends_session() && run(session, "ROLLBACK").await.is_ok();
                return (Outcome::fail(failure.reason()), usable);
            }
        }
    }
    drop(session.take_warning());
    let committed = run(session, "COMMIT").await;
    let warning = session.take_warning();
    match committed {
        // A transaction that had failed is rolled back by its COMMIT, and says so by this tag alone; none had here.
        Ok(_) => (acknowledged(Reply::Answers(answers), warning.as_deref()), true),
        Err(failure) => (failed(&failure, warning.as_deref()), !failure.ends_session()),
    }
}

/// The rows of a statement, and how many it touched.
struct Ran {
    rows: Vec<SimpleQueryRow>,
    touched: u64,
}

async fn run(session: &mut Session, sql: &str) -> Result<Ran, Failure> {
    let messages = session.ask(async |client| client.simple_query(sql).await).await?;
    let mut ran = Ran { rows: Vec::new(), touched: 0 };
    for message in messages {
        match message {
            SimpleQueryMessage::Row(row) => ran.rows.push(row),
            SimpleQueryMessage::CommandComplete(count) => ran.touched = count,
            SimpleQueryMessage::RowDescription(_) | _ => {}
        }
    }
    Ok(ran)
}

async fn one(session: &mut Session, step: Step, writes: Writes) -> Result<Answer, Failure> {
    match step {
        Step::List { key } => Ok(Answer::List(list(session, key).await?.unwrap_or_default())),
        Step::Read { key } => Ok(Answer::Value(register(session, key).await?)),
        Step::Balance { account } => Ok(Answer::Value(balance(session, account).await?)),
        Step::Append { key, value } => append(session, key, value, writes).await,
        Step::Write { key, value } => {
            let sql = format!(
                "INSERT INTO firedrill_registers AS old VALUES ({key}, {value}) ON CONFLICT (key) DO UPDATE SET value = {value}"
            );
            run(session, &sql).await.map(|_| Answer::Done)
        }
        Step::Compare { key, from, to } => {
            if writes == Writes::Separate && register(session, key).await? != Some(from) {
                return Ok(Answer::Refused);
            }
            let guard = if writes == Writes::Atomic { format!(" AND value = {from}") } else { String::new() };
            let ran =
                run(session, &format!("UPDATE firedrill_registers SET value = {to} WHERE key = {key}{guard}")).await?;
            Ok(if ran.touched == 1 { Answer::Done } else { Answer::Refused })
        }
        Step::Transfer { from, to, amount } => transfer(session, from, to, amount, writes).await,
    }
}

async fn append(session: &mut Session, key: u64, value: u64, writes: Writes) -> Result<Answer, Failure> {
    let sql = match writes {
        Writes::Atomic => format!(
            "INSERT INTO firedrill_lists AS old VALUES ({key}, ARRAY[{value}]::bigint[]) \
             ON CONFLICT (key) DO UPDATE SET list = old.list || {value}::bigint"
        ),
        Writes::Separate => match list(session, key).await? {
            None => format!("INSERT INTO firedrill_lists VALUES ({key}, ARRAY[{value}]::bigint[])"),
            Some(before) => {
                let mut all = String::new();
                for element in before {
                    // Writing to a string cannot fail.
                    let _written = write!(all, "{element},");
                }
                format!("UPDATE firedrill_lists SET list = '{{{all}{value}}}' WHERE key = {key}")
            }
        },
    };
    run(session, &sql).await.map(|_| Answer::Done)
}

async fn transfer(session: &mut Session, from: u64, to: u64, amount: u64, writes: Writes) -> Result<Answer, Failure> {
    if writes == Writes::Atomic {
        let take = format!(
            "UPDATE firedrill_accounts SET balance = balance - {amount} WHERE account = {from} AND balance >= {amount}"
        );
        if run(session, &take).await?.touched != 1 {
            return Ok(Answer::Refused);
        }
        let give = format!("UPDATE firedrill_accounts SET balance = balance + {amount} WHERE account = {to}");
        return run(session, &give).await.map(|_| Answer::Done);
    }
    let (payer, gainer) = (balance(session, from).await?, balance(session, to).await?);
    let (Some(payer), Some(gainer)) = (payer.and_then(|held| held.checked_sub(amount)), gainer) else {
        return Ok(Answer::Refused);
    };
    let mut after = [(from, payer), (to, gainer.saturating_add(amount))];
    // In one order for all, or two transfers wait for each other.
    after.sort_unstable();
    for (account, held) in after {
        run(session, &format!("UPDATE firedrill_accounts SET balance = {held} WHERE account = {account}")).await?;
    }
    Ok(Answer::Done)
}

async fn list(session: &mut Session, key: u64) -> Result<Option<Vec<u64>>, Failure> {
    let ran = run(session, &format!("SELECT list FROM firedrill_lists WHERE key = {key}")).await?;
    let Some(text) = ran.rows.first().and_then(|row| row.get(0)) else { return Ok(None) };
    let inner = text.trim_start_matches('{').trim_end_matches('}');
    let elements = inner.split(',').filter(|word| !word.is_empty());
    let read: Result<Vec<u64>, _> = elements.map(str::parse).collect();
    read.map(Some).map_err(|_| Failure::Garbled(format!("not a list of numbers: {text}")))
}

async fn register(session: &mut Session, key: u64) -> Result<Option<u64>, Failure> {
    number(session, &format!("SELECT value FROM firedrill_registers WHERE key = {key}")).await
}

async fn balance(session: &mut Session, account: u64) -> Result<Option<u64>, Failure> {
    number(session, &format!("SELECT balance FROM firedrill_accounts WHERE account = {account}")).await
}

async fn number(session: &mut Session, sql: &str) -> Result<Option<u64>, Failure> {
    let ran = run(session, sql).await?;
    let Some(text) = ran.rows.first().and_then(|row| row.get(0)) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Failure::Garbled(format!("not a number from 0: {text}")))
}
