//! A clock that runs by readings: each finds it about a microsecond later, by the same draws in every run.
//!
//! What the batching learns depends on how long things take. On the machine's clock no two runs would learn the same,
//! and under valgrind nothing takes as long as it should. The standard library and tokio read time through the C
//! library's `clock_gettime`; this one takes its place in whichever program includes this file.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering};

const NS_PER_S: u64 = 1_000_000_000;
/// A reading moves the clock by this, and by up to as much again: evenly drawn, as no machine is quite steady.
const STEP_NS: u64 = 750;

/// Nanoseconds. Not from zero, so that earlier moments can be told.
static NOW_NS: AtomicU64 = AtomicU64::new(1_000 * NS_PER_S);

/// As the C library lays it out where both are 64 bits wide.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

/// # Safety
/// `into` is valid for a write, as the C library demands it, or null.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(_clock: c_int, into: *mut Timespec) -> c_int {
    let before_ns = NOW_NS.load(Ordering::Relaxed);
    // Fibonacci hashing of the moment itself: evenly spread, and the same in every run.
    let drawn = before_ns.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let now_ns = before_ns + STEP_NS + drawn % STEP_NS;
    NOW_NS.store(now_ns, Ordering::Relaxed);
    let now =
        Timespec { seconds: (now_ns / NS_PER_S) as i64, nanoseconds: (now_ns % NS_PER_S) as i64 };
    // SAFETY: the caller promises a pointer that is null, which `as_mut` tells, or good for a write.
    if let Some(into) = unsafe { into.as_mut() } {
        *into = now;
    }
    0
}
