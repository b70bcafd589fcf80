//! How the data planes that have a socket are asked, the disks and the name server: one JSON line each way. What is asked for is
//! in force for as long as the connection lasts.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use firedrill_sys::clock;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest line either side accepts, in bytes.
pub(crate) const LONGEST: usize = 1 << 16;
/// How long a data plane may take to answer, and to take what it is asked.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Asks; the connection, and the answer.
pub(crate) fn ask<Reply: DeserializeOwned>(socket: &Path, order: &impl Serialize) -> io::Result<(UnixStream, Reply)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    tell(&stream, order)?;
    let mut answer = String::new();
    let longest = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    BufReader::new((&mut stream).take(longest)).read_line(&mut answer)?;
    Ok((stream, serde_json::from_str(&answer)?))
}

/// Says something.
pub(crate) fn tell(mut stream: &UnixStream, said: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Refuses an order that comes after its deadline (`CLOCK_BOOTTIME`, nanoseconds): whoever gave it, or has it carried out, was
/// stopped in between, and has ended or undone it meanwhile.
pub(crate) fn in_time(deadline: Option<u64>) -> io::Result<()> {
    if deadline.is_some_and(|deadline| deadline <= clock::boottime_nanos()) {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "the order came after its deadline"));
    }
    Ok(())
}
