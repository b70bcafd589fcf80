//! Connections over links: whether they can be made, whether data passes, and how they end.

use std::io;
use std::net::{SocketAddrV4, TcpListener};
use std::time::Duration;

use firedrill_core::action::{Endpoint, Link, Presence};
use firedrill_core::harm::Impairment;
use firedrill_sys::clock;
use firedrill_sys::sockets::{self, Progress};

use super::Sight;
use crate::ends::Ends;

/// How long a connection may take to be made or refused.
const CONNECTING: Duration = Duration::from_millis(1500);
/// How long what was sent may take to be acknowledged.
const SENDING: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A connection that is tried.
struct Try {
    /// Kept so that somebody listens, where it is not the node's own server.
    _listener: Option<TcpListener>,
    socket: std::os::fd::OwnedFd,
    progress: Progress,
}

/// Tries a connection over every link at once, and for impairments of established ones sends along it. To a port of a
/// node it is the node's own server that is called; it hears a few bytes and then the end.
pub(super) fn look(ends: &Ends, links: &[Link], port: Option<u16>, how: &Impairment) -> Result<Vec<Sight>, String> {
    let mut tries = links.iter().map(|link| begin(ends, link, port)).collect::<Result<Vec<Try>, String>>()?;
    wait_for_each(&mut tries, CONNECTING, Progress::is_pending, sockets::connected);
    if matches!(how, Impairment::Refuse) {
        return Ok(tries.iter().map(|tried| refused(tried.progress)).collect());
    }
    for tried in tries.iter_mut().filter(|tried| tried.progress == Progress::Done) {
        tried.progress = sockets::send_some(&tried.socket);
    }
    wait_for_each(&mut tries, SENDING, Progress::is_unacknowledged, sockets::acknowledged);
    let judge = if matches!(how, Impairment::Reset) { reset } else { half_open };
    Ok(tries.iter().map(|tried| judge(tried.progress)).collect())
}

fn begin(ends: &Ends, link: &Link, port: Option<u16>) -> Result<Try, String> {
    let failed = |what: &str, error: &io::Error| format!("{link}: {what}: {error}");
    let ((from, _), (to, address)) = (ends.at(&link.from)?, ends.at(&link.to)?);
    let address = *address;
    // A port of a node belongs to its server, which may be about to start again and must find it free.
    let servers = port.is_some() && link.to != Endpoint::Clients;
    let listen = move || TcpListener::bind(SocketAddrV4::new(address, port.unwrap_or(0)));
    let listener = (!servers).then(|| to.inside(listen)).transpose().map_err(|error| failed("no listener", &error))?;
    let own =
        listener.as_ref().map(TcpListener::local_addr).transpose().map_err(|error| failed("no listener", &error))?;
    let target = SocketAddrV4::new(address, own.map(|own| own.port()).or(port).unwrap_or(0));
    let socket = from.inside(move || sockets::begin(target)).map_err(|error| failed("no socket", &error))?;
    Ok(Try { _listener: listener, socket, progress: Progress::Pending })
}

fn wait_for_each(
    tries: &mut [Try],
    limit: Duration,
    waits: fn(Progress) -> bool,
    look: fn(&std::os::fd::OwnedFd) -> Progress,
) {
    clock::until(limit, LOOK_EVERY, || {
        for tried in tries.iter_mut().filter(|tried| waits(tried.progress)) {
            tried.progress = look(&tried.socket);
        }
        (!tries.iter().any(|tried| waits(tried.progress))).then_some(())
    });
}

fn refused(progress: Progress) -> Sight {
    let (presence, words) = match progress {
        Progress::Refused => (Presence::Full, "a connection was refused"),
        Progress::Done | Progress::Unacknowledged | Progress::Reset => (Presence::Absent, "a connection was made"),
        Progress::Pending | Progress::Failed => (Presence::Partial, "a connection was neither made nor refused"),
    };
    Sight { presence, words: words.to_owned() }
}

fn reset(progress: Progress) -> Sight {
    let (presence, words) = match progress {
        Progress::Reset => (Presence::Full, "an established connection was reset"),
        Progress::Done => (Presence::Absent, "data passed on a connection"),
        Progress::Unacknowledged => (Presence::Partial, "a connection stayed, and no data passed"),
        Progress::Refused => (Presence::Unknown, "a connection was refused: nobody listens"),
        Progress::Pending | Progress::Failed => (Presence::Unknown, "no connection could be made"),
    };
    Sight { presence, words: words.to_owned() }
}

fn half_open(progress: Progress) -> Sight {
    let (presence, words) = match progress {
        Progress::Unacknowledged => (Presence::Full, "a connection was made, and its data was not acknowledged"),
        Progress::Done => (Presence::Absent, "data passed on a connection"),
        Progress::Reset => (Presence::Partial, "a connection was reset"),
        Progress::Refused => (Presence::Unknown, "a connection was refused: nobody listens"),
        Progress::Pending | Progress::Failed => (Presence::Unknown, "no connection could be made"),
    };
    Sight { presence, words: words.to_owned() }
}
