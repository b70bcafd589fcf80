//! Writes large histories that are valid by construction, for measuring the judge with:
//!
//! ```text
//! cargo run --release -p firedrill-check --example histories -- KIND OPERATIONS CLIENTS KEYS OUT [CRASHED [VALUES]]
//! ```
//!
//! KIND is `register` (reads, writes and compare-and-sets, of VALUES values or, with 0, of unique ones; CRASHED of a thousand
//! that change something never return), `queue`, `set` (with a read of all for every twentieth of the operations), `list-append`
//! (transactions of up to four micro-operations; a key is retired after 32 appends), `rw-register` (of three), all in Jepsen's JSON lines, or `plume`
//! (transactions of eight accesses of KEYS registers, in Plume's text). An operation takes effect at a moment between its
//! beginning and its end. The same arguments give the same file.

use std::collections::{HashMap, VecDeque};
use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};

/// Numbers by chance from a fixed seed (Knuth's MMIX constants).
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let end = u64::try_from(end.max(1)).unwrap_or(u64::MAX);
        usize::try_from((self.0 >> 33) % end).unwrap_or(0)
    }
}

/// What is asked for on the command line.
struct Asked {
    kind: String,
    operations: usize,
    clients: usize,
    keys: usize,
    crashed: usize,
    values: usize,
}

/// An operation in flight: its name, its argument, and its end once it took effect.
struct Flying {
    f: &'static str,
    argument: String,
    end: Option<(&'static str, String)>,
    crashes: bool,
}

/// An object that answers.
trait Object {
    /// The next operation: its name and its argument.
    fn asks(&mut self, draw: &mut Draw) -> (&'static str, String);
    /// Takes effect: what becomes of it, and the value of that.
    fn answers(&mut self, f: &str, argument: &str, draw: &mut Draw) -> (&'static str, String);
}

#[derive(Default)]
struct Registers {
    values: usize,
    fresh: usize,
    state: Vec<Option<usize>>,
}

impl Registers {
    fn value(&mut self, draw: &mut Draw) -> usize {
        self.fresh += 1;
        if self.values == 0 { self.fresh } else { draw.below(self.values) }
    }
}

fn numbers(argument: &str) -> Vec<usize> {
    argument.split(|byte: char| !byte.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

impl Object for Registers {
    fn asks(&mut self, draw: &mut Draw) -> (&'static str, String) {
        let key = draw.below(self.state.len());
        match draw.below(3) {
            0 => ("read", format!("[{key},null]")),
            1 => ("write", format!("[{key},{}]", self.value(draw))),
            _ => {
                let held = self.state.get(key).copied().flatten().filter(|_| self.values == 0);
                let from = held.unwrap_or_else(|| self.value(draw));
                ("cas", format!("[{key},[{from},{}]]", self.value(draw)))
            }
        }
    }

    fn answers(&mut self, f: &str, argument: &str, _: &mut Draw) -> (&'static str, String) {
        let words = numbers(argument);
        let key = words.first().copied().unwrap_or_default();
        let Some(state) = self.state.get_mut(key) else { return ("fail", argument.to_owned()) };
        match (f, words.as_slice()) {
            ("write", [_, value]) => *state = Some(*value),
            ("cas", [_, from, to]) if *state == Some(*from) => *state = Some(*to),
            ("cas", _) => return ("fail", argument.to_owned()),
            _ => {
                let held = state.map_or_else(|| "null".to_owned(), |held| held.to_string());
                return ("ok", format!("[{key},{held}]"));
            }
        }
        ("ok", argument.to_owned())
    }
}

#[derive(Default)]
struct Queue {
    fresh: usize,
    held: VecDeque<String>,
}

impl Object for Queue {
    fn asks(&mut self, draw: &mut Draw) -> (&'static str, String) {
        self.fresh += 1;
        if draw.below(2) == 0 { ("enqueue", self.fresh.to_string()) } else { ("dequeue", "null".to_owned()) }
    }

    fn answers(&mut self, f: &str, argument: &str, _: &mut Draw) -> (&'static str, String) {
        if f == "enqueue" {
            self.held.push_back(argument.to_owned());
            return ("ok", argument.to_owned());
        }
        ("ok", self.held.pop_front().unwrap_or_else(|| "null".to_owned()))
    }
}

#[derive(Default)]
struct Set {
    fresh: usize,
    every: usize,
    held: Vec<String>,
}

impl Object for Set {
    fn asks(&mut self, _: &mut Draw) -> (&'static str, String) {
        self.fresh += 1;
        if self.fresh.is_multiple_of(self.every) {
            ("read", "null".to_owned())
        } else {
            ("add", self.fresh.to_string())
        }
    }

    fn answers(&mut self, f: &str, argument: &str, _: &mut Draw) -> (&'static str, String) {
        if f == "add" {
            self.held.push(argument.to_owned());
            return ("ok", argument.to_owned());
        }
        ("ok", format!("[{}]", self.held.join(",")))
    }
}

/// Lists by key; a key that is full gives way to a fresh one.
struct Lists {
    active: Vec<usize>,
    asked: Vec<usize>,
    fresh: usize,
    held: HashMap<usize, Vec<String>>,
}

/// Appends to a key.
const APPENDS: usize = 32;

impl Lists {
    fn new(keys: usize) -> Self {
        Self { active: (0..keys).collect(), asked: vec![0; keys], fresh: keys, held: HashMap::new() }
    }
}

impl Object for Lists {
    fn asks(&mut self, draw: &mut Draw) -> (&'static str, String) {
        let mut mops = Vec::new();
        for _ in 0..=draw.below(4) {
            // Some keys are written more often than others.
            let spread = self.active.len();
            let slot = draw.below(spread).min(draw.below(spread)).min(draw.below(spread));
            let (Some(key), Some(count)) = (self.active.get_mut(slot), self.asked.get_mut(slot)) else { continue };
            if draw.below(2) == 0 {
                mops.push(format!("[\"r\",{key},null]"));
                continue;
            }
            *count += 1;
            mops.push(format!("[\"append\",{key},{count}]"));
            if *count == APPENDS {
                (*key, *count) = (self.fresh, 0);
                self.fresh += 1;
            }
        }
        ("txn", format!("[{}]", mops.join(",")))
    }

    fn answers(&mut self, _: &str, argument: &str, _: &mut Draw) -> (&'static str, String) {
        let mut out = String::from("[");
        for mop in argument.trim_matches(['[', ']']).split("],[") {
            let words = numbers(mop);
            let gap = if out.len() > 1 { "," } else { "" };
            let _written = match words.as_slice() {
                [key, value] => {
                    self.held.entry(*key).or_default().push(value.to_string());
                    write!(out, "{gap}[\"append\",{key},{value}]")
                }
                [key] => {
                    let list = self.held.get(key).map_or_else(String::new, |held| held.join(","));
                    write!(out, "{gap}[\"r\",{key},[{list}]]")
                }
                _ => Ok(()),
            };
        }
        out.push(']');
        ("ok", out)
    }
}

/// Registers in transactions, each write with a value of its own.
struct RwRegisters {
    fresh: usize,
    held: Vec<usize>,
}

impl Object for RwRegisters {
    fn asks(&mut self, draw: &mut Draw) -> (&'static str, String) {
        let mut mop = || {
            let key = draw.below(self.held.len());
            if draw.below(2) == 0 {
                return format!("[\"r\",{key},null]");
            }
            self.fresh += 1;
            format!("[\"w\",{key},{}]", self.fresh)
        };
        let mops: Vec<String> = (0..3).map(|_| mop()).collect();
        ("txn", format!("[{}]", mops.join(",")))
    }

    fn answers(&mut self, _: &str, argument: &str, _: &mut Draw) -> (&'static str, String) {
        let mut mops = Vec::new();
        for mop in argument.trim_matches(['[', ']']).split("],[") {
            match numbers(mop).as_slice() {
                [key, value] => {
                    if let Some(held) = self.held.get_mut(*key) {
                        *held = *value;
                    }
                    mops.push(format!("[\"w\",{key},{value}]"));
                }
                [key] => {
                    let held = self.held.get(*key).filter(|held| **held > 0);
                    let held = held.map_or_else(|| "null".to_owned(), ToString::to_string);
                    mops.push(format!("[\"r\",{key},{held}]"));
                }
                _ => {}
            }
        }
        ("ok", format!("[{}]", mops.join(",")))
    }
}

/// Lets clients perform operations side by side.
fn execute(asked: &Asked, object: &mut dyn Object, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let mut draw = Draw(42);
    let mut busy: Vec<Option<Flying>> = (0..asked.clients).map(|_| None).collect();
    let mut process: Vec<usize> = (0..asked.clients).collect();
    let (mut begun, mut flying, mut fresh, mut index) = (0, 0, asked.clients, 0_usize);
    while begun < asked.operations || flying > 0 {
        let slot = draw.below(asked.clients);
        let (Some(place), Some(name)) = (busy.get_mut(slot), process.get_mut(slot)) else { continue };
        let mut line = |name: usize, kind: &str, f: &str, value: &str| {
            let time = index * 1000;
            index += 1;
            writeln!(
                out,
                "{{\"index\":{},\"time\":{time},\"process\":{name},\"type\":\"{kind}\",\"f\":\"{f}\",\"value\":{value}}}",
                index - 1
            )
        };
        match place.take() {
            None if begun < asked.operations => {
                let (f, argument) = object.asks(&mut draw);
                let crashes = f != "read" && draw.below(1000) < asked.crashed;
                line(*name, "invoke", f, &argument)?;
                *place = Some(Flying { f, argument, end: None, crashes });
                (begun, flying) = (begun + 1, flying + 1);
            }
            None => {}
            Some(Flying { f, argument, end: None, crashes }) => {
                // Half of those that crash never take effect.
                let end = if crashes && draw.below(2) == 0 {
                    ("info", argument.clone())
                } else {
                    object.answers(f, &argument, &mut draw)
                };
                *place = Some(Flying { f, argument, end: Some(end), crashes });
            }
            Some(Flying { f, argument, end: Some((kind, value)), crashes }) => {
                flying -= 1;
                if crashes {
                    line(*name, "info", f, &argument)?;
                    (*name, fresh) = (fresh, fresh + 1);
                } else {
                    line(*name, kind, f, &value)?;
                }
            }
        }
    }
    Ok(())
}

/// Transactions of eight accesses, one after the other, each of one of so many sessions.
fn plume(asked: &Asked, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let mut draw = Draw(7);
    let mut held = vec![0; asked.keys];
    let mut version = 0;
    for txn in 0..asked.operations / 8 {
        let session = draw.below(asked.clients);
        for _ in 0..8 {
            let key = draw.below(asked.keys);
            let Some(held) = held.get_mut(key) else { continue };
            let is_read = draw.below(2) == 0;
            if !is_read {
                version += 1;
                *held = version;
            }
            writeln!(out, "{}({key},{held},{session},{txn})", if is_read { 'r' } else { 'w' })?;
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [kind, operations, clients, keys, path, rest @ ..] = words.as_slice() else {
        return Err("usage: histories KIND OPERATIONS CLIENTS KEYS OUT [CRASHED [VALUES]]".into());
    };
    let number = |place: usize, default: usize| rest.get(place).map_or(Ok(default), |word| word.parse());
    let asked = Asked {
        kind: kind.clone(),
        operations: operations.parse()?,
        clients: clients.parse()?,
        keys: keys.parse()?,
        crashed: number(0, 0)?,
        values: number(1, 5)?,
    };
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    match asked.kind.as_str() {
        "register" => {
            let mut object = Registers { values: asked.values, fresh: 0, state: vec![None; asked.keys] };
            execute(&asked, &mut object, &mut out)?;
        }
        "queue" => execute(&asked, &mut Queue::default(), &mut out)?,
        "set" => execute(&asked, &mut Set { every: asked.operations / 20, ..Set::default() }, &mut out)?,
        "list-append" => execute(&asked, &mut Lists::new(asked.keys), &mut out)?,
        "rw-register" => execute(&asked, &mut RwRegisters { fresh: 0, held: vec![0; asked.keys] }, &mut out)?,
        "plume" => plume(&asked, &mut out)?,
        other => return Err(format!("no such kind: {other}").into()),
    }
    out.flush()?;
    Ok(())
}
