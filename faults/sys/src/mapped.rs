//! Files mapped into memory for reading: no copy is made, and the kernel may take the pages back whenever it needs them.
//!
//! The length is taken once, so that a file somebody appends to is read as far as it went then. Where a file becomes shorter
//! while it is mapped, or its disk fails, the kernel sends SIGBUS (mmap(2)); zeros take the place of what is gone then, and
//! [`Mapped::is_unchanged`] tells. Whoever writes into a mapped file changes what is read; that is told, too, but only afterwards.

#![expect(unsafe_code, reason = "mappings are made, read and removed by address, and their faults come as a signal")]

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{SysconfVar, sysconf};

/// So many files may be mapped at a time; a process that reads histories has one or two.
const MOST: usize = 32;

/// Where a mapping is, for the handler of SIGBUS, which may not wait for a lock.
struct Region {
    taken: AtomicBool,
    start: AtomicUsize,
    /// Whole pages; 0 while there is no mapping.
    length: AtomicUsize,
    /// Part of it was not there any more when it was read.
    cut: AtomicBool,
}

static REGIONS: [Region; MOST] = [const {
    Region {
        taken: AtomicBool::new(false),
        start: AtomicUsize::new(0),
        length: AtomicUsize::new(0),
        cut: AtomicBool::new(false),
    }
}; MOST];

/// Who took SIGBUS before.
static BEFORE: OnceLock<SigAction> = OnceLock::new();

static PAGE: AtomicUsize = AtomicUsize::new(4096);

/// A file in memory.
#[derive(Debug)]
pub struct Mapped {
    start: NonNull<u8>,
    length: usize,
    region: usize,
    file: File,
    changed: Option<SystemTime>,
}

// SAFETY: the memory is only read, by whoever has a reference, and stays mapped until the value is dropped.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

/// Maps a file from its beginning to its present end. `None` when that cannot be: it is no regular file, it is empty, or its
/// file system or this process has no mapping left; then it has to be read.
pub fn map(file: File) -> io::Result<Result<Mapped, File>> {
    let data = file.metadata()?;
    let length = usize::try_from(data.len()).unwrap_or(usize::MAX);
    if !data.is_file() || length == 0 || isize::try_from(length).is_err() {
        return Ok(Err(file));
    }
    catch_bus_errors()?;
    let Some(region) = REGIONS.iter().position(|region| !region.taken.swap(true, Ordering::AcqRel)) else {
        return Ok(Err(file));
    };
    // SAFETY: a new mapping at an address of the kernel's choice; the descriptor is open.
    let start = unsafe {
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
        libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_PRIVATE, fd, 0)
    };
    let Some(start) = NonNull::new(start.cast::<u8>()).filter(|_| start != libc::MAP_FAILED) else {
        REGIONS[region].taken.store(false, Ordering::Release);
        return Ok(Err(file));
    };
    // SAFETY: the range was mapped just now. That it is read from front to back is only advice, so that a refusal does no harm.
    let _done = unsafe { libc::madvise(start.as_ptr().cast(), length, libc::MADV_SEQUENTIAL) };
    let place = &REGIONS[region];
    place.cut.store(false, Ordering::Relaxed);
    place.start.store(start.as_ptr().addr(), Ordering::Relaxed);
    place.length.store(length.next_multiple_of(PAGE.load(Ordering::Relaxed)), Ordering::Release);
    Ok(Ok(Mapped { start, length, region, file, changed: data.modified().ok() }))
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: so many bytes are mapped for reading as long as this value lives; none is ever missing, because the handler
        // of SIGBUS puts zeros where the file has nothing.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Mapped {
    /// Gives back the memory of what was read so far. What is read again comes from the page cache again, or the disk.
    pub fn forget(&self) {
        // SAFETY: the range is mapped, from a file and for reading only, so that the same bytes come back.
        let _done = unsafe { libc::madvise(self.start.as_ptr().cast(), self.length, libc::MADV_DONTNEED) };
    }

    /// Whether what was read is what the file held when it was mapped. To be asked after reading; a file that only grew is
    /// unchanged.
    pub fn is_unchanged(&self) -> io::Result<bool> {
        let now = self.file.metadata()?;
        let length = usize::try_from(now.len()).unwrap_or(usize::MAX);
        let same = length > self.length || (length == self.length && now.modified().ok() == self.changed);
        Ok(same && !REGIONS[self.region].cut.load(Ordering::Acquire))
    }
}

/// A text that is known to be UTF-8, without a copy of a mapped file.
#[derive(Debug)]
pub enum Text {
    /// Of a file.
    Mapped(Arc<Mapped>),
    /// Held in memory.
    Held(String),
}

/// What is the matter with a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoText {
    /// It is not UTF-8.
    NotUtf8,
    /// The caller wanted no more.
    Stopped,
}

/// So many bytes are looked at between two questions: a millisecond.
const PIECE: usize = 4 << 20;

impl Text {
    /// Looks whether all bytes are UTF-8, and asks again and again whether to go on.
    pub fn of(file: Arc<Mapped>, goes_on: impl Fn() -> bool) -> Result<Self, NoText> {
        let mut rest: &[u8] = &file;
        while !rest.is_empty() {
            if !goes_on() {
                return Err(NoText::Stopped);
            }
            let (piece, is_last) = (rest.get(..PIECE).unwrap_or(rest), rest.len() <= PIECE);
            let sound = match std::str::from_utf8(piece) {
                Ok(_) => piece.len(),
                // A character that goes on in the next piece.
                Err(error) if error.error_len().is_none() && !is_last => error.valid_up_to(),
                Err(_) => return Err(NoText::NotUtf8),
            };
            rest = &rest[sound..];
        }
        Ok(Self::Mapped(file))
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Held(text) => text,
            // SAFETY: looked at when it was made. Whoever writes into the file afterwards, or cuts it, breaks that; readers of text
            // take every byte as it comes and go nowhere by what characters promise, and what they made of it is refused then.
            Self::Mapped(file) => unsafe { std::str::from_utf8_unchecked(file) },
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let place = &REGIONS[self.region];
        place.length.store(0, Ordering::Release);
        // SAFETY: the range is ours and nobody has a reference to it any more. It cannot fail for a range that is mapped.
        let _done = unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
        place.taken.store(false, Ordering::Release);
    }
}

/// Installs the handler, once for the process.
fn catch_bus_errors() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), Errno>> = OnceLock::new();
    let install = || {
        let page = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|page| usize::try_from(page).ok());
        PAGE.store(page.unwrap_or(4096), Ordering::Relaxed);
        let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK;
        let action = SigAction::new(SigHandler::SigAction(on_bus_error), flags, SigSet::empty());
        // SAFETY: the handler does only what a handler may: it reads and writes atomics and makes system calls.
        let before = unsafe { sigaction(Signal::SIGBUS, &action) }?;
        BEFORE.get_or_init(|| before);
        Ok(())
    };
    (*INSTALLED.get_or_init(install)).map_err(io::Error::from)
}

/// Puts zeros from the page that is missing to the end of its mapping. What is no mapping of ours goes to whoever had the signal
/// before, by itself: the instruction is tried again.
extern "C" fn on_bus_error(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    let errno = Errno::last_raw();
    // SAFETY: the kernel hands a handler with SA_SIGINFO a valid record, and SIGBUS has an address.
    let address = unsafe { (*info).si_addr() }.addr();
    for region in &REGIONS {
        let (length, start) = (region.length.load(Ordering::Acquire), region.start.load(Ordering::Relaxed));
        let Some(offset) = address.checked_sub(start).filter(|offset| *offset < length) else { continue };
        region.cut.store(true, Ordering::Release);
        let offset = offset - offset % PAGE.load(Ordering::Relaxed);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        let page = std::ptr::without_provenance_mut::<c_void>(start + offset);
        // SAFETY: the range is the rest of a mapping of ours, which lives as long as somebody reads it.
        let zeros = unsafe { libc::mmap(page, length - offset, libc::PROT_READ, flags, -1, 0) };
        if zeros != libc::MAP_FAILED {
            Errno::set_raw(errno);
            return;
        }
    }
    let action = BEFORE.get().copied().unwrap_or(SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty()));
    // SAFETY: what was installed before, or the default, which ends the process. The call fails for no valid signal.
    let _before = unsafe { sigaction(Signal::SIGBUS, &action) };
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::FileExt as _;

    use super::*;

    /// One test takes every place there is.
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

    fn mapped(path: &std::path::Path) -> Mapped {
        map(File::open(path).unwrap()).unwrap().unwrap()
    }

    #[test]
    fn a_file_is_read_as_far_as_it_went() {
        let _turn = TURN.lock().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let text: Vec<u8> = (0_u32..100_000).flat_map(u32::to_le_bytes).collect();
        std::fs::write(&path, &text).unwrap();
        let file = mapped(&path);
        assert_eq!(*file, *text);
        file.forget();
        assert_eq!(*file, *text, "again");
        File::options().append(true).open(&path).unwrap().write_all(b"more").unwrap();
        assert!(file.is_unchanged().unwrap(), "it only grew");
        assert_eq!(file.len(), text.len());
        File::options().write(true).open(&path).unwrap().set_len(7).unwrap();
        assert!(!file.is_unchanged().unwrap());
    }

    #[test]
    fn what_a_file_loses_while_it_is_read_is_zeros_and_no_crash() {
        let _turn = TURN.lock().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![7; 64 * 4096]).unwrap();
        let (file, other) = (mapped(&path), mapped(&path));
        assert_eq!(file[5000], 7);
        File::options().write(true).open(&path).unwrap().set_len(2 * 4096).unwrap();
        assert_eq!((file[0], file[4096], file[3 * 4096], file[64 * 4096 - 1]), (7, 7, 0, 0));
        // Grown again, so that the length tells nothing.
        let again = File::options().write(true).open(&path).unwrap();
        again.set_len(80 * 4096).unwrap();
        assert!(!file.is_unchanged().unwrap());
        assert!(other.is_unchanged().unwrap(), "nobody looked there");
        assert_eq!(other[63 * 4096], 0, "the mappings know nothing of each other");
    }

    #[test]
    fn what_is_written_into_a_file_is_noticed() {
        let _turn = TURN.lock().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![7; 5000]).unwrap();
        let file = mapped(&path);
        let long_ago = SystemTime::UNIX_EPOCH;
        let writer = File::options().write(true).open(&path).unwrap();
        writer.write_all_at(b"x", 9).unwrap();
        writer.set_modified(long_ago).unwrap();
        assert!(!file.is_unchanged().unwrap());
    }

    #[test]
    fn a_text_is_looked_at_in_pieces() {
        let _turn = TURN.lock().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        // A character of three bytes lies across every border.
        let text = "a".repeat(PIECE - 1) + &"\u{20ac}".repeat(PIECE / 2);
        std::fs::write(&path, &text).unwrap();
        let file = Arc::new(mapped(&path));
        assert_eq!(*Text::of(Arc::clone(&file), || true).unwrap(), *text);
        assert_eq!(Text::of(file, || false).unwrap_err(), NoText::Stopped);
        for (place, byte) in [(3, 0xff), (PIECE, b'x'), (text.len() - 1, b'x'), (PIECE + 7, 0xc0)] {
            let mut bytes = text.clone().into_bytes();
            bytes[place] = byte;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(Text::of(Arc::new(mapped(&path)), || true).unwrap_err(), NoText::NotUtf8, "{place}");
        }
        std::fs::write(&path, &text.as_bytes()[..text.len() - 1]).unwrap();
        assert_eq!(Text::of(Arc::new(mapped(&path)), || true).unwrap_err(), NoText::NotUtf8, "half a character");
    }

    #[test]
    fn what_cannot_be_mapped_is_given_back() {
        let _turn = TURN.lock().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"").unwrap();
        assert!(map(File::open(&path).unwrap()).unwrap().is_err(), "empty");
        assert!(map(File::open("/proc/self/status").unwrap()).unwrap().is_err(), "no length");
        assert!(map(File::open("/dev/null").unwrap()).unwrap().is_err(), "no regular file");
        std::fs::write(&path, b"1").unwrap();
        let all: Vec<Mapped> = (0..MOST).map_while(|_| map(File::open(&path).unwrap()).unwrap().ok()).collect();
        assert!(map(File::open(&path).unwrap()).unwrap().is_err(), "too many");
        drop(all);
        assert!(map(File::open(&path).unwrap()).unwrap().is_ok());
    }
}
