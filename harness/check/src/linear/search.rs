//! Whether the calls of one key have an order: a breadth-first frontier and a depth-first search, in turn.
//!
//! Both walk through the same configurations, one completion after the other (Lowe, *Testing for linearizability*, 2017:
//! just-in-time linearization). The frontier keeps every configuration of a level, so that it can let those dominate
//! that spent fewer crashed operations: it proves violations. The depth-first search (Wing and Gong, 1993, with the memo
//! of Lowe) finds an order early where the frontier would be wide. Each gets a budget, then the other a larger one.

mod order;

use super::Limits;
use super::Stop;
use super::configs::Configs;
use super::plan::{Level, Live, Plan};
use super::spec::Spec;

pub(super) use order::order;

/// What is known of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// There is an order.
    Order,
    /// There is none: at this level, these are the states in which its call cannot take effect.
    NoOrder {
        /// The level.
        level: usize,
        /// A few states.
        states: Vec<u32>,
    },
    /// A limit was reached; every level before this one was passed.
    Stopped {
        /// The level.
        level: usize,
        /// Which limit.
        why: Stop,
    },
}

/// How wide the frontier may become, and how many configurations the depth-first search may meet, at first.
const FIRST: (usize, usize) = (512, 1 << 15);

/// How much more of both there is in the next round. Rounds end with a limit of the caller at the latest.
const MORE: usize = 8;

/// States told of a violation.
const TOLD: usize = 8;

/// Decides one key.
pub(super) fn search(plan: &Plan, spec: &mut Spec, limits: &Limits<'_>) -> Found {
    only(plan, spec, limits, FIRST.0, FIRST.1)
}

/// Decides one key, with these first budgets; a budget of nothing stays nothing.
pub(super) fn only(plan: &Plan, spec: &mut Spec, limits: &Limits<'_>, mut width: usize, mut nodes: usize) -> Found {
    let mut search = Search::new(plan, spec, limits);
    let mut frontier = vec![0; plan.layout.stride()];
    let mut level = 0;
    loop {
        match search.breadth(&mut frontier, &mut level, width) {
            Ended::Order => return Found::Order,
            Ended::NoOrder => return Found::NoOrder { level, states: search.states },
            Ended::Stopped(why) => return Found::Stopped { level, why },
            Ended::Spent => {}
        }
        match search.depth(&frontier, level, nodes) {
            Ended::Order => return Found::Order,
            Ended::NoOrder => return Found::NoOrder { level: search.deepest, states: search.states },
            Ended::Stopped(why) => return Found::Stopped { level: level.max(search.deepest), why },
            Ended::Spent => {}
        }
        width = width.saturating_mul(MORE);
        nodes = nodes.saturating_mul(MORE);
    }
}

enum Ended {
    Order,
    NoOrder,
    Spent,
    Stopped(Stop),
}

struct Search<'a, 'l> {
    plan: &'a Plan,
    spec: &'a mut Spec,
    limits: &'a Limits<'l>,
    steps: u32,
    deepest: usize,
    states: Vec<u32>,
    other_bytes: usize,
    /// What takes effect because it fits and changes nothing, when somebody wants to know.
    log: Option<Vec<usize>>,
}

/// What took effect by a choice.
#[derive(Clone, Copy, Debug)]
enum Taken {
    /// A call that ends.
    Call(Live),
    /// The next crashed call of a class.
    Crashed(usize),
}

impl<'a, 'l> Search<'a, 'l> {
    fn new(plan: &'a Plan, spec: &'a mut Spec, limits: &'a Limits<'l>) -> Self {
        Self { plan, spec, limits, steps: 0, deepest: 0, states: Vec::new(), other_bytes: 0, log: None }
    }
}

impl Search<'_, '_> {
    /// Asked at every step; looks at the limits now and then.
    fn stop(&mut self, configs: &Configs) -> Option<Stop> {
        self.steps = self.steps.wrapping_add(1);
        if !self.steps.is_multiple_of(512) {
            return None;
        }
        if let Some(stop) = (self.limits.exceeded)(0) {
            return Some(stop);
        }
        let bytes = configs.bytes() + self.spec.bytes + self.plan.bytes() + self.other_bytes;
        (bytes > self.limits.memory).then_some(Stop::Memory)
    }

    /// Takes the frontier from `level` as far as it stays narrow. It is left at the last level it reached.
    fn breadth(&mut self, frontier: &mut Vec<u64>, level: &mut usize, width: usize) -> Ended {
        let layout = self.plan.layout;
        let mut configs = Configs::new(layout.stride(), layout.prefix());
        let mut next = Vec::new();
        let mut scratch = Vec::new();
        while let Some(here) = self.plan.levels.get(*level) {
            configs.empty();
            for config in frontier.chunks_exact_mut(layout.stride()) {
                self.settle(config, self.plan.fresh(here));
                configs.insert(config);
            }
            let mut place = 0;
            while place < configs.len() {
                self.other_bytes = 8 * (frontier.capacity() + next.capacity());
                if let Some(why) = self.stop(&configs) {
                    return Ended::Stopped(why);
                }
                if configs.len() > width {
                    return Ended::Spent;
                }
                if !configs.is_dead(place) && !layout.has(configs.get(place), here.slot) {
                    scratch.clear();
                    scratch.extend_from_slice(configs.get(place));
                    self.expand(&scratch, here, *level, |config, _| {
                        configs.insert(config);
                    });
                }
                place += 1;
            }
            next.clear();
            for place in 0..configs.len() {
                let config = configs.get(place);
                if !configs.is_dead(place) && layout.has(config, here.slot) {
                    let start = next.len();
                    next.extend_from_slice(config);
                    layout.clear(next.get_mut(start..).unwrap_or_default(), here.slot);
                }
            }
            if next.is_empty() {
                self.states.clear();
                self.tell(*level, frontier.chunks_exact(layout.stride()).map(|config| layout.state(config)));
                return Ended::NoOrder;
            }
            std::mem::swap(frontier, &mut next);
            *level += 1;
        }
        Ended::Order
    }

    /// Goes from the configurations of a level to the end along one of the orders.
    fn depth(&mut self, frontier: &[u64], from: usize, nodes: usize) -> Ended {
        let layout = self.plan.layout;
        let stride = layout.stride();
        let mut met = Configs::new(stride, stride);
        let mut stack = frontier.to_vec();
        for config in stack.chunks_exact_mut(stride) {
            layout.set_level(config, from);
            if let Some(here) = self.plan.levels.get(from) {
                self.settle(config, self.plan.fresh(here));
            }
        }
        (self.deepest, self.states) = (from, Vec::new());
        let mut config = vec![0; stride];
        while let Some(top) = stack.len().checked_sub(stride) {
            config.copy_from_slice(stack.get(top..).unwrap_or_default());
            stack.truncate(top);
            let level = self.advance(&mut config);
            let Some(here) = self.plan.levels.get(level) else { return Ended::Order };
            if !met.insert(&config) {
                continue;
            }
            if level >= self.deepest {
                self.tell(level, std::iter::once(layout.state(&config)));
            }
            self.other_bytes = 8 * stack.capacity();
            if let Some(why) = self.stop(&met) {
                return Ended::Stopped(why);
            }
            if met.len() > nodes {
                return Ended::Spent;
            }
            // What is pushed last is tried first: the call that ends here, then those that ended next.
            let start = stack.len();
            self.expand(&config, here, level, |config, _| stack.extend_from_slice(config));
            let added = stack.get_mut(start..).unwrap_or_default();
            reverse(added, stride);
        }
        Ended::NoOrder
    }

    /// Passes the levels whose call took effect already. Returns the one it is at then.
    fn advance(&mut self, config: &mut [u64]) -> usize {
        let layout = self.plan.layout;
        let mut level = layout.level(config);
        while let Some(here) = self.plan.levels.get(level)
            && layout.has(config, here.slot)
        {
            layout.clear(config, here.slot);
            level += 1;
            if let Some(next) = self.plan.levels.get(level) {
                self.settle(config, self.plan.fresh(next));
            }
        }
        layout.set_level(config, level);
        level
    }

    fn tell(&mut self, level: usize, states: impl Iterator<Item = u32>) {
        if level > self.deepest {
            self.states.clear();
        }
        self.deepest = level;
        for state in states {
            if self.states.len() < TOLD && !self.states.contains(&state) {
                self.states.push(state);
            }
        }
    }

    /// Lets those take effect that fit and change nothing: whatever may follow could follow then too.
    fn settle(&mut self, config: &mut [u64], live: &[Live]) {
        let layout = self.plan.layout;
        let state = layout.state(config);
        for call in live {
            if self.spec.is_pure(call.op)
                && !layout.has(config, call.slot)
                && self.spec.step(state, call.op) == Some(state)
            {
                layout.set(config, call.slot);
                if let Some(log) = &mut self.log {
                    log.push(call.span);
                }
            }
        }
    }

    /// Every configuration one effect further; the one in which the call that ends here took effect is first.
    fn expand(&mut self, config: &[u64], here: &Level, level: usize, mut found: impl FnMut(&[u64], Taken)) {
        let (plan, layout) = (self.plan, self.plan.layout);
        let state = layout.state(config);
        let live = plan.live(here);
        let ending = live.iter().filter(|call| call.slot == here.slot);
        let others = live.iter().filter(|call| call.slot != here.slot && !layout.has(config, call.slot));
        let mut further = config.to_vec();
        for call in ending.chain(others) {
            // One that is pure and fits has taken effect.
            if self.spec.is_pure(call.op) {
                continue;
            }
            if let Some(after) = self.spec.step(state, call.op) {
                further.copy_from_slice(config);
                layout.set(&mut further, call.slot);
                self.enter(&mut further, state, after, live);
                found(&further, Taken::Call(*call));
            }
        }
        for (number, class) in plan.classes.iter().enumerate() {
            // They are in the order of their first.
            if class.from.first().is_none_or(|first| *first > level) {
                break;
            }
            if class.from.get(layout.used(config, number)).is_none_or(|from| *from > level) {
                continue;
            }
            if let Some(after) = self.spec.step(state, class.op).filter(|after| *after != state) {
                further.copy_from_slice(config);
                layout.use_one(&mut further, number);
                self.enter(&mut further, state, after, live);
                found(&further, Taken::Crashed(number));
            }
        }
    }

    fn enter(&mut self, config: &mut [u64], before: u32, after: u32, live: &[Live]) {
        if before != after {
            self.plan.layout.set_state(config, after);
            self.settle(config, live);
        }
    }
}

/// Turns the order of pieces of this many words round.
fn reverse(words: &mut [u64], stride: usize) {
    words.reverse();
    for piece in words.chunks_exact_mut(stride) {
        piece.reverse();
    }
}
