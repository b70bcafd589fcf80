//! The operations of one object, each once. Most are a name and a number or two: these are found in flat tables, which take
//! less than a third of what a map of operations does.

use super::Stop;
use super::spec::Op;
use crate::dense::Dense;
use crate::hash::FastMap;
use crate::intern::{at, id};
use crate::limits::Watch;

/// Operations, in the order in which they were first met.
#[derive(Default, Debug)]
pub(super) struct Known {
    ops: Vec<Op>,
    /// Places of those that are a name and a number.
    small: Dense,
    others: FastMap<Op, usize>,
}

/// Maps of more operations than these do not grow without asking.
const LARGE: usize = 1 << 16;

impl Known {
    /// The place of an operation. Asks before a large table grows.
    pub(super) fn place(&mut self, op: Op, watch: &mut Watch<'_>) -> Result<usize, Stop> {
        let next = self.ops.len();
        if let Some((name, number)) = small(&op) {
            let growth = self.small.growth();
            if growth > 0 {
                watch.ask_for(growth)?;
            }
            let (place, is_new) = self.small.int(name, number, id(next));
            if is_new {
                self.ops.push(op);
            }
            return Ok(at(place));
        }
        if next >= LARGE && self.others.len() == self.others.capacity() {
            watch.ask_for(2 * self.others.capacity() * size_of::<(Op, usize)>())?;
        }
        if let Some(place) = self.others.get(&op) {
            return Ok(*place);
        }
        self.ops.push(op.clone());
        self.others.insert(op, next);
        Ok(next)
    }

    /// All of them, by their places.
    pub(super) fn into_ops(self) -> Vec<Op> {
        self.ops
    }
}

/// The name and the argument of an operation that has a small one.
fn small(op: &Op) -> Option<(u32, i64)> {
    Some(match op {
        Op::Read(value) => (0, i64::from(*value)),
        Op::Write(value) => (1, i64::from(*value)),
        Op::Cas(from, to) => (2, (u64::from(*from) << 32 | u64::from(*to)).cast_signed()),
        Op::CasFalse(value) => (3, i64::from(*value)),
        Op::Insert(value) => (4, i64::from(*value)),
        Op::Enqueue(value) => (5, i64::from(*value)),
        Op::Dequeue(value) => (6, i64::from(*value)),
        Op::DequeueNothing => (7, 0),
        Op::DequeueSomething => (7, 1),
        Op::Sum(sum) => (8, *sum),
        Op::Add(more) => (9, *more),
        Op::Txn(_)
        | Op::Get(_)
        | Op::Put(_)
        | Op::Append(_)
        | Op::Elements(_)
        | Op::Lock(_)
        | Op::Bank(_)
        | Op::Store(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_has_one_place() {
        let values = [0, 1, 17, u32::MAX];
        let mut ops = vec![Op::DequeueNothing, Op::DequeueSomething, Op::Elements([1].into()), Op::Get("1".into())];
        for value in values {
            let same = [Op::Read, Op::Write, Op::CasFalse, Op::Insert, Op::Enqueue, Op::Dequeue];
            ops.extend(same.map(|op| op(value)));
            ops.extend([Op::Sum(i64::from(value)), Op::Add(-i64::from(value)), Op::Elements([value, 7].into())]);
            ops.extend(values.map(|to| Op::Cas(value, to)));
        }
        let (mut known, mut watch) = (Known::default(), Watch::unlimited());
        for _ in 0..2 {
            for (place, op) in ops.iter().enumerate() {
                assert_eq!(known.place(op.clone(), &mut watch), Ok(place));
            }
        }
        assert_eq!(known.into_ops(), ops);
    }

    #[test]
    fn a_limit_is_asked_for_before_a_large_table_grows() {
        let makes: [fn(u32) -> Op; 2] = [Op::Insert, |value| Op::Elements([value].into())];
        for op in makes {
            let mut known = Known::default();
            let exceeded = |bytes: usize| (bytes > 1 << 20).then_some(Stop::Memory);
            let mut watch = Watch::new(&exceeded);
            let stopped = (0..1 << 22).map(|value| known.place(op(value), &mut watch)).find(Result::is_err);
            assert_eq!(stopped, Some(Err(Stop::Memory)));
        }
    }
}
