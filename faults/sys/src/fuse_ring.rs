//! Requests of a file system in user space by `io_uring` (Linux 6.14 and later, `Documentation/filesystems/fuse-io-uring.rst`)
//! rather than by reads and writes of `/dev/fuse`: each processor has a queue, one call answers requests and waits for the
//! next ones, and whoever asks is served on the processor it runs on.

mod buffers;

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use buffers::{Buffers, at};

/// Whether the kernel may offer it: a setting of the whole machine, off unless somebody turned it on.
pub const SWITCH: &str = "/sys/module/fuse/parameters/enable_uring";
/// What the kernel offers it by when a file system is mounted (`FUSE_OVER_IO_URING`).
pub const OFFER: u64 = 1 << 41;

/// `enum fuse_uring_cmd`.
const REGISTER: u32 = 1;
const COMMIT_AND_FETCH: u32 = 2;
/// Where an entry of the submission queue has its length, in bytes: the crate has no name for it.
const LENGTH_AT: usize = 24;
/// What the completion of a wait for answers of other threads is known by.
const WOKEN: u64 = u64::MAX;

type Command = squeue::Entry128;

nix::ioctl_write_ptr!(
    /// `FUSE_DEV_IOC_BACKING_CLOSE` of `linux/fuse.h`.
    backing_close,
    229,
    2,
    u32
);

/// Has the kernel forget a file that it was told to pass through to.
pub fn forget_backing(device: &File, id: u32) -> io::Result<()> {
    #[expect(unsafe_code, reason = "ioctls go by addresses")]
    // SAFETY: the number is read during the call only.
    let forgotten = unsafe { backing_close(device.as_raw_fd(), &raw const id) };
    Ok(forgotten.map(drop)?)
}

/// Whether the kernel offers it; `None` if it does not know of it.
pub fn is_on() -> Option<bool> {
    fs::read_to_string(SWITCH).ok().map(|text| text.trim() == "Y")
}

/// Whether a process like this one may use `io_uring`: a `sysctl`, or who runs a container, can forbid it.
pub fn is_permitted() -> io::Result<()> {
    build(1).map(drop)
}

fn build(entries: u32) -> io::Result<IoUring<Command, cqueue::Entry>> {
    let mut builder = IoUring::<Command, cqueue::Entry>::builder();
    builder.setup_single_issuer().setup_defer_taskrun();
    builder.build(entries)
}

/// How many processors there may be, so many queues the kernel wants.
pub fn processors() -> io::Result<u16> {
    let text = fs::read_to_string("/sys/devices/system/cpu/possible")?;
    count(text.trim()).ok_or_else(|| io::Error::other(format!("/sys/devices/system/cpu/possible says {text:?}")))
}

/// `0-3,8-11` are eight.
fn count(list: &str) -> Option<u16> {
    let sizes = list.split(',').map(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (u16, u16) = (from.parse().ok()?, to.parse().ok()?);
        to.checked_sub(from)?.checked_add(1)
    });
    sizes.sum()
}

/// Whether an error of a queue says that the file system is no more.
pub fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOTCONN | libc::ECONNABORTED | libc::ENODEV | libc::ECANCELED))
}

/// The queue of a processor.
pub struct Queue {
    uring: IoUring<Command, cqueue::Entry>,
    shared: Arc<Shared>,
    number: u16,
    entries: u16,
}

/// What requests have of their queue.
struct Shared {
    buffers: Buffers,
    /// Entries whose requests are answered, and that the kernel does not have back yet.
    answered: Mutex<Vec<u16>>,
    /// An eventfd: what other threads wake the owner by.
    wake: File,
    owner: ThreadId,
}

impl Queue {
    /// The queue of that processor, with so many requests at once and so many bytes with each (a multiple of a page's). From
    /// now on the calling thread runs there, if it may, and alone can use the queue.
    pub fn new(device: &File, processor: u16, entries: u16, payload: usize) -> io::Result<Self> {
        let mut here = CpuSet::new();
        // A processor that is off, or not for us, is served from another.
        let _is_here =
            here.set(usize::from(processor)).and_then(|()| sched_setaffinity(Pid::from_raw(0), &here)).is_ok();
        let (buffers, answered) = (Buffers::new(entries, payload)?, Mutex::default());
        let shared = Arc::new(Shared { buffers, answered, wake: event()?, owner: thread::current().id() });
        let uring = build(u32::from(entries) + 1)?;
        uring.submitter().register_files(&[device.as_raw_fd()])?;
        Ok(Self { uring, shared, number: processor, entries })
    }

    /// Offers the kernel all entries. Once each queue has offered some, requests come by them.
    pub fn register(&mut self) -> io::Result<()> {
        let vectors: Vec<_> = (0..self.entries).map(|entry| self.shared.buffers.vectors(entry)).collect();
        for (entry, vectors) in (0..self.entries).zip(&vectors) {
            let mut command = self.command(REGISTER, entry, 0);
            refer(&mut command, vectors);
            self.push(&command)?;
        }
        self.listen()?;
        self.uring.submit()?;
        match self.uring.completion().find(|done| done.result() < 0) {
            Some(refused) => Err(io::Error::from_raw_os_error(-refused.result())),
            None => Ok(()),
        }
    }

    fn command(&self, what: u32, entry: u16, commit: u64) -> Command {
        // `struct fuse_uring_cmd_req`.
        let mut told = [0; 80];
        told[8..16].copy_from_slice(&commit.to_ne_bytes());
        told[16..18].copy_from_slice(&self.number.to_ne_bytes());
        opcode::UringCmd80::new(types::Fixed(0), what).cmd(told).build().user_data(u64::from(entry))
    }

    #[expect(unsafe_code, reason = "the kernel goes by addresses")]
    fn push(&mut self, command: &Command) -> io::Result<()> {
        // SAFETY: what commands refer to is read when they are submitted, or lives as long as the queue.
        unsafe { self.uring.submission().push(command) }.map_err(io::Error::other)
    }

    /// Has answers of other threads end the wait.
    fn listen(&mut self) -> io::Result<()> {
        const POLLIN: u32 = 1;
        let poll = opcode::PollAdd::new(types::Fd(self.shared.wake.as_raw_fd()), POLLIN).build();
        self.push(&poll.user_data(WOKEN).into())
    }

    fn commit(&mut self) -> io::Result<()> {
        let answered = std::mem::take(&mut *self.shared.answered.lock().unwrap_or_else(PoisonError::into_inner));
        answered.into_iter().try_for_each(|entry| {
            let commit = long(self.shared.buffers.header(entry), at::COMMIT);
            let command = self.command(COMMIT_AND_FETCH, entry, commit);
            self.push(&command)
        })
    }

    /// Gives the kernel the answers there are.
    pub fn give(&mut self) -> io::Result<()> {
        self.commit()?;
        self.uring.submit().map(drop)
    }

    /// Gives the kernel the answers there are, and waits for requests or more answers. An error if the file system is no
    /// more.
    pub fn turn(&mut self) -> io::Result<Vec<Asked>> {
        self.commit()?;
        match self.uring.submit_and_wait(1) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            Ok(_) | Err(_) => {}
        }
        let (mut asked, mut woken, mut ended) = (Vec::new(), false, None);
        for done in self.uring.completion() {
            match u16::try_from(done.user_data()) {
                Err(_) => woken = true,
                Ok(_) if done.result() < 0 => ended = Some(io::Error::from_raw_os_error(-done.result())),
                Ok(entry) => asked.push(Asked { shared: Arc::clone(&self.shared), entry, answered: false }),
            }
        }
        if woken {
            (&self.shared.wake).read_exact(&mut [0; 8])?;
            self.listen()?;
        }
        ended.map_or(Ok(asked), Err)
    }
}

/// A request. Whoever drops it unanswered has it fail.
pub struct Asked {
    shared: Arc<Shared>,
    entry: u16,
    answered: bool,
}

impl Asked {
    fn header(&self) -> &[u8] {
        self.shared.buffers.header(self.entry)
    }

    /// What is asked: `enum fuse_opcode`.
    pub fn operation(&self) -> u32 {
        word(self.header(), at::OPERATION)
    }

    /// The number of the request.
    pub fn unique(&self) -> u64 {
        long(self.header(), at::UNIQUE)
    }

    /// The file's, or the folder's, number.
    pub fn node(&self) -> u64 {
        long(self.header(), at::NODE)
    }

    /// What the operation has of its own, of fixed length.
    fn argument(&self) -> &[u8] {
        &self.header()[at::ARGUMENT..at::ARGUMENT_END]
    }

    /// Four bytes of that, from so many on, of 128.
    pub fn argument_word(&self, from: usize) -> u32 {
        word(self.argument(), from)
    }

    /// Eight bytes of that.
    pub fn argument_long(&self, from: usize) -> u64 {
        long(self.argument(), from)
    }

    /// What comes behind it: names, or what is written.
    pub fn payload(&self) -> &[u8] {
        let payload = self.shared.buffers.payload(self.entry);
        let length = usize::try_from(word(self.header(), at::PAYLOAD)).unwrap_or(usize::MAX);
        &payload[..length.min(payload.len())]
    }

    /// The request as it would be read from `/dev/fuse`.
    pub fn whole(&self) -> Vec<u8> {
        let (header, payload) = (self.header(), self.payload());
        let length = usize::try_from(word(header, at::LENGTH)).unwrap_or(usize::MAX);
        let argument = length.saturating_sub(at::ASKED + payload.len());
        [&header[..at::ASKED], &self.argument()[..argument.min(at::ARGUMENT_END - at::ARGUMENT)], payload].concat()
    }

    /// It is done; what it gives.
    pub fn answer(mut self, given: &[u8]) {
        self.settle(0, given);
    }

    /// It has failed, by this number.
    pub fn fail(mut self, number: i32) {
        self.settle(number, &[]);
    }

    fn settle(&mut self, number: i32, given: &[u8]) {
        self.answered = true;
        let buffers = &self.shared.buffers;
        let (number, given) = if buffers.fill(self.entry, given) { (number, given) } else { (libc::EIO, &[][..]) };
        let length = u32::try_from(given.len()).unwrap_or(u32::MAX);
        let whole = u32::try_from(at::ANSWERED).unwrap_or(u32::MAX).saturating_add(length);
        // The number of the request stays where it is.
        buffers.set(self.entry, at::LENGTH, &whole.to_ne_bytes());
        buffers.set(self.entry, at::ERROR, &(-number).to_ne_bytes());
        buffers.set(self.entry, at::PAYLOAD, &length.to_ne_bytes());
        self.shared.answered.lock().unwrap_or_else(PoisonError::into_inner).push(self.entry);
        if thread::current().id() != self.shared.owner {
            // It cannot fail before 2^64 answers.
            drop((&self.shared.wake).write(&1_u64.to_ne_bytes()));
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.answered {
            self.settle(libc::EIO, &[]);
        }
    }
}

/// Has a command refer to these two pieces of memory.
#[expect(unsafe_code, reason = "the crate has no name for an entry's length")]
fn refer(command: &mut Command, vectors: &[libc::iovec; 2]) {
    const ADDRESS_AT: usize = 16;
    let entry = std::ptr::from_mut(command).cast::<u8>();
    // SAFETY: both are within the entry, whose layout the kernel has laid down (`struct io_uring_sqe`).
    unsafe {
        entry
            .add(ADDRESS_AT)
            .cast::<u64>()
            .write_unaligned(vectors.as_ptr().expose_provenance().try_into().unwrap_or(0));
        entry.add(LENGTH_AT).cast::<u32>().write_unaligned(2);
    }
}

fn event() -> io::Result<File> {
    #[expect(unsafe_code, reason = "nix has it only behind a feature of much else")]
    // SAFETY: no memory is passed.
    let made = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    #[expect(unsafe_code, reason = "a descriptor comes as a number")]
    // SAFETY: just made, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(made) })
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(word)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let mut long = [0; 8];
    long.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(long)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_by_their_list() {
        assert_eq!(count("0"), Some(1));
        assert_eq!(count("0-1"), Some(2));
        assert_eq!(count("0-3,8-11,16"), Some(9));
        for wrong in ["", "a", "3-1", "0-"] {
            assert_eq!(count(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_request_is_put_together_and_answered_in_the_same_place() {
        let buffers = Buffers::new(2, 4096).unwrap();
        for (at, number) in [(at::LENGTH, 40 + 16 + 5), (at::OPERATION, 35), (at::UNIQUE, 7), (at::PAYLOAD, 5)] {
            buffers.set(1, at, &u32::to_ne_bytes(number));
        }
        buffers.set(1, at::ARGUMENT, &[9; 20]);
        assert!(buffers.fill(1, b"name\0..."));
        let shared =
            Shared { buffers, answered: Mutex::default(), wake: event().unwrap(), owner: thread::current().id() };
        let shared = Arc::new(shared);
        let asked = |entry| Asked { shared: Arc::clone(&shared), entry, answered: false };
        let one = asked(1);
        assert_eq!((one.operation(), one.unique(), one.payload()), (35, 7, &b"name\0"[..]));
        let whole = one.whole();
        assert_eq!((whole.len(), &whole[40..56], &whole[56..]), (61, &[9; 16][..], &b"name\0"[..]));
        one.answer(b"given");
        let header = shared.buffers.header(1);
        assert_eq!((word(header, at::LENGTH), word(header, at::ERROR), word(header, at::PAYLOAD)), (21, 0, 5));
        assert_eq!((word(header, at::UNIQUE), &shared.buffers.payload(1)[..5]), (7, &b"given"[..]));
        drop(asked(0));
        assert_eq!(word(shared.buffers.header(0), at::ERROR), u32::from_ne_bytes((-libc::EIO).to_ne_bytes()));
        asked(0).answer(&[0; 5000]);
        assert_eq!(word(shared.buffers.header(0), at::ERROR), u32::from_ne_bytes((-libc::EIO).to_ne_bytes()));
        assert_eq!(*shared.answered.lock().unwrap(), [1, 0, 0]);
    }
}
