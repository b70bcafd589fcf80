//! Operations on PostgreSQL, and what an answer proves.
//!
//! An insert is one statement in autocommit. Its answer carries the timeline and a position of the log that its commit
//! record lies beyond: both from the same statement, because a session survives the promotion of its node.

use async_trait::async_trait;
use firedrill_core::cluster::{Epoch, Position};
use firedrill_core::history::{Op, Outcome, Reply, Step};
use firedrill_core::system::{Client, Completion};
use tokio_postgres::Statement;
use tokio_postgres::error::{DbError, Severity};
use tokio_postgres::types::{PgLsn, Type};

use super::session::{Failure, Session};
use super::transactions::{self, Isolation, Writes};

/// Also empties it: a cluster that lives on may have it from an earlier run, whose rows are not this one's.
const CREATE: &str = "CREATE TABLE IF NOT EXISTS firedrill_ledger (row bigint PRIMARY KEY); TRUNCATE firedrill_ledger";
const INSERT: &str = "INSERT INTO firedrill_ledger (row) VALUES ($1) \
     RETURNING pg_walfile_name(pg_current_wal_insert_lsn()), pg_current_wal_insert_lsn()";
const SCAN: &str = "SELECT ledger.row FROM firedrill_ledger AS ledger ORDER BY 1";

/// A session that knows the ledger and transactions.
pub(super) struct PostgresClient {
    session: Session,
    insert: Option<Statement>,
    isolation: Isolation,
    writes: Writes,
}

impl PostgresClient {
    /// A client of this session. Nothing is prepared yet.
    pub(super) fn new(session: Session, isolation: Isolation, writes: Writes) -> Self {
        Self { session, insert: None, isolation, writes }
    }

    async fn transact(&mut self, steps: &[Step]) -> Completion {
        if !self.session.is_open().await {
            return self.done(Outcome::fail("connection closed before the transaction"), false);
        }
        let (outcome, usable) = transactions::perform(&mut self.session, steps, self.isolation, self.writes).await;
        self.done(outcome, usable)
    }

    async fn insert(&mut self, row: u64) -> Completion {
        let Ok(number) = i64::try_from(row) else {
            return self.done(Outcome::fail("a row is at most 2^63 - 1"), true);
        };
        if !self.session.is_open().await {
            return self.done(Outcome::fail("connection closed before the insert"), false);
        }
        let statement = match self.prepared().await {
            Ok(statement) => statement,
            // The insert itself was not sent.
            Err(failure) => return self.done(Outcome::fail(failure.reason()), !failure.ends_session()),
        };
        let answer = self.session.ask(async |client| client.query_one(&statement, &[&number]).await).await;
        let warning = self.session.take_warning();
        let row = match answer {
            Ok(row) => row,
            Err(failure) => {
                let outcome = failed(&failure, warning.as_deref());
                return self.done(outcome, !failure.ends_session());
            }
        };
        let mut completion = self.done(acknowledged(Reply::Done, warning.as_deref()), true);
        completion.epoch = row.try_get(0).ok().and_then(timeline_of_walfile);
        completion.receipt = row.try_get::<_, PgLsn>(1).ok().map(|lsn| Position(lsn.into()));
        completion
    }

    async fn prepared(&mut self) -> Result<Statement, Failure> {
        if let Some(statement) = &self.insert {
            return Ok(statement.clone());
        }
        let statement = self.session.ask(async |client| client.prepare_typed(INSERT, &[Type::INT8]).await).await?;
        self.insert = Some(statement.clone());
        Ok(statement)
    }

    async fn create(&mut self, sql: &str) -> Completion {
        let answer = self.session.ask(async |client| client.batch_execute(sql).await).await;
        let warning = self.session.take_warning();
        match answer {
            Ok(()) => self.done(acknowledged(Reply::Done, warning.as_deref()), true),
            Err(failure) => self.done(failed(&failure, warning.as_deref()), !failure.ends_session()),
        }
    }

    /// Reads every row, on a replica too. The epoch and the position are asked first: what is read is at least that.
    async fn scan(&mut self) -> Completion {
        let place = self.session.row(super::view::WHERE).await;
        let answer = match place {
            Ok(place) => self.session.ask(async |client| client.query(SCAN, &[]).await).await.map(|rows| (place, rows)),
            Err(failure) => Err(failure),
        };
        let (place, rows) = match answer {
            Ok(read) => read,
            // A read changes nothing, so a failed one certainly did not happen.
            Err(failure) => return self.done(Outcome::fail(failure.reason()), !failure.ends_session()),
        };
        let rows: Option<Vec<u64>> =
            rows.iter().map(|row| row.try_get::<_, i64>(0).ok().and_then(|row| u64::try_from(row).ok())).collect();
        let outcome = match rows {
            Some(rows) => Outcome::Ok(Reply::Rows(rows)),
            None => Outcome::fail("a row of the ledger is not a number from 0"),
        };
        let mut completion = self.done(outcome, true);
        completion.epoch = super::view::epoch(&place);
        completion.receipt = super::view::position(&place);
        completion
    }

    fn done(&self, outcome: Outcome, usable: bool) -> Completion {
        let served_by = Some(self.session.node().clone());
        Completion { outcome, served_by, epoch: None, receipt: None, usable }
    }
}

#[async_trait]
impl Client for PostgresClient {
    async fn invoke(&mut self, op: &Op) -> Completion {
        match op {
            Op::Insert { row } => self.insert(*row).await,
            Op::CreateLedger => self.create(CREATE).await,
            Op::CreateStore { accounts, balance } => self.create(&transactions::create(*accounts, *balance)).await,
            Op::Txn(steps) => self.transact(steps).await,
            Op::Scan => self.scan().await,
        }
    }
}

/// The outcome of a write that was answered with success.
///
/// A backend whose wait for synchronous replication is cancelled commits all the same and says so only by a WARNING
/// (01000, or 57P01 when it is being terminated; `src/backend/replication/syncrep.c`). A plain write has no other
/// reason to warn, so that any warning takes its word back, whatever the language of its text.
pub(super) fn acknowledged(reply: Reply, warning: Option<&DbError>) -> Outcome {
    match warning {
        None => Outcome::Ok(reply),
        Some(warning) => Outcome::info(in_words(warning)),
    }
}

/// The outcome of a write that was answered with an error, or not at all.
pub(super) fn failed(failure: &Failure, warning: Option<&DbError>) -> Outcome {
    match (failure, warning) {
        (_, Some(warning)) => Outcome::info(in_words(warning)),
        (Failure::Refused(error), None) if proves_no_effect(error.code().code(), error.parsed_severity()) => {
            let read_only = error.code().code() == "25006";
            Outcome::fail(if read_only { "read-only node".to_owned() } else { failure.reason() })
        }
        (Failure::Refused(_) | Failure::Closed | Failure::Garbled(_), None) => Outcome::info(failure.reason()),
    }
}

fn in_words(warning: &DbError) -> String {
    format!("warning {}: {}", warning.code().code(), warning.message())
}

/// Whether an error proves that a single statement in autocommit had no effect. Only what PostgreSQL raises before the
/// commit record is written, and as an ERROR: a FATAL may come while the commit waits for its standby.
fn proves_no_effect(code: &str, severity: Option<Severity>) -> bool {
    // Data exceptions, constraint violations, refused by rights or missing objects, lack of resources.
    const CLASSES: [&str; 4] = ["22", "23", "42", "53"];
    // Read-only; serialization failure, deadlock; lock not available. Not 40003 (completion unknown), not 57014.
    const CODES: [&str; 4] = ["25006", "40001", "40P01", "55P03"];
    severity == Some(Severity::Error) && (CLASSES.iter().any(|class| code.starts_with(class)) || CODES.contains(&code))
}

/// The timeline in the name of a log file: its first eight hexadecimal digits.
fn timeline_of_walfile(name: &str) -> Option<Epoch> {
    u64::from_str_radix(name.get(..8)?, 16).ok().map(Epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_before_the_commit_prove_that_nothing_happened() {
        for code in ["25006", "42P01", "23505", "40001", "40P01", "53100", "53300", "22003", "55P03"] {
            assert!(proves_no_effect(code, Some(Severity::Error)), "{code}");
            assert!(!proves_no_effect(code, Some(Severity::Fatal)), "{code}");
            assert!(!proves_no_effect(code, None), "{code}");
        }
        for code in ["57P01", "57P02", "57014", "40003", "08006", "XX000", "58030", "25P02"] {
            assert!(!proves_no_effect(code, Some(Severity::Error)), "{code}");
        }
    }

    #[test]
    fn a_lost_connection_is_unknown() {
        assert_eq!(failed(&Failure::Closed, None), Outcome::info("connection closed"));
        assert_eq!(acknowledged(Reply::Done, None), Outcome::Ok(Reply::Done));
    }

    #[test]
    fn the_timeline_is_hexadecimal() {
        assert_eq!(timeline_of_walfile("0000001A0000000000000005"), Some(Epoch(26)));
        assert_eq!(timeline_of_walfile("0001"), None);
    }
}
