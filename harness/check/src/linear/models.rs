//! What the operations of a history mean in a model, and which object each acts on.

use super::known::Known;
use super::plan::Span;
use super::spec::{Op, Spec, State};
use super::translation::Translation;
use super::{Model, Refusal, Stop};
use crate::hash::FastMap;
use crate::history::{Event, Kind, Packed, Pair, Process, Value, View};
use crate::limits::Watch;

/// One independent object and the calls on it.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) key: Option<Value>,
    pub(super) spec: Spec,
    pub(super) spans: Vec<Span>,
}

impl Object {
    /// Calls that ended.
    pub(super) fn completed(&self) -> usize {
        self.spans.iter().filter(|span| span.ends.is_some()).count()
    }
}

/// A history in a model.
#[derive(Debug)]
pub(super) struct Translated {
    /// Calls of clients, also those that did not happen.
    pub(super) recorded: usize,
    pub(super) objects: Vec<Object>,
    /// Values by the numbers that operations and states use.
    pub(super) values: Vec<Value>,
    /// Whether it is sure that values are, or are not, `[key value]`: of the beginning of a history it may not be.
    pub(super) is_sure: bool,
}

/// A call as it bears on a verdict.
#[derive(Debug)]
pub(super) struct Done<'a> {
    pub(super) f: &'a str,
    pub(super) process: &'a Process,
    /// Its arguments, beside the key.
    pub(super) asked: Value,
    /// Its result beside the key, when it is known. Reads of sets, which are large, are left as they are in `elements`.
    pub(super) result: Option<Value>,
    pub(super) elements: Option<View<'a>>,
    /// It found another value than it compared with.
    pub(super) refused: bool,
}

/// Why there are no objects.
#[derive(Debug)]
pub(super) enum Untranslated {
    Refused(Refusal),
    Stopped(Stop),
}

impl From<Refusal> for Untranslated {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Stop> for Untranslated {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}

/// Steps of a [`Watch`] for one call.
const STEPS: usize = 2;

/// Calls of a history, in the order in which they begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calls<'a> {
    pub(super) history: &'a Packed,
    /// Those among the events that are asked about and some more.
    pub(super) all: &'a [Pair],
    /// The number of events that are asked about.
    pub(super) until: usize,
}

/// Reads the calls that begin among the first events, unless a limit is reached before. Those that end later are in flight,
/// but what they answered is known if their end is paired, and those that failed did not happen: an order of the whole history
/// agrees with that, so that the first events have such an order, too, if the whole has one. The initial value is checked even
/// when there is no call.
pub(super) fn translate(
    Calls { history, all, until }: Calls<'_>,
    model: Model,
    initial: &Value,
    watch: &mut Watch<'_>,
) -> Result<Translated, Untranslated> {
    let calls = all.get(..all.partition_point(|call| call.begins() < until)).unwrap_or_default();
    let known_keyed = is_keyed(history, model, calls);
    let keyed = known_keyed.unwrap_or(false);
    let mut translation = Translation::new(history, model, initial, keyed, watch)?;
    let first = translation.initial(initial)?;
    let mut objects: Vec<Building> = Vec::new();
    let mut places: FastMap<u32, usize> = FastMap::default();
    let one = if keyed { 0 } else { calls.len() };
    for call in calls {
        watch.spend(STEPS)?;
        let Some(asked) = history.event(call.begins()) else { continue };
        let result = call.ends().and_then(|place| history.event(place));
        let result = match result.as_ref().map(|result| result.kind) {
            Some(Kind::Fail) => continue,
            Some(Kind::Ok) => result,
            Some(Kind::Info | Kind::Invoke) | None => None,
        };
        let refusal = || {
            let op = history.op(call.begins());
            let (line, found) = op.map_or((1, String::new()), |op| (op.line, op.to_string()));
            Refusal::Operation { line, found, model: model.name(), knows: knows(model) }
        };
        let (key, done) = done(history, model, (&asked, result.as_ref()), keyed).ok_or_else(refusal)?;
        if let Some(op) = translation.op(&done).map_err(|Alien| refusal())? {
            let ends = result.as_ref().and(call.ends()).filter(|ends| *ends < until);
            let is_in_flight = call.ends().is_some_and(|ends| ends >= until);
            if is_in_flight && op.is_pure() {
                continue;
            }
            let next = objects.len();
            let place = match key {
                Some(key) => *places.entry(translation.number_of(key)).or_insert(next),
                None => 0,
            };
            if place == next {
                objects.push(Building::new(key, one));
            }
            if let Some(object) = objects.get_mut(place) {
                object.add(op, call.begins(), ends, watch)?;
            }
            if translation.growth() > 0 {
                watch.ask_for(translation.growth())?;
            }
        }
    }
    let objects = objects.into_iter().map(|building| building.object(first.clone())).collect();
    let (recorded, values) = (calls.len(), translation.values);
    Ok(Translated { recorded, objects, values, is_sure: known_keyed.is_some() })
}

/// The key of a call, if objects have keys, and the call beside it; nothing when it has none.
fn done<'a>(
    history: &'a Packed,
    model: Model,
    (asked, result): (&Event, Option<&Event>),
    keyed: bool,
) -> Option<(Option<View<'a>>, Done<'a>)> {
    let split = |event: &Event| {
        let value = history.view(event);
        if keyed { value.pair().map(|(key, inner)| (Some(key), inner)) } else { Some((None, value)) }
    };
    let (key, inner) = split(asked)?;
    let told = match result {
        Some(result) => Some(split(result)?.1),
        None => None,
    };
    let refused = result.is_some_and(|result| result.compare_false);
    let (f, process) = (history.name(asked), history.process(asked));
    let (result, elements) =
        if model == Model::Set && f == "read" { (None, told) } else { (told.map(View::value), None) };
    Some((key, Done { f, process, asked: inner.value(), result, elements, refused }))
}

/// The calls of one object.
struct Building<'a> {
    key: Option<View<'a>>,
    known: Known,
    spans: Vec<Span>,
}

impl<'a> Building<'a> {
    fn new(key: Option<View<'a>>, calls: usize) -> Self {
        Self { key, known: Known::default(), spans: Vec::with_capacity(calls) }
    }

    fn add(&mut self, op: Op, begins: usize, ends: Option<usize>, watch: &mut Watch<'_>) -> Result<(), Stop> {
        let op = self.known.place(op, watch)?;
        self.spans.push(Span { begins, ends, op });
        Ok(())
    }

    fn object(self, initial: State) -> Object {
        Object { key: self.key.map(View::value), spec: Spec::new(initial, self.known.into_ops()), spans: self.spans }
    }
}

/// What a refusal says.
fn knows(model: Model) -> &'static str {
    match model {
        Model::Register => "read and write",
        Model::CasRegister => "read, write, and cas with [from to]",
        Model::MultiRegister => "txn with [[:read key value] [:write key value] …]",
        Model::Kv => "get, put and append of texts, with [key value] or a :key",
        Model::Set => "add, and read of every element",
        Model::Queue => "enqueue and dequeue",
        Model::Counter => "add with a whole number, and read",
        Model::Lock => "acquire, release, reentrant-acquire and reentrant-release",
        Model::Bank => "transfer with {:from a, :to b, :amount n}, and read of {account balance …}",
        Model::EtcdTxn => {
            "txn with {:compare [[= key :value v] …], :success [[:get key] [:put key v] [:delete key] …], :failure […]}"
        }
    }
}

/// Whether values are `[key value]`, as Jepsen writes independent objects: everything that is asked without an argument
/// has a key and nil, and every compare-and-set has a key and a pair. Nobody knows when there is none of these.
fn is_keyed(history: &Packed, model: Model, calls: &[Pair]) -> Option<bool> {
    match model {
        Model::Kv => return Some(true),
        Model::MultiRegister | Model::Bank | Model::EtcdTxn => return Some(false),
        Model::Register | Model::CasRegister | Model::Set | Model::Queue | Model::Counter | Model::Lock => {}
    }
    let mut seen = false;
    for event in calls.iter().filter_map(|call| history.event(call.begins())) {
        let inner = history.view(&event).pair().map(|(_, inner)| inner);
        let keyed = match history.name(&event) {
            "read" | "dequeue" | "acquire" | "release" | "reentrant-acquire" | "reentrant-release"
                if event.kind == Kind::Invoke =>
            {
                inner.is_some_and(View::is_nil)
            }
            "cas" => inner.is_some_and(|inner| inner.pair().is_some()),
            _ => continue,
        };
        if !keyed {
            return Some(false);
        }
        seen = true;
    }
    seen.then_some(true)
}

/// An operation that is none of the model.
pub(super) struct Alien;
