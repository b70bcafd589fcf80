//! HTTP/1.1 over a dialed stream, as etcd's gateway and Patroni's REST interface speak it: small JSON, bounded.

use std::fmt::Display;

use firedrill_core::cluster::NodeName;
use firedrill_core::platform::{Dialer, Vantage};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

/// Largest answer that is read.
const LARGEST: usize = 1 << 20;

/// Short and stable, so that equal failures read equal.
pub(crate) fn io_reason(error: &std::io::Error) -> String {
    let kind = error.kind();
    let text: &dyn Display = if kind == std::io::ErrorKind::Other { error } else { &kind };
    text.to_string()
}

/// A connection to an HTTP server.
pub(crate) struct Http {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    /// Aborted when this is dropped.
    _driver: JoinSet<()>,
}

impl Http {
    /// Connects to `port` of `node`, as an observer.
    pub(crate) async fn open(dial: &dyn Dialer, node: &NodeName, port: u16) -> Result<Self, String> {
        Self::open_from(dial, Vantage::Control, node, port).await
    }

    /// Connects to `port` of `node`.
    pub(crate) async fn open_from(
        dial: &dyn Dialer,
        vantage: Vantage,
        node: &NodeName,
        port: u16,
    ) -> Result<Self, String> {
        let stream = dial.dial(vantage, node, port).await.map_err(|error| io_reason(&error))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        // How the connection ends is told to whoever waits for an answer on it.
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        Ok(Self { sender, host: format!("{node}:{port}"), _driver: driver })
    }

    /// Sends a request and returns the head of the answer; the body follows as a stream.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<Response<Incoming>, String> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, &self.host)
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        self.sender.ready().await.map_err(|error| error.to_string())?;
        self.sender.send_request(request).await.map_err(|error| error.to_string())
    }

    /// Sends a request and reads its answer as JSON, whatever its status.
    pub(crate) async fn json<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<T, String> {
        let answer = self.send(method, path, body).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST).collect().await.map_err(|error| error.to_string())?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| format!("HTTP {status}: {error}"))
    }
}
