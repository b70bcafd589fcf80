//! Every entry of the registry keeps what it promises.

use firedrill_core::fault::HoldRule;
use firedrill_faults::FAULTS;

use crate::views::read;

#[test]
fn the_registry_is_in_alphabetical_order() {
    let kinds: Vec<&str> = FAULTS.iter().map(|entry| entry.kind).collect();
    assert!(kinds.is_sorted(), "{kinds:?}");
    assert!(kinds.iter().all(|kind| kind.split('.').count() == 2), "a kind is family.noun: {kinds:?}");
}

#[test]
fn every_example_parses() {
    for entry in FAULTS {
        let file: toml::Table = entry.example.parse().unwrap();
        let mut fault = file["fault"][0].as_table().unwrap().clone();
        assert_eq!(fault["kind"].as_str(), Some(entry.kind));
        for common in ["id", "kind", "on", "at", "after"] {
            fault.remove(common);
        }
        let held = fault.remove("for").is_some();
        assert!(held || entry.hold == HoldRule::Optional, "the example of {} lacks `for`", entry.kind);
        let keys = fault.to_string();
        read(entry.kind, &keys).unwrap_or_else(|found| panic!("{}: {found:?}", entry.kind));
    }
}

#[test]
fn wrong_keys_are_refused_all_at_once() {
    for (kind, keys, want) in [
        ("clock.drift", "rate = '3'", "`rate` must be a rate with its sign"),
        ("clock.drift", "rate = '+100ppm'", "is not between 200ppm and 50%"),
        ("clock.drift", "rate = '-0.00001%'", "`rate` must be a rate with its sign"),
        ("clock.jump", "", "lacks `by`"),
        ("clock.jump", "by = '1ms'", "is not between 5ms and ten years"),
        ("clock.jump", "by = 'yesterday'", "`by` must be an offset with its sign"),
        ("clock.skew", "by = '-2s'\nover = '2s'", "time would stand still or go back"),
        ("clock.strobe", "by = '+1s'\nevery = '2s'", "`every` is from 20ms to 1s"),
        ("net.partition", "", "lacks `shape`"),
        ("net.partition", "shape = 'moat'", "`moat` is not a value of `shape`"),
        ("net.partition", "shape = 'one-way'", "lacks `direction`"),
        ("net.partition", "shape = 'isolate'\ndirection = 'in'", "only the shape one-way has a `direction`"),
        ("net.partition", "shape = 'isolate'\nport = 0", "0 is not a port"),
        ("net.dns", "", "lacks `answer`"),
        ("net.dns", "answer = 'lies'", "`lies` is not a value of `answer`"),
        ("net.dns", "answer = 'late'", "lacks `delay`"),
        ("net.dns", "answer = 'late'\ndelay = '20ms'", "too short to be told from a busy machine"),
        ("net.dns", "answer = 'servfail'\ndelay = '2s'", "only late answers have a `delay`"),
        ("net.dns", "answer = 'nobody'\nwhose = 'all'\nnames = ['n1']", "`whose` and `names` exclude each other"),
        ("net.dns", "answer = 'nobody'\nnames = []", "no name at all"),
        ("net.loss", "", "lacks `chance`"),
        ("net.loss", "chance = '0.01%'", "0.01% is too little to be proven"),
        ("net.loss", "chance = '5%'\nport = 70000", "70000 is not a port"),
        ("net.loss", "chance = '5%'\nbetween = 'friends'", "`friends` is not a value of `between`"),
        ("net.latency", "delay = '1ms'", "too short or too long to be proven"),
        ("net.latency", "delay = '2s'", "too short or too long to be proven"),
        ("net.latency", "delay = '10ms'\njitter = '20ms'", "the jitter is longer than the delay"),
        ("net.jitter", "by = '5ms'", "too short or too long to be proven"),
        ("net.bandwidth", "rate = '1GiB'", "too slow or too fast to be proven"),
        ("net.reset", "direction = 'up'", "`up` is not a value of `direction`"),
        ("process.kill", "signal = 'HUP'", "no signal that ends a process"),
        ("process.kill", "signal = 18", "no signal that ends a process"),
        ("process.pause", "proces = 'postgres'", "no key `proces`"),
        ("disk.corrupt", "", "lacks `where`"),
        ("disk.corrupt", "where = 'rest'\nnth = 3", "no key `nth`"),
        ("disk.error", "chance = '1%'\nnth = 3", "exclude each other"),
        ("disk.error", "nth = 0", "no operation number 0"),
        ("disk.full", "ops = ['read']", "`read` is no operation that this fault can harm"),
        ("disk.latency", "", "lacks `delay`"),
        ("disk.latency", "delay = '0s'", "none that can be tried"),
        ("disk.lost-fsync", "chance = '1%'", "no key `chance`"),
        ("disk.stall", "path = '../etc'", "names no folder below"),
        ("disk.throttle", "rate = '1MiB'", "is no rate of a disk"),
        ("node.crash", "process = 'postgres'", "no key `process`"),
        ("process.oom", "signal = 9", "no key `signal`"),
        ("resource.cpu", "workers = 0", "`workers` is from 1 to 64 processes"),
        ("resource.cpu", "workers = 'all'", "`workers`"),
        ("resource.fds", "spare = 100000", "`spare` is from 0 to 10000 file descriptors"),
        ("resource.memory", "take = '1MiB'", "`take` is from 16MiB to 256GiB"),
    ] {
        let found = read(kind, keys).err().unwrap();
        assert!(found.iter().any(|message| message.contains(want)), "{kind} {keys}: {found:?}");
    }
    assert_eq!(read("net.partition", "shape = 'moat'\ndirection = 'in'\nmoat = 1").err().unwrap().len(), 2);
}
