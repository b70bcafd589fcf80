//! Looks the data of a node through for damage, on a standby too: every page against its checksum as it is on the disk,
//! every table and index with amcheck, and what the server itself has counted.
//!
//! A server reads a page once and then goes on with its copy in memory; what happened to the page on the disk is found
//! at a restart, perhaps months later. So the files are read around the server's buffers (`pg_read_binary_file`).

use firedrill_core::cluster::NodeName;
use firedrill_core::platform::{Dialer, Vantage};
use firedrill_core::system::Audit;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use super::session::{Failure, Session};

/// Most relations looked through.
const MOST_RELATIONS: u32 = 5000;
/// Most damage told of.
const MOST_DAMAGE: usize = 20;
/// A page that is being written while it is read may look torn: one is damaged when it is so often in a row.
const TRIES: u32 = 3;
/// How often a standby is asked for the extensions, which it has from the primary.
const ASKS: u32 = 50;

const EXTENSIONS: &str = "SELECT count(*) = 2, pg_is_in_recovery() FROM pg_extension \
    WHERE extname IN ('amcheck', 'pageinspect')";
const INSTALL: &str = "CREATE EXTENSION IF NOT EXISTS amcheck; CREATE EXTENSION IF NOT EXISTS pageinspect";
const PAUSE: &str = "SELECT pg_sleep(0.1)";

/// The first gigabyte of every permanent relation, page by page, as it is on the disk. A page is new while it is zero.
const PAGES: &str = "WITH files AS MATERIALIZED (SELECT relation.oid, relation.oid::regclass::text AS name, \
        pg_relation_filepath(relation.oid) AS path FROM pg_class AS relation \
        WHERE relkind IN ('r', 't', 'm', 'i', 'S') AND relpersistence = 'p'), \
    pages AS (SELECT name, path, number, pg_read_binary_file(path, number * 8192, 8192, true) AS page FROM files, \
        LATERAL (SELECT coalesce((pg_stat_file(path, true)).size, 0) AS size) AS file, \
        LATERAL generate_series(0::bigint, least(size, 1073741824) / 8192 - 1) AS number), \
    judged AS (SELECT name, path, number, CASE WHEN length(page) < 8192 THEN false \
        WHEN (page_header(page)).upper = 0 THEN page <> decode(repeat('00', 8192), 'hex') \
        ELSE page_checksum(page, number::int) <> (page_header(page)).checksum END AS wrong FROM pages) \
    SELECT name, path, number FROM judged WHERE wrong ORDER BY name, number LIMIT 20";
const PAGE_COUNT: &str = "SELECT sum(coalesce((pg_stat_file(pg_relation_filepath(oid), true)).size, 0) / 8192)::bigint \
    FROM pg_class WHERE relkind IN ('r', 't', 'm', 'i', 'S') AND relpersistence = 'p'";
const HAS_CHECKSUMS: &str = "SELECT current_setting('data_checksums') = 'on'";
const COUNTED: &str = "SELECT coalesce(datname, 'what all databases share'), checksum_failures FROM pg_stat_database \
    WHERE checksum_failures > 0";
const HAS_VERIFY_HEAPAM: &str = "SELECT to_regproc('verify_heapam') IS NOT NULL";
const TABLES: &str = "SELECT relation.oid, relation.oid::regclass FROM pg_class AS relation \
    WHERE relkind IN ('r', 't', 'm') AND relpersistence = 'p' ORDER BY relation.oid DESC";
const INDEXES: &str = "SELECT index.oid, index.oid::regclass FROM pg_class AS index \
    JOIN pg_am AS method ON method.oid = index.relam JOIN pg_index AS entry ON entry.indexrelid = index.oid \
    WHERE method.amname = 'btree' AND index.relpersistence = 'p' AND indisvalid AND indisready ORDER BY index.oid DESC";

/// Looks a node through. Not bounded in time; the caller does that.
pub(super) async fn audit(dial: &dyn Dialer, node: &NodeName) -> Audit {
    let mut audit = Audit::default();
    let session = match Session::open(dial, Vantage::Control, node, "firedrill audit").await {
        Ok(session) => session,
        Err(why) => return Audit { failure: Some(format!("PostgreSQL of {node}: {why}")), ..audit },
    };
    let mut looking = Looking { session, audit: &mut audit, seen: Vec::new() };
    let looked = looking.all().await;
    let seen = looking.seen.join(", ");
    audit.looked_at = seen;
    audit.failure = looked.err();
    audit
}

struct Looking<'a> {
    session: Session,
    audit: &'a mut Audit,
    seen: Vec<String>,
}

impl Looking<'_> {
    /// `Err` says why not everything could be looked at.
    async fn all(&mut self) -> Result<(), String> {
        self.extensions().await?;
        self.pages().await?;
        let verifies = self.one(HAS_VERIFY_HEAPAM).await?.as_deref() == Some("t");
        if verifies {
            let count = self.each(TABLES, |oid| {
                format!("SELECT format('block %s, line %s: %s', blkno, offnum, msg) FROM verify_heapam({oid}) LIMIT 5")
            });
            let count = count.await?;
            self.seen.push(format!("{count} tables"));
        }
        let count = self.each(INDEXES, |oid| format!("SELECT NULL FROM bt_index_check({oid}, true)")).await?;
        self.seen.push(format!("{count} indexes"));
        self.counted().await
    }

    /// A primary makes them; a standby has them a moment later.
    async fn extensions(&mut self) -> Result<(), String> {
        for _ in 0..ASKS {
            let row = self.session.row(EXTENSIONS).await.map_err(|failure| failure.reason())?;
            match (row.get(0), row.get(1)) {
                (Some("t"), _) => return Ok(()),
                (_, Some("f")) => {
                    let why = |reason: String| format!("amcheck and pageinspect, of PostgreSQL's contrib: {reason}");
                    self.rows(INSTALL).await.map_err(|failure| why(failure.reason()))?;
                }
                _ => drop(self.one(PAUSE).await?),
            }
        }
        Err("the extensions amcheck and pageinspect did not arrive from the primary".to_owned())
    }

    async fn pages(&mut self) -> Result<(), String> {
        if self.one(HAS_CHECKSUMS).await?.as_deref() != Some("t") {
            self.seen.push("no checksums, which are off".to_owned());
            return Ok(());
        }
        let mut wrong: Option<Vec<String>> = None;
        for _ in 0..TRIES {
            let rows = self.rows(PAGES).await.map_err(|failure| failure.reason())?;
            let cell = |row: &SimpleQueryRow, index| row.get(index).unwrap_or("?").to_owned();
            let found = rows.iter().map(|row| {
                format!("page {} of {} ({}) does not match its checksum", cell(row, 2), cell(row, 0), cell(row, 1))
            });
            let found: Vec<String> = found.collect();
            let still = wrong.map_or_else(
                || found.clone(),
                |before| before.into_iter().filter(|page| found.contains(page)).collect(),
            );
            let none = still.is_empty();
            wrong = Some(still);
            if none {
                break;
            }
            self.one(PAUSE).await?;
        }
        let pages = self.one(PAGE_COUNT).await?.unwrap_or_default();
        self.seen.push(format!("{pages} pages and their checksums"));
        wrong.into_iter().flatten().for_each(|page| self.damaged(page));
        Ok(())
    }

    /// Asks `question` of everything that `list` lists by number and name. What it says is damage, and so is an error
    /// that speaks of it.
    async fn each(&mut self, list: &str, question: impl Fn(&str) -> String) -> Result<usize, String> {
        let listed = match self.rows(list).await {
            Ok(listed) => listed,
            Err(failure) => return self.hear(&failure, "the catalogue").map(|()| 0),
        };
        let most = usize::try_from(MOST_RELATIONS).unwrap_or(usize::MAX);
        for row in listed.iter().take(most) {
            let (oid, name) = (row.get(0).unwrap_or("0"), row.get(1).unwrap_or("?"));
            match self.rows(&question(oid)).await {
                Ok(said) => {
                    let said = said.iter().filter_map(|row| row.get(0)).map(|what| format!("{name}: {what}"));
                    said.collect::<Vec<_>>().into_iter().for_each(|what| self.damaged(what));
                }
                Err(failure) => self.hear(&failure, name)?,
            }
        }
        Ok(listed.len().min(most))
    }

    /// Damage the server met by itself since it started.
    async fn counted(&mut self) -> Result<(), String> {
        for row in self.rows(COUNTED).await.map_err(|failure| failure.reason())? {
            let (database, count) = (row.get(0).unwrap_or("?"), row.get(1).unwrap_or("?"));
            self.damaged(format!("the server has met {count} pages with wrong checksums in {database}"));
        }
        Ok(())
    }

    fn damaged(&mut self, what: String) {
        if self.audit.damage.len() < MOST_DAMAGE {
            self.audit.damage.push(what);
        }
    }

    /// Errors of damage go on; others end the look.
    fn hear(&mut self, failure: &Failure, of: &str) -> Result<(), String> {
        let reason = failure.reason();
        if failure.tells_of_damage() && !failure.ends_session() {
            self.damaged(format!("{of}: {reason}"));
            return Ok(());
        }
        Err(format!("{of}: {reason}"))
    }

    async fn one(&mut self, sql: &str) -> Result<Option<String>, String> {
        let row = self.session.row(sql).await.map_err(|failure| failure.reason())?;
        Ok(row.get(0).map(ToOwned::to_owned))
    }

    async fn rows(&mut self, sql: &str) -> Result<Vec<SimpleQueryRow>, Failure> {
        let answer = self.session.ask(async |client| client.simple_query(sql).await).await?;
        let row = |message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None };
        Ok(answer.into_iter().filter_map(row).collect())
    }
}
