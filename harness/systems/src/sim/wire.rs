//! One connection to a simulated node: a request, a reply, one JSON text a line.

use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use firedrill_core::cluster::NodeName;
use firedrill_core::platform::{BoxStream, Dialer, Vantage};
use firedrill_core::sim::{Answer, PORT, Reply, Request, Status};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

/// How long a node is waited for before the next is tried. A healthy one takes less than ten milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);

pub(super) struct Wire {
    stream: BufReader<BoxStream>,
}

impl Wire {
    pub(super) async fn open(dial: &dyn Dialer, vantage: Vantage, node: &NodeName) -> io::Result<Self> {
        Ok(Self { stream: BufReader::new(dial.dial(vantage, node, PORT).await?) })
    }

    pub(super) async fn ask(&mut self, request: &Request) -> io::Result<Answer> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.write_all(&line).await?;
        let mut reply = String::new();
        if self.stream.read_line(&mut reply).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "connection closed by the node"));
        }
        Ok(serde_json::from_str::<Reply>(&reply)?.answer)
    }

    pub(super) async fn status(&mut self) -> io::Result<Status> {
        let answer = self.ask(&Request::Status).await?;
        let Answer::Status(status) = answer else {
            return Err(io::Error::other(format!("not a status: {answer:?}")));
        };
        Ok(status)
    }
}

/// Connects, asks for the status, and closes.
pub(super) async fn status(dial: &dyn Dialer, vantage: Vantage, node: &NodeName) -> io::Result<Status> {
    Wire::open(dial, vantage, node).await?.status().await
}

/// Runs futures side by side in this task; their results in the order given.
pub(super) async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        let mut all = true;
        for (future, slot) in running.iter_mut().zip(&mut done) {
            if slot.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(output) => *slot = Some(output),
                    Poll::Pending => all = false,
                }
            }
        }
        if all { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}
