//! The floors: a word each way in shared memory and nothing else, waited for in a futex or by looking.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::process::parent_id;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use bench::clock::Clock;
use bench::samples::{Plan, Samples, Times, sample};
use bench::threads::on_core;
use bench::twin::Twin;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::thread::futex;

use crate::peer::{Cores, Manner, Outcome};

const MEMORY_BYTES: usize = 4096;
/// Each word on a line of its own.
const PONG_AT: usize = 64;
/// What the last ping says.
const LEAVE: u32 = u32::MAX;
/// A wait is bounded, as the lane's are; after it, each side looks whether the other still lives.
const WAIT: futex::Timespec = futex::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Fruitless waits before the other process is given up: ten seconds.
const WAITS_MAX: u32 = 100;
/// Fruitless looks before the same: a second, about.
const LOOKS_MAX: u32 = 1 << 30;

/// What two bare futexes take.
pub(crate) fn round_trip(cores: Cores, plan: Plan) -> Outcome<Times> {
    with_pong(cores, Manner::Sleeps, |words| ping(words, cores, plan))
}

/// What two cache lines take to the other core and back: tells one moment of a virtual machine from another.
pub(crate) fn line_round_trip(cores: Cores, plan: Plan) -> Outcome<Times> {
    with_pong(cores, Manner::Spins, |words| {
        sample(plan, |number, clock| -> Outcome<u64> {
            let before = number as u32;
            let begun_ns = clock.now_ns();
            words.ping().store(before + 1, Ordering::Release);
            look_for_change(words.pong(), before).ok_or("the other process fell silent")?;
            Ok(clock.now_ns() - begun_ns)
        })
    })
}

fn with_pong(
    cores: Cores,
    manner: Manner,
    work: impl FnOnce(&Words) -> Outcome<Times> + Send,
) -> Outcome<Times> {
    let memory = File::from(memfd_create("ping-pong", MemfdFlags::CLOEXEC)?);
    memory.set_len(MEMORY_BYTES as u64)?;
    let words = Words::map(&memory)?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
    let manner = manner.name()?;
    let arguments = ["pong", &path, &manner].map(AsRef::as_ref);
    let twin = Twin::start(cores.container, &arguments)?;
    let times = on_core(Some(cores.engine), || work(&words))??;
    say(words.ping(), LEAVE);
    twin.leaves()?;
    Ok(times)
}

fn ping(words: &Words, cores: Cores, plan: Plan) -> Outcome<Times> {
    let clock = Clock::start();
    let mut samples = Samples::new(plan);
    for number in samples.numbers() {
        let before = number as u32;
        cores.let_sleep();
        let begun_ns = clock.now_ns();
        say(words.ping(), before + 1);
        let (_, slept) = await_change(words.pong(), before)?;
        let took_ns = clock.now_ns() - begun_ns;
        if cores.counts(slept, &clock) {
            samples.add(number, took_ns);
        }
    }
    Ok(samples.times())
}

/// The other process: says back what it hears.
pub(crate) fn pong(memory: &Path, manner: Manner) -> Outcome<()> {
    let engine = parent_id();
    let words = Words::map(&OpenOptions::new().read(true).write(true).open(memory)?)?;
    let mut heard = 0;
    while heard != LEAVE && parent_id() == engine {
        match manner {
            Manner::Sleeps => {
                (heard, _) = await_change(words.ping(), heard)?;
                say(words.pong(), heard);
            }
            Manner::Spins => {
                heard = look_for_change(words.ping(), heard).unwrap_or(heard);
                words.pong().store(heard, Ordering::Release);
            }
        }
    }
    Ok(())
}

fn say(word: &AtomicU32, value: u32) {
    word.store(value, Ordering::Release);
    let woken = futex::wake(word, futex::Flags::empty(), 1);
    debug_assert!(woken.is_ok(), "the word lies in a live mapping");
}

/// The new value, unless none came for long.
fn look_for_change(word: &AtomicU32, from: u32) -> Option<u32> {
    for _ in 0..LOOKS_MAX {
        let value = word.load(Ordering::Acquire);
        if value != from {
            return Some(value);
        }
    }
    None
}

/// The new value, and whether it found us asleep.
fn await_change(word: &AtomicU32, from: u32) -> Outcome<(u32, bool)> {
    let mut slept = false;
    for _ in 0..WAITS_MAX {
        let value = word.load(Ordering::Acquire);
        if value != from {
            return Ok((value, slept));
        }
        match futex::wait(word, futex::Flags::empty(), from, Some(&WAIT)) {
            Ok(()) => slept = true,
            Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err("the other process fell silent".into())
}

/// Two words in memory that both processes map, unmapped on drop.
struct Words(*mut u8);

// SAFETY: the mapping belongs to the process, and only atomics are reached through it.
unsafe impl Sync for Words {}

impl Words {
    fn map(memory: &File) -> Outcome<Words> {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: without a fixed address the kernel chooses a range nothing else uses.
        let base =
            unsafe { mmap(std::ptr::null_mut(), MEMORY_BYTES, prot, MapFlags::SHARED, memory, 0)? };
        Ok(Words(base.cast()))
    }

    fn ping(&self) -> &AtomicU32 {
        // SAFETY: the start of a live, page-aligned mapping; atomics allow the other process its writes.
        unsafe { AtomicU32::from_ptr(self.0.cast()) }
    }

    fn pong(&self) -> &AtomicU32 {
        // SAFETY: as for `ping`; the offset is aligned and inside the mapping.
        unsafe { AtomicU32::from_ptr(self.0.add(PONG_AT).cast()) }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: the range is ours, and references into it ended with `self`'s borrows.
        let unmapped = unsafe { munmap(self.0.cast(), MEMORY_BYTES) };
        debug_assert!(unmapped.is_ok(), "a mapping is unmapped once");
    }
}
