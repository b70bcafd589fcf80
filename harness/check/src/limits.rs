//! Limits of time and memory that the caller measures, for checks that have no clock.

pub use crate::linear::Stop;

/// Whether a limit was reached, or would be if so many bytes more were held.
pub type Exceeded<'a> = &'a (dyn Fn(usize) -> Option<Stop> + Sync);

/// Asks the caller whether a limit was reached, each time after a fixed amount of work.
pub struct Watch<'a> {
    exceeded: Exceeded<'a>,
    spent: u32,
}

/// So many small steps between two questions: well below a millisecond.
const STEPS: u32 = 1 << 14;

impl<'a> Watch<'a> {
    /// Of this question. It is asked seldom enough to read a clock and the memory in use.
    pub fn new(exceeded: Exceeded<'a>) -> Self {
        Self { exceeded, spent: 0 }
    }

    /// Without limits.
    pub fn unlimited() -> Self {
        Self::new(&|_| None)
    }

    /// Notes some steps; fails when a limit was reached.
    pub(crate) fn spend(&mut self, steps: usize) -> Result<(), Stop> {
        self.spent = self.spent.saturating_add(u32::try_from(steps).unwrap_or(u32::MAX));
        if self.spent < STEPS { Ok(()) } else { self.ask() }
    }

    /// Asks at once, before something large.
    pub(crate) fn ask(&mut self) -> Result<(), Stop> {
        self.ask_for(0)
    }

    /// Asks at once, before so many bytes more are held.
    pub(crate) fn ask_for(&mut self, bytes: usize) -> Result<(), Stop> {
        self.spent = 0;
        match (self.exceeded)(bytes) {
            Some(stop) => Err(stop),
            None => Ok(()),
        }
    }
}
