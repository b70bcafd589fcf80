//! What Patroni's REST interface is asked: whether the daemon lives, and what it makes of its own server.

use firedrill_core::cluster::NodeName;
use firedrill_core::platform::Dialer;
use hyper::Method;
use serde::Deserialize;

use super::REST_PORT;
use super::http::Http;

/// What one Patroni says of its node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Daemon {
    /// `running`, `starting`, `creating replica`…
    pub(super) state: String,
    /// `master` or `primary` by version, `replica`…
    pub(super) role: String,
    /// Its version.
    pub(super) version: String,
}

/// Asks Patroni on `node`. Its server closes after every answer, so that each question is a connection of its own.
pub(super) async fn ask(dial: &dyn Dialer, node: &NodeName) -> Result<Daemon, String> {
    #[derive(Deserialize)]
    struct Answer {
        state: String,
        role: String,
        #[serde(default)]
        patroni: Version,
    }
    #[derive(Deserialize, Default)]
    struct Version {
        #[serde(default)]
        version: String,
    }
    let mut http = Http::open(dial, node, REST_PORT).await?;
    let answer: Answer = http.json(Method::GET, "/patroni", String::new()).await?;
    Ok(Daemon { state: answer.state, role: answer.role, version: answer.patroni.version })
}
