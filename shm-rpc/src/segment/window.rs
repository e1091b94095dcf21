//! A view of memory that two processes write: atomics and copies, never a reference or a slice.

use super::Segment;
use crate::control::{Control, Entry};
use crate::error::LaneFault;
use crate::layout::ENTRY_BYTES;
use rustix::thread::futex;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// ThreadSanitizer knows no fences; under it every load acquires by itself.
const LOAD: Ordering = if cfg!(tsan) { Ordering::Acquire } else { Ordering::Relaxed };

/// Bytes somebody keeps alive. Every access is checked against its length.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: only atomics and raw copies go through the address; whoever owns the memory decides how
// long it lives (see `Window::over`).
unsafe impl Send for Window {}

impl Window {
    /// # Safety
    /// `len` bytes from `base`, 8-byte aligned, must stay mapped for as long as the window is
    /// used, and be mapped writable if anything is written through it.
    pub(crate) unsafe fn over(base: NonNull<u8>, len: usize) -> Window {
        Window { base, len }
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Copies `bytes` in; the memory must be writable.
    #[inline]
    pub(crate) fn copy_in(&self, at: usize, bytes: &[u8]) {
        self.check_range(at, bytes.len());
        // SAFETY: the range was just checked, `bytes` is private memory that can't overlap shared
        // memory, and callers only write windows that are writable.
        unsafe { self.base.add(at).as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }

    /// Copies bytes out. The peer may be writing them: what arrives is a copy to be checked.
    #[inline]
    pub(crate) fn copy_out(&self, at: usize, into: &mut [u8]) {
        self.check_range(at, into.len());
        // SAFETY: the range was just checked and `into` is private memory that can't overlap it.
        unsafe { self.base.add(at).as_ptr().copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) }
    }

    /// The word a futex waits on.
    #[inline]
    pub(crate) fn word(&self, at: usize) -> &AtomicU32 {
        self.check_range(at, size_of::<u32>());
        assert!(at.is_multiple_of(align_of::<AtomicU32>()), "control words are aligned");
        // SAFETY: inside and aligned, both just checked; concurrent writes by the peer are what an
        // atomic allows.
        unsafe { self.base.add(at).cast().as_ref() }
    }

    #[inline]
    fn entry_words(&self, at: usize) -> &[AtomicU64; ENTRY_BYTES / 8] {
        self.check_range(at, ENTRY_BYTES);
        assert!(at.is_multiple_of(align_of::<AtomicU64>()), "descriptors are aligned");
        // SAFETY: as for `word`: a descriptor is eight atomics side by side.
        unsafe { self.base.add(at).cast().as_ref() }
    }

    /// Our own bug if it fails: callers check what the peer says before they come here.
    #[inline]
    fn check_range(&self, at: usize, len: usize) {
        let inside = at.checked_add(len).is_some_and(|end| end <= self.len);
        assert!(inside, "a copy lies inside its mapping");
    }
}

impl Control for Window {
    #[inline]
    fn load(&self, at: usize) -> Result<u32, LaneFault> {
        Ok(self.word(at).load(LOAD))
    }

    #[inline]
    fn store(&self, at: usize, value: u32) -> Result<(), LaneFault> {
        self.word(at).store(value, Ordering::Relaxed);
        Ok(())
    }

    #[inline]
    fn publish(&self, at: usize, value: u32) -> Result<(), LaneFault> {
        self.word(at).store(value, Ordering::Release);
        Ok(())
    }

    #[inline]
    fn read_entry(&self, at: usize) -> Result<Entry, LaneFault> {
        let words = self.entry_words(at);
        Ok(std::array::from_fn(|word| words[word].load(Ordering::Relaxed)))
    }

    #[inline]
    fn write_entry(&self, at: usize, entry: &Entry) -> Result<(), LaneFault> {
        for (word, value) in self.entry_words(at).iter().zip(entry) {
            word.store(*value, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Segment for Window {
    #[inline]
    fn put(&self, at: usize, bytes: &[u8]) -> Result<(), LaneFault> {
        self.copy_in(at, bytes);
        Ok(())
    }

    #[inline]
    fn get(&self, at: usize, into: &mut [u8]) -> Result<(), LaneFault> {
        self.copy_out(at, into);
        Ok(())
    }

    fn wake(&self, at: usize) {
        // No PRIVATE flag: the two processes map the same page at different addresses. It fails
        // only where a peer cut the memory off (posix); that shows at the next read.
        let _woken = futex::wake(self.word(at), futex::Flags::empty(), 1);
    }
}

/// Shared memory that is not: a segment on the heap, for Miri, ThreadSanitizer and fuzzing.
#[cfg(test)]
pub(crate) mod heap {
    use super::Window;
    use std::cell::UnsafeCell;
    use std::ptr::NonNull;
    use std::sync::Arc;

    /// Clones see the same bytes.
    #[derive(Clone)]
    pub(crate) struct Heap {
        words: Arc<[UnsafeCell<u64>]>,
    }

    // SAFETY: the cells are reached through a Window alone: atomics, and copies that the tests'
    // rings put in order.
    unsafe impl Send for Heap {}

    impl Heap {
        pub(crate) fn new(bytes: usize) -> Heap {
            Heap { words: (0..bytes.div_ceil(8)).map(|_| UnsafeCell::new(0)).collect() }
        }

        pub(crate) fn window(&self) -> Window {
            let base = NonNull::from(&*self.words).cast();
            // SAFETY: tests keep the Heap at least as long as the window; u64 cells are aligned.
            unsafe { Window::over(base, self.words.len() * 8) }
        }
    }
}
