//! Lines of events: most files have one event a line, or all in one, so that runs of equal steps are kept.

/// The lines of all events.
#[derive(Clone, Default, Debug)]
pub(super) struct Lines {
    runs: Vec<Run>,
    /// Events.
    count: usize,
}

/// Events from a place on, each so many lines after the one before.
#[derive(Clone, Copy, Debug)]
struct Run {
    place: u32,
    line: u32,
    step: u32,
}

impl Run {
    fn of(&self, place: usize) -> usize {
        let (from, line, step) = (size(self.place), size(self.line), size(self.step));
        line.saturating_add(place.saturating_sub(from).saturating_mul(step))
    }
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Lines {
    pub(super) fn bytes(&self) -> usize {
        self.runs.capacity() * size_of::<Run>()
    }

    /// The line of the next event. Where lines go back, a run begins.
    pub(super) fn push(&mut self, line: usize) {
        let place = self.count;
        self.count += 1;
        match self.runs.last_mut() {
            Some(run) if run.of(place) == line => {}
            // The second of a run says how it goes on.
            Some(run) if size(run.place) + 1 == place && size(run.line) <= line => {
                run.step = small(line - size(run.line));
            }
            Some(_) | None => self.runs.push(Run { place: small(place), line: small(line), step: 1 }),
        }
    }

    /// The lines of other events after these, from a line on.
    pub(super) fn append(&mut self, other: &Self, line: usize) {
        for (number, run) in other.runs.iter().enumerate() {
            let from = size(run.place);
            let until = other.runs.get(number + 1).map_or(other.count, |next| size(next.place));
            // What the last run foretells is no run of its own.
            let is_foretold = self.runs.last().is_some_and(|last| {
                last.of(self.count) == run.of(from) + line && (last.step == run.step || until - from == 1)
            });
            if !is_foretold {
                let begins = small(run.of(from).saturating_add(line));
                self.runs.push(Run { place: small(self.count), line: begins, step: run.step });
            }
            self.count += until - from;
        }
    }

    /// The line of the event at a place.
    pub(super) fn of(&self, place: usize) -> usize {
        let after = self.runs.partition_point(|run| size(run.place) <= place);
        after.checked_sub(1).and_then(|run| self.runs.get(run)).map_or(0, |run| run.of(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(of: &[usize]) -> Lines {
        let mut lines = Lines::default();
        for line in of {
            lines.push(*line);
        }
        lines
    }

    #[test]
    fn files_of_one_event_a_line_or_all_in_one_take_no_memory() {
        assert_eq!(lines(&(1..1000).collect::<Vec<_>>()).runs.len(), 1);
        assert_eq!(lines(&[3; 1000]).runs.len(), 1);
        assert_eq!(lines(&(1..1000).map(|line| line * 4).collect::<Vec<_>>()).runs.len(), 1);
    }

    proptest! {
        #[test]
        fn each_event_has_its_line(
            steps in prop::collection::vec((0_usize..3, 1_usize..5, 0_usize..4), 0..30),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut all = Vec::new();
            let mut line: usize = 1;
            for (step, count, back) in steps {
                for _ in 0..count {
                    all.push(line);
                    line += step;
                }
                line = line.saturating_sub(back).max(1);
            }
            let whole = lines(&all);
            let (first, second) = all.split_at(cut.index(all.len() + 1));
            let before = second.iter().min().map_or(0, |line| line - 1);
            let mut joined = lines(first);
            joined.append(&lines(&second.iter().map(|line| line - before).collect::<Vec<_>>()), before);
            for (place, line) in all.iter().enumerate() {
                prop_assert_eq!(whole.of(place), *line);
                prop_assert_eq!(joined.of(place), *line);
            }
        }
    }
}
