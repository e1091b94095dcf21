//! The system's allocator with an account of what is asked of it, and by whom.
//!
//! One account, for programs of one thread. It is open between [`open`] and [`close`], and shut meanwhile in
//! [`paused`].

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};

/// Blocks that came, and grew, since the account was opened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Account {
    pub(crate) allocations: u64,
    pub(crate) bytes: u64,
}

/// Whether the account is open, and how much it notes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    Shut,
    Counts,
    /// Where each allocation came from, too.
    Sites,
}

thread_local! {
    static DETAIL: Cell<Detail> = const { Cell::new(Detail::Shut) };
    static ACCOUNT: Cell<Account> = const { Cell::new(Account { allocations: 0, bytes: 0 }) };
    static SITES: RefCell<Vec<(Backtrace, u64)>> = const { RefCell::new(Vec::new()) };
}

struct Tracing;

#[global_allocator]
static ALLOCATOR: Tracing = Tracing;

fn note(bytes: usize) {
    // A thread that ends has no account any more.
    let detail = DETAIL.try_with(|detail| detail.replace(Detail::Shut)).unwrap_or(Detail::Shut);
    if detail == Detail::Shut {
        return;
    }
    let Account { allocations, bytes: before } = ACCOUNT.get();
    ACCOUNT.set(Account { allocations: allocations + 1, bytes: before + bytes as u64 });
    if detail == Detail::Sites {
        SITES.with_borrow_mut(|sites| sites.push((Backtrace::force_capture(), bytes as u64)));
    }
    DETAIL.set(detail);
}

// SAFETY: every call goes to the system's allocator as it came; noting shuts the account, so it does not note itself,
// and does not unwind.
unsafe impl GlobalAlloc for Tracing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promises are those of `System::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above, and the block came from `System`.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size.saturating_sub(layout.size()));
        // SAFETY: as above, and the block came from `System`.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// Opens an empty account.
pub(crate) fn open(detail: Detail) {
    ACCOUNT.set(Account::default());
    SITES.take();
    DETAIL.set(detail);
}

/// What was noted; backtraces with the bytes of each, where they were wanted.
pub(crate) fn close() -> (Account, Vec<(Backtrace, u64)>) {
    DETAIL.set(Detail::Shut);
    (ACCOUNT.get(), SITES.take())
}

/// What `work` asks for is on nobody's account.
pub(crate) fn paused(work: &mut dyn FnMut()) {
    let detail = DETAIL.replace(Detail::Shut);
    work();
    DETAIL.set(detail);
}
