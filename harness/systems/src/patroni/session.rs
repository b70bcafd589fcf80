//! One connection to one PostgreSQL, driven by the task that uses it: no second task to wake for every message, and
//! when the caller drops a pending call the socket closes with it and nothing is sent to cancel.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};

use firedrill_core::cluster::NodeName;
use firedrill_core::platform::{BoxStream, Dialer, Vantage};
use tokio_postgres::error::{DbError, Severity};
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, SimpleQueryMessage, SimpleQueryRow};

use super::POSTGRES_PORT;
use crate::http::io_reason;

/// Why a question was not answered.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server answered with an error.
    Refused(Box<DbError>),
    /// The connection is gone; whether the server did what it was asked is unknown.
    Closed,
    /// The driver could not make sense of the answer, or could not encode the question.
    Garbled(String),
}

impl Failure {
    /// Short and stable, so that equal failures read equal.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Refused(error) => format!("{} {}", error.code().code(), error.message()),
            Self::Closed => "connection closed".to_owned(),
            Self::Garbled(what) => what.clone(),
        }
    }

    /// Whether it speaks of damaged data: `data_corrupted`, `index_corrupted`, or files that are not there or cannot be
    /// read (`src/backend/utils/errcodes.txt`).
    pub(super) fn tells_of_damage(&self) -> bool {
        const CODES: [&str; 4] = ["XX001", "XX002", "58030", "58P01"];
        matches!(self, Self::Refused(error) if CODES.contains(&error.code().code()))
    }

    /// Whether the server has ended the session with this error, or is about to.
    pub(super) fn ends_session(&self) -> bool {
        match self {
            Self::Refused(error) => matches!(error.parsed_severity(), None | Some(Severity::Fatal | Severity::Panic)),
            Self::Closed | Self::Garbled(_) => true,
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(refused) => Self::Refused(Box::new(refused.clone())),
            None if error.is_closed() => Self::Closed,
            None => match std::error::Error::source(&error) {
                Some(source) if source.is::<std::io::Error>() => Self::Closed,
                source => {
                    Self::Garbled(source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}")))
                }
            },
        }
    }
}

/// A refused write is an outcome in the history; four hundred a second of them would bury the server's own log. And a
/// session must not outlive its client by more than seconds: the word that a client has ended is lost where the network is
/// cut, and a server keeps a session of which it hears nothing for two hours, until none is left for others.
const OPTIONS: &str = "-c log_min_messages=fatal -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 \
    -c tcp_keepalives_count=3";

/// A connection with what is needed to drive it.
pub(super) struct Session {
    node: NodeName,
    client: Client,
    connection: Option<Connection<BoxStream, NoTlsStream>>,
    warning: Option<Box<DbError>>,
}

impl Session {
    /// Connects to PostgreSQL on `node`. `Err` says why not, short and stable.
    pub(super) async fn open(
        dial: &dyn Dialer,
        vantage: Vantage,
        node: &NodeName,
        application: &str,
    ) -> Result<Self, String> {
        let stream = dial.dial(vantage, node, POSTGRES_PORT).await.map_err(|error| io_reason(&error))?;
        let mut config = Config::new();
        config.user("postgres").dbname("postgres").application_name(application).options(OPTIONS);
        let (client, connection) =
            config.connect_raw(stream, NoTls).await.map_err(|error| Failure::from(error).reason())?;
        Ok(Self { node: node.clone(), client, connection: Some(connection), warning: None })
    }

    /// Where it leads.
    pub(super) fn node(&self) -> &NodeName {
        &self.node
    }

    /// Whether the connection is still there, as far as was heard. Hears what has already arrived, and does not wait.
    pub(super) async fn is_open(&mut self) -> bool {
        poll_fn(|cx| {
            hear(&mut self.connection, &mut self.warning, cx);
            Poll::Ready(self.connection.is_some())
        })
        .await
    }

    /// A WARNING that came since the last time this was asked.
    pub(super) fn take_warning(&mut self) -> Option<Box<DbError>> {
        self.warning.take()
    }

    /// Asks with the driver's client, driving the connection meanwhile.
    pub(super) async fn ask<T>(
        &mut self,
        question: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Failure> {
        let Self { client, connection, warning, .. } = self;
        let mut question = pin!(question(client));
        poll_fn(|cx| {
            // The question is put into the driver's queue, then written and the answer read, then the answer is taken
            // out of the queue: in this order one turn of this task does all that can be done now.
            if let Poll::Ready(answer) = question.as_mut().poll(cx) {
                return Poll::Ready(answer.map_err(Failure::from));
            }
            hear(connection, warning, cx);
            // A closed connection drops the queue, so that the question then ends with `closed`.
            question.as_mut().poll(cx).map_err(Failure::from)
        })
        .await
    }

    /// The single row of a question without parameters, as texts.
    pub(super) async fn row(&mut self, sql: &str) -> Result<SimpleQueryRow, Failure> {
        let answer = self.ask(async |client| client.simple_query(sql).await).await?;
        let row = answer
            .into_iter()
            .find_map(|message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None });
        row.ok_or_else(|| Failure::Garbled("no row".to_owned()))
    }

    /// Whether the server takes writes. PostgreSQL 14 and later say so by themselves when a session begins.
    pub(super) async fn is_read_write(&mut self) -> Result<bool, Failure> {
        if let Some(open) = &self.connection {
            let says_off = |name: &str| open.parameter(name).map(|value| value == "off");
            if let (Some(primary), Some(writes)) =
                (says_off("in_hot_standby"), says_off("default_transaction_read_only"))
            {
                return Ok(primary && writes);
            }
        }
        let row = self.row("SHOW transaction_read_only").await?;
        Ok(row.get(0) == Some("off"))
    }
}

/// Drives the connection as far as it goes now, keeping the first warning. A connection that ended is dropped.
fn hear(
    connection: &mut Option<Connection<BoxStream, NoTlsStream>>,
    warning: &mut Option<Box<DbError>>,
    cx: &mut Context<'_>,
) {
    while let Some(open) = connection {
        match open.poll_message(cx) {
            Poll::Ready(Some(Ok(AsyncMessage::Notice(notice)))) => {
                if notice.parsed_severity() == Some(Severity::Warning) && warning.is_none() {
                    *warning = Some(Box::new(notice));
                }
            }
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(_)) | None) => *connection = None,
            Poll::Pending => return,
        }
    }
}
