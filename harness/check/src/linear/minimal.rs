//! The fewest calls of a violation that contradict each other whatever became of all others.
//!
//! Leaving a call out would prove nothing: it may be what another one read. So the others are set free instead: what only
//! reads is dropped, and what changes the state may take effect at any time after its beginning, or never. Whatever has no
//! order then has none as it was.

use std::sync::atomic::{AtomicU32, Ordering};

use super::plan::{Plan, Span};
use super::search::{self, Found};
use super::spec::Spec;
use super::unique::{self, Decided};
use super::{Limits, Stop};

/// How many subsets are tried at most, and how many calls are looked at for that.
const TRIES: usize = 200;
const LOOKED_AT: usize = 4_000_000;

/// How often the search of a subset may ask whether its time is up, 512 steps each, and how often all of them together.
const PATIENCE: u32 = 20;
const TOGETHER: u32 = 600;

/// The most calls to begin with.
const MOST: usize = 1024;

/// The places of those calls among `spans`, which have no order and of which the last to end is `culprit`. `why` is a guess.
/// Empty when it would take too long to know.
pub(super) fn minimal(
    spec: &mut Spec,
    spans: &[Span],
    culprit: usize,
    why: &[usize],
    limits: &Limits<'_>,
) -> Vec<usize> {
    let tries = (LOOKED_AT / spans.len().max(1)).clamp(2, TRIES);
    let mut subsets = Subsets { spec, spans, limits, tries, patience: TOGETHER };
    let mut ended: Vec<usize> =
        (0..spans.len()).filter(|place| spans.get(*place).is_some_and(|s| s.ends.is_some())).collect();
    ended.sort_unstable_by_key(|place| spans.get(*place).and_then(|span| span.ends));
    let Some(mut kept) = subsets.first(&ended, culprit, why) else { return Vec::new() };
    let mut size = kept.len().div_ceil(2);
    while size > 0 {
        let mut from = 0;
        let mut removed = false;
        while from < kept.len() {
            let until = (from + size).min(kept.len());
            let fewer =
                [kept.get(..from), kept.get(until..)].into_iter().flatten().flatten().copied().collect::<Vec<_>>();
            if subsets.contradict(&fewer) {
                kept = fewer;
                removed = true;
            } else {
                from = until;
            }
        }
        // What was needed may be needless now.
        size = if size == 1 && removed && subsets.tries > 0 { 1 } else { size / 2 };
    }
    kept
}

struct Subsets<'a, 'l> {
    spec: &'a mut Spec,
    spans: &'a [Span],
    limits: &'a Limits<'l>,
    /// Left.
    tries: usize,
    patience: u32,
}

impl Subsets<'_, '_> {
    /// Where to begin: with the guess, or the last calls that ended, the more the longer it takes.
    fn first(&mut self, ended: &[usize], culprit: usize, why: &[usize]) -> Option<Vec<usize>> {
        let guess: Vec<usize> =
            ended.iter().copied().filter(|place| why.contains(place) || *place == culprit).collect();
        if !why.is_empty() && self.contradict(&guess) {
            return Some(guess);
        }
        let mut size = 8;
        loop {
            let last = ended.get(ended.len().saturating_sub(size)..).unwrap_or_default();
            if self.contradict(last) {
                return Some(last.to_vec());
            }
            if size >= ended.len().min(MOST) {
                return None;
            }
            size *= 4;
        }
    }

    /// Whether these calls alone have no order, as far as can be known soon.
    fn contradict(&mut self, kept: &[usize]) -> bool {
        if kept.is_empty() || self.tries == 0 || self.patience == 0 || (self.limits.exceeded)(0).is_some() {
            return false;
        }
        self.tries -= 1;
        let mut is_kept = vec![false; self.spans.len()];
        for place in kept {
            if let Some(is_kept) = is_kept.get_mut(*place) {
                *is_kept = true;
            }
        }
        let freed = self.spans.iter().zip(is_kept).filter_map(|(span, is_kept)| {
            if is_kept { Some(*span) } else { (!self.spec.is_pure(span.op)).then_some(Span { ends: None, ..*span }) }
        });
        let freed: Vec<Span> = freed.collect();
        if let Some(decided) = unique::decide(self.spec, &freed) {
            return decided != Decided::Order;
        }
        let asked = AtomicU32::new(0);
        let most = PATIENCE.min(self.patience);
        let exceeded = |bytes| {
            let is_late = asked.fetch_add(1, Ordering::Relaxed) > most;
            if is_late { Some(Stop::Time) } else { (self.limits.exceeded)(bytes) }
        };
        let brief = Limits { exceeded: &exceeded, memory: self.limits.memory };
        let found = search::search(&Plan::new(&freed), self.spec, &brief);
        self.patience = self.patience.saturating_sub(asked.load(Ordering::Relaxed));
        matches!(found, Found::NoOrder { .. })
    }
}
