//! The two ends of the measured lane: this process as engine, its twin as container.

use std::error::Error;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use bench::clock::{Clock, nanos, wait_until};
use bench::twin::Twin;
use clap::ValueEnum;
use shm_rpc::container_side::{ContainerSide, Next, Request};
use shm_rpc::engine_side::EngineSide;
use shm_rpc::handshake::{ContainerSession, EngineListener, EngineSession};
use shm_rpc::{LaneConfig, Status};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// 3 KiB each way: a row of the usual small model, and what the comparisons are stated for.
pub(crate) const PAYLOAD_BYTES: usize = 3 * 1024;

const INCARNATION: u64 = 1;
/// Starting a program takes milliseconds; a busy machine takes longer.
const JOIN_WAIT: Duration = Duration::from_secs(10);
/// One is enough as a rule; the scheduler may choose the one who yields.
const YIELDS: usize = 2;
/// A side is in its system call within a microsecond or two.
const SETTLE: Duration = Duration::from_micros(20);
/// Fruitless looks of a spinning container before it asks whether the engine still lives.
const LOOKS: u32 = 1 << 16;
/// A sleeping container wakes at least this often to ask the same.
const NAP: Duration = Duration::from_millis(100);

/// Where the two processes run.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) engine: usize,
    pub(crate) container: usize,
}

impl Cores {
    /// Before a round trip between sleepers: on one core the other side, preempted by our waking, is let run until it
    /// sleeps. Without it most of its waits would find their word changed, and no wake-up would be measured.
    pub(crate) fn let_sleep(self) {
        if self.engine == self.container {
            for _ in 0..YIELDS {
                std::thread::yield_now();
            }
        }
    }

    /// What became of one round trip between sleepers: true, it counts. Across cores two sleepers can get into step
    /// and never sleep again, each finding the other's word changed just before its own wait; that is no sleeping round
    /// trip, so it does not count, and a pause lets both fall asleep. On one core each runs only while the other waits.
    pub(crate) fn counts(self, slept: bool, clock: &Clock) -> bool {
        if slept || self.engine == self.container {
            return true;
        }
        let until_ns = clock.now_ns() + nanos(SETTLE);
        while clock.now_ns() < until_ns {
            std::hint::spin_loop();
        }
        false
    }
}

/// What a container does while there is nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Manner {
    Spins,
    Sleeps,
}

impl Manner {
    /// As the other process is told it.
    pub(crate) fn name(self) -> Outcome<String> {
        let value = self.to_possible_value().ok_or("every manner has a name")?;
        Ok(value.get_name().to_owned())
    }
}

/// The only place that says what a lane looks like.
pub(crate) fn config(request_slot_bytes: u32) -> LaneConfig {
    LaneConfig::new(2, 2, request_slot_bytes, PAYLOAD_BYTES as u32)
}

/// A lane whose container is another process. An early drop ends that process.
pub(crate) struct Lane {
    pub(crate) side: EngineSide,
    // The container takes a closed socket for the engine's death: it outlives the farewell.
    _session: EngineSession,
    twin: Twin,
}

impl Lane {
    /// Starts the container on its core and joins it. To be called before the engine's thread is pinned: a pinned
    /// thread can't place a twin elsewhere.
    pub(crate) fn join(core: usize, manner: Manner) -> Outcome<Lane> {
        let path = std::env::temp_dir().join(format!("lane-bench-{}.sock", std::process::id()));
        let mut listener = EngineListener::bind(&path)?;
        let manner = manner.name()?;
        let arguments = ["container".as_ref(), path.as_os_str(), OsStr::new(&manner)];
        let mut twin = Twin::start(core, &arguments)?;
        let mut accepted = Ok(None);
        wait_until(JOIN_WAIT, || {
            accepted = listener.try_accept();
            !matches!(accepted, Ok(None)) || twin.has_ended()
        });
        let mut session = accepted?.ok_or("the container did not come")?;
        let (side, fds) = EngineSide::create(config(PAYLOAD_BYTES as u32), INCARNATION)?;
        session.send_lane(b"welcome", &fds)?;
        Ok(Lane { side, _session: session, twin })
    }

    /// Says farewell and waits for the container's end.
    pub(crate) fn leave(mut self) -> Outcome<()> {
        self.side.shut();
        Ok(self.twin.leaves()?)
    }
}

/// The other process: answers every request with its own bytes, until the farewell or the engine's end.
pub(crate) fn container(path: &Path, manner: Manner) -> Outcome<()> {
    let mut session = ContainerSession::connect(path)?;
    let (_, fds) = session.recv_lane(&mut [0; 64])?;
    let config = config(PAYLOAD_BYTES as u32);
    let mut side = ContainerSide::map(fds.ok_or("no lane came")?, config, INCARNATION)?;
    let (wait, looks_max) = match manner {
        Manner::Spins => (Duration::ZERO, LOOKS),
        Manner::Sleeps => (NAP, 1),
    };
    let mut bytes = vec![0; PAYLOAD_BYTES];
    let mut looks = 0;
    loop {
        match side.next(wait)? {
            Next::Request(request) => {
                looks = 0;
                answer(&mut side, request, &mut bytes)?;
            }
            Next::Idle if looks == looks_max && session.is_closed() => return Ok(()),
            Next::Idle => looks = if looks == looks_max { 0 } else { looks + 1 },
            Next::Shut => return Ok(()),
        }
    }
}

/// Copies the request out and the reply in, as a container that shares no memory with its model would.
#[inline]
pub(crate) fn answer(side: &mut ContainerSide, request: Request, bytes: &mut [u8]) -> Outcome<()> {
    let bytes = &mut bytes[..request.total_bytes as usize];
    side.read(&request, 0, bytes)?;
    let total_bytes = bytes.len() as u32;
    side.write_reply(&request, 0, bytes)?;
    side.reply(request, Status::Ok, 0, total_bytes, 0, 0);
    Ok(())
}
