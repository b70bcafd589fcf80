//! An allocator that asks for huge pages for what is large.
//!
//! Checkers look up entries of large tables in no order. With pages of 4 KiB each look-up is a miss of the translation
//! buffer as well, whose page walk costs up to 24 loads in a virtual machine, where most of CI runs. The kernel backs what
//! is advised so (madvise(2), `MADV_HUGEPAGE`) with pages of 2 MiB, unless `/sys/kernel/mm/transparent_hugepage/enabled` says
//! `never`; then nothing changes. See the kernel's Documentation/admin-guide/mm/transhuge.rst.

#![expect(unsafe_code, reason = "an allocator hands out raw memory")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::{self, NonNull};

/// Size and alignment of a huge page, in bytes; elsewhere than on x86-64 and on ARM with pages of 4 KiB they may be larger, and the
/// kernel then does as it would have done without advice.
const PAGE: usize = 2 << 20;
/// What is at least this large, in bytes, is mapped by itself; anything smaller is the system allocator's.
const LARGE: usize = 2 * PAGE;

/// The system's allocator, but for what is large: a mapping of its own, in whole huge pages. Where a byte is written, 2 MiB
/// are used; tables that are filled from front to back use at most one huge page more than they hold.
#[derive(Clone, Copy, Default, Debug)]
pub struct HugePages;

fn is_large(size: usize, align: usize) -> bool {
    size >= LARGE && align <= PAGE
}

/// A layout's size has room for this: it is at most `isize::MAX`.
fn whole(size: usize) -> usize {
    size.next_multiple_of(PAGE)
}

/// An address range that begins at a multiple of [`PAGE`].
fn reserve(length: usize, protection: i32) -> Option<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start = unsafe { libc::mmap(ptr::null_mut(), length + PAGE, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return None;
    }
    let before = start.addr().next_multiple_of(PAGE) - start.addr();
    let begin = start.wrapping_byte_add(before);
    // SAFETY: what is cut off lies inside of the new mapping, before and behind the range; nobody has seen it.
    unsafe {
        if before > 0 {
            libc::munmap(start, before);
        }
        libc::munmap(begin.wrapping_byte_add(length), PAGE - before);
    }
    NonNull::new(begin.cast())
}

/// The range is mapped for reading and writing. That pages be huge is only advice, so that a refusal does no harm.
fn advise(start: *mut u8, length: usize) {
    // SAFETY: advice changes no content.
    let _done = unsafe { libc::madvise(start.cast(), length, libc::MADV_HUGEPAGE) };
}

/// Zeros.
fn map(size: usize) -> *mut u8 {
    let length = whole(size);
    let Some(start) = reserve(length, libc::PROT_READ | libc::PROT_WRITE) else { return ptr::null_mut() };
    advise(start.as_ptr(), length);
    start.as_ptr()
}

/// Makes a mapping longer or shorter without a copy: where it is, or else by moving its pages, whole tables at a time.
///
/// # Safety
/// `start` is what [`map`] returned for `old` bytes, and is not used any more unless the result is null.
unsafe fn resize(start: *mut u8, old: usize, new: usize) -> *mut u8 {
    let (old, new) = (whole(old), whole(new));
    if old == new {
        return start;
    }
    // SAFETY: the caller's.
    if unsafe { libc::mremap(start.cast(), old, new, 0) } != libc::MAP_FAILED {
        advise(start, new);
        return start;
    }
    let Some(target) = reserve(new, libc::PROT_NONE) else { return ptr::null_mut() };
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: the caller's; the target was reserved just now, for this.
    let moved = unsafe { libc::mremap(start.cast(), old, new, flags, target.as_ptr()) };
    if moved == libc::MAP_FAILED {
        // SAFETY: nobody has seen it.
        unsafe { libc::munmap(target.as_ptr().cast(), new) };
        return ptr::null_mut();
    }
    advise(target.as_ptr(), new);
    target.as_ptr()
}

// SAFETY: memory is either the system allocator's, or a mapping of its own, which is aligned to `PAGE`; which of them is told by
// the layout alone, that callers hand over with the memory. Nothing here panics, but for an overflow that layouts exclude.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_large(layout.size(), layout.align()) {
            return map(layout.size());
        }
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_large(layout.size(), layout.align()) {
            return map(layout.size());
        }
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        if is_large(layout.size(), layout.align()) {
            // SAFETY: the layout says that this is a mapping of ours, so long. It cannot fail for one.
            unsafe { libc::munmap(start.cast(), whole(layout.size())) };
            return;
        }
        // SAFETY: the caller's.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let align = layout.align();
        match (is_large(layout.size(), align), is_large(size, align)) {
            // SAFETY: the layout says that this is a mapping of ours, so long.
            (true, true) => unsafe { resize(start, layout.size(), size) },
            // SAFETY: the caller's.
            (false, false) => unsafe { System.realloc(start, layout, size) },
            // SAFETY: the caller's: the size is not zero, and no larger than a layout's may be. Both have so many bytes.
            _ => unsafe {
                let other = self.alloc(Layout::from_size_align_unchecked(size, align));
                if !other.is_null() {
                    ptr::copy_nonoverlapping(start, other, layout.size().min(size));
                    self.dealloc(start, layout);
                }
                other
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that say where they are.
    fn fill(start: *mut u8, range: std::ops::Range<usize>) {
        for place in range.step_by(997) {
            // SAFETY: inside of what the test allocated.
            unsafe { start.add(place).write(u8::try_from(place % 251).unwrap()) };
        }
    }

    fn differs(start: *mut u8, length: usize) -> Option<usize> {
        // SAFETY: as above.
        (0..length).step_by(997).find(|place| unsafe { start.add(*place).read() } != u8::try_from(place % 251).unwrap())
    }

    #[test]
    fn what_is_held_survives_every_change_of_size() {
        // Below the border, across it, in place, with something in the way, and back.
        let sizes =
            [100, LARGE - 1, LARGE, LARGE + 1, 3 * PAGE, 40 * PAGE + 7, 9 * PAGE, LARGE, LARGE - 1, 5 * PAGE, 10];
        for align in [1, 8, 4096, PAGE] {
            let mut layout = Layout::from_size_align(sizes[0], align).unwrap();
            // SAFETY: layouts are those of the memory, and no size is zero.
            unsafe {
                let mut start = HugePages.alloc(layout);
                fill(start, 0..layout.size());
                for size in sizes {
                    start = HugePages.realloc(start, layout, size);
                    assert!(!start.is_null() && start.addr().is_multiple_of(align), "{align} {size}");
                    if is_large(size, align) {
                        assert!(start.addr().is_multiple_of(PAGE));
                    }
                    let held = layout.size().min(size);
                    assert_eq!(differs(start, held), None, "{align} {} to {size}", layout.size());
                    layout = Layout::from_size_align(size, align).unwrap();
                    fill(start, 0..size);
                }
                HugePages.dealloc(start, layout);
            }
        }
    }

    #[test]
    fn mappings_move_out_of_each_others_way_and_begin_with_zeros() {
        let layout = Layout::from_size_align(LARGE, 16).unwrap();
        // SAFETY: as above.
        unsafe {
            let mut all: Vec<*mut u8> = (0..8).map(|_| HugePages.alloc_zeroed(layout)).collect();
            for start in &all {
                assert!((0..LARGE).step_by(501).all(|place| start.add(place).read() == 0));
                fill(*start, 0..LARGE);
            }
            let grown = Layout::from_size_align(16 * LARGE, 16).unwrap();
            for start in &mut all {
                *start = HugePages.realloc(*start, layout, grown.size());
                assert_eq!(differs(*start, LARGE), None);
                assert!((LARGE..grown.size()).step_by(5011).all(|place| start.add(place).read() == 0));
            }
            for start in all {
                assert_eq!(differs(start, LARGE), None);
                HugePages.dealloc(start, grown);
            }
        }
    }

    #[test]
    fn what_cannot_be_had_is_null_and_leaves_what_there_was() {
        let (layout, too_much) = (Layout::from_size_align(LARGE, 8).unwrap(), 1 << 50);
        // SAFETY: as above.
        unsafe {
            assert!(HugePages.alloc(Layout::from_size_align(too_much, 8).unwrap()).is_null());
            let start = HugePages.alloc(layout);
            fill(start, 0..LARGE);
            assert!(HugePages.realloc(start, layout, too_much).is_null());
            assert_eq!(differs(start, LARGE), None);
            HugePages.dealloc(start, layout);
        }
    }
}
