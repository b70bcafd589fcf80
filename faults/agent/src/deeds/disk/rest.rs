//! Bits flipped in files at rest, below the disk. Which ones is drawn before, so that the undo knows what they were.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use firedrill_core::action::{Effect, Presence};
use firedrill_core::harm::DiskTarget;

use super::{Served, unexpected, walk};
use crate::disk::control::{Order, Reply};
use crate::disk::draw;
use crate::disk::places::Parts;
use crate::failpoint;
use crate::protocol::{Refusal, RefusalKind};

/// Files among which is chosen, at most.
const MOST_FILES: usize = 100_000;

/// A byte of which a bit is flipped.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Byte {
    file: PathBuf,
    offset: u64,
    /// What it was.
    was: u8,
    /// The bit.
    mask: u8,
}

impl Byte {
    fn save(&self) -> (String, String) {
        (format!("byte {} {}", self.offset, self.file.display()), format!("{} {}", self.was, self.mask))
    }

    fn read((key, value): (&String, &String)) -> Option<Self> {
        let (offset, file) = key.strip_prefix("byte ")?.split_once(' ')?;
        let (was, mask) = value.split_once(' ')?;
        Some(Self {
            file: PathBuf::from(file),
            offset: offset.parse().ok()?,
            was: was.parse().ok()?,
            mask: mask.parse().ok()?,
        })
    }

    fn open(&self, home: &Path, write: bool) -> io::Result<File> {
        File::options().read(true).write(write).open(home.join(&self.file))
    }

    /// What it is now; `None` if the file is gone or shorter.
    fn now(&self, home: &Path) -> io::Result<Option<u8>> {
        let mut byte = [0];
        match self.open(home, false).and_then(|file| file.read_exact_at(&mut byte, self.offset)) {
            Ok(()) => Ok(Some(byte[0])),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes `to` of it if it is `from`; whether it was.
    fn change(&self, home: &Path, from: u8, to: u8) -> io::Result<bool> {
        if self.now(home)? != Some(from) {
            return Ok(false);
        }
        let file = self.open(home, true)?;
        file.write_all_at(&[to], self.offset)?;
        file.sync_data()?;
        Ok(true)
    }
}

fn bytes(saved: &BTreeMap<String, String>) -> Vec<Byte> {
    saved.iter().filter_map(Byte::read).collect()
}

/// Draws bits, each byte of the target's files as likely as any other, and saves what the bytes are.
pub(super) fn choose(home: &Path, parts: &Parts, bits: u32, seed: u64) -> Result<BTreeMap<String, String>, Refusal> {
    let mut files = Vec::new();
    let mut total = 0;
    for (path, place, is_folder) in walk(home).take(MOST_FILES) {
        let length = fs::metadata(home.join(&path)).map_or(0, |metadata| metadata.len());
        if !is_folder && parts.cover(&place) && length > 0 {
            files.push((total, path));
            total += length;
        }
    }
    if total == 0 {
        return Err(Refusal::new(RefusalKind::NoTarget, "the target has no file with anything in it"));
    }
    let mut saved = BTreeMap::new();
    for turn in 0..u64::from(bits) {
        let drawn = draw(seed, 2 * turn) % total;
        let Some((before, file)) = files.iter().rev().find(|(before, _)| *before <= drawn) else { continue };
        let mask = 1 << (draw(seed, 2 * turn + 1) % 8);
        let mut byte = Byte { file: file.clone(), offset: drawn - before, was: 0, mask };
        let now = byte.now(home).map_err(|error| Refusal::system(format!("reading {}", file.display()), &error))?;
        // Shorter by now, or drawn twice: one bit fewer.
        if let Some(was) = now {
            byte.was = was;
            let (key, value) = byte.save();
            saved.entry(key).or_insert(value);
        }
    }
    Ok(saved)
}

/// Flips the bits of what is still as it was saved.
pub(super) fn flip(served: &Served<'_>, target: &DiskTarget, saved: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let mut flipped = 0;
    for byte in bytes(saved) {
        let changed = byte.change(served.home, byte.was, byte.was ^ byte.mask);
        let failed = |error| Refusal::system(format!("flipping a bit of {}", byte.file.display()), &error);
        flipped += u32::from(changed.map_err(failed)?);
        failpoint::within("rest-mid-apply")?;
    }
    if flipped == 0 {
        return Err(Refusal::new(RefusalKind::NoTarget, "every byte that was chosen has been overwritten meanwhile"));
    }
    forget(served, target)
}

/// Flips back what nobody has overwritten since.
pub(super) fn restore(
    served: &Served<'_>,
    target: &DiskTarget,
    saved: &BTreeMap<String, String>,
) -> Result<(), Refusal> {
    let mut result = Ok(());
    for byte in bytes(saved) {
        let changed = byte.change(served.home, byte.was ^ byte.mask, byte.was);
        let failed = |error| Refusal::system(format!("flipping a bit of {} back", byte.file.display()), &error);
        result = result.and(changed.map(drop).map_err(failed));
        failpoint::at("rest-mid-revert");
    }
    result.and(forget(served, target))
}

/// Has the kernel read the target from below again. A disk that is gone remembers nothing.
fn forget(served: &Served<'_>, target: &DiskTarget) -> Result<(), Refusal> {
    match served.ask(&Order::Forget { target: target.clone() }) {
        Ok((_, Reply::Done)) | Err(_) => Ok(()),
        Ok((_, other)) => Err(unexpected(other)),
    }
}

/// Looks whether the bits are flipped in the files below.
pub(super) fn look(home: &Path, saved: &BTreeMap<String, String>) -> Effect {
    let bytes = bytes(saved);
    let flipped = |byte: &&Byte| byte.now(home).is_ok_and(|now| now == Some(byte.was ^ byte.mask));
    let count = bytes.iter().filter(flipped).count();
    let presence = match count {
        0 => Presence::Absent,
        count if count == bytes.len() => Presence::Full,
        _ => Presence::Partial,
    };
    let places: Vec<String> =
        bytes.iter().take(5).map(|byte| format!("byte {} of {}", byte.offset, byte.file.display())).collect();
    Effect { presence, evidence: format!("{count} of {} bits are flipped ({})", bytes.len(), places.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_flipped_and_back_but_not_what_was_overwritten() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("data/base")).unwrap();
        fs::write(home.path().join("data/base/1"), [7; 100]).unwrap();
        fs::write(home.path().join("data/other"), [7; 100]).unwrap();
        let parts = Parts::of(Some("base"));
        let saved = choose(home.path(), &parts, 3, 5).unwrap();
        assert_eq!((saved.len(), &saved), (3, &choose(home.path(), &parts, 3, 5).unwrap()));
        assert!(saved.keys().all(|key| key.ends_with(" data/base/1")), "{saved:?}");
        let (socket, nowhere) = (home.path().join("socket"), home.path().join("nowhere"));
        let served = Served { home: home.path(), socket: &socket, at: &nowhere };
        let target = DiskTarget { path: Some("base".to_owned()), ..DiskTarget::default() };
        assert_eq!(look(home.path(), &saved).presence, Presence::Absent);
        flip(&served, &target, &saved).unwrap();
        assert_eq!(look(home.path(), &saved).presence, Presence::Full);
        assert_eq!(fs::read(home.path().join("data/base/1")).unwrap().iter().filter(|byte| **byte != 7).count(), 3);
        let overwritten = bytes(&saved).remove(0);
        overwritten.open(home.path(), true).unwrap().write_all_at(&[99], overwritten.offset).unwrap();
        assert_eq!(look(home.path(), &saved).presence, Presence::Partial);
        for _ in 0..2 {
            restore(&served, &target, &saved).unwrap();
            let now = fs::read(home.path().join("data/base/1")).unwrap();
            let others: Vec<u8> = now.into_iter().filter(|byte| *byte != 7).collect();
            assert_eq!(others, [99]);
        }
    }
}
