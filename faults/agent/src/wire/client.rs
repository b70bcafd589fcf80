//! The agent's end of its wire: one for all impairments, started at the first and let go after the last.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firedrill_sys::ready::{self, Want};
use firedrill_sys::{clock, process};

use super::{ARGUMENT, Order, Said, Severed, Told};
use crate::log::say;
use crate::protocol::{Refusal, RefusalKind};

/// How long a wire may take to answer; it answers in microseconds. One that is stopped would hold its links dead.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a wire that was let go may take to exit.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// The longest answer.
const LONGEST: usize = 4096;

/// The agent's wire, if it has one now.
#[derive(Clone, Debug, Default)]
pub struct Wires(Arc<Mutex<Place>>);

/// Where the wire is.
#[derive(Debug, Default)]
struct Place {
    wire: Option<Wire>,
    /// Cuts in force, for every wire that comes.
    cuts: Vec<Severed>,
}

impl Wires {
    /// Has an impairment put in force.
    pub fn hold(&self, order: Order, lease: u64) -> Result<Hold, Refusal> {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Place { wire: place, cuts } = &mut *guard;
        if place.as_mut().is_none_or(|wire| !wire.is_there()) {
            *place = Some(Wire::start(lease, cuts).map_err(|error| Refusal::system("starting the wire", &error))?);
        }
        let Some(wire) = place.as_mut() else { return Err(gone()) };
        let tag = order.tag.clone();
        let held = wire.ask(&Told::Hold(order));
        let generation = wire.child.id();
        if held.is_ok() {
            wire.holds += 1;
        }
        if wire.holds == 0 {
            place.take();
        }
        held.map(|()| Hold { wires: self.clone(), tag, generation, over: false })
    }

    /// Has a cut kept by the wire that there is, and by those to come. A wire that does not is ended, and its impairments
    /// with it: the kernel has the cut.
    pub fn cut(&self, cut: Severed) -> Kept {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = Kept { wires: self.clone(), tag: cut.tag.clone() };
        place.cuts.push(cut.clone());
        place.tell(&Told::Cut(cut));
        kept
    }
}

impl Place {
    /// Tells the wire, if there is one. One that does not do it is not kept.
    fn tell(&mut self, told: &Told) {
        if let Some(wire) = &mut self.wire
            && wire.is_there()
            && let Err(refusal) = wire.ask(told)
        {
            say(&format!("the wire is ended: {refusal}"));
            wire.end();
        }
    }
}

/// A cut that wires keep; they do not any more when this is dropped.
#[derive(Debug)]
pub struct Kept {
    wires: Wires,
    tag: String,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut place = self.wires.0.lock().unwrap_or_else(PoisonError::into_inner);
        place.cuts.retain(|cut| cut.tag != self.tag);
        place.tell(&Told::Release(self.tag.clone()));
    }
}

/// An impairment in force; it ends when this is dropped.
#[derive(Debug)]
pub struct Hold {
    wires: Wires,
    tag: String,
    /// The process that has it.
    generation: u32,
    /// Whether it has been ended.
    over: bool,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // A wire that refuses is ended, and it with that.
        drop(self.end());
    }
}

impl Hold {
    /// Ends it. A wire that is gone has ended it already.
    pub fn release(mut self) -> Result<(), Refusal> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Refusal> {
        if std::mem::replace(&mut self.over, true) {
            return Ok(());
        }
        let place = &mut self.wires.0.lock().unwrap_or_else(PoisonError::into_inner).wire;
        let Some(wire) = place.as_mut().filter(|wire| wire.child.id() == self.generation) else { return Ok(()) };
        let released = if wire.is_there() { wire.ask(&Told::Release(self.tag.clone())) } else { Ok(()) };
        wire.holds = wire.holds.saturating_sub(1);
        // One that refuses is not kept: with it goes whatever it holds.
        if wire.holds == 0 || released.is_err() {
            place.take();
        }
        released
    }

    /// Whether the wire still has it. One that does not answer is ended, so that its links do not stay dead.
    pub fn is_there(&self) -> bool {
        let place = &mut self.wires.0.lock().unwrap_or_else(PoisonError::into_inner).wire;
        let Some(wire) = place.as_mut().filter(|wire| wire.child.id() == self.generation) else { return false };
        wire.is_there() && wire.ping()
    }
}

/// A running wire.
#[derive(Debug)]
struct Wire {
    child: Child,
    holds: usize,
    read: Vec<u8>,
    /// Since when a ping is without an answer.
    asked: Option<u64>,
}

fn gone() -> Refusal {
    Refusal::new(RefusalKind::System, "the wire is gone")
}

impl Wire {
    fn start(lease: u64, cuts: &[Severed]) -> io::Result<Self> {
        let child = process::start_self(&[ARGUMENT])?;
        let mut wire = Self { child, holds: 0, read: Vec::new(), asked: None };
        let cuts = cuts.iter().cloned().map(Told::Cut);
        for told in std::iter::once(Told::Patience(lease)).chain(cuts) {
            wire.ask(&told).map_err(|refusal| io::Error::other(refusal.what))?;
        }
        Ok(wire)
    }

    /// Whether the process runs.
    fn is_there(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn tell(&mut self, told: &Told) -> io::Result<()> {
        let mut line = serde_json::to_vec(told)?;
        line.push(b'\n');
        let pipe = self.child.stdin.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        pipe.write_all(&line)
    }

    /// Tells, and waits for the answer. A wire that gives none is ended: it could do later what it was told, and nobody
    /// would know.
    fn ask(&mut self, told: &Told) -> Result<(), Refusal> {
        match self.converse(told) {
            Ok(Said::Done) => Ok(()),
            Ok(Said::Failed { what, errno }) => {
                Err(Refusal { kind: RefusalKind::System, what: format!("the wire: {what}"), errno })
            }
            Err(error) => {
                self.end();
                Err(Refusal::system("the wire does not answer", &error))
            }
        }
    }

    fn converse(&mut self, told: &Told) -> io::Result<Said> {
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        if self.asked.take().is_some() {
            self.answer(PATIENCE)?.ok_or_else(late)?;
        }
        self.tell(told)?;
        self.answer(PATIENCE)?.ok_or_else(late)
    }

    /// Asks for a sign of life without waiting for it. `false` when the last one is overdue; the process is ended then.
    fn ping(&mut self) -> bool {
        let now = clock::boottime_nanos();
        match self.asked {
            None => {
                self.asked = Some(now);
                self.tell(&Told::Ping).is_ok()
            }
            Some(since) => match self.answer(Duration::ZERO) {
                Ok(Some(_)) => {
                    self.asked = None;
                    true
                }
                Ok(None) if u128::from(now.saturating_sub(since)) < PATIENCE.as_nanos() => true,
                Ok(None) | Err(_) => {
                    self.end();
                    false
                }
            },
        }
    }

    /// The next answer, if it comes within `limit`.
    fn answer(&mut self, limit: Duration) -> io::Result<Option<Said>> {
        let end = clock::boottime_nanos().saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
        loop {
            if let Some(at) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=at).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            let left = Duration::from_nanos(end.saturating_sub(clock::boottime_nanos()));
            let output = self.child.stdout.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
            if ready::any(&[(output.as_fd(), Want::Read)], Some(left))?.first() != Some(&true) {
                if left.is_zero() {
                    return Ok(None);
                }
                continue;
            }
            let mut bytes = [0; LONGEST];
            let length = io::Read::read(output, &mut bytes)?;
            if length == 0 || self.read.len() > LONGEST {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            self.read.extend_from_slice(bytes.get(..length).unwrap_or_default());
        }
    }

    fn end(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Wire {
    /// Lets the wire go, and ends it if it stays.
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let ended = clock::until(LAST_WAIT, Duration::from_millis(1), || self.child.try_wait().transpose());
        if ended.is_none() {
            say("the wire does not end by itself and is killed");
            self.end();
        }
    }
}
