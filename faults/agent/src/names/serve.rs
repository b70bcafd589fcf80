//! The name server at work: one thread, and no step waits. What is to be answered late is kept, and looked at again
//! whenever anything changes, so that it goes out at once when nobody wants it late any more.

use std::io::{self, ErrorKind, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use firedrill_sys::ready::{self, Want};
use firedrill_sys::{clock, process};

use super::Setting;
use super::book::{Book, Lie};
use super::control::{Order, Reply};
use super::message::{self, LONGEST, Question, Read};
use crate::log::say;
use crate::planes;

/// Connections at once, at most, of the agent's and by TCP each.
const MOST: usize = 128;
/// Answers kept, at most; nodes that ask more hear nothing.
const MOST_KEPT: usize = 4096;
/// Datagrams taken in a row before anything else has its turn.
const BURST: usize = 64;
/// How long a connection by TCP may say nothing, in nanoseconds (RFC 7766, 6.2.3: a few seconds).
const IDLE: u64 = 10_000_000_000;

/// Where an answer goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Route {
    Udp(SocketAddr),
    /// The number of a connection.
    Tcp(u64),
}

/// A question that is not answered yet.
#[derive(Debug)]
struct Kept {
    question: Question,
    asker: Ipv4Addr,
    route: Route,
    came: u64,
}

/// A connection by TCP: each message after its length (RFC 1035, 4.2.2).
#[derive(Debug)]
struct Caller {
    number: u64,
    stream: TcpStream,
    asker: Ipv4Addr,
    heard: Vec<u8>,
    last: u64,
}

/// A connection of the agent's.
#[derive(Debug)]
struct Owner {
    stream: UnixStream,
    line: Vec<u8>,
    /// What is in force as long as it lasts, and until when at most.
    holds: Option<(String, Option<u64>)>,
}

/// A name server.
#[derive(Debug)]
pub(super) struct Server {
    udp: UdpSocket,
    tcp: TcpListener,
    control: UnixListener,
    book: Book,
    kept: Vec<Kept>,
    callers: Vec<Caller>,
    owners: Vec<Owner>,
    calls: u64,
}

impl Server {
    /// Opens what it listens on.
    pub(super) fn open(setting: &Setting) -> io::Result<Self> {
        let (udp, tcp) = (UdpSocket::bind(setting.at)?, TcpListener::bind(setting.at)?);
        let control = UnixListener::bind(&setting.socket)?;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        control.set_nonblocking(true)?;
        let book = Book::new(setting.nodes.clone());
        Ok(Self { udp, tcp, control, book, kept: Vec::new(), callers: Vec::new(), owners: Vec::new(), calls: 0 })
    }

    /// Answers for ever.
    pub(super) fn serve(&mut self) -> io::Result<()> {
        loop {
            self.wait()?;
            self.hear_owners();
            self.hear_datagrams();
            self.hear_callers();
            self.answer_due();
        }
    }

    /// Waits until something comes, or something is due.
    fn wait(&self) -> io::Result<()> {
        let mut fds = vec![self.udp.as_fd(), self.tcp.as_fd(), self.control.as_fd()];
        fds.extend(self.callers.iter().map(|caller| caller.stream.as_fd()));
        fds.extend(self.owners.iter().map(|owner| owner.stream.as_fd()));
        let wanted: Vec<_> = fds.into_iter().map(|fd| (fd, Want::Read)).collect();
        let kept = self.kept.iter().map(|kept| self.due(kept));
        let ends = self.owners.iter().filter_map(|owner| owner.holds.as_ref()?.1);
        let idle = self.callers.iter().map(|caller| caller.last.saturating_add(IDLE));
        let now = clock::boottime_nanos();
        let next = kept.chain(ends).chain(idle).min().map(|next| Duration::from_nanos(next.saturating_sub(now)));
        ready::any(&wanted, next).map(drop)
    }

    fn due(&self, kept: &Kept) -> u64 {
        let delay = self.book.delay(kept.asker, kept.question.name.as_deref().unwrap_or_default());
        kept.came.saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX))
    }

    fn hear_datagrams(&mut self) {
        let mut buffer = [0; LONGEST];
        for _ in 0..BURST {
            match self.udp.recv_from(&mut buffer) {
                Ok((length, from)) => self.take(&buffer[..length], from.ip(), Route::Udp(from)),
                // An error of an earlier answer, to somebody who is gone, is told here.
                Err(error) if error.kind() != ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// Takes a message in. What asks from no IPv4 address is none of ours.
    fn take(&mut self, message: &[u8], from: IpAddr, route: Route) {
        let IpAddr::V4(asker) = from else { return };
        match message::read(message) {
            Read::Question(question) if self.kept.len() < MOST_KEPT => {
                self.kept.push(Kept { question, asker, route, came: clock::boottime_nanos() });
            }
            Read::Bad(said) => self.send(route, &said),
            Read::Question(_) | Read::Nothing => {}
        }
    }

    /// Answers whatever is due, by what is true of it now.
    fn answer_due(&mut self) {
        let now = clock::boottime_nanos();
        let (due, kept) = std::mem::take(&mut self.kept).into_iter().partition(|kept| self.due(kept) <= now);
        self.kept = kept;
        let due: Vec<Kept> = due;
        for Kept { question, asker, route, .. } in due {
            let said = self.book.say(asker, question.name.as_deref().unwrap_or_default());
            self.send(route, &message::answer(&question, said));
        }
        self.callers.retain(|caller| caller.last.saturating_add(IDLE) > now);
    }

    /// Sends an answer. Who does not take it at once asks again, as of every name server.
    fn send(&mut self, route: Route, said: &[u8]) {
        match route {
            Route::Udp(to) => drop(self.udp.send_to(said, to)),
            Route::Tcp(number) => {
                let Some(place) = self.callers.iter().position(|caller| caller.number == number) else { return };
                let length = u16::try_from(said.len()).unwrap_or(u16::MAX).to_be_bytes();
                let whole = [&length[..], said].concat();
                let sent = self.callers[place].stream.write(&whole);
                if sent.ok() != Some(whole.len()) {
                    self.callers.swap_remove(place);
                }
            }
        }
    }

    fn hear_callers(&mut self) {
        while let Ok((stream, from)) = self.tcp.accept() {
            if let (IpAddr::V4(asker), true) = (from.ip(), self.callers.len() < MOST)
                && stream.set_nonblocking(true).is_ok()
            {
                self.calls += 1;
                let last = clock::boottime_nanos();
                self.callers.push(Caller { number: self.calls, stream, asker, heard: Vec::new(), last });
            }
        }
        for mut caller in std::mem::take(&mut self.callers) {
            let goes_on = read_some(&mut caller.stream, &mut caller.heard, 2 + LONGEST);
            let mut messages = Vec::new();
            while let Some(message) = caller.next_message() {
                messages.push(message);
            }
            let (asker, route) = (caller.asker, Route::Tcp(caller.number));
            // A message longer than any question leaves no room to go on.
            if goes_on && caller.heard.len() < 2 + LONGEST {
                if !messages.is_empty() {
                    caller.last = clock::boottime_nanos();
                }
                self.callers.push(caller);
                for message in &messages {
                    self.take(message, asker.into(), route);
                }
            }
        }
    }

    fn hear_owners(&mut self) {
        while let Ok((stream, _)) = self.control.accept() {
            if self.owners.len() < MOST && stream.set_nonblocking(true).is_ok() {
                self.owners.push(Owner { stream, line: Vec::new(), holds: None });
            }
        }
        let now = clock::boottime_nanos();
        for mut owner in std::mem::take(&mut self.owners) {
            let goes_on = read_some(&mut owner.stream, &mut owner.line, planes::LONGEST);
            let overdue = owner.holds.as_ref().is_some_and(|(_, end)| end.is_some_and(|end| end <= now));
            if goes_on && !overdue && self.hear(&mut owner) {
                self.owners.push(owner);
            } else if let Some((tag, _)) = owner.holds {
                self.book.remove(&tag);
                say(&format!("names: {tag} is over"));
            }
        }
    }

    /// What is in force, and whose connection it lasts as long as.
    fn held(&self) -> Vec<(String, i32)> {
        let owner = |tag: &str| {
            let holds = |owner: &&Owner| owner.holds.as_ref().is_some_and(|(held, _)| held == tag);
            self.owners.iter().find(holds).and_then(|owner| process::peer(&owner.stream).ok()).unwrap_or(0)
        };
        self.book.tags().into_iter().map(|tag| (tag.clone(), owner(&tag))).collect()
    }

    /// Hears what an owner says; whether its connection is kept. Nothing is said on one that holds something.
    fn hear(&mut self, owner: &mut Owner) -> bool {
        let Some(end) = owner.line.iter().position(|byte| *byte == b'\n') else {
            return owner.line.len() < planes::LONGEST && (owner.holds.is_none() || owner.line.is_empty());
        };
        let reply = match (&owner.holds, serde_json::from_slice(&owner.line[..end])) {
            (Some(_), _) => return false,
            (None, Ok(Order::List)) => Reply::Listed { held: self.held() },
            (None, Ok(Order::Mislead { tag, askers, names, answer, deadline })) => {
                let in_time = planes::in_time(deadline).map_err(|error| error.to_string());
                match in_time.and_then(|()| self.book.add(Lie { tag: tag.clone(), askers, names, answer })) {
                    Ok(()) => {
                        let from = clock::boottime_nanos();
                        say(&format!("names: {tag}: {answer}"));
                        owner.holds = Some((tag, deadline));
                        Reply::InForce { from }
                    }
                    Err(why) => Reply::Refused { why },
                }
            }
            (None, Err(error)) => Reply::Refused { why: format!("not an order: {error}") },
        };
        owner.line.clear();
        planes::tell(&owner.stream, &reply).is_ok() && owner.holds.is_some()
    }
}

impl Caller {
    /// The next message that has come whole.
    fn next_message(&mut self) -> Option<Vec<u8>> {
        let length = u16::from_be_bytes(self.heard.get(..2)?.try_into().ok()?);
        let end = 2 + usize::from(length);
        self.heard.get(2..end)?;
        let whole: Vec<u8> = self.heard.drain(..end).collect();
        Some(whole[2..].to_vec())
    }
}

/// Reads what has come, as far as there is room; whether the other end is still there.
fn read_some(stream: &mut impl io::Read, into: &mut Vec<u8>, most: usize) -> bool {
    let mut buffer = [0; 1024];
    let room = most.saturating_sub(into.len()).min(buffer.len());
    if room == 0 {
        return true;
    }
    match stream.read(&mut buffer[..room]) {
        Ok(0) => false,
        Ok(length) => {
            into.extend_from_slice(&buffer[..length]);
            true
        }
        Err(error) => error.kind() == ErrorKind::WouldBlock || error.kind() == ErrorKind::Interrupted,
    }
}
