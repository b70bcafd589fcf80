//! Looking at a lab that another command left running. Its init answers only to who made it, so the lab is entered: by a
//! process with a single thread, which the kernel asks of whoever enters a user namespace.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;

use async_trait::async_trait;
use firedrill_core::cluster::NodeName;
use firedrill_core::platform::{BoxStream, Dialer, NodeAddress, Vantage, lab_addresses};
use firedrill_sys::{dirs, namespaces};
use tokio::net::TcpStream;

use super::doing;
use super::init::namespace_path;
use super::records::{Record, list};
use super::wire::CONTROL;

/// Moves the calling process into the observers' network of the running lab `run_id`. Must be called before any thread is
/// started; the process sees the lab's files afterwards. Fails with `NotFound` when no such lab runs.
pub fn enter(run_id: &str) -> io::Result<()> {
    let not_found = || io::Error::new(io::ErrorKind::NotFound, format!("no lab {run_id} is running"));
    let record: Record = list().into_iter().find(|record| record.run_id == run_id).ok_or_else(not_found)?;
    let init = record.init.ok_or_else(not_found)?;
    let open = |kind: &str| File::open(format!("/proc/{}/ns/{kind}", init.pid)).map_err(doing("open the lab"));
    // Both are opened first: once inside the user namespace, the outer /proc may be closed to us.
    let user = if dirs::is_root() { None } else { Some(open("user")?) };
    let mounts = open("mnt")?;
    if let Some(user) = &user {
        namespaces::enter(user.as_fd()).map_err(doing("enter the lab's user namespace"))?;
    }
    namespaces::enter(mounts.as_fd()).map_err(doing("enter the lab's mounts"))?;
    let network = File::open(namespace_path(CONTROL)).map_err(doing("find the lab's network"))?;
    namespaces::enter(network.as_fd()).map_err(doing("enter the lab's network"))
}

/// Reaches the nodes of the lab that the process is in, as an observer only.
#[derive(Debug)]
pub struct Inside {
    addresses: Vec<NodeAddress>,
}

impl Inside {
    /// For a lab of these nodes, in their order.
    pub fn new(nodes: &[NodeName]) -> Self {
        Self { addresses: lab_addresses(nodes) }
    }
}

#[async_trait]
impl Dialer for Inside {
    async fn dial(&self, from: Vantage, node: &NodeName, port: u16) -> io::Result<BoxStream> {
        if from == Vantage::Clients {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "only observers are let in from outside"));
        }
        let found = self.addresses.iter().find(|address| address.node == *node);
        let found = found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no node {node}")))?;
        Ok(Box::new(TcpStream::connect(SocketAddr::from((found.address, port))).await?))
    }
}
