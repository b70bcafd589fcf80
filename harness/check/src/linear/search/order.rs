//! An order of as many calls as have one.

use super::super::Limits;
use super::super::configs::Configs;
use super::super::plan::Plan;
use super::super::spec::Spec;
use super::{Search, Taken, reverse};

/// The spans that took effect before the last level that can be reached, in one of the orders in which they could; nothing
/// when it would take too long to know.
pub(in super::super) fn order(plan: &Plan, spec: &mut Spec, limits: &Limits<'_>) -> Vec<usize> {
    let mut search = Search::new(plan, spec, limits);
    let Some(taken) = search.deepest_path() else { return Vec::new() };
    search.replay(&taken)
}

impl Search<'_, '_> {
    fn first(&mut self) -> Vec<u64> {
        let mut config = vec![0; self.plan.layout.stride()];
        if let Some(here) = self.plan.levels.first() {
            self.settle(&mut config, self.plan.fresh(here));
        }
        config
    }

    /// What took effect by a choice, up to the deepest configuration.
    fn deepest_path(&mut self) -> Option<Vec<Taken>> {
        let stride = self.plan.layout.stride();
        let mut met = Configs::new(stride, stride);
        let mut parents: Vec<(usize, Option<Taken>)> = Vec::new();
        let mut stack = self.first();
        let mut origins = vec![(0, None)];
        let mut config = vec![0; stride];
        let (mut best, mut deepest) = (0, 0);
        while let Some(origin) = origins.pop() {
            let top = stack.len().checked_sub(stride)?;
            config.copy_from_slice(stack.get(top..)?);
            stack.truncate(top);
            let level = self.advance(&mut config);
            if level >= self.plan.levels.len() {
                parents.push(origin);
                best = parents.len() - 1;
                break;
            }
            let here = self.plan.levels.get(level)?;
            if !met.insert(&config) {
                continue;
            }
            parents.push(origin);
            let place = parents.len() - 1;
            if level > deepest {
                (best, deepest) = (place, level);
            }
            self.other_bytes = 8 * stack.capacity() + parents.capacity() * size_of::<(usize, Option<Taken>)>();
            if self.stop(&met).is_some() {
                return None;
            }
            let (start, first) = (stack.len(), origins.len());
            self.expand(&config, here, level, |config, taken| {
                stack.extend_from_slice(config);
                origins.push((place, Some(taken)));
            });
            reverse(stack.get_mut(start..)?, stride);
            origins.get_mut(first..)?.reverse();
        }
        let mut path = Vec::new();
        while let Some((parent, Some(taken))) = parents.get(best).copied() {
            path.push(taken);
            best = parent;
        }
        path.reverse();
        Some(path)
    }

    /// Goes the same way again and writes down what took effect by itself, too.
    fn replay(&mut self, path: &[Taken]) -> Vec<usize> {
        let layout = self.plan.layout;
        self.log = Some(Vec::new());
        let mut config = self.first();
        let mut level = self.advance(&mut config);
        for taken in path {
            let Some(here) = self.plan.levels.get(level) else { break };
            let (op, span) = match *taken {
                Taken::Call(call) => {
                    layout.set(&mut config, call.slot);
                    (call.op, Some(call.span))
                }
                Taken::Crashed(class) => {
                    let used = layout.used(&config, class);
                    layout.use_one(&mut config, class);
                    let Some(class) = self.plan.classes.get(class) else { break };
                    (class.op, class.spans.get(used).copied())
                }
            };
            if let Some(log) = &mut self.log {
                log.extend(span);
            }
            let state = layout.state(&config);
            let Some(after) = self.spec.step(state, op) else { break };
            self.enter(&mut config, state, after, self.plan.live(here));
            level = self.advance(&mut config);
        }
        self.log.take().unwrap_or_default()
    }
}
