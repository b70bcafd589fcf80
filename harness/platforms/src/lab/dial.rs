//! Connections into the lab. A socket belongs to the namespace it was made in, so init makes it and hands it over, and
//! the harness, which could not enter the namespace itself as an ordinary user, connects it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use firedrill_core::cluster::NodeName;
use firedrill_core::platform::{BoxStream, Dialer, NodeAddress, Vantage};
use tokio::net::TcpSocket;

use super::control::Control;
use super::wire::{Ask, CLIENTS, CONTROL};

/// The connection to init, while there is one.
pub(super) type Line = Arc<Mutex<Option<Arc<Control>>>>;

/// Dials into one lab.
#[derive(Debug)]
pub(super) struct LabDialer {
    pub(super) line: Line,
    pub(super) addresses: Vec<NodeAddress>,
}

impl LabDialer {
    fn address(&self, node: &NodeName) -> io::Result<Ipv4Addr> {
        let found = self.addresses.iter().find(|address| address.node == *node);
        found
            .map(|found| found.address)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no node {node}")))
    }
}

#[async_trait]
impl Dialer for LabDialer {
    async fn dial(&self, from: Vantage, node: &NodeName, port: u16) -> io::Result<BoxStream> {
        let address = SocketAddr::from((self.address(node)?, port));
        let namespace = match from {
            Vantage::Clients => CLIENTS,
            Vantage::Control => CONTROL,
        };
        let control = current(&self.line)?;
        let (_, fds) = control.ask(Ask::Socket { namespace: namespace.to_owned() }, &[]).await?;
        let socket = fds.into_iter().next().ok_or_else(|| io::Error::other("no socket came with the answer"))?;
        let stream = TcpSocket::from_std_stream(socket.into()).connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

/// The connection to init, or an error when the lab does not run.
pub(super) fn current(line: &Line) -> io::Result<Arc<Control>> {
    let line = line.lock().unwrap_or_else(PoisonError::into_inner);
    line.clone().ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the lab does not run"))
}
