//! Measures the round trip of one small batch between two processes over a lane.
//!
//! Prints one JSON line per way of waiting: `polling` (the engine looks without pause) and
//! `sleeping` (the engine announces sleep and waits in epoll for the edge of its bell, which it
//! never reads). The container always sleeps on its futex. Run with
//! `cargo run --release -p shm-rpc --example round_trip [rounds] [bytes]`.

#![expect(clippy::disallowed_methods, reason = "a benchmark is a clock")]

use rustix::event::{Timespec, epoll};
use shm_rpc::container_side::{ContainerSide, Next};
use shm_rpc::engine_side::{Completion, EngineSide};
use shm_rpc::handshake::{ContainerSession, EngineListener};
use shm_rpc::{LaneConfig, Status};
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const CONFIG: LaneConfig = LaneConfig::new(2, 2, 1 << 20, 1 << 20);
const INCARNATION: u64 = 1;
/// Rounds before the measurement, so that pages, caches and clocks are warm.
const WARM_ROUNDS: usize = 1_000;
/// The engine's wait is bounded, as the container's is.
const BELL_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, path] = arguments.as_slice()
        && role == "container"
    {
        return echo(Path::new(path));
    }
    let number = |at: usize, default: usize| arguments.get(at).map_or(Ok(default), |it| it.parse());
    let (rounds, bytes) = (number(1, 20_000)?, number(2, 3_136)?);
    let path = std::env::temp_dir().join(format!("round-trip-{}.sock", std::process::id()));
    let mut listener = EngineListener::bind(&path)?;
    let mut child = Command::new(std::env::current_exe()?).arg("container").arg(&path).spawn()?;
    let mut session = loop {
        if let Some(session) = listener.try_accept()? {
            break session;
        }
        std::thread::yield_now();
    };
    let (mut side, fds) = EngineSide::create(CONFIG, INCARNATION)?;
    session.send_lane(b"welcome", &fds)?;
    report("polling", &mut side, rounds, bytes, poll_for_reply)?;
    let reactor = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&reactor, side.bell(), epoll::EventData::new_u64(0), edges)?;
    report("sleeping", &mut side, rounds, bytes, |side| sleep_for_reply(side, &reactor))?;
    side.shut();
    child.wait()?;
    Ok(())
}

fn report(
    name: &str,
    side: &mut EngineSide,
    rounds: usize,
    bytes: usize,
    mut next: impl FnMut(&mut EngineSide) -> Outcome<Completion>,
) -> Outcome<()> {
    let payload = vec![7; bytes];
    let mut reply = vec![0; bytes];
    let mut times_ns = Vec::with_capacity(rounds);
    for round in 0..WARM_ROUNDS + rounds {
        let begun = Instant::now();
        let slot = side.lease().ok_or("every slot is out")?;
        side.write(&slot, 0, &payload)?;
        side.publish(slot, round as u64, 0, bytes as u32);
        let done = next(side)?;
        side.read(&done, 0, &mut reply)?;
        side.finish(done);
        if round >= WARM_ROUNDS {
            times_ns.push(begun.elapsed().as_nanos());
        }
    }
    times_ns.sort_unstable();
    let at = |share: f64| times_ns[((times_ns.len() - 1) as f64 * share) as usize] as f64 / 1e3;
    let (p50, p99, p999) = (at(0.5), at(0.99), at(0.999));
    println!(
        "{{\"engine\":\"{name}\",\"bytes\":{bytes},\"rounds\":{rounds},\
         \"p50_us\":{p50:.1},\"p99_us\":{p99:.1},\"p999_us\":{p999:.1}}}"
    );
    Ok(())
}

fn poll_for_reply(side: &mut EngineSide) -> Outcome<Completion> {
    loop {
        if let Some(done) = side.poll()? {
            return Ok(done);
        }
        std::thread::yield_now();
    }
}

fn sleep_for_reply(side: &mut EngineSide, reactor: &rustix::fd::OwnedFd) -> Outcome<Completion> {
    let mut events = Vec::with_capacity(1);
    loop {
        if let Some(done) = side.poll()? {
            return Ok(done);
        }
        if side.announce_sleep() {
            events.clear();
            let room = rustix::buffer::spare_capacity(&mut events);
            epoll::wait(reactor, room, Some(&BELL_WAIT))?;
            side.awake();
        }
    }
}

fn echo(path: &Path) -> Outcome<()> {
    let mut session = ContainerSession::connect(path)?;
    let (_, fds) = session.recv_lane(&mut [0; 64])?;
    let mut side = ContainerSide::map(fds.ok_or("no lane came")?, CONFIG, INCARNATION)?;
    let mut bytes = vec![0; CONFIG.request_slot_bytes as usize];
    loop {
        match side.next(Duration::from_millis(100))? {
            Next::Request(request) => {
                let len = request.total_bytes as usize;
                side.read(&request, 0, &mut bytes[..len])?;
                side.write_reply(&request, 0, &bytes[..len])?;
                side.reply(request, Status::Ok, 0, len as u32, 0, 0);
            }
            Next::Idle if session.is_closed() => return Ok(()),
            Next::Idle => {}
            Next::Shut => return Ok(()),
        }
    }
}
