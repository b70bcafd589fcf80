//! Connections of clients to simulated nodes. A cut link holds back what is sent, and nobody is told; a stopped process
//! accepts and does not answer; a dead one refuses, and closes what it had open.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use firedrill_core::action::Endpoint;
use firedrill_core::cluster::NodeName;
use firedrill_core::platform::{BoxStream, Dialer, Vantage};
use firedrill_core::sim::{PORT, Reply, Request};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::task::JoinSet;

use super::world::{Process, World};

/// Connections a node takes at most.
const CONNECTIONS: usize = 1024;
/// Bytes in flight on a connection.
const BUFFER: usize = 64 * 1024;

/// The tasks of a simulated world. Dropping it ends them.
pub(super) type Tasks = Arc<Mutex<JoinSet<()>>>;

/// Spawns a task that ends with the world; forgets those that have ended.
pub(super) fn spawn(tasks: &Tasks, task: impl Future<Output = ()> + Send + 'static) {
    let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
    while tasks.try_join_next().is_some() {}
    tasks.spawn(task);
}

pub(super) struct SimDialer {
    pub(super) world: Arc<World>,
    pub(super) tasks: Tasks,
}

#[async_trait]
impl Dialer for SimDialer {
    async fn dial(&self, from: Vantage, node: &NodeName, port: u16) -> io::Result<BoxStream> {
        let wire = Wire { world: Arc::clone(&self.world), from, node: node.clone() };
        wire.travel(Way::Out).await;
        let accepted = wire.accept(port);
        wire.travel(Way::Back).await;
        let incarnation = accepted?;
        let (client, server) = tokio::io::duplex(BUFFER);
        spawn(&self.tasks, serve(Counted { wire }, incarnation, server));
        Ok(Box::new(client))
    }
}

#[derive(Clone, Copy)]
enum Way {
    Out,
    Back,
}

struct Wire {
    world: Arc<World>,
    from: Vantage,
    node: NodeName,
}

impl Wire {
    /// Takes the time of one way, and as long as the link is cut. Observers have a wire of their own that is never cut.
    async fn travel(&self, way: Way) {
        let world = &self.world;
        match self.from {
            Vantage::Control => world.clock.sleep(Duration::from_millis(1)).await,
            Vantage::Clients => {
                let latency = world.lock().latency();
                world.clock.sleep(latency).await;
                let node = Endpoint::Node(self.node.clone());
                let (from, to) = match way {
                    Way::Out => (Endpoint::Clients, node),
                    Way::Back => (node, Endpoint::Clients),
                };
                world.until(|state| state.open(&from, &to).then_some(())).await;
            }
        }
    }

    /// The kernel accepts, also for a stopped process. Returns which process it is.
    fn accept(&self, port: u16) -> io::Result<u64> {
        let mut state = self.world.lock();
        let incarnation = state.nodes.get(&self.node).map_or(0, |node| node.incarnation);
        let gone = port != PORT || state.process(&self.node, incarnation) == Process::Gone;
        match state.nodes.get_mut(&self.node) {
            Some(node) if !gone && node.connections < CONNECTIONS => {
                node.connections += 1;
                Ok(incarnation)
            }
            Some(_) | None => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    /// Waits until the process has ended.
    async fn gone(&self, incarnation: u64) {
        self.world.until(|state| (state.process(&self.node, incarnation) == Process::Gone).then_some(())).await;
    }
}

/// A wire of an accepted connection; the node counts it until it is dropped.
struct Counted {
    wire: Wire,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(node) = self.wire.world.lock().nodes.get_mut(&self.wire.node) {
            node.connections = node.connections.saturating_sub(1);
        }
    }
}

async fn serve(counted: Counted, incarnation: u64, stream: DuplexStream) {
    let wire = &counted.wire;
    let (read, mut write) = tokio::io::split(stream);
    let mut lines = BufReader::new(read).lines();
    loop {
        let line = tokio::select! {
            biased;
            line = lines.next_line() => line,
            () = wire.gone(incarnation) => return wire.travel(Way::Back).await,
        };
        let Ok(Some(line)) = line else { return };
        let Ok(request) = serde_json::from_str::<Request>(&line) else { return };
        if !exchange(wire, incarnation, &request, &mut lines, &mut write).await {
            return;
        }
    }
}

/// Carries one request to the process and its answer back. False when the connection is over.
async fn exchange(
    wire: &Wire,
    incarnation: u64,
    request: &Request,
    lines: &mut tokio::io::Lines<BufReader<ReadHalf<DuplexStream>>>,
    write: &mut WriteHalf<DuplexStream>,
) -> bool {
    let there_and_back = async {
        wire.travel(Way::Out).await;
        let answer = wire.world.ask(&wire.node, incarnation, request).await;
        wire.travel(Way::Back).await;
        answer
    };
    let answer = tokio::select! {
        biased;
        answer = there_and_back => answer,
        // Who asks one thing at a time and sends more has hung up. What only reads is then dropped; a write that was sent
        // goes on its way, because a closed socket's bytes are still delivered.
        _ = lines.next_line(), if !request.writes() => None,
    };
    let Some(answer) = answer else { return false };
    let reply = Reply { node: wire.node.clone(), answer };
    let Ok(mut text) = serde_json::to_vec(&reply) else { return false };
    text.push(b'\n');
    write.write_all(&text).await.is_ok()
}
