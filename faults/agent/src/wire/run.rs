//! The wire's one loop: takes orders, frames and time, none of which it waits for alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use firedrill_core::harm::{Chance, Impairment};
use firedrill_core::seed::Seed;
use firedrill_sys::frames::LONGEST;
use firedrill_sys::nft::{Keeper, LinkTable, Then};
use firedrill_sys::ready::{self, Want};
use firedrill_sys::{clock, process, spawn};

use super::doors::{Doors, MARK};
use super::plane::Plane;
use super::stage::{Port, Stage, only};
use super::{Order, Said, Severed, Told};
use crate::log::say;
use crate::planes;
use crate::tables;

/// Frames taken at one place before the others and the clock are looked at again.
const AT_ONCE: usize = 64;
/// The longest line of orders.
const LONGEST_LINE: usize = 1 << 20;

/// Is a wire: until standard input ends, or has been silent for as long as was said first.
pub fn run() -> io::Result<()> {
    spawn::die_with_parent()?;
    if let Err(error) = process::prefer_self() {
        say(&format!("the wire runs at ordinary priority: {error}"));
    }
    let orders = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut wire = Wire::default();
    let (mut line, mut read, mut frame) = (Vec::new(), vec![0; LONGEST], vec![0; LONGEST]);
    let mut heard = clock::boottime_nanos();
    loop {
        let now = clock::boottime_nanos();
        wire.turn(now);
        let patience = wire.patience.map(|patience| heard.saturating_add(patience));
        if patience.is_some_and(|end| end <= now) {
            say("the wire has not heard from its agent and ends");
            return Ok(());
        }
        let next = wire.plane.next().into_iter().chain(patience).min();
        let inputs = wire.doors.inputs();
        let mut fds = vec![(orders.as_fd(), Want::Read)];
        fds.extend(inputs.iter().map(|(_, fd)| (*fd, Want::Read)));
        let ready = ready::any(&fds, next.map(|next| Duration::from_nanos(next.saturating_sub(now))))?;
        let ports: Vec<Port> = inputs.iter().map(|(port, _)| *port).collect();
        for (port, _) in ports.into_iter().zip(ready.iter().skip(1)).filter(|(_, ready)| **ready) {
            wire.take(port, &mut frame)?;
        }
        if ready.first() == Some(&true) {
            let length = (&orders).read(&mut read)?;
            if length == 0 {
                return Ok(());
            }
            heard = clock::boottime_nanos();
            line.extend_from_slice(read.get(..length).unwrap_or_default());
            wire.hear(&mut line, &mut frame)?;
        }
    }
}

/// A wire at work.
#[derive(Default)]
struct Wire {
    plane: Plane,
    doors: Doors,
    tables: BTreeMap<String, Vec<LinkTable>>,
    made: u64,
    patience: Option<u64>,
}

impl Wire {
    /// What the time alone brings.
    fn turn(&mut self, now: u64) {
        self.plane.turn(now, &mut self.doors);
        for tag in self.plane.overdue(now) {
            say(&format!("{tag}: the wire ends it at its deadline"));
            if let Err(error) = self.release(&tag, &mut vec![0; LONGEST]) {
                say(&format!("{tag}: {error}"));
            }
        }
    }

    fn take(&mut self, port: Port, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..AT_ONCE {
            let Some(length) = self.doors.take(port, buffer)? else { return Ok(()) };
            let frame = buffer.get_mut(..length).unwrap_or_default();
            self.plane.take(port, frame, clock::boottime_nanos(), &mut self.doors);
        }
        Ok(())
    }

    /// Takes what has come before a change, so that the change concerns only what comes after it.
    fn drain(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let ports: Vec<Port> = self.doors.inputs().iter().map(|(port, _)| *port).collect();
        ports.into_iter().try_for_each(|port| self.take(port, buffer))
    }

    /// Answers each whole line.
    fn hear(&mut self, lines: &mut Vec<u8>, buffer: &mut [u8]) -> io::Result<()> {
        while let Some(end) = lines.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = lines.drain(..=end).collect();
            let done = match serde_json::from_slice(&line)? {
                Told::Patience(nanos) => {
                    self.patience = Some(nanos);
                    Ok(())
                }
                Told::Ping => Ok(()),
                Told::Hold(order) => self.hold(order, buffer),
                Told::Cut(cut) => {
                    self.cut(&cut);
                    Ok(())
                }
                Told::Release(tag) => self.release(&tag, buffer),
            };
            let said = match done {
                Ok(()) => Said::Done,
                Err(error) => Said::Failed { what: error.to_string(), errno: error.raw_os_error() },
            };
            let mut answer = serde_json::to_vec(&said)?;
            answer.push(b'\n');
            io::stdout().write_all(&answer)?;
            io::stdout().flush()?;
        }
        if lines.len() > LONGEST_LINE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an order without an end"));
        }
        Ok(())
    }

    fn hold(&mut self, order: Order, buffer: &mut [u8]) -> io::Result<()> {
        planes::in_time(order.deadline)?;
        if self.plane.has(&order.tag) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let held = self.try_hold(order, buffer);
        if held.is_err() {
            self.tidy()?;
        }
        held
    }

    fn try_hold(&mut self, order: Order, buffer: &mut [u8]) -> io::Result<()> {
        self.made += 1;
        let mut stage = Stage::new(self.made, order.tag.clone(), order.how, order.port, order.deadline);
        for way in &order.ways {
            let (key, exit) = self.doors.of(way);
            for port in [key.0, exit.on, exit.back] {
                self.doors.open(port)?;
            }
            stage.add(key, exit, Seed(order.seed), &way.name);
        }
        // The sockets first: a frame between the two steps is there twice rather than lost.
        let inputs: BTreeSet<Port> = stage.lanes().map(|((input, ..), _)| input).collect();
        for input in inputs {
            let mut wanted = self.plane.wanted(input);
            wanted.extend(stage.lanes().filter(|((port, ..), _)| *port == input).map(|((_, _, to), _)| to));
            self.doors.listen(input, &wanted)?;
        }
        self.drain(buffer)?;
        let doors = &self.doors;
        let then = |end: &_| Ok(Then::Forward { device: doors.device(end)?, unless: MARK });
        let narrow = |way: &_| only(&order.how, order.port, way);
        let made = tables::make(&order.tag, &order.ways, narrow, then, Keeper::Socket)?;
        self.tables.insert(order.tag, made);
        self.plane.add(stage);
        Ok(())
    }

    fn cut(&mut self, cut: &Severed) {
        let everything = Impairment::Loss { chance: Chance::CERTAIN };
        let mut stage = Stage::new(0, cut.tag.clone(), everything, cut.port, None);
        for way in &cut.ways {
            let (key, exit) = self.doors.of(way);
            stage.add(key, exit, Seed(0), &way.name);
        }
        self.plane.cut(stage);
    }

    fn release(&mut self, tag: &str, buffer: &mut [u8]) -> io::Result<()> {
        // Their sockets close in any case, and the tables go with them.
        let deleted = tables::delete(self.tables.remove(tag).unwrap_or_default());
        self.drain(buffer)?;
        self.plane.mend(tag);
        if let Some(stage) = self.plane.remove(tag, clock::boottime_nanos(), &mut self.doors) {
            let missed = self.doors.missed();
            let (overflowed, refused) = (self.plane.overflowed, self.doors.refused);
            say(&format!(
                "{tag}: {} packets came, {} were touched; lost by the wire itself: {missed} taken too late, {overflowed} \
                 for want of room, {refused} not taken by an interface or host",
                stage.seen, stage.touched,
            ));
        }
        self.tidy()?;
        deleted
    }

    /// Keeps open what is in force and nothing else.
    fn tidy(&mut self) -> io::Result<()> {
        self.doors.keep(&self.plane.used(), |port| self.plane.wanted(port))
    }
}
