//! Init's loop: questions of the harness, ends of children, and wishes of the agent. One thread, and no step waits.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use firedrill_sys::children::ChildEnds;
use firedrill_sys::ready::{self, Want};
use firedrill_sys::{namespaces, pass, sockets};

use super::build::Places;
use super::units::{Units, known_node};
use crate::lab::wire::{Ask, Count, Request, Tell};

/// How often ports that units wait for are looked at.
const PORT_LOOKS: Duration = Duration::from_millis(20);
/// Most messages kept for a harness that does not read; a harness that far behind is as good as gone.
const LONGEST_BACKLOG: usize = 4096;
/// Most connections at the starter socket at once.
const MOST_ASKERS: usize = 64;
/// Longest line at the starter socket, in bytes.
const LONGEST_LINE: usize = 256;

/// A message on its way to the harness.
type Outgoing = (Vec<u8>, Vec<OwnedFd>);

/// A connection at the starter socket, and what of its line has arrived.
struct Asker {
    stream: UnixStream,
    line: Vec<u8>,
    /// The node that is down as long as the connection lasts, on account of whoever made it.
    down: Option<String>,
}

/// What an asker has said.
enum Wish {
    /// Start every unit of the node that does not run.
    Ensure(String),
    /// Ask every unit of the node to end, last first, each when the one before it has ended.
    Stop(String),
    /// The node is down until the connection ends.
    Down(String),
    /// The end of the connection means nothing.
    Forget,
}

/// Init at work.
pub(super) struct Init<'a> {
    places: &'a Places,
    units: Units,
    children: ChildEnds,
    /// `None` once the harness is gone from a detached lab.
    harness: Option<OwnedFd>,
    outgoing: VecDeque<Outgoing>,
    askers: Vec<Asker>,
    detached: bool,
}

impl<'a> Init<'a> {
    /// Ready to serve the harness at the other end of `harness`.
    pub(super) fn new(places: &'a Places, units: Units, children: ChildEnds, harness: OwnedFd) -> Self {
        let harness = Some(harness);
        Self { places, units, children, harness, outgoing: VecDeque::new(), askers: Vec::new(), detached: false }
    }

    /// Serves until the harness asks for the end, or is gone. What runs then is ended by the kernel, with init.
    pub(super) fn serve(&mut self) -> io::Result<()> {
        self.tell(&Tell::Ready, Vec::new());
        loop {
            self.flush();
            let ready = self.wait()?;
            if ready.children {
                for (pid, status) in self.children.reap()? {
                    if let Some(told) = self.units.ended(pid, &status)? {
                        self.tell(&told, Vec::new());
                    }
                }
            }
            if ready.harness && !self.hear_harness()? {
                return Ok(());
            }
            if ready.callers {
                self.accept();
                self.open_door();
            }
            self.hear_askers();
            for told in self.units.advance(self.places) {
                self.tell(&told, Vec::new());
            }
        }
    }

    fn wait(&self) -> io::Result<Ready> {
        let listening = [self.children.as_fd(), self.places.starter.as_fd(), self.places.door.as_fd()];
        let mut fds: Vec<_> = listening.into_iter().map(|fd| (fd, Want::Read)).collect();
        fds.extend(self.askers.iter().map(|asker| (asker.stream.as_fd(), Want::Read)));
        let want = if self.outgoing.is_empty() { Want::Read } else { Want::ReadOrWrite };
        fds.extend(self.harness.as_ref().map(|harness| (harness.as_fd(), want)));
        let limit = self.units.any_waiting().then_some(PORT_LOOKS);
        let ready = ready::any(&fds, limit)?;
        let at = |index: usize| ready.get(index).copied().unwrap_or(false);
        let harness = self.harness.is_some() && at(ready.len() - 1);
        Ok(Ready { children: at(0), callers: at(1) || at(2), harness })
    }

    /// Takes every question that has arrived. `false` when the lab is to end.
    fn hear_harness(&mut self) -> io::Result<bool> {
        loop {
            let Some(harness) = &self.harness else { return Ok(true) };
            match pass::receive(harness.as_fd()) {
                Ok(Some(message)) => {
                    let request: Request = serde_json::from_slice(&message.bytes).map_err(io::Error::other)?;
                    if request.ask == Ask::Stop {
                        return Ok(false);
                    }
                    let (told, fds) = match self.answer(&request.ask, &message.fds) {
                        Ok((count, fds)) => (Tell::Done { id: request.id, count }, fds),
                        Err(error) => (Tell::Refused { id: request.id, why: error.to_string() }, Vec::new()),
                    };
                    self.tell(&told, fds);
                }
                Ok(None) => return Ok(self.lose_harness()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(self.lose_harness()),
                Err(error) => return Err(error),
            }
        }
    }

    /// The harness is gone: whether to go on without it.
    fn lose_harness(&mut self) -> bool {
        self.harness = None;
        self.outgoing.clear();
        self.detached
    }

    /// Lets in who knocks, one at a time, and only once whoever was there before has undone everything.
    fn open_door(&mut self) {
        while let Ok(stream) = pass::accept(self.places.door.as_fd()) {
            let occupied = if !self.detached {
                Some(("its run still goes on", false))
            } else if self.harness.is_some() {
                Some(("another run uses it", false))
            } else if self.units.agents() > 0 {
                Some(("the agent of an earlier run still undoes what it did", true))
            } else {
                None
            };
            match occupied {
                None => {
                    self.harness = Some(stream);
                    self.tell(&Tell::Ready, Vec::new());
                }
                Some((what, ends)) => {
                    let told = serde_json::to_vec(&Tell::Occupied { what: what.to_owned(), ends });
                    // Whoever has gone away again need not be told.
                    drop(told.map(|told| pass::send(stream.as_fd(), &told, &[])));
                }
            }
        }
    }

    fn answer(&mut self, ask: &Ask, fds: &[OwnedFd]) -> io::Result<(Count, Vec<OwnedFd>)> {
        let mut made = Vec::new();
        match ask {
            Ask::Socket { namespace } => {
                let network = self.places.network(namespace)?;
                made.push(namespaces::inside(network, &self.places.switch, sockets::tcp)?);
            }
            Ask::Agent { argv, env } => {
                let [input, output, error] = fds else {
                    return Err(io::Error::other("the agent needs three streams"));
                };
                self.units.start_agent(argv, env, [input.as_fd(), output.as_fd(), error.as_fd()])?;
            }
            Ask::StartUnits => self.units.start(None),
            Ask::EndUnits { unit } => self.units.end(unit)?,
            Ask::Count => return Ok((self.units.count()?, made)),
            Ask::Detach => self.detached = true,
            Ask::Stop => {}
        }
        Ok((Count::default(), made))
    }

    fn tell(&mut self, told: &Tell, fds: Vec<OwnedFd>) {
        let Ok(bytes) = serde_json::to_vec(told) else { return };
        if self.harness.is_some() && self.outgoing.len() < LONGEST_BACKLOG {
            self.outgoing.push_back((bytes, fds));
        }
    }

    /// Sends what the socket takes. An end that is gone is noticed by the next read.
    fn flush(&mut self) {
        let Some(harness) = &self.harness else { return };
        while let Some((bytes, fds)) = self.outgoing.front() {
            let borrowed: Vec<_> = fds.iter().map(OwnedFd::as_fd).collect();
            if pass::send(harness.as_fd(), bytes, &borrowed).is_err() {
                return;
            }
            self.outgoing.pop_front();
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.places.starter.accept() {
            if self.askers.len() < MOST_ASKERS && stream.set_nonblocking(true).is_ok() {
                self.askers.push(Asker { stream, line: Vec::new(), down: None });
            }
        }
    }

    /// Answers askers whose line is whole. A connection that breaks is dropped: whoever made it sees that.
    fn hear_askers(&mut self) {
        let mut left_down = Vec::new();
        for mut asker in std::mem::take(&mut self.askers) {
            if self.hear(&mut asker) {
                self.askers.push(asker);
            } else {
                left_down.extend(asker.down);
            }
        }
        // Whoever had them down is gone: an agent that was killed, perhaps with its guard.
        for node in left_down {
            if !self.askers.iter().any(|asker| asker.down.as_ref() == Some(&node)) {
                self.units.left_down(node);
            }
        }
    }

    /// Hears one asker; whether it is still there.
    fn hear(&mut self, asker: &mut Asker) -> bool {
        let mut buffer = [0; LONGEST_LINE];
        match asker.stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(length) => asker.line.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        while let Some(end) = asker.line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = asker.line.drain(..=end).collect();
            let reply = match self.wish(String::from_utf8_lossy(&line).trim()) {
                Ok(Wish::Ensure(node)) => {
                    self.units.start(Some(&node));
                    "ok\n".to_owned()
                }
                Ok(Wish::Stop(node)) => {
                    self.units.stop(&node);
                    "ok\n".to_owned()
                }
                Ok(Wish::Down(node)) => {
                    asker.down = Some(node);
                    "ok\n".to_owned()
                }
                Ok(Wish::Forget) => {
                    asker.down = None;
                    continue;
                }
                Err(why) => format!("error {why}\n"),
            };
            if asker.stream.write_all(reply.as_bytes()).is_err() {
                return false;
            }
        }
        asker.line.len() < LONGEST_LINE
    }

    /// `ensure <node>`, `stop <node>`, `down <node>` or `forget`. Units are not waited for, because one may wait for a port that only
    /// answers once other nodes are back.
    fn wish(&self, line: &str) -> Result<Wish, String> {
        let known = |node: &str| {
            let known = known_node(self.places, node);
            if known { Ok(node.to_owned()) } else { Err(format!("no node {node}")) }
        };
        match line.split_once(' ') {
            Some(("ensure", node)) => known(node).map(Wish::Ensure),
            Some(("down", node)) => known(node).map(Wish::Down),
            Some(("stop", node)) => known(node).map(Wish::Stop),
            None if line == "forget" => Ok(Wish::Forget),
            Some(_) | None => Err("unknown wish".to_owned()),
        }
    }
}

/// What has something for init.
struct Ready {
    children: bool,
    callers: bool,
    harness: bool,
}
