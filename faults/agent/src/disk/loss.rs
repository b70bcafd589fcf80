//! What a loss of power takes back: what files held before writes that only seemed to be on the disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use firedrill_sys::files;

use super::harms::draw;
use super::tree::Inode;

/// What is kept at most, in bytes.
const MOST: usize = 512 << 20;
/// What is kept at once, in bytes.
const BLOCK: u64 = 4096;
/// What a disk writes whole, in bytes.
const SECTOR: u64 = 512;

/// The last write to a file that was not synced.
#[derive(Debug)]
struct Last {
    inode: Arc<Inode>,
    turn: u64,
    offset: u64,
    length: u64,
    /// What was there before, as far as the file went.
    before: Vec<u8>,
    /// How long the file was.
    size: u64,
}

/// A file as it was.
#[derive(Debug)]
struct Was {
    inode: Arc<Inode>,
    size: u64,
    /// By their number, from the beginning of the file.
    blocks: BTreeMap<u64, Vec<u8>>,
}

/// What would be taken back now.
#[derive(Debug)]
pub(super) struct Loss {
    seed: u64,
    turn: u64,
    lasts: BTreeMap<u64, Last>,
    files: BTreeMap<u64, Was>,
    bytes: usize,
    full: bool,
}

impl Loss {
    /// Nothing.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, turn: 0, lasts: BTreeMap::new(), files: BTreeMap::new(), bytes: 0, full: false }
    }

    /// Whether more was overwritten than is kept, so that nothing can be taken back.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Keeps what a write is about to overwrite, unless it was overwritten before.
    pub(super) fn keep(&mut self, inode: &Arc<Inode>, file: &File, offset: u64, length: u64) -> io::Result<()> {
        let size = file.metadata()?.len();
        let was = self.files.entry(inode.number).or_insert_with(|| Was {
            inode: Arc::clone(inode),
            size,
            blocks: BTreeMap::new(),
        });
        let end = offset.saturating_add(length).min(was.size);
        for number in offset / BLOCK..end.div_ceil(BLOCK) {
            if self.bytes >= MOST {
                self.full = true;
                break;
            }
            if !was.blocks.contains_key(&number) {
                let at = number * BLOCK;
                let block = read(file, at, BLOCK.min(was.size - at))?;
                self.bytes += block.len();
                was.blocks.insert(number, block);
            }
        }
        if self.full {
            self.forget();
        }
        Ok(())
    }

    /// Keeps what the last write is about to overwrite.
    pub(super) fn keep_last(&mut self, inode: &Arc<Inode>, file: &File, offset: u64, length: u64) -> io::Result<()> {
        let size = file.metadata()?.len();
        let before = read(file, offset, size.saturating_sub(offset).min(length))?;
        self.turn += 1;
        let last = Last { inode: Arc::clone(inode), turn: self.turn, offset, length, before, size };
        self.lasts.insert(inode.number, last);
        Ok(())
    }

    /// Which write was the last so far.
    pub(super) fn turn(&self) -> u64 {
        self.turn
    }

    /// What was written to the file up to that turn is on the disk.
    pub(super) fn synced(&mut self, number: u64, turn: u64) {
        if self.lasts.get(&number).is_some_and(|last| last.turn <= turn) {
            self.lasts.remove(&number);
        }
    }

    fn forget(&mut self) {
        self.files.clear();
        self.lasts.clear();
        self.bytes = 0;
    }

    /// Puts on the disk what only seemed to be there.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let synced = self.files.values().map(|was| files::reopen(&was.inode.pinned, files::O_RDONLY)?.sync_all());
        let result = synced.fold(Ok(()), io::Result::and);
        self.forget();
        result
    }

    /// The power is lost: takes back everything that was kept, and says of how many bytes in which files.
    pub(super) fn take_back(&mut self) -> io::Result<(u64, Vec<u64>)> {
        if self.full {
            return Err(io::Error::other("more was written than can be taken back"));
        }
        let (mut bytes, mut numbers) = (0, Vec::new());
        for was in self.files.values() {
            bytes += was.take_back()?;
            numbers.push(was.inode.number);
        }
        if let Some(last) = self.lasts.values().max_by_key(|last| last.turn) {
            bytes += last.tear(self.seed)?;
            numbers.push(last.inode.number);
        }
        self.forget();
        Ok((bytes, numbers))
    }
}

impl Was {
    fn take_back(&self) -> io::Result<u64> {
        let file = files::reopen(&self.inode.pinned, files::O_RDWR)?;
        let longer = file.metadata()?.len().saturating_sub(self.size);
        file.set_len(self.size)?;
        let mut bytes = longer;
        for (number, block) in &self.blocks {
            file.write_all_at(block, number * BLOCK)?;
            bytes += u64::try_from(block.len()).unwrap_or(u64::MAX);
        }
        Ok(bytes)
    }
}

impl Last {
    /// Leaves the first sectors, so many as the seed says, and takes back the others; at least one of each.
    fn tear(&self, seed: u64) -> io::Result<u64> {
        let sectors = self.length.div_ceil(SECTOR);
        let Some(boundaries) = sectors.checked_sub(1).filter(|boundaries| *boundaries > 0) else { return Ok(0) };
        let left = (1 + draw(seed, self.turn) % boundaries) * SECTOR;
        let file = files::reopen(&self.inode.pinned, files::O_RDWR)?;
        let from = usize::try_from(left).unwrap_or(usize::MAX).min(self.before.len());
        file.write_all_at(&self.before[from..], self.offset + left)?;
        let end = self.offset + self.length;
        if end > self.size && file.metadata()?.len() == end {
            file.set_len(self.size.max(self.offset + left))?;
        }
        Ok(self.length - left)
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

    fn with_file(content: &[u8], work: impl FnOnce(&Arc<Inode>, &File, &mut Loss)) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), content).unwrap();
        let tree = Tree::new(files::pin(folder.path()).unwrap()).unwrap();
        let (inode, _) = tree.meet(&tree.get(ROOT).unwrap(), "file".as_ref()).unwrap();
        let file = files::reopen(&inode.pinned, files::O_RDWR).unwrap();
        work(&inode, &file, &mut Loss::new(7));
        std::fs::read(folder.path().join("file")).unwrap()
    }

    #[test]
    fn everything_since_the_onset_is_taken_back() {
        let before: Vec<u8> = (0..10_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let after = with_file(&before, |inode, file, loss| {
            for (offset, text) in [(4090, "fire"), (9_998, "beyond the end"), (4092, "again"), (20_000, "far")] {
                let length = u64::try_from(text.len()).unwrap();
                loss.keep(inode, file, offset, length).unwrap();
                file.write_all_at(text.as_bytes(), offset).unwrap();
            }
            let (bytes, numbers) = loss.take_back().unwrap();
            assert!(bytes > 10_000 && numbers == [inode.number], "{bytes} {numbers:?}");
        });
        assert!(after == before);
    }

    #[test]
    fn the_last_write_is_torn_at_a_sector() {
        let after = with_file(&[b'a'; 16_384], |inode, file, loss| {
            for (offset, byte) in [(0, b'b'), (8192, b'c')] {
                loss.keep_last(inode, file, offset, 8192).unwrap();
                file.write_all_at(&[byte; 8192], offset).unwrap();
            }
            loss.take_back().unwrap();
        });
        assert!(after[..8192].iter().all(|byte| *byte == b'b'));
        let left = after[8192..].iter().take_while(|byte| **byte == b'c').count();
        assert!(left > 0 && left < 8192 && left % 512 == 0, "{left}");
        assert!(after[8192 + left..].iter().all(|byte| *byte == b'a'));
    }

    #[test]
    fn a_torn_write_at_the_end_leaves_a_shorter_file() {
        let after = with_file(b"", |inode, file, loss| {
            loss.keep_last(inode, file, 0, 8192).unwrap();
            file.write_all_at(&[b'b'; 8192], 0).unwrap();
            loss.take_back().unwrap();
        });
        assert!(!after.is_empty() && after.len() < 8192 && after.len() % 512 == 0, "{}", after.len());
    }

    #[test]
    fn what_was_synced_is_not_torn() {
        let after = with_file(&[b'a'; 8192], |inode, file, loss| {
            loss.keep_last(inode, file, 0, 8192).unwrap();
            file.write_all_at(&[b'b'; 8192], 0).unwrap();
            loss.synced(inode.number, loss.turn());
            assert_eq!(loss.take_back().unwrap(), (0, Vec::new()));
        });
        assert_eq!(after, [b'b'; 8192]);
    }
}
