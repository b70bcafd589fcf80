//! HTTP/1.1 over a dialed stream, as etcd's gateway and Patroni's REST interface speak it: small JSON, bounded.

use firedrill_core::cluster::NodeName;
use firedrill_core::platform::{Dialer, Vantage};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;

use super::session::io_reason;
use tokio::task::JoinSet;

/// Largest answer that is read.
const LARGEST: usize = 1 << 20;

/// A connection to an HTTP server.
pub(super) struct Http {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    /// Aborted when this is dropped.
    _driver: JoinSet<()>,
}

impl Http {
    /// Connects to `port` of `node`, as an observer.
    pub(super) async fn open(dial: &dyn Dialer, node: &NodeName, port: u16) -> Result<Self, String> {
        let stream = dial.dial(Vantage::Control, node, port).await.map_err(|error| io_reason(&error))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        // How the connection ends is told to whoever waits for an answer on it.
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        Ok(Self { sender, host: format!("{node}:{port}"), _driver: driver })
    }

    /// Sends a request and returns the head of the answer; the body follows as a stream.
    pub(super) async fn send(
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
    pub(super) async fn json<T: DeserializeOwned>(
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
