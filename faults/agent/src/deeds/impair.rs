//! Impairing links: the agent's wire does it, and the agent watches the wire.

pub(super) mod probe;

use firedrill_core::action::{Action, Effect, Link, Presence, ProcessRef, Undo};
use firedrill_core::harm::Impairment;
use firedrill_sys::clock;
use firedrill_sys::nft::Keeper;

use super::{Grip, Scene, Work, not_mine};
use crate::ends::Ends;
use crate::failpoint;
use crate::protocol::{Refusal, RefusalKind};
use crate::tables;
use crate::wire::Order;
use crate::wire::client::Hold;
use crate::world::{World, is_tag};

/// How often the wire is asked for a sign of life, in nanoseconds.
const LOOK_EVERY: u64 = 50_000_000;
/// The wire ends an impairment by itself so long after the agent should have, in nanoseconds.
const MARGIN: u64 = 500_000_000;
/// How long the kernel may take to remove the table of a wire that died.
const VANISH: std::time::Duration = std::time::Duration::from_secs(3);

/// Impairing links.
#[derive(Clone, Copy, Debug)]
pub struct Impair;

/// The parts of the action.
struct Parts<'a> {
    links: &'a [Link],
    port: Option<u16>,
    how: &'a Impairment,
    seed: u64,
}

fn parts(undo: &Undo) -> Result<Parts<'_>, Refusal> {
    if let Action::Impair { links, port, how, seed } = &undo.action {
        Ok(Parts { links, port: *port, how, seed: *seed })
    } else {
        Err(not_mine(&undo.action))
    }
}

impl Work for Impair {
    fn prepare(&self, world: &World, undo: Undo) -> Result<Undo, Refusal> {
        let ways = tables::ways(world, parts(&undo)?.links)?;
        if world.keeper == Keeper::Nobody {
            let what = "impairing links needs Linux 5.12: tables of nftables that end with their process";
            return Err(Refusal::new(RefusalKind::NotOffered, what));
        }
        let creates = tables::creates(&undo.tag, &ways, world.keeper);
        Ok(Undo { creates, ..undo })
    }

    fn apply(&self, scene: &mut Scene<'_>, undo: &Undo) -> Result<(Box<dyn Grip>, u64), Refusal> {
        let (world, parts) = (scene.world, parts(undo)?);
        let end = |hold: u64| clock::boottime_nanos().saturating_add(hold).saturating_add(MARGIN);
        let order = Order {
            tag: undo.tag.clone(),
            ways: tables::ways(world, parts.links)?,
            port: parts.port,
            how: *parts.how,
            seed: parts.seed,
            deadline: scene.hold.map(end),
        };
        let hold = world.wires.hold(order, world.config.lease_nanos)?;
        let now = clock::boottime_nanos();
        failpoint::within("impair-mid-apply")?;
        Ok((Box::new(Impaired { hold, seen: now, lost: None }), now))
    }

    /// The tables go with the wire, and the wire with its agent; what is left to do is to wait for that.
    fn undo(&self, world: &World, undo: &Undo, _held: &[ProcessRef]) -> Result<(), Refusal> {
        if !is_tag(&undo.tag) {
            return Err(Refusal::new(RefusalKind::Order, format!("`{}` is not a tag of ours", undo.tag)));
        }
        let ways = tables::ways(world, parts(undo)?.links)?;
        let is_gone = || match tables::left(&undo.tag, &ways) {
            Ok(left) => (left == 0).then_some(Ok(())),
            Err(error) => Some(Err(Refusal::system("listing nft tables", &error))),
        };
        let still = || Refusal::new(RefusalKind::System, format!("nft table {} is still there", undo.tag));
        clock::until(VANISH, std::time::Duration::from_millis(5), is_gone).unwrap_or_else(|| Err(still()))
    }

    fn probe(&self, ends: &Ends, _world: &World, undo: &Undo) -> Effect {
        match parts(undo) {
            Ok(parts) => probe::look(ends, parts.links, parts.port, parts.how),
            Err(refusal) => Effect { presence: Presence::Unknown, evidence: refusal.what },
        }
    }
}

/// An impairment in force.
#[derive(Debug)]
struct Impaired {
    hold: Hold,
    /// When the wire was last seen.
    seen: u64,
    lost: Option<u64>,
}

impl Grip for Impaired {
    fn let_go(self: Box<Self>, world: &World, undo: &Undo, held: &[ProcessRef]) -> Result<(), Refusal> {
        failpoint::at("impair-mid-revert");
        self.hold.release().or_else(|refusal| Impair.undo(world, undo, held).map_err(|_| refusal))
    }

    fn next_turn(&self) -> Option<u64> {
        Some(self.seen.saturating_add(LOOK_EVERY))
    }

    fn turn(&mut self, _world: &World, _undo: &Undo) {
        if self.lost.is_none() && !self.hold.is_there() {
            self.lost = Some(self.seen);
        }
        self.seen = clock::boottime_nanos();
    }

    fn lost(&self) -> Option<u64> {
        self.lost
    }
}
