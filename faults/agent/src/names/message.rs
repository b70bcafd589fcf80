//! Messages of the domain name system (RFC 1035, 4.1), as far as addresses of names take them: one question, at most one
//! answer. What follows the question (the OPT record of RFC 6891) is not read, and not answered to.

use std::net::Ipv4Addr;

/// Bytes of the header (RFC 1035, 4.1.1).
const HEADER: usize = 12;
/// The longest label, and the longest name with the lengths of its labels, in bytes (2.3.4).
const LABEL: usize = 63;
const NAME: usize = 255;
/// The longest message by UDP, in bytes (4.2.1); a question never comes near.
pub(super) const LONGEST: usize = 512;
/// For how long an answer may be remembered, in seconds: not at all.
const TIME_TO_LIVE: u32 = 0;

/// Bits of the flags.
const RESPONSE: u16 = 1 << 15;
const OPCODE: u16 = 15 << 11;
const AUTHORITATIVE: u16 = 1 << 10;
const RECURSION_DESIRED: u16 = 1 << 8;
const RECURSION_AVAILABLE: u16 = 1 << 7;

/// Types and classes.
const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;

/// A message that came in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Read {
    /// A question.
    Question(Question),
    /// Not a question that is understood, and what to answer.
    Bad(Vec<u8>),
    /// Not to be answered at all: too short, or itself an answer.
    Nothing,
}

/// A question that is understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Question {
    id: u16,
    recursion_desired: bool,
    /// As it came, because it is sent back.
    section: Vec<u8>,
    /// In lower case, its labels joined by dots; `None` for one that holds other than visible letters.
    pub(super) name: Option<String>,
    /// Whether an IPv4 address is asked for.
    pub(super) wants_address: bool,
    class: u16,
}

/// What a question is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// This address, to whoever asks for one; else that the name has no record of the type.
    Address(Ipv4Addr),
    /// SERVFAIL.
    Failure,
    /// NXDOMAIN.
    NoSuchName,
}

/// Response codes (4.1.1).
#[derive(Clone, Copy)]
enum Code {
    Fine = 0,
    Format = 1,
    Failure = 2,
    NoSuchName = 3,
    NotImplemented = 4,
    Refused = 5,
}

impl Code {
    const fn bits(self) -> u16 {
        match self {
            Self::Fine => 0,
            Self::Format => 1,
            Self::Failure => 2,
            Self::NoSuchName => 3,
            Self::NotImplemented => 4,
            Self::Refused => 5,
        }
    }
}

/// Reads a message.
pub(super) fn read(message: &[u8]) -> Read {
    let number = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let (Some(id), Some(flags), Some(questions), true) = (number(0), number(2), number(4), message.len() >= HEADER)
    else {
        return Read::Nothing;
    };
    if flags & RESPONSE != 0 {
        return Read::Nothing;
    }
    let desired = flags & RECURSION_DESIRED;
    let bad = |code: Code| Read::Bad(header(id, RESPONSE | (flags & OPCODE) | desired, code, [0, 0]));
    if flags & OPCODE != 0 {
        return bad(Code::NotImplemented);
    }
    let Some((name, end)) = name(message).filter(|_| questions == 1) else { return bad(Code::Format) };
    let (Some(kind), Some(class)) = (number(end), number(end + 2)) else { return bad(Code::Format) };
    let section = message.get(HEADER..end + 4).unwrap_or_default().to_vec();
    let wants_address = kind == TYPE_A && class == CLASS_IN;
    Read::Question(Question { id, recursion_desired: desired != 0, section, name, wants_address, class })
}

/// The name after the header, and where it ends; `None` if it is none. A question has nothing before it that a pointer
/// (4.1.4) could name.
fn name(message: &[u8]) -> Option<(Option<String>, usize)> {
    let mut at = HEADER;
    let mut labels = Vec::new();
    let mut plain = true;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = message.get(at..at + length).filter(|_| length <= LABEL)?;
        at += length;
        if at - HEADER >= NAME {
            return None;
        }
        plain &= label.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'.');
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
    }
    Some((plain.then(|| labels.join(".")), at))
}

fn header(id: u16, flags: u16, code: Code, [questions, answers]: [u16; 2]) -> Vec<u8> {
    [id, flags | code.bits(), questions, answers, 0, 0].into_iter().flat_map(u16::to_be_bytes).collect()
}

/// The answer to a question.
pub(super) fn answer(question: &Question, said: Said) -> Vec<u8> {
    let (code, address) = match said {
        _ if question.class != CLASS_IN => (Code::Refused, None),
        Said::Address(address) => (Code::Fine, Some(address).filter(|_| question.wants_address)),
        Said::Failure => (Code::Failure, None),
        Said::NoSuchName => (Code::NoSuchName, None),
    };
    let desired = if question.recursion_desired { RECURSION_DESIRED } else { 0 };
    let flags = RESPONSE | AUTHORITATIVE | RECURSION_AVAILABLE | desired;
    let mut message = header(question.id, flags, code, [1, u16::from(address.is_some())]);
    message.extend(&question.section);
    if let Some(address) = address {
        // The name is the one of the question: a pointer to it.
        message.extend([0xc0, u8::try_from(HEADER).unwrap_or_default()]);
        message.extend([TYPE_A, CLASS_IN].into_iter().flat_map(u16::to_be_bytes));
        message.extend(TIME_TO_LIVE.to_be_bytes());
        message.extend([0, 4]);
        message.extend(address.octets());
    }
    message
}

#[cfg(test)]
mod tests {
    use rand::rngs::ChaCha8Rng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    /// What glibc 2.36 asks for `n1`, and what follows when EDNS is asked for.
    const ASKED: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02N1\x00\x00\x01\x00\x01";
    const WITH_OPT: &[u8] =
        b"\x12\x34\x01\x20\x00\x01\x00\x00\x00\x00\x00\x01\x02n1\x00\x00\x1c\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

    fn question(message: &[u8]) -> Question {
        let Read::Question(question) = read(message) else { panic!("{:?}", read(message)) };
        question
    }

    #[test]
    fn an_address_is_answered_after_the_question_as_it_was_asked() {
        let asked = question(ASKED);
        assert_eq!((asked.name.as_deref(), asked.wants_address), (Some("n1"), true));
        let want = b"\x12\x34\x85\x80\x00\x01\x00\x01\x00\x00\x00\x00\x02N1\x00\x00\x01\x00\x01\
            \xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x0a\x4d\x00\x01";
        assert_eq!(answer(&asked, Said::Address(ADDRESS)), want);
        assert_eq!(
            answer(&asked, Said::Failure)[..8],
            want[..3].iter().copied().chain([0x82, 0, 1, 0, 0]).collect::<Vec<_>>()
        );
        assert_eq!(answer(&asked, Said::NoSuchName)[3] & 15, 3);
    }

    #[test]
    fn who_asks_for_another_type_hears_of_none() {
        let asked = question(WITH_OPT);
        assert_eq!((asked.name.as_deref(), asked.wants_address), (Some("n1"), false));
        let said = answer(&asked, Said::Address(ADDRESS));
        assert_eq!((said[3] & 15, said[7], said.len()), (0, 0, HEADER + 8));
    }

    #[test]
    fn what_is_no_question_is_refused_or_passed_over() {
        let change = |at: usize, byte: u8| {
            let mut message = ASKED.to_vec();
            message[at] = byte;
            message
        };
        for (message, want) in [
            (ASKED[..11].to_vec(), None),
            (change(2, 0x80), None),
            (change(2, 0x10), Some(4)),
            (change(5, 0), Some(1)),
            (change(12, 0xc0), Some(1)),
            (change(12, 3), Some(1)),
            (ASKED[..17].to_vec(), Some(1)),
        ] {
            let code = match read(&message) {
                Read::Bad(said) => Some(said[3] & 15),
                Read::Nothing => None,
                Read::Question(question) => panic!("{question:?}"),
            };
            assert_eq!(code, want, "{message:?}");
        }
        assert_eq!(answer(&question(&change(18, 3)), Said::Address(ADDRESS))[3] & 15, 5, "another class");
        assert_eq!(question(&change(13, b'.')).name, None);
    }

    /// Messages at random, and questions with bytes changed: never a panic, and what is answered bears the id and is short.
    #[test]
    fn whatever_comes_is_borne() {
        let mut rng = ChaCha8Rng::seed_from_u64(53);
        for round in 0..50_000_u32 {
            let mut message =
                if round % 2 == 0 { WITH_OPT.to_vec() } else { vec![0; usize::from(rng.next_u32().to_be_bytes()[0])] };
            let changes = if round % 2 == 0 { 3 } else { message.len() };
            for _ in 0..changes.min(message.len()) {
                let [at, byte, ..] = rng.next_u32().to_be_bytes();
                let at = usize::from(at) % message.len();
                message[at] = byte;
            }
            let said = match read(&message) {
                Read::Question(question) => answer(&question, Said::Address(ADDRESS)),
                Read::Bad(said) => said,
                Read::Nothing => continue,
            };
            assert!(said[..2] == message[..2] && said.len() <= LONGEST && said[2] & 0x80 != 0, "{message:?}");
            assert_eq!(read(&said), Read::Nothing, "an answer is never answered");
        }
    }
}
