//! What a loss of power takes back: what files held before writes that were not synced, or only seemed to be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use firedrill_sys::files;

use super::harms::draw;
use super::length::Changing;
use super::tree::Inode;

/// What is kept at most, in bytes.
const MOST: usize = 512 << 20;
/// What is kept at once, in bytes.
const BLOCK: u64 = 4096;
/// So many of those are read at once.
const AT_ONCE: usize = 256;
/// Blocks not needed any more that are kept for what is overwritten next.
const SPARE: usize = 256;
/// What a disk writes whole, in bytes.
const SECTOR: u64 = 512;

/// A file as it is on the disk.
#[derive(Debug)]
struct Was {
    inode: Arc<Inode>,
    size: u64,
    /// By their number, from the beginning of the file.
    blocks: BTreeMap<u64, Vec<u8>>,
}

/// A write that may be torn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Last {
    turn: u64,
    offset: u64,
    length: u64,
}

/// What a loss of power has taken back.
#[derive(Default, Debug)]
pub(super) struct Gone {
    /// So many bytes,
    pub(super) bytes: u64,
    /// of these files.
    pub(super) numbers: Vec<u64>,
    /// The write that is there in part, if one is.
    pub(super) torn: Option<Torn>,
}

/// A write of which the first part is on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Torn {
    /// The file's.
    pub(super) number: u64,
    /// Where it began, in bytes.
    pub(super) offset: u64,
    /// How long it was, in bytes.
    pub(super) length: u64,
    /// How much of it is there, in bytes.
    pub(super) left: u64,
}

/// What would be taken back now. Contents and lengths of files only: names are in the log of the file system below.
#[derive(Default, Debug)]
pub(super) struct Loss {
    files: BTreeMap<u64, Was>,
    bytes: usize,
    /// Files of which a sync was reported that was none.
    swallowed: BTreeSet<u64>,
    /// The last write to each file that was not synced, of those that may be torn.
    lasts: BTreeMap<u64, Last>,
    turn: u64,
    full: bool,
    spare: Vec<Vec<u8>>,
    /// What blocks are read into, several at once.
    read: Vec<u8>,
}

impl Loss {
    /// Whether more was written under syncs that were none than is kept, so that nothing can be taken back.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Keeps what is about to be overwritten, unless it was overwritten since it was on the disk. The change that begins now.
    pub(super) fn keep<'a>(
        &mut self,
        inode: &'a Arc<Inode>,
        file: &File,
        offset: u64,
        length: u64,
    ) -> io::Result<Changing<'a>> {
        if self.bytes >= MOST {
            self.write_back();
        }
        let change = inode.length.begin(file)?;
        let was = self.files.entry(inode.number).or_insert_with(|| Was {
            inode: Arc::clone(inode),
            size: change.before(),
            blocks: BTreeMap::new(),
        });
        let end = offset.saturating_add(length).min(was.size).div_ceil(BLOCK);
        let whole = usize::try_from(BLOCK).map_err(io::Error::other)?;
        let mut number = offset / BLOCK;
        while number < end {
            let missing = (number..end).take(AT_ONCE).take_while(|number| !was.blocks.contains_key(number)).count();
            let next = number + u64::try_from(missing).map_err(io::Error::other)?;
            let at = number * BLOCK;
            let bytes = usize::try_from((next * BLOCK).min(was.size) - at).map_err(io::Error::other)?;
            self.read.resize(bytes.max(self.read.len()), 0);
            file.read_exact_at(&mut self.read[..bytes], at)?;
            for (number, old) in (number..).zip(self.read[..bytes].chunks(whole)) {
                let mut block = self.spare.pop().unwrap_or_default();
                block.clear();
                block.extend_from_slice(old);
                was.blocks.insert(number, block);
            }
            self.bytes += bytes;
            number = next.max(number + 1);
        }
        Ok(change)
    }

    /// A kernel brings to the disk by itself what it has kept for long, but not what it takes to be there.
    fn write_back(&mut self) {
        self.full = !self.swallowed.is_empty();
        self.files.clear();
        self.bytes = 0;
    }

    /// The write just kept may be torn.
    pub(super) fn may_tear(&mut self, number: u64, offset: u64, length: u64) {
        self.turn += 1;
        self.lasts.insert(number, Last { turn: self.turn, offset, length });
    }

    /// A sync was reported that was none.
    pub(super) fn swallow(&mut self, number: u64) {
        self.swallowed.insert(number);
    }

    /// What was written to the file so far is on the disk.
    pub(super) fn synced(&mut self, number: u64) {
        self.lasts.remove(&number);
        self.swallowed.remove(&number);
        if let Some(was) = self.files.remove(&number) {
            self.bytes -= was.blocks.values().map(Vec::len).sum::<usize>();
            let room = SPARE.saturating_sub(self.spare.len());
            self.spare.extend(was.blocks.into_values().take(room));
        }
    }

    /// Brings to the disk what only seemed to be there.
    pub(super) fn sync_swallowed(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        for number in std::mem::take(&mut self.swallowed) {
            let Some(was) = self.files.get(&number) else { continue };
            result = result.and(files::reopen(&was.inode.pinned, files::O_RDONLY).and_then(|file| file.sync_all()));
            self.synced(number);
        }
        self.full = false;
        result
    }

    /// No write may be torn any more.
    pub(super) fn forget_lasts(&mut self) {
        self.lasts.clear();
    }

    /// The power is lost: takes back everything that was kept, but for the first part of the last write that may be torn,
    /// split where the seed says.
    pub(super) fn take_back(&mut self, tear: Option<u64>) -> io::Result<Gone> {
        if self.full {
            return Err(io::Error::other("more was written than can be taken back"));
        }
        let torn = tear.map(|seed| self.torn(seed)).transpose()?.flatten();
        let mut gone = Gone::default();
        for was in self.files.values() {
            gone.bytes += was.take_back()?;
            gone.numbers.push(was.inode.number);
        }
        if let Some((torn, file, left)) = torn {
            file.write_all_at(&left, torn.offset)?;
            gone.torn = Some(torn);
        }
        *self = Self::default();
        Ok(gone)
    }

    /// The sectors that are left of the last write: at least one, and not all. `None` if none can be torn.
    fn torn(&self, seed: u64) -> io::Result<Option<(Torn, File, Vec<u8>)>> {
        let Some((number, last)) = self.lasts.iter().max_by_key(|(_, last)| last.turn) else { return Ok(None) };
        let boundaries = last.length.div_ceil(SECTOR).saturating_sub(1);
        let (Some(was), true) = (self.files.get(number), boundaries > 0) else { return Ok(None) };
        let file = files::reopen(&was.inode.pinned, files::O_RDWR)?;
        let left = (1 + draw(seed, last.turn) % boundaries) * SECTOR;
        let torn = Torn { number: *number, offset: last.offset, length: last.length, left };
        let bytes = read(&file, last.offset, left)?;
        Ok(Some((torn, file, bytes)))
    }
}

impl Was {
    fn take_back(&self) -> io::Result<u64> {
        let file = files::reopen(&self.inode.pinned, files::O_RDWR)?;
        let mut bytes = self.inode.length.begin(&file)?.before().saturating_sub(self.size);
        file.set_len(self.size)?;
        for (number, block) in &self.blocks {
            file.write_all_at(block, number * BLOCK)?;
            bytes += u64::try_from(block.len()).unwrap_or(u64::MAX);
        }
        Ok(bytes)
    }
}

fn read(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::tree::{ROOT, Tree};
    use super::*;

    struct Trial {
        inode: Arc<Inode>,
        file: File,
        loss: Loss,
    }

    impl Trial {
        fn write(&mut self, offset: u64, bytes: &[u8]) {
            let length = u64::try_from(bytes.len()).unwrap();
            let change = self.loss.keep(&self.inode, &self.file, offset, length).unwrap();
            assert_eq!(change.before(), self.file.metadata().unwrap().len());
            self.file.write_all_at(bytes, offset).unwrap();
            change.written(offset + length);
            self.loss.may_tear(self.inode.number, offset, length);
        }
    }

    /// What is left of a file.
    fn left(content: &[u8], work: impl FnOnce(&mut Trial)) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), content).unwrap();
        let tree = Tree::new(files::pin(folder.path()).unwrap()).unwrap();
        let (inode, _) = tree.meet(&tree.get(ROOT).unwrap(), "file".as_ref()).unwrap();
        let file = files::reopen(&inode.pinned, files::O_RDWR).unwrap();
        work(&mut Trial { inode, file, loss: Loss::default() });
        std::fs::read(folder.path().join("file")).unwrap()
    }

    #[test]
    fn what_was_not_synced_is_taken_back() {
        let before: Vec<u8> = (0..10_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let after = left(&before, |trial| {
            for (offset, text) in [(4090, "fire"), (9_998, "beyond the end"), (4092, "again"), (20_000, "far")] {
                trial.write(offset, text.as_bytes());
            }
            let gone = trial.loss.take_back(None).unwrap();
            assert!(gone.bytes > 10_000 && gone.numbers == [trial.inode.number] && gone.torn.is_none(), "{gone:?}");
            assert_eq!(trial.loss.take_back(None).unwrap().bytes, 0);
        });
        assert!(after == before);
    }

    #[test]
    fn what_is_long_is_taken_back_in_pieces() {
        let before: Vec<u8> = (0..3_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let after = left(&before, |trial| {
            for (offset, length) in [(12_000, 5_000), (1_200_000, 100), (0, 2_500_000), (2_990_000, 50_000)] {
                trial.write(offset, &vec![b'x'; length]);
            }
            trial.loss.take_back(None).unwrap();
        });
        assert!(after == before);
    }

    #[test]
    fn what_was_synced_stays() {
        let after = left(b"before", |trial| {
            trial.write(0, b"synced");
            trial.loss.synced(trial.inode.number);
            trial.write(3, b"not");
            trial.loss.take_back(Some(1)).unwrap();
        });
        assert_eq!(after, b"synced");
    }

    #[test]
    fn what_seemed_to_be_synced_is_synced_when_no_power_was_lost() {
        let after = left(b"before", |trial| {
            trial.write(0, b"seemed");
            trial.loss.swallow(trial.inode.number);
            trial.loss.sync_swallowed().unwrap();
            trial.write(0, b"never ");
            trial.loss.take_back(None).unwrap();
        });
        assert_eq!(after, b"seemed");
    }

    #[test]
    fn the_last_write_is_torn_at_a_sector_and_those_before_it_are_gone() {
        let after = left(&[b'a'; 16_384], |trial| {
            for (offset, byte) in [(0, b'b'), (8192, b'c')] {
                trial.write(offset, &[byte; 8192]);
            }
            let torn = trial.loss.take_back(Some(7)).unwrap().torn.unwrap();
            assert_eq!((torn.offset, torn.length), (8192, 8192));
        });
        assert!(after[..8192].iter().all(|byte| *byte == b'a'));
        let new = after[8192..].iter().take_while(|byte| **byte == b'c').count();
        assert!(new > 0 && new < 8192 && new % 512 == 0, "{new}");
        assert!(after[8192 + new..].iter().all(|byte| *byte == b'a'));
    }

    #[test]
    fn a_torn_write_at_the_end_leaves_a_shorter_file() {
        let after = left(b"", |trial| {
            trial.write(0, &[b'b'; 8192]);
            trial.loss.take_back(Some(7)).unwrap();
        });
        assert!(!after.is_empty() && after.len() < 8192 && after.len() % 512 == 0, "{}", after.len());
    }
}
