//! What a GPU can do that only CUDA knows, asked by a process of its own, which may crash: is there a driver, which
//! devices does it show, what do copies cost, may memory be pinned where it lies, what does a context take.
//!
//! Each answer stands by itself: what fails says so with the call's name, and the rest is still asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use serde::Serialize;

use crate::clock::Clock;
use crate::device::{
    Context, CudaError, DeviceInfo, DeviceMemory, Pinned, Registration, Stream, Wanted,
    driver_version, visible,
};
use crate::staging::SharedPages;

/// As large as a request segment usually is; shorter copies measure calls.
const COPY_BYTES: usize = 64 << 20;
/// The best of these counts: others may use the bus.
const COPIES: u32 = 5;
/// What a second process says once it holds a context.
const HOLDS: &str = "holds";

/// All there is to say.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The newest CUDA that the driver knows.
    pub driver: String,
    pub devices: Vec<DeviceReport>,
}

#[derive(Debug, Serialize)]
pub struct DeviceReport {
    #[serde(flatten)]
    pub info: DeviceInfo,
    pub measured: Answer<Measured>,
}

/// What came of one question.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer<T> {
    Is(T),
    Failed { error: String },
}

impl<T, E: std::fmt::Display> From<Result<T, E>> for Answer<T> {
    fn from(result: Result<T, E>) -> Answer<T> {
        result.map_or_else(|error| Answer::Failed { error: error.to_string() }, Answer::Is)
    }
}

#[derive(Debug, Serialize)]
pub struct Measured {
    pub free_bytes: u64,
    /// Of the device's memory, for one more process.
    pub context_bytes: Answer<u64>,
    /// Memory as a model's own arrays have it.
    pub pageable: Answer<Bandwidth>,
    /// Shared memory as a lane has it, not pinned.
    pub shared: Answer<Bandwidth>,
    /// The same, pinned where it lies.
    pub shared_registered: Answer<Bandwidth>,
    /// Memory that CUDA allocated pinned.
    pub pinned: Answer<Bandwidth>,
    /// To the device only, from shared memory that this process may only read.
    pub read_only_registered: Answer<f64>,
}

/// In 10⁹ bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bandwidth {
    pub to_device_gb_s: f64,
    pub from_device_gb_s: f64,
}

/// A question that could not be asked.
#[derive(Debug, thiserror::Error)]
enum Unasked {
    #[error(transparent)]
    Cuda(#[from] CudaError),
    #[error("no shared memory of {COPY_BYTES} bytes: {0}")]
    Memory(#[from] rustix::io::Errno),
    #[error("a second process did not open a context: {0}")]
    Second(#[from] std::io::Error),
    #[error("a second process did not open a context; see its output")]
    SecondFailed,
}

/// Asks all devices, or the one of a UUID.
pub fn report(uuid: Option<&str>) -> Result<Report, CudaError> {
    let driver = driver_version()?;
    let all = visible()?;
    let asked = match uuid {
        None => all,
        Some(uuid) => vec![Wanted::Gpu(Some(uuid.to_owned())).among(&all)?],
    };
    Ok(Report { driver, devices: asked.iter().map(ask).collect() })
}

fn ask(info: &DeviceInfo) -> DeviceReport {
    DeviceReport { info: info.clone(), measured: measure(info).into() }
}

fn measure(info: &DeviceInfo) -> Result<Measured, CudaError> {
    let context = Context::open(info)?;
    let bench = Bench::new(&context)?;
    Ok(Measured {
        free_bytes: context.free_bytes()?,
        context_bytes: context_bytes(&context).into(),
        pageable: bench.both(&mut vec![0; COPY_BYTES]).into(),
        shared: bench.shared().into(),
        shared_registered: bench.registered().into(),
        pinned: bench.pinned().into(),
        read_only_registered: bench.read_only().into(),
    })
}

/// What copies are measured with.
struct Bench {
    context: Rc<Context>,
    stream: Stream,
    memory: DeviceMemory,
}

impl Bench {
    fn new(context: &Rc<Context>) -> Result<Bench, CudaError> {
        let stream = Stream::new(context)?;
        let memory = DeviceMemory::zeroed(&stream, COPY_BYTES)?;
        Ok(Bench { context: context.clone(), stream, memory })
    }

    fn shared(&self) -> Result<Bandwidth, Unasked> {
        let mut pages = SharedPages::new(COPY_BYTES, Registration::ReadWrite)?;
        Ok(self.both(pages.bytes_mut())?)
    }

    fn registered(&self) -> Result<Bandwidth, Unasked> {
        let pages = SharedPages::new(COPY_BYTES, Registration::ReadWrite)?;
        let mut pinned = pages.register(&self.context)?;
        Ok(self.both(pinned.pages.bytes_mut())?)
    }

    fn pinned(&self) -> Result<Bandwidth, CudaError> {
        self.both(Pinned::zeroed(&self.context, COPY_BYTES)?.bytes_mut())
    }

    fn read_only(&self) -> Result<f64, Unasked> {
        let pages = SharedPages::new(COPY_BYTES, Registration::ReadOnly)?;
        let pinned = pages.register(&self.context)?;
        Ok(best(|| self.memory.write(pinned.pages.bytes(), &self.stream))?)
    }

    fn both(&self, host: &mut [u8]) -> Result<Bandwidth, CudaError> {
        Ok(Bandwidth {
            to_device_gb_s: best(|| self.memory.write(host, &self.stream))?,
            from_device_gb_s: best(|| self.memory.read(host, &self.stream))?,
        })
    }
}

fn best(mut copy: impl FnMut() -> Result<(), CudaError>) -> Result<f64, CudaError> {
    let mut shortest_ns = u64::MAX;
    for _ in 0..COPIES {
        let clock = Clock::start();
        copy()?;
        shortest_ns = shortest_ns.min(clock.now_ns());
    }
    Ok(COPY_BYTES as f64 / shortest_ns.max(1) as f64)
}

/// What this process sees going when a second one opens a context.
fn context_bytes(context: &Context) -> Result<u64, Unasked> {
    let before = context.free_bytes()?;
    let second = Second::start(&context.info().uuid)?;
    let after = context.free_bytes()?;
    drop(second);
    Ok(before.saturating_sub(after))
}

/// Another process with a context, which ends when its input does.
struct Second(Child);

impl Second {
    fn start(uuid: &str) -> Result<Second, Unasked> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["probe", "--hold", "--uuid", uuid]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut second = Second(command.spawn()?);
        let mut line = String::new();
        if let Some(out) = second.0.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        if line.trim_end() == HOLDS { Ok(second) } else { Err(Unasked::SecondFailed) }
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        // It may be gone already, which is all that is wanted.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// The second process: holds a context until its input ends.
pub fn hold(uuid: Option<&str>) -> Result<(), CudaError> {
    let device = Wanted::Gpu(uuid.map(str::to_owned)).among(&visible()?)?;
    let _context = Context::open(&device)?;
    let mut out = std::io::stdout().lock();
    // If nobody reads this, nobody waits either, and the input has ended.
    let _said = writeln!(out, "{HOLDS}").and_then(|()| out.flush());
    let _ended = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(())
}
