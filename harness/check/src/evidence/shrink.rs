//! The smallest part of a history that still shows something: what can be left out is, first transactions, then keys, then
//! single micro-operations ("delta debugging", Zeller and Hildebrandt, 2002).

use std::collections::BTreeSet;

use super::part::Part;
use crate::history::Value;

/// So many parts are tried. A part of a dozen transactions takes some dozens.
const TRIES: usize = 2_000;

/// A part of this part that shows it, if the part does. Nothing can be left out of it alone, unless that takes too many
/// tries.
pub(super) fn shrink(part: Part, shows: &mut dyn FnMut(&Part) -> bool) -> Part {
    let mut shrinking = Shrinking { part, shows, left: TRIES };
    shrinking.without(|part| (0..part.members.len()).collect(), |number, _, _| number);
    shrinking.without(keys, |_, _, key| key);
    shrinking.without(
        |part| part.mops().map(|(number, place, _)| (number, place)).collect(),
        |number, place, _| (number, place),
    );
    shrinking.part
}

fn keys(part: &Part) -> Vec<Value> {
    part.mops().map(|(.., mop)| mop.key.clone()).collect::<BTreeSet<_>>().into_iter().collect()
}

struct Shrinking<'a> {
    part: Part,
    shows: &'a mut dyn FnMut(&Part) -> bool,
    left: usize,
}

impl Shrinking<'_> {
    /// Leaves out groups of micro-operations, many at once as long as that works, until none can go alone.
    fn without<G: Ord + Clone>(&mut self, groups: impl Fn(&Part) -> Vec<G>, of: impl Fn(usize, usize, Value) -> G) {
        let mut size = groups(&self.part).len().div_ceil(2).max(1);
        loop {
            let mut has_shrunk = false;
            let mut start = 0;
            loop {
                let all = groups(&self.part);
                let Some(chunk) = all.get(start..(start + size).min(all.len())).filter(|chunk| !chunk.is_empty())
                else {
                    break;
                };
                if self.left == 0 {
                    return;
                }
                self.left -= 1;
                let gone: BTreeSet<&G> = chunk.iter().collect();
                let keep = |number: usize, place: usize| {
                    let key = self.part.members[number].mops[place].key.clone();
                    !gone.contains(&of(number, place, key))
                };
                let smaller = self.part.only(keep);
                if (self.shows)(&smaller) {
                    self.part = smaller;
                    has_shrunk = true;
                } else {
                    start += size;
                }
            }
            if size > 1 {
                size = size.div_ceil(2);
            } else if !has_shrunk {
                return;
            }
        }
    }
}
