//! The timelines a node knows of, from PostgreSQL's history file of the one it is on.
//!
//! Format: `src/backend/access/transam/timeline.c`: one line per ancestor, `parent<TAB>switchpoint<TAB>reason`.

use firedrill_core::cluster::{Epoch, NodeName, Position};
use firedrill_core::history::EpochSwitch;
use firedrill_core::platform::{Dialer, Vantage};

use super::session::Session;
use super::view;

/// Asks a node for the switches it knows of, oldest first. Not bounded in time; the caller does that.
pub(super) async fn ask(dial: &dyn Dialer, node: &NodeName) -> Result<Vec<EpochSwitch>, String> {
    let mut session = Session::open(dial, Vantage::Control, node, "firedrill view").await?;
    let place = session.row(view::WHERE).await.map_err(|failure| failure.reason())?;
    let current = view::epoch(&place).ok_or_else(|| format!("{node} does not know its timeline"))?;
    if current == Epoch(1) {
        return Ok(Vec::new());
    }
    // At most 4 MiB: a line is some forty bytes.
    let sql = format!("SELECT pg_read_file('pg_wal/{:08X}.history', 0, 4194304, true)", current.0);
    let row = session.row(&sql).await.map_err(|failure| failure.reason())?;
    let text = row.get(0).ok_or_else(|| format!("{node} has no history of its timeline {current}"))?;
    parse(text, current)
}

/// Reads the history file of timeline `current`.
fn parse(text: &str, current: Epoch) -> Result<Vec<EpochSwitch>, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parents = lines.map(parent).collect::<Result<Vec<(Epoch, Position)>, String>>()?;
    let children = parents.iter().skip(1).map(|(epoch, _)| *epoch).chain([current]);
    let switches = parents.iter().zip(children).map(|(&(from, fork), to)| EpochSwitch { from, to, fork });
    Ok(switches.collect())
}

fn parent(line: &str) -> Result<(Epoch, Position), String> {
    let wrong = || format!("not a line of a timeline history: `{line}`");
    let mut words = line.split_whitespace();
    let timeline: u64 = words.next().and_then(|word| word.parse().ok()).ok_or_else(wrong)?;
    let position = words.next().and_then(lsn).ok_or_else(wrong)?;
    Ok((Epoch(timeline), position))
}

/// A position as PostgreSQL writes it: `0/3000060`.
fn lsn(text: &str) -> Option<Position> {
    let (high, low) = text.split_once('/')?;
    let (high, low) = (u32::from_str_radix(high, 16).ok()?, u32::from_str_radix(low, 16).ok()?);
    Some(Position((u64::from(high) << 32) | u64::from(low)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_file_lists_every_switch() {
        let text = "1\t0/5000148\tno recovery target specified\n\n2\tA/60000A0\tbefore 2000-01-01 00:00:00+00\n\n";
        let switch = |from, to, fork| EpochSwitch { from: Epoch(from), to: Epoch(to), fork: Position(fork) };
        assert_eq!(parse(text, Epoch(3)), Ok(vec![switch(1, 2, 0x0500_0148), switch(2, 3, 0xA_0600_00A0)]));
        assert_eq!(parse("", Epoch(2)), Ok(Vec::new()));
        assert!(parse("one\t0/1\n", Epoch(2)).is_err());
        assert!(parse("1\t5000148\n", Epoch(2)).is_err());
    }
}
