//! Memory that requests come in and answers go out by, as `struct fuse_uring_req_header` of `linux/fuse.h` has it: for each
//! entry of a queue a header, and what is longer than that.

#![expect(unsafe_code, reason = "the kernel writes and reads the memory by address")]

use std::io;
use std::ptr::NonNull;

/// What the header of an entry has room for, in bytes: a page, so that what is longer begins at one.
const ROOM: usize = 4096;
/// The header's length, in bytes.
const HEADER: usize = 288;

/// Where things are in a header, in bytes from its beginning.
pub(super) mod at {
    /// `struct fuse_in_header`: the length of the whole request, what is asked, the number of the request, the file's.
    pub(crate) const LENGTH: usize = 0;
    pub(crate) const OPERATION: usize = 4;
    pub(crate) const UNIQUE: usize = 8;
    pub(crate) const NODE: usize = 16;
    /// Its length.
    pub(crate) const ASKED: usize = 40;
    /// `struct fuse_out_header`, in the same place.
    pub(crate) const ERROR: usize = 4;
    pub(crate) const ANSWERED: usize = 16;
    /// What the operation has of its own.
    pub(crate) const ARGUMENT: usize = 128;
    pub(crate) const ARGUMENT_END: usize = 256;
    /// `struct fuse_uring_ent_in_out`: by what the answer is given, and how much there is beside the header.
    pub(crate) const COMMIT: usize = 264;
    pub(crate) const PAYLOAD: usize = 272;
}

/// The memory of a queue.
#[derive(Debug)]
pub(super) struct Buffers {
    start: NonNull<u8>,
    entries: u16,
    payload: usize,
}

// SAFETY: whoever holds an entry's request has it alone: neither the kernel nor another request uses the entry meanwhile.
unsafe impl Send for Buffers {}
// SAFETY: as above.
unsafe impl Sync for Buffers {}

impl Buffers {
    /// For so many entries with so many bytes beside their headers, a multiple of the page's. What is never used takes no
    /// memory.
    pub(super) fn new(entries: u16, payload: usize) -> io::Result<Self> {
        let length = usize::from(entries) * (ROOM + payload);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: new memory, at a place the kernel chooses.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        match NonNull::new(start.cast()) {
            Some(start) if start.as_ptr() != libc::MAP_FAILED.cast() => Ok(Self { start, entries, payload }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn place(&self, entry: u16) -> NonNull<u8> {
        assert!(entry < self.entries, "an entry of this queue");
        // SAFETY: there are so many entries.
        unsafe { self.start.add(usize::from(entry) * (ROOM + self.payload)) }
    }

    /// Where an entry's header and payload are, for the kernel.
    pub(super) fn vectors(&self, entry: u16) -> [libc::iovec; 2] {
        let place = self.place(entry);
        // SAFETY: behind the header.
        let payload = unsafe { place.add(ROOM) };
        [(place, HEADER), (payload, self.payload)]
            .map(|(start, length)| libc::iovec { iov_base: start.as_ptr().cast(), iov_len: length })
    }

    /// The header of an entry that is not the kernel's now.
    pub(super) fn header(&self, entry: u16) -> &[u8] {
        // SAFETY: as long as it is, and nobody writes to it meanwhile.
        unsafe { std::slice::from_raw_parts(self.place(entry).as_ptr(), HEADER) }
    }

    /// The payload of an entry that is not the kernel's now.
    pub(super) fn payload(&self, entry: u16) -> &[u8] {
        // SAFETY: as long as it is, and nobody writes to it meanwhile.
        unsafe { std::slice::from_raw_parts(self.place(entry).add(ROOM).as_ptr(), self.payload) }
    }

    /// Writes into the header of an entry that is not the kernel's now, and of which nobody has a part.
    pub(super) fn set(&self, entry: u16, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= HEADER, "within the header");
        // SAFETY: within it, and nobody else uses it.
        unsafe { self.place(entry).add(at).copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
    }

    /// Writes the payload of an entry that is not the kernel's now, and of which nobody has a part; `false` if it is too
    /// long.
    pub(super) fn fill(&self, entry: u16, bytes: &[u8]) -> bool {
        if bytes.len() > self.payload {
            return false;
        }
        // SAFETY: within it, and nobody else uses it.
        unsafe { self.place(entry).add(ROOM).copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        true
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: mapped by us, so long, and used by nobody any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), usize::from(self.entries) * (ROOM + self.payload)) };
    }
}
