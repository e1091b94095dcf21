//! How a batch reaches the device and its answer comes back: slots of pinned host memory and device memory, a stream
//! that copies in beside the one that computes, and events where one must wait for the other.
//!
//! A slot has one batch at a time, and until that is done nobody else touches its memory. Who serves runs one whole
//! batch after the other, each on the stream that computes. A batch that lies in memory registered with the device is
//! copied from there; any other goes through the slot's own pinned memory. The bare loop alone (`bare`) has two batches
//! under way, submitted and then collected, so that the next one is copied in while one computes. Deliberately absent:
//! what is computed.
#![expect(unsafe_code, reason = "the device copies while the host goes on")]

mod pages;

use std::rc::Rc;
use std::time::Duration;

use shm_rpc::container_side::ContainerSide;

use crate::clock::Clock;
use crate::device::{
    Context, CudaError, DeviceMemory, Event, Pinned, Registered, Registration, Stream,
};

pub use pages::{PinnedPages, SharedPages};

/// Where copies and work are queued.
#[derive(Debug)]
pub struct Streams {
    pub copy: Stream,
    pub compute: Stream,
}

impl Streams {
    pub fn new(context: &Rc<Context>) -> Result<Streams, CudaError> {
        Ok(Streams { copy: Stream::new(context)?, compute: Stream::new(context)? })
    }
}

/// What a slot's batch goes through.
pub struct Work<'a> {
    /// Queues the work from the slot's input to `output`, on the stream that computes.
    pub enqueue: &'a dyn Fn(&DeviceMemory, &Stream) -> Result<(), CudaError>,
    pub output: &'a DeviceMemory,
    pub answer_bytes: usize,
}

/// Room for one batch under way.
#[derive(Debug)]
pub struct Slot {
    /// The static buffer that graphs read.
    input: DeviceMemory,
    staging: Pinned,
    answer: Pinned,
    copied: Event,
    done: Event,
    /// Of the batch under way.
    answer_bytes: usize,
    under_way: bool,
}

impl Slot {
    pub fn new(
        context: &Rc<Context>,
        compute: &Stream,
        [input_bytes, answer_bytes]: [usize; 2],
    ) -> Result<Slot, CudaError> {
        Ok(Slot {
            input: DeviceMemory::zeroed(compute, input_bytes)?,
            staging: Pinned::zeroed(context, input_bytes)?,
            answer: Pinned::zeroed(context, answer_bytes)?,
            copied: Event::new(context)?,
            done: Event::new(context)?,
            answer_bytes: 0,
            under_way: false,
        })
    }

    pub fn input(&self) -> &DeviceMemory {
        &self.input
    }

    /// Starts a batch that is copied in beside whatever computes.
    pub fn submit(
        &mut self,
        batch: &[u8],
        work: &Work<'_>,
        streams: &Streams,
    ) -> Result<(), CudaError> {
        assert!(!self.under_way, "a slot has one batch at a time");
        self.staging.bytes_mut()[..batch.len()].copy_from_slice(batch);
        self.under_way = true;
        let staged = &self.staging.bytes()[..batch.len()];
        // SAFETY: the slot's own memory, untouched until `collect`, which waits; dropped, the slot waits too.
        unsafe { self.input.write_later(staged, &streams.copy) }?;
        self.copied.record(&streams.copy)?;
        streams.compute.wait(&self.copied)?;
        self.start(work, &streams.compute)
    }

    /// Waits for the batch under way.
    pub fn collect(&mut self) -> Result<(), CudaError> {
        assert!(self.under_way, "what is collected was submitted");
        self.done.synchronize()?;
        self.under_way = false;
        Ok(())
    }

    /// What came of the last batch that was collected.
    pub fn answer(&self) -> &[u8] {
        assert!(!self.under_way, "an answer is looked at once it is there");
        &self.answer.bytes()[..self.answer_bytes]
    }

    /// A whole batch on one stream: with nothing to overlap, that is the shortest way.
    pub fn run(
        &mut self,
        batch: &[u8],
        work: &Work<'_>,
        registered: &[Registered],
        compute: &Stream,
    ) -> Result<(), CudaError> {
        assert!(!self.under_way, "a slot has one batch at a time");
        self.under_way = true;
        let queued = self.queue(batch, work, registered, compute);
        if queued.is_err() {
            // Nothing may be read from the batch once it is given back. The first error tells more than this one.
            let _waited = compute.synchronize();
            self.under_way = false;
        }
        queued?;
        self.collect()
    }

    fn queue(
        &mut self,
        batch: &[u8],
        work: &Work<'_>,
        registered: &[Registered],
        compute: &Stream,
    ) -> Result<(), CudaError> {
        let from = match registered.iter().any(|range| range.covers(batch)) {
            true => batch,
            false => {
                self.staging.bytes_mut()[..batch.len()].copy_from_slice(batch);
                &self.staging.bytes()[..batch.len()]
            }
        };
        // SAFETY: `run` keeps the batch borrowed until the stream has done the copy, whatever happens.
        unsafe { self.input.write_later(from, compute) }?;
        self.start(work, compute)
    }

    fn start(&mut self, work: &Work<'_>, compute: &Stream) -> Result<(), CudaError> {
        (work.enqueue)(&self.input, compute)?;
        self.answer_bytes = work.answer_bytes;
        let answer = &mut self.answer.bytes_mut()[..work.answer_bytes];
        // SAFETY: the slot's own memory, looked at by `collect` alone, which waits.
        unsafe { work.output.read_later(answer, compute) }?;
        self.done.record(compute)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.under_way {
            // The device may still write the answer; an error means that it does nothing any more.
            let _waited = self.done.synchronize();
        }
    }
}

/// How long a device may take for a few bytes. Others that share it may keep it busy, but not for this long.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks at whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Asks a device whether it still answers: a few bytes of its memory, without waiting for ever.
#[derive(Debug)]
pub struct Pulse {
    answer: Pinned,
    done: Event,
}

impl Pulse {
    pub fn new(context: &Rc<Context>) -> Result<Pulse, CudaError> {
        Ok(Pulse { answer: Pinned::zeroed(context, size_of::<f32>())?, done: Event::new(context)? })
    }

    /// Where it does not answer, what was made on it can't be given back either: leave it to the system.
    pub fn ask(&mut self, memory: &DeviceMemory, stream: &Stream) -> Result<(), CudaError> {
        // SAFETY: memory of its own that nobody looks at; see above for a copy that never comes.
        unsafe { memory.read_later(self.answer.bytes_mut(), stream) }?;
        self.done.record(stream)?;
        let clock = Clock::start();
        let mut looked_at = Duration::ZERO;
        while !self.done.is_done()? {
            if looked_at > ANSWER_WITHIN {
                let (call, seconds) = ("cuEventQuery", ANSWER_WITHIN.as_secs());
                return Err(CudaError::Silent { call, seconds });
            }
            looked_at += LOOK_EVERY;
            clock.sleep_until(looked_at);
        }
        Ok(())
    }
}

/// The memory that a lane's requests arrive in; nothing of a model that runs without a lane.
#[derive(Clone, Copy)]
pub struct Arrivals<'a>(Option<&'a ContainerSide>);

impl<'a> Arrivals<'a> {
    pub fn of(side: &'a ContainerSide) -> Arrivals<'a> {
        Arrivals(Some(side))
    }

    pub fn none() -> Arrivals<'a> {
        Arrivals(None)
    }

    /// Pins all of it, once: either all batches are copied from where they lie, or none is pinned and all are staged.
    /// To be let go of before the lane is left.
    pub fn register(self, context: &Rc<Context>) -> Result<Vec<Registered>, CudaError> {
        let slots = self.0.into_iter().flat_map(ContainerSide::request_slots);
        let pin = |(at, bytes): (*mut u8, usize)| {
            // SAFETY: a lane maps its slots readable and writable, whole pages, and leaves them where they are: native
            // models escape with none. The serve loop drops its model, and with it what is pinned, before the lane.
            unsafe { Registered::new(context, at, bytes, Registration::ReadWrite) }
        };
        slots.map(pin).collect()
    }
}
