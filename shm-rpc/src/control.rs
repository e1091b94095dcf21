//! The control head of a segment, as the ring and the sleeping flags use it.
//!
//! Four operations on words and two on descriptors are all that crosses between two processes that
//! do not trust each other. They work over mapped memory, over a file read by system calls, over a
//! test's heap and over loom's cells, so what is proved of the ring holds for each of them.

use crate::error::LaneFault;
use crate::layout::ENTRY_WORDS;

/// One descriptor, as words of our own.
pub(crate) type Entry = [u64; ENTRY_WORDS];

/// Words and descriptors at byte offsets of [`crate::layout`]. An error means that the peer took
/// the memory away; over mapped and sealed memory there is none.
pub(crate) trait Control {
    /// One relaxed load; follow it with [`crate::sync::acquire`] before reading on its strength.
    fn load(&self, at: usize) -> Result<u32, LaneFault>;

    /// One relaxed store.
    fn store(&self, at: usize, value: u32) -> Result<(), LaneFault>;

    /// A store that carries everything written before it.
    fn publish(&self, at: usize, value: u32) -> Result<(), LaneFault>;

    /// Copies one descriptor to the stack. Its words may be torn lies; they are ours now.
    fn read_entry(&self, at: usize) -> Result<Entry, LaneFault>;

    /// Writes one descriptor whose place the ring owns.
    fn write_entry(&self, at: usize, entry: &Entry) -> Result<(), LaneFault>;
}

/// A control head made of loom's cells. Descriptors are plain cells, not atomics: loom then
/// reports every access that the ring's orderings do not put in order.
#[cfg(loom)]
#[cfg(test)]
pub(crate) mod modelled {
    use super::{Control, Entry};
    use crate::error::LaneFault;
    use crate::layout::{ENTRIES_AT, ENTRY_BYTES, ENTRY_WORDS, LINE_BYTES};
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicU32, Ordering};

    #[derive(Clone)]
    pub(crate) struct Modelled(Arc<(Vec<AtomicU32>, Vec<UnsafeCell<Entry>>)>);

    impl Modelled {
        pub(crate) fn new(entries: usize) -> Modelled {
            let words = (0..ENTRIES_AT / LINE_BYTES).map(|_| AtomicU32::new(0)).collect();
            let entries = (0..entries).map(|_| UnsafeCell::new([0; ENTRY_WORDS])).collect();
            Modelled(Arc::new((words, entries)))
        }

        fn word(&self, at: usize) -> &AtomicU32 {
            &self.0.0[at / LINE_BYTES]
        }

        fn entry(&self, at: usize) -> &UnsafeCell<Entry> {
            &self.0.1[(at - ENTRIES_AT) / ENTRY_BYTES]
        }
    }

    impl Control for Modelled {
        fn load(&self, at: usize) -> Result<u32, LaneFault> {
            Ok(self.word(at).load(Ordering::Relaxed))
        }

        fn store(&self, at: usize, value: u32) -> Result<(), LaneFault> {
            self.word(at).store(value, Ordering::Relaxed);
            Ok(())
        }

        fn publish(&self, at: usize, value: u32) -> Result<(), LaneFault> {
            self.word(at).store(value, Ordering::Release);
            Ok(())
        }

        fn read_entry(&self, at: usize) -> Result<Entry, LaneFault> {
            // SAFETY: loom checks that no write is concurrent; the value is plain data.
            Ok(self.entry(at).with(|entry| unsafe { *entry }))
        }

        fn write_entry(&self, at: usize, entry: &Entry) -> Result<(), LaneFault> {
            // SAFETY: loom checks that no other access is concurrent.
            self.entry(at).with_mut(|place| unsafe { *place = *entry });
            Ok(())
        }
    }
}
