//! Misleading nodes about each other's names: a connection to the lab's name server keeps a lie in force. It ends with the
//! connection, and so with the agent.

mod probe;

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use firedrill_core::action::{Action, Effect, Presence, ProcessRef, Undo};
use firedrill_core::cluster::NodeName;
use firedrill_core::harm::NameAnswer;
use firedrill_sys::clock;

use super::{Grip, Scene, Work, not_mine};
use crate::ends::Ends;
use crate::names::control::{Order, Reply, ask};
use crate::protocol::{Refusal, RefusalKind};
use crate::world::World;

/// The name server ends a lie by itself so long after the agent should have, in nanoseconds.
const MARGIN: u64 = 500_000_000;
/// How long the end of a lie may take; the name server never waits.
const END: Duration = Duration::from_secs(5);
/// How often the name server is looked at, in nanoseconds.
const LOOK_EVERY: u64 = 50_000_000;

/// Misleading.
#[derive(Clone, Copy, Debug)]
pub struct Mislead;

/// Who is misled about whom, and how.
#[derive(Clone, Copy, Debug)]
struct Parts<'a> {
    askers: &'a [NodeName],
    names: &'a [NodeName],
    answer: NameAnswer,
}

fn parts(undo: &Undo) -> Result<Parts<'_>, Refusal> {
    let Action::MisleadNames { askers, names, answer } = &undo.action else { return Err(not_mine(&undo.action)) };
    if askers.is_empty() || names.is_empty() {
        return Err(Refusal::new(RefusalKind::NoTarget, "nobody asks, or for nobody"));
    }
    Ok(Parts { askers, names, answer: *answer })
}

fn socket(world: &World) -> Result<&Path, Refusal> {
    let what = "no name server serves these nodes: their servers find each other by address";
    world.config.resolver.as_deref().ok_or_else(|| Refusal::new(RefusalKind::NotOffered, what))
}

/// What is in force, by tag, and the process that holds each; nothing where no name server can be reached.
pub fn in_force(world: &World) -> io::Result<Vec<(String, i32)>> {
    match world.config.resolver.as_deref().map(held) {
        // One that has ended tells no lies, and its end is an incident.
        Some(Err(error)) if is_gone(&error) => Ok(Vec::new()),
        Some(answered) => answered,
        None => Ok(Vec::new()),
    }
}

fn held(socket: &Path) -> io::Result<Vec<(String, i32)>> {
    let reply = ask(socket, &Order::List)?.1;
    let Reply::Listed { held } = reply else {
        return Err(io::Error::other(format!("the name server answered {reply:?}")));
    };
    Ok(held)
}

impl Work for Mislead {
    fn prepare(&self, world: &World, undo: Undo) -> Result<Undo, Refusal> {
        let parts = parts(&undo)?;
        socket(world)?;
        for asker in parts.askers {
            world.node(asker)?;
        }
        for name in parts.names {
            let truth = world.node(name)?.site.address;
            if parts.answer == (NameAnswer::Wrong { address: truth }) {
                let what = format!("{truth} is the address of {name}: nobody would be misled");
                return Err(Refusal::new(RefusalKind::NoTarget, what));
            }
        }
        Ok(undo)
    }

    fn apply(&self, scene: &mut Scene<'_>, undo: &Undo) -> Result<(Box<dyn Grip>, u64), Refusal> {
        let (world, parts) = (scene.world, parts(undo)?);
        let address = |asker: &NodeName| Ok(world.node(asker)?.site.address);
        let order = Order::Mislead {
            tag: undo.tag.clone(),
            askers: parts.askers.iter().map(address).collect::<Result<BTreeSet<Ipv4Addr>, Refusal>>()?,
            names: parts.names.iter().cloned().collect(),
            answer: parts.answer,
            deadline: scene.deadline(MARGIN),
        };
        let asked = ask(socket(world)?, &order);
        let (stream, reply) = asked.map_err(|error| Refusal::system("asking the name server", &error))?;
        let from = match reply {
            Reply::InForce { from } => from,
            Reply::Refused { why } => return Err(Refusal::new(RefusalKind::System, format!("the name server: {why}"))),
            Reply::Listed { .. } => return Err(Refusal::new(RefusalKind::System, "the name server misunderstood")),
        };
        stream.set_nonblocking(true).map_err(|error| Refusal::system("watching the name server", &error))?;
        Ok((Box::new(Misled { stream, seen: clock::boottime_nanos(), lost: None }), from))
    }

    /// The connection went with whoever had it; what is left to do is to see that the name server has noticed.
    fn undo(&self, world: &World, undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        let Some(socket) = world.config.resolver.as_deref() else { return Ok(()) };
        let is_over = || match held(socket) {
            Ok(held) => held.iter().all(|(tag, _)| *tag != undo.tag).then_some(()),
            // A name server that is gone misleads nobody.
            Err(error) => is_gone(&error).then_some(()),
        };
        let still = || Refusal::new(RefusalKind::System, format!("{} still misleads, or it cannot be told", undo.tag));
        clock::until(END, Duration::from_millis(5), is_over).ok_or_else(still)
    }

    fn probe(&self, _ends: &Ends, world: &World, undo: &Undo) -> Effect {
        let looked = parts(undo).and_then(|parts| probe::look(world, parts.askers, parts.names, parts.answer));
        looked.unwrap_or_else(|refusal| Effect { presence: Presence::Unknown, evidence: refusal.what })
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// The connection that keeps a lie in force.
#[derive(Debug)]
struct Misled {
    stream: UnixStream,
    /// When the name server was last seen.
    seen: u64,
    lost: Option<u64>,
}

impl Grip for Misled {
    fn let_go(self: Box<Self>, world: &World, undo: &Undo, held: &[ProcessRef]) -> Result<(), Refusal> {
        drop(self);
        Mislead.undo(world, undo, held)
    }

    fn next_turn(&self) -> Option<u64> {
        self.lost.is_none().then(|| self.seen.saturating_add(LOOK_EVERY))
    }

    fn turn(&mut self, _world: &World, _undo: &Undo) {
        // Nothing is ever said on it: what can come is its end.
        match self.stream.read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.seen = clock::boottime_nanos(),
            Ok(_) | Err(_) => self.lost = Some(self.seen),
        }
    }

    fn lost(&self) -> Option<u64> {
        self.lost
    }
}
