//! Objects decided side by side.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::models::Object;
use super::{Limits, Telling, Verdict, decide};
use crate::history::Value;

/// The most threads: more would only share the memory.
const MOST: usize = 64;

/// So few calls are decided before another thread has begun; asking for the cores alone reads files of control groups.
const FEW: usize = 500;

/// Decides every object. The verdict is that of the first one that is violated, or else of the first that is undecided, in
/// the order of the objects.
pub(super) fn decide_all(mut objects: Vec<Object>, values: &[Value], telling: Telling, limits: &Limits<'_>) -> Verdict {
    let calls: usize = objects.iter().map(|object| object.spans.len()).sum();
    let cores = || thread::available_parallelism().map_or(1, NonZero::get);
    let threads = if calls < FEW { 1 } else { cores().min(objects.len()).min(MOST) };
    decide_with(&mut objects, threads, (values, telling), limits)
}

/// The first object of a kind, and what was found of it.
type First = Option<(usize, Verdict)>;

fn decide_with(
    objects: &mut [Object],
    threads: usize,
    (values, telling): (&[Value], Telling),
    limits: &Limits<'_>,
) -> Verdict {
    let limits = &Limits { exceeded: limits.exceeded, memory: limits.memory / threads.max(1) };
    // The object beyond which nothing can be said any more, because one before it is violated.
    let end = AtomicUsize::new(objects.len());
    let work: Vec<Mutex<&mut Object>> = objects.iter_mut().map(Mutex::new).collect();
    let next = AtomicUsize::new(0);
    let run = || {
        let (mut violated, mut unknown): (First, First) = (None, None);
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(object) = work.get(place).filter(|_| place < end.load(Ordering::Relaxed)) else { break };
            // Only one thread has this place.
            let Ok(mut object) = object.lock() else { break };
            match decide(&mut object, values, telling, limits) {
                Verdict::Valid | Verdict::Nothing => {}
                found @ Verdict::Violated(_) => {
                    end.fetch_min(place, Ordering::Relaxed);
                    violated = Some((place, found));
                    break;
                }
                found @ Verdict::Unknown { .. } => unknown = unknown.or(Some((place, found))),
            }
        }
        (violated, unknown)
    };
    let mut found = Vec::new();
    if threads > 1 {
        thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
            found.push(run());
            found.extend(
                others.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
            );
        });
    } else {
        found.push(run());
    }
    let (violated, unknown): (Vec<First>, Vec<First>) = found.into_iter().unzip();
    let first = |all: Vec<First>| all.into_iter().flatten().min_by_key(|(place, _)| *place).map(|(_, found)| found);
    first(violated).or_else(|| first(unknown)).unwrap_or(Verdict::Valid)
}

#[cfg(test)]
mod tests {
    use super::super::{Model, models};
    use super::*;
    use crate::history::{Packed, load};
    use crate::limits::Watch;

    #[test]
    fn the_verdict_does_not_depend_on_the_threads() {
        let call = |key: usize, f: &str, value: &str| {
            let op = |kind, value| format!("{{:process {key} :type :{kind} :f :{f} :value [{key} {value}]}}\n");
            op("invoke", if f == "read" { "nil" } else { value }) + &op("ok", value)
        };
        for bad in [&[][..], &[7], &[7, 3, 11], &[19, 0]] {
            let mut text = String::new();
            for key in 0..20 {
                text += &call(key, "write", "1");
                text += &call(key, "read", if bad.contains(&key) { "2" } else { "1" });
            }
            let history = Packed::from(&load(text.as_bytes()).unwrap());
            let decided = |threads| {
                let mut watch = Watch::unlimited();
                let calls = history.pairs(history.len(), &mut watch).unwrap();
                let of = models::Calls { history: &history, all: &calls, until: history.len() };
                let mut all = models::translate(of, Model::Register, &Value::Nil, &mut watch).unwrap();
                let limits = Limits { exceeded: &|_| None, memory: 1 << 30 };
                decide_with(&mut all.objects, threads, (&all.values, Telling::Full), &limits)
            };
            let one = decided(1);
            match bad.iter().min() {
                None => assert_eq!(one, Verdict::Valid),
                Some(first) => {
                    let Verdict::Violated(found) = &one else { panic!("{one:?}") };
                    assert_eq!(found.key, Some(Value::Int(i64::try_from(*first).unwrap())));
                }
            }
            assert!((2..6).all(|threads| decided(threads) == one));
        }
    }
}
