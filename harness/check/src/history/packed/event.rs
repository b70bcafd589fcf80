//! One event in twelve bytes.

use super::super::Kind;

/// One event, with names by number and its value by place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Event {
    /// Where it begins on the tape.
    pub(super) value: usize,
    pub(super) process: u32,
    /// The name of the operation, at most [`NAMELESS`].
    pub(crate) name: u16,
    /// What became of it.
    pub(crate) kind: Kind,
    /// See [`super::RawOp::compare_false`].
    pub(crate) compare_false: bool,
}

/// More names than this are not told apart.
pub(super) const NAMELESS: u16 = (1 << 13) - 1;

/// As it is kept: a place of 48 bits, and beside the name two bits for the kind and one for the comparison.
#[derive(Clone, Copy, Debug)]
pub(super) struct Small {
    low: u32,
    high: u16,
    marks: u16,
    process: u32,
}

const COMPARE_FALSE: u16 = 1 << 13;
const KIND: u32 = 14;

impl Small {
    pub(super) fn new(event: Event) -> Self {
        let value = u64::try_from(event.value).unwrap_or(u64::MAX);
        let kind: u16 = match event.kind {
            Kind::Invoke => 0,
            Kind::Ok => 1,
            Kind::Fail => 2,
            Kind::Info => 3,
        };
        let compared = if event.compare_false { COMPARE_FALSE } else { 0 };
        Self {
            low: u32::try_from(value & 0xffff_ffff).unwrap_or_default(),
            // No memory holds a tape of 256 TiB.
            high: u16::try_from(value >> 32).unwrap_or(u16::MAX),
            marks: event.name.min(NAMELESS) | compared | kind << KIND,
            process: event.process,
        }
    }

    pub(super) fn read(self) -> Event {
        let value = u64::from(self.high) << 32 | u64::from(self.low);
        Event {
            value: usize::try_from(value).unwrap_or(usize::MAX),
            process: self.process,
            name: self.marks & NAMELESS,
            kind: match self.marks >> KIND {
                0 => Kind::Invoke,
                1 => Kind::Ok,
                2 => Kind::Fail,
                _ => Kind::Info,
            },
            compare_false: self.marks & COMPARE_FALSE != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read() {
        assert_eq!(size_of::<Small>(), 12);
        for kind in [Kind::Invoke, Kind::Ok, Kind::Fail, Kind::Info] {
            for compare_false in [false, true] {
                for (value, process, name) in [(0, 0, 0), (1 << 33 | 7, u32::MAX, NAMELESS), ((1 << 48) - 1, 5, 4097)] {
                    let event = Event { value, process, name, kind, compare_false };
                    assert_eq!(Small::new(event).read(), event);
                }
            }
        }
    }
}
