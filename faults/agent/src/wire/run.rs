//! The wire's one loop: takes orders, frames and time, none of which it waits for alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use firedrill_core::seed::Seed;
use firedrill_sys::frames::{LONGEST, Outlet, Tap};
use firedrill_sys::nft::{DropTable, Keeper, Pair};
use firedrill_sys::ready::{self, Want};
use firedrill_sys::{clock, process, spawn};

use super::plane::{Exits, Plane};
use super::stage::{Port, Stage, only};
use super::{Order, Said, Told};
use crate::log::say;

/// Frames taken at one interface before the others and the clock are looked at again.
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
        let mut fds = vec![(orders.as_fd(), Want::Read)];
        fds.extend(wire.taps.values().map(|tap| (tap.as_fd(), Want::Read)));
        let ready = ready::any(&fds, next.map(|next| Duration::from_nanos(next.saturating_sub(now))))?;
        let ports: Vec<Port> = wire.taps.keys().copied().collect();
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
    exits: Doors,
    taps: BTreeMap<Port, Tap>,
    tables: BTreeMap<String, DropTable>,
    made: u64,
    patience: Option<u64>,
}

/// The interfaces of the switch, by number, and a socket to send by for each that is used.
#[derive(Default)]
struct Doors {
    names: Vec<String>,
    outlets: BTreeMap<Port, Outlet>,
    /// Frames that an interface did not take.
    refused: u64,
}

impl Doors {
    fn port(&mut self, name: &str) -> Port {
        let known = self.names.iter().position(|known| known == name);
        known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }

    fn open(&mut self, port: Port) -> io::Result<()> {
        if let (false, Some(name)) = (self.outlets.contains_key(&port), self.names.get(port)) {
            self.outlets.insert(port, Outlet::open(name)?);
        }
        Ok(())
    }
}

impl Exits for Doors {
    fn send(&mut self, port: Port, bytes: &[u8]) {
        let sent = self.outlets.get(&port).map(|outlet| outlet.send(bytes));
        self.refused += u64::from(!matches!(sent, Some(Ok(()))));
    }
}

impl Wire {
    /// What the time alone brings.
    fn turn(&mut self, now: u64) {
        self.plane.turn(now, &mut self.exits);
        for tag in self.plane.overdue(now) {
            say(&format!("{tag}: the wire ends it at its deadline"));
            if let Err(error) = self.release(&tag, &mut vec![0; LONGEST]) {
                say(&format!("{tag}: {error}"));
            }
        }
    }

    fn take(&mut self, port: Port, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..AT_ONCE {
            let Some(length) = self.taps.get(&port).map_or(Ok(None), |tap| tap.take(buffer))? else { return Ok(()) };
            let frame = buffer.get_mut(..length).unwrap_or_default();
            self.plane.take(port, frame, clock::boottime_nanos(), &mut self.exits);
        }
        Ok(())
    }

    /// Takes what has come before a change, so that the change concerns only what comes after it.
    fn drain(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let ports: Vec<Port> = self.taps.keys().copied().collect();
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
        if self.plane.has(&order.tag) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        self.made += 1;
        let mut stage = Stage::new(self.made, order.tag.clone(), order.how, order.port, order.deadline);
        let mut pairs = Vec::new();
        for way in &order.ways {
            let (input, output) = (self.exits.port(&way.input), self.exits.port(&way.output));
            self.exits.open(input)?;
            self.exits.open(output)?;
            stage.add(input, way.to, output, Seed(order.seed), &way.name);
            let only = only(&order.how, order.port, way.to);
            pairs.push(Pair { input: way.input.clone(), output: way.output.clone(), only });
        }
        // The taps first: a frame between the two steps is there twice rather than lost.
        let inputs: BTreeSet<Port> = stage.lanes().map(|(input, _)| input).collect();
        for input in inputs {
            let mut wanted = self.plane.wanted(input);
            wanted.extend(stage.lanes().filter(|(port, _)| *port == input).map(|(_, to)| to));
            self.listen(input, &wanted)?;
        }
        self.drain(buffer)?;
        let table = match DropTable::create(&order.tag, &pairs, Keeper::Socket) {
            Ok(table) => table,
            Err(error) => {
                self.listen_again()?;
                return Err(error);
            }
        };
        self.tables.insert(order.tag, table);
        self.plane.add(stage);
        Ok(())
    }

    fn release(&mut self, tag: &str, buffer: &mut [u8]) -> io::Result<()> {
        // Its socket closes in any case, and the table goes with it.
        let deleted = self.tables.remove(tag).map_or(Ok(()), DropTable::delete);
        self.drain(buffer)?;
        if let Some(stage) = self.plane.remove(tag, clock::boottime_nanos(), &mut self.exits) {
            let missed: u32 = self.taps.values().map(|tap| tap.missed().unwrap_or(0)).sum();
            let (overflowed, refused) = (self.plane.overflowed, self.exits.refused);
            say(&format!(
                "{tag}: {} packets came, {} were touched; lost by the wire itself: {missed} taken too late, {overflowed} \
                 for want of room, {refused} not taken by an interface",
                stage.seen, stage.touched,
            ));
        }
        self.listen_again()?;
        deleted
    }

    fn listen(&mut self, port: Port, wanted: &BTreeSet<std::net::Ipv4Addr>) -> io::Result<()> {
        let wanted: Vec<_> = wanted.iter().copied().collect();
        if let Some(tap) = self.taps.get(&port) {
            return tap.listen(&wanted);
        }
        let Some(name) = self.exits.names.get(port) else { return Ok(()) };
        let tap = Tap::open(name)?;
        tap.listen(&wanted)?;
        self.taps.insert(port, tap);
        Ok(())
    }

    /// Listens for what is in force and nothing else.
    fn listen_again(&mut self) -> io::Result<()> {
        let plane = &self.plane;
        self.taps.retain(|port, _| !plane.wanted(*port).is_empty());
        for (port, tap) in &self.taps {
            tap.listen(&plane.wanted(*port).into_iter().collect::<Vec<_>>())?;
        }
        Ok(())
    }
}
