//! The Redis serialization protocol, version 2 (<https://redis.io/docs/latest/develop/reference/protocol-spec/>), over a
//! dialed stream: one question at a time, bounded answers.

use std::fmt::Write as _;

use firedrill_core::cluster::NodeName;
use firedrill_core::platform::{BoxStream, Dialer, Vantage};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::http::io_reason;

/// Longest line, and most elements of an array that are read.
const LONGEST: usize = 64 << 20;
/// Arrays within arrays, at most.
const DEEPEST: u8 = 8;

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// A simple or bulk string.
    Text(String),
    /// An error of the server's.
    Error(String),
    /// A number.
    Number(i64),
    /// Several.
    List(Vec<Said>),
    /// Nothing.
    Nil,
}

impl Said {
    /// The text.
    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The elements.
    pub(super) fn list(&self) -> &[Said] {
        if let Self::List(list) = self { list } else { &[] }
    }
}

/// A connection to a Redis or a Sentinel.
pub(super) struct Resp {
    stream: BufReader<BoxStream>,
}

impl Resp {
    /// Connects to `port` of `node`.
    pub(super) async fn open(dial: &dyn Dialer, vantage: Vantage, node: &NodeName, port: u16) -> Result<Self, String> {
        let stream = dial.dial(vantage, node, port).await.map_err(|error| io_reason(&error))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Asks, and reads the answer. `Err` is of the connection; the server's own errors are [`Said::Error`].
    pub(super) async fn ask(&mut self, words: &[&str]) -> Result<Said, String> {
        let mut question = format!("*{}\r\n", words.len());
        for word in words {
            // Writing to a string cannot fail.
            let _written = write!(question, "${}\r\n{word}\r\n", word.len());
        }
        let sent = async {
            self.stream.write_all(question.as_bytes()).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| io_reason(&error))?;
        self.read(0).await
    }

    async fn line(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.stream).take(u64::try_from(LONGEST).unwrap_or(u64::MAX));
        bounded.read_until(b'\n', &mut line).await.map_err(|error| io_reason(&error))?;
        let text = String::from_utf8(line).map_err(|_| "not UTF-8".to_owned())?;
        text.strip_suffix("\r\n").map(ToOwned::to_owned).ok_or_else(|| "connection closed".to_owned())
    }

    async fn read(&mut self, depth: u8) -> Result<Said, String> {
        let line = self.line().await?;
        let wrong = || format!("not an answer of Redis: {line:?}");
        let mut chars = line.chars();
        let kind = chars.next().ok_or_else(wrong)?;
        let rest = chars.as_str();
        match kind {
            '+' => Ok(Said::Text(rest.to_owned())),
            '-' => Ok(Said::Error(rest.to_owned())),
            ':' => rest.parse().map(Said::Number).map_err(|_| wrong()),
            '$' | '*' if rest == "-1" => Ok(Said::Nil),
            '$' => {
                let length: usize = rest.parse().ok().filter(|length| *length <= LONGEST).ok_or_else(wrong)?;
                let mut bytes = vec![0; length + 2];
                self.stream.read_exact(&mut bytes).await.map_err(|error| io_reason(&error))?;
                bytes.truncate(length);
                String::from_utf8(bytes).map(Said::Text).map_err(|_| "not UTF-8".to_owned())
            }
            '*' if depth < DEEPEST => {
                let count: usize = rest.parse().ok().filter(|count| *count <= LONGEST).ok_or_else(wrong)?;
                let mut all = Vec::new();
                for _ in 0..count {
                    all.push(Box::pin(self.read(depth + 1)).await?);
                }
                Ok(Said::List(all))
            }
            _ => Err(wrong()),
        }
    }
}
