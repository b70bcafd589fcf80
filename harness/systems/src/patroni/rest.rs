//! What Patroni's REST interface is asked: whether the daemon lives, and its version.

use firedrill_core::cluster::NodeName;
use firedrill_core::platform::Dialer;
use hyper::Method;
use serde::Deserialize;

use super::REST_PORT;
use crate::http::Http;

/// Asks Patroni on `node` whether its loop runs. `Err` when it does not answer or says that the loop stands still.
/// It answers without asking PostgreSQL, unlike `/patroni`, which waits and retries while its server is down.
///
/// Its server closes after every answer, so that each question is a connection of its own.
pub(super) async fn alive(dial: &dyn Dialer, node: &NodeName) -> Result<(), String> {
    let mut http = Http::open(dial, node, REST_PORT).await?;
    let answer = http.send(Method::GET, "/liveness", String::new()).await?;
    if answer.status().is_success() { Ok(()) } else { Err(format!("its loop stands still ({})", answer.status())) }
}

/// Asks Patroni on `node` for its version.
pub(super) async fn version(dial: &dyn Dialer, node: &NodeName) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Answer {
        patroni: Version,
    }
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    let mut http = Http::open(dial, node, REST_PORT).await?;
    let answer: Answer = http.json(Method::GET, "/patroni", String::new()).await?;
    Ok(answer.patroni.version)
}
