//! The only place that names atomics: shared memory in production, loom's model under test.
//!
//! [`Word`] is one 32-bit control word, [`Entries`] the descriptors of one ring. Neither ever
//! yields a reference to bytes a peer may write: words are atomics behind a pointer, descriptors
//! are copied in and out eight bytes at a time. Loads come in one strength: relaxed, followed by
//! [`acquire`] where it matters, because atomic loads stronger than relaxed are not guaranteed
//! on memory mapped read-only, and every word we load is mapped read-only on our side or may be.

#[cfg(not(loom))]
pub(crate) use shared::{Entries, Word, acquire, full_fence};

#[cfg(loom)]
pub(crate) use modelled::{Entries, Word, acquire, full_fence};

#[cfg(not(loom))]
mod shared {
    use crate::layout::{ENTRY_BYTES, ENTRY_WORDS};
    use std::ptr::NonNull;
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

    /// Pairs a relaxed load that saw new work with the peer's releasing store.
    #[inline]
    pub(crate) fn acquire() {
        fence(Ordering::Acquire);
    }

    /// Orders our store before our next load; the peer has the same fence the other way round.
    #[inline]
    pub(crate) fn full_fence() {
        fence(Ordering::SeqCst);
    }

    /// One control word in shared memory.
    #[derive(Clone, Copy)]
    pub(crate) struct Word(NonNull<AtomicU32>);

    // SAFETY: a Word is an address of an atomic; using it from another thread is what atomics
    // are for. Whoever holds the Word also holds the mapping (see `Word::at`).
    unsafe impl Send for Word {}

    impl Word {
        /// # Safety
        /// `base + offset` must be a 4-byte aligned address inside a mapping that outlives the
        /// Word, and must be mapped writable if `store` is ever called.
        pub(crate) unsafe fn at(base: NonNull<u8>, offset: usize) -> Word {
            // SAFETY: the caller vouches that base + offset lies inside one mapping.
            Word(unsafe { base.add(offset) }.cast())
        }

        #[inline]
        pub(crate) fn load_relaxed(&self) -> u32 {
            self.atomic().load(Ordering::Relaxed)
        }

        #[inline]
        pub(crate) fn store_relaxed(&self, value: u32) {
            self.atomic().store(value, Ordering::Relaxed);
        }

        /// Publishes everything written before; pairs with `load_relaxed` + [`acquire`].
        #[inline]
        pub(crate) fn store_release(&self, value: u32) {
            self.atomic().store(value, Ordering::Release);
        }

        /// The address a futex waits on.
        #[inline]
        pub(crate) fn atomic(&self) -> &AtomicU32 {
            // SAFETY: `at` promised a live, aligned address; concurrent writes by the peer are
            // what an atomic allows.
            unsafe { self.0.as_ref() }
        }
    }

    /// The descriptors of one ring in shared memory.
    pub(crate) struct Entries {
        base: NonNull<u8>,
        count: u32,
    }

    // SAFETY: as for Word: only atomics are reached through the pointer.
    unsafe impl Send for Entries {}

    impl Entries {
        /// # Safety
        /// `count` descriptors from `base + offset` must lie, 8-byte aligned, inside a mapping
        /// that outlives the Entries, mapped writable if `write` is ever called.
        pub(crate) unsafe fn at(base: NonNull<u8>, offset: usize, count: u32) -> Entries {
            // SAFETY: the caller vouches that the whole range lies inside one mapping.
            Entries { base: unsafe { base.add(offset) }, count }
        }

        pub(crate) fn count(&self) -> u32 {
            self.count
        }

        /// Copies one descriptor to the stack. Its words may be torn lies; they are ours now.
        #[inline]
        pub(crate) fn read(&self, index: u32) -> [u64; ENTRY_WORDS] {
            std::array::from_fn(|word| self.word(index, word).load(Ordering::Relaxed))
        }

        #[inline]
        pub(crate) fn write(&self, index: u32, entry: &[u64; ENTRY_WORDS]) {
            for (word, value) in entry.iter().enumerate() {
                self.word(index, word).store(*value, Ordering::Relaxed);
            }
        }

        #[inline]
        fn word(&self, index: u32, word: usize) -> &AtomicU64 {
            assert!(index < self.count && word < ENTRY_WORDS, "index inside the ring");
            let offset = index as usize * ENTRY_BYTES + word * 8;
            // SAFETY: the assertion keeps offset inside the range `at` promised, 8-aligned
            // because the base, ENTRY_BYTES and 8 are; concurrent writes are atomic's business.
            unsafe { self.base.add(offset).cast::<AtomicU64>().as_ref() }
        }
    }
}

#[cfg(loom)]
mod modelled {
    use crate::layout::ENTRY_WORDS;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicU32, Ordering, fence};

    pub(crate) fn acquire() {
        fence(Ordering::Acquire);
    }

    pub(crate) fn full_fence() {
        fence(Ordering::SeqCst);
    }

    #[derive(Clone)]
    pub(crate) struct Word(Arc<AtomicU32>);

    impl Word {
        pub(crate) fn modelled(value: u32) -> Word {
            Word(Arc::new(AtomicU32::new(value)))
        }

        pub(crate) fn load_relaxed(&self) -> u32 {
            self.0.load(Ordering::Relaxed)
        }

        pub(crate) fn store_relaxed(&self, value: u32) {
            self.0.store(value, Ordering::Relaxed);
        }

        pub(crate) fn store_release(&self, value: u32) {
            self.0.store(value, Ordering::Release);
        }
    }

    /// Plain cells, not atomics: loom then reports every access that the ring's orderings do
    /// not put in order.
    #[derive(Clone)]
    pub(crate) struct Entries(Arc<Vec<UnsafeCell<[u64; ENTRY_WORDS]>>>);

    impl Entries {
        pub(crate) fn modelled(count: u32) -> Entries {
            Entries(Arc::new((0..count).map(|_| UnsafeCell::new([0; ENTRY_WORDS])).collect()))
        }

        pub(crate) fn count(&self) -> u32 {
            self.0.len() as u32
        }

        pub(crate) fn read(&self, index: u32) -> [u64; ENTRY_WORDS] {
            // SAFETY: loom checks that no write is concurrent; the value is plain data.
            self.0[index as usize].with(|entry| unsafe { *entry })
        }

        pub(crate) fn write(&self, index: u32, entry: &[u64; ENTRY_WORDS]) {
            // SAFETY: loom checks that no other access is concurrent.
            self.0[index as usize].with_mut(|place| unsafe { *place = *entry });
        }
    }
}
