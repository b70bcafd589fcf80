//! Where a wire takes frames and gives them back: sockets at the interfaces of a switch, and at each host's end a socket and
//! a TAP device.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, BorrowedFd};

use firedrill_sys::frames::{Outlet, Tap};
use firedrill_sys::namespaces::{self, Kind};
use firedrill_sys::tap::TapDevice;

use super::plane::Exits;
use super::stage::{Exit, Key, Port};
use super::{At, End, Way};

/// The mark of frames that the wire has given back at a host's end: the tables there let them pass.
pub const MARK: u32 = 0x_f17e_d211;

/// A place, by what it is called.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Door {
    /// An interface of the switch.
    Switch(String),
    /// A host's interface, outwards.
    Out(End),
    /// The host itself: what it sends is taken here, and what it is to have is given.
    Host(End),
}

/// All places by number, and what is open of them.
#[derive(Debug, Default)]
pub struct Doors {
    known: Vec<Door>,
    taps: BTreeMap<Port, Tap>,
    devices: BTreeMap<Port, TapDevice>,
    outlets: BTreeMap<Port, Outlet>,
    /// Frames that nobody took.
    pub refused: u64,
}

impl Doors {
    fn port(&mut self, door: Door) -> Port {
        let found = self.known.iter().position(|known| *known == door);
        found.unwrap_or_else(|| {
            self.known.push(door);
            self.known.len() - 1
        })
    }

    /// Which frames are of a link, and where they are given back. Opens nothing.
    pub fn of(&mut self, way: &Way) -> (Key, Exit) {
        let (input, on, back) = match &way.at {
            At::Switch { input, output } => {
                let input = self.port(Door::Switch(input.clone()));
                (input, self.port(Door::Switch(output.clone())), input)
            }
            At::Sender(end) => {
                let host = self.port(Door::Host(end.clone()));
                (host, self.port(Door::Out(end.clone())), host)
            }
            At::Receiver(end) => {
                let host = self.port(Door::Host(end.clone()));
                (host, host, self.port(Door::Out(end.clone())))
            }
        };
        ((input, way.from, way.to), Exit { on, back })
    }

    /// Opens where frames are given back.
    pub fn open(&mut self, port: Port) -> io::Result<()> {
        if self.outlets.contains_key(&port) || self.devices.contains_key(&port) {
            return Ok(());
        }
        match self.known.get(port) {
            Some(Door::Switch(name)) => drop(self.outlets.insert(port, Outlet::open(name, 0)?)),
            Some(Door::Out(end)) => {
                let outlet = at(end, || Outlet::open(&end.interface, MARK))?;
                self.outlets.insert(port, outlet);
            }
            Some(Door::Host(end)) => drop(self.devices.insert(port, at(end, || TapDevice::open(&end.interface))?)),
            None => {}
        }
        Ok(())
    }

    /// The number of the device to which a host's frames are to be sent, once that is open.
    pub fn device(&self, end: &End) -> io::Result<u32> {
        let is_it = |door: &Door| matches!(door, Door::Host(other) if other == end);
        let device = self.known.iter().position(is_it).and_then(|port| self.devices.get(&port));
        device.map(TapDevice::index).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Takes the frames to these addresses at an interface of the switch; at a host's end the kernel chooses.
    pub fn listen(&mut self, port: Port, wanted: &BTreeSet<Ipv4Addr>) -> io::Result<()> {
        let Some(Door::Switch(name)) = self.known.get(port) else { return Ok(()) };
        let wanted: Vec<_> = wanted.iter().copied().collect();
        if let Some(tap) = self.taps.get(&port) {
            return tap.listen(&wanted);
        }
        let tap = Tap::open(name)?;
        tap.listen(&wanted)?;
        self.taps.insert(port, tap);
        Ok(())
    }

    /// Where frames are taken, and what tells that there are some.
    pub fn inputs(&self) -> Vec<(Port, BorrowedFd<'_>)> {
        let taps = self.taps.iter().map(|(port, tap)| (*port, tap.as_fd()));
        taps.chain(self.devices.iter().map(|(port, device)| (*port, device.as_fd()))).collect()
    }

    /// The next frame at a place, if there is one.
    pub fn take(&self, port: Port, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match (self.taps.get(&port), self.devices.get(&port)) {
            (Some(tap), _) => tap.take(buffer),
            (None, Some(device)) => device.take(buffer),
            (None, None) => Ok(None),
        }
    }

    /// Frames that found no room since the last call.
    pub fn missed(&self) -> u32 {
        self.taps.values().map(|tap| tap.missed().unwrap_or(0)).sum()
    }

    /// Closes all but these, and has each listen for what it is wanted for.
    pub fn keep(&mut self, used: &BTreeSet<Port>, wanted: impl Fn(Port) -> BTreeSet<Ipv4Addr>) -> io::Result<()> {
        self.devices.retain(|port, _| used.contains(port));
        self.outlets.retain(|port, _| used.contains(port));
        self.taps.retain(|port, _| !wanted(*port).is_empty());
        for (port, tap) in &self.taps {
            tap.listen(&wanted(*port).into_iter().collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

impl Exits for Doors {
    fn send(&mut self, port: Port, bytes: &[u8]) {
        let sent = match (self.outlets.get(&port), self.devices.get(&port)) {
            (Some(outlet), _) => outlet.send(bytes).is_ok(),
            (None, Some(device)) => device.give(bytes).is_ok(),
            (None, None) => false,
        };
        self.refused += u64::from(!sent);
    }
}

/// Does it at a host's end; sockets and devices stay where they were made.
fn at<T: Send>(end: &End, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    namespaces::visit(&end.netns, Kind::Net, work)
}
