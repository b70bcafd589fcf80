//! What becomes of packets, without sockets.

use std::time::Duration;

use firedrill_core::harm::{Chance, Impairment};
use firedrill_core::seed::Seed;

use super::*;
use crate::wire::frame::tests::tcp;
use crate::wire::frame::{ACK, PSH, RST, SYN, look};
use crate::wire::stage::Key;

/// What left, and by which interface.
#[derive(Default)]
struct Seen(Vec<(Port, Vec<u8>)>);

impl Exits for Seen {
    fn send(&mut self, port: Port, bytes: &[u8]) {
        self.0.push((port, bytes.to_vec()));
    }
}

const FROM: Port = 0;
const TO: Port = 1;
const MILLI: u64 = 1_000_000;
const N1: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const N2: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const KEY: Key = (FROM, N1, N2);
const EXIT: Exit = Exit { on: TO, back: FROM };

fn stage(id: u64, how: Impairment, port: Option<u16>) -> Stage {
    let mut stage = Stage::new(id, format!("fd-{id}"), how, port, None);
    stage.add(KEY, EXIT, Seed(7), "n1→n2");
    stage
}

fn plane(stages: impl IntoIterator<Item = Stage>) -> Plane {
    let mut plane = Plane::default();
    stages.into_iter().for_each(|stage| plane.add(stage));
    plane
}

/// What leaves at once for a frame.
fn sent(plane: &mut Plane, frame: &[u8], now: u64) -> Vec<(Port, Vec<u8>)> {
    let mut seen = Seen::default();
    plane.take(FROM, &mut frame.to_vec(), now, &mut seen);
    seen.0
}

fn turned(plane: &mut Plane, now: u64) -> Vec<Vec<u8>> {
    let mut seen = Seen::default();
    plane.turn(now, &mut seen);
    assert!(seen.0.iter().all(|(port, _)| *port == TO));
    seen.0.into_iter().map(|(_, bytes)| bytes).collect()
}

fn delay(millis: u64, jitter: u64) -> Impairment {
    Impairment::Delay { delay: Duration::from_millis(millis), jitter: Duration::from_millis(jitter) }
}

fn percent(percent: u32) -> Chance {
    Chance::per_million(percent * 10_000)
}

#[test]
fn what_nothing_concerns_is_the_kernels() {
    let all = Impairment::Loss { chance: Chance::CERTAIN };
    let mut plane = plane([stage(1, all, Some(5432)), stage(2, delay(0, 0), Some(80))]);
    assert_eq!(sent(&mut plane, &tcp(8008, ACK, b"x"), 0), []);
    assert_eq!(sent(&mut plane, &tcp(5432, ACK, b"x"), 0), []);
    assert_eq!(plane.next(), None);
}

#[test]
fn a_delay_is_exact_and_jitter_keeps_order() {
    let frame = tcp(1, ACK, b"x");
    let mut exact = plane([stage(1, delay(20, 0), None)]);
    assert_eq!(sent(&mut exact, &frame, 5), []);
    assert_eq!(exact.next(), Some(5 + 20 * MILLI));
    assert!(turned(&mut exact, 4 + 20 * MILLI).is_empty());
    assert_eq!(turned(&mut exact, 5 + 20 * MILLI), [frame]);
    let mut varied = plane([stage(1, delay(20, 20), None)]);
    let frames: Vec<Vec<u8>> = (0..100_u8).map(|number| tcp(1, ACK, &[number])).collect();
    for frame in &frames {
        assert_eq!(sent(&mut varied, frame, 0), []);
    }
    assert_eq!(turned(&mut varied, 40 * MILLI), frames);
}

#[test]
fn a_frame_passes_all_impairments_of_its_link() {
    let twice = Impairment::Duplicate { chance: Chance::CERTAIN };
    let mut plane = plane([stage(1, delay(10, 0), None), stage(2, twice, None), stage(3, delay(5, 0), None)]);
    let frame = tcp(1, ACK, b"x");
    assert_eq!(sent(&mut plane, &frame, 0), []);
    assert!(turned(&mut plane, 10 * MILLI).is_empty());
    assert_eq!(turned(&mut plane, 15 * MILLI), [frame.clone(), frame.clone()]);
    // What a removed impairment holds goes on at once, through those that are left.
    sent(&mut plane, &frame, 100 * MILLI);
    let mut seen = Seen::default();
    assert!(plane.remove("fd-1", 101 * MILLI, &mut seen).is_some());
    assert!(seen.0.is_empty());
    assert_eq!(turned(&mut plane, 106 * MILLI), [frame.clone(), frame]);
}

#[test]
fn nothing_passes_a_cut_nor_what_waited_before() {
    let mut plane = plane([stage(1, delay(10, 0), None), stage(2, Impairment::Refuse, None)]);
    let (of_port, other, syn) = (tcp(5432, ACK, b"x"), tcp(80, ACK, b"x"), tcp(5432, SYN, b""));
    assert_eq!([&of_port, &other].map(|frame| sent(&mut plane, frame, 0).len()), [0, 0]);
    plane.cut(stage(0, Impairment::Loss { chance: Chance::CERTAIN }, Some(5432)));
    assert_eq!(sent(&mut plane, &syn, 0), [], "nobody answers for a link that is cut");
    assert_eq!(turned(&mut plane, 10 * MILLI), [other]);
    plane.mend("fd-0");
    assert_eq!(sent(&mut plane, &of_port, 0), []);
    assert_eq!(turned(&mut plane, 10 * MILLI), [of_port]);
}

#[test]
fn answers_leave_where_the_link_says() {
    let mut stage = Stage::new(1, "fd-1".to_owned(), Impairment::Reset, None, None);
    // Taken where it reaches its receiver: on to the host it was taken at, back to the network.
    stage.add(KEY, Exit { on: FROM, back: TO }, Seed(7), "n1→n2");
    let answers = sent(&mut plane([stage]), &tcp(1, ACK | PSH, b"hello"), 0);
    let to: Vec<(Port, Ipv4Addr)> = answers.iter().map(|(port, bytes)| (*port, look(bytes).unwrap().to)).collect();
    assert_eq!(to, [(TO, N1), (FROM, N2)]);
}

#[test]
fn equal_seeds_lose_the_same_packets() {
    let lost = |seed: u64| {
        let mut stage = Stage::new(1, "fd-1".to_owned(), Impairment::Loss { chance: percent(30) }, None, None);
        stage.add(KEY, EXIT, Seed(seed), "n1→n2");
        let mut plane = plane([stage]);
        (0..500).map(|_| sent(&mut plane, &tcp(1, ACK, b"x"), 0).is_empty()).collect::<Vec<bool>>()
    };
    assert_eq!(lost(1), lost(1));
    assert_ne!(lost(1), lost(2));
    let count = lost(1).iter().filter(|lost| **lost).count();
    assert!((100..200).contains(&count), "{count}");
}

#[test]
fn corruption_flips_one_bit_behind_the_headers() {
    let mut plane = plane([stage(1, Impairment::Corrupt { chance: Chance::CERTAIN }, None)]);
    let frame = tcp(1, ACK, b"some data");
    for _ in 0..50 {
        let changed = sent(&mut plane, &frame, 0).remove(0).1;
        let bits: u32 = frame.iter().zip(&changed).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!((bits, &changed[..64]), (1, &frame[..64]));
    }
}

#[test]
fn a_held_packet_is_overtaken() {
    let how = Impairment::Reorder { chance: percent(50), by: Duration::from_millis(5) };
    let mut plane = plane([stage(1, how, None)]);
    let at_once: usize = (0..200_u8).map(|number| sent(&mut plane, &tcp(1, ACK, &[number]), 0).len()).sum();
    let later = turned(&mut plane, 5 * MILLI).len();
    assert_eq!(at_once + later, 200);
    assert!((60..140).contains(&later), "{later}");
}

#[test]
fn a_limit_spaces_packets_and_drops_what_waits_too_long() {
    let mut plane = plane([stage(1, Impairment::Bandwidth { bytes_per_second: 100_000 }, None)]);
    // 1,000 bytes each with their headers: 10 ms.
    let frame = tcp(1, ACK, &[0; 960]);
    for _ in 0..200 {
        assert_eq!(sent(&mut plane, &frame, 0), []);
    }
    let counts: Vec<usize> = (1..=3).map(|turn| turned(&mut plane, turn * 100 * MILLI).len()).collect();
    assert_eq!(counts, [10, 10, 10]);
    assert_eq!(turned(&mut plane, u64::MAX).len(), 21, "half a second waits, and one more that is being sent");
}

#[test]
fn resets_go_both_ways_with_the_numbers_each_side_waits_for() {
    let mut plane = plane([stage(1, Impairment::Reset, None)]);
    for handshake in [SYN, SYN | ACK, RST] {
        assert_eq!(sent(&mut plane, &tcp(1, handshake, b""), 0).len(), 1);
    }
    let answers = sent(&mut plane, &tcp(1, ACK | PSH, b"hello"), 0);
    let read: Vec<_> = answers
        .iter()
        .map(|(port, bytes)| (*port, look(bytes).unwrap().segment(bytes).unwrap()))
        .map(|(port, segment)| (port, segment.flags, segment.sequence, segment.acknowledges))
        .collect();
    assert_eq!(read, [(FROM, RST | ACK, 9000, 5005), (TO, RST | ACK, 5000, 9000)]);
}

#[test]
fn only_new_connections_are_refused() {
    let mut plane = plane([stage(1, Impairment::Refuse, None)]);
    let answers = sent(&mut plane, &tcp(1, SYN, b""), 0);
    let segment = look(&answers[0].1).unwrap().segment(&answers[0].1).unwrap();
    assert_eq!((answers.len(), answers[0].0, segment.flags, segment.acknowledges), (1, FROM, RST | ACK, 5001));
    let data = tcp(1, ACK, b"x");
    assert_eq!(sent(&mut plane, &data, 0), [(TO, data)]);
}

#[test]
fn half_open_connections_pass_no_data() {
    let mut plane = plane([stage(1, Impairment::HalfOpen, None)]);
    for (flags, payload, passes) in [(SYN, &b""[..], 1), (ACK, b"", 1), (ACK, b"x", 0)] {
        assert_eq!(sent(&mut plane, &tcp(1, flags, payload), 0).len(), passes, "{flags} {payload:?}");
    }
}
