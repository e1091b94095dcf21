//! A whole lane between two real processes: this test program, and itself started again.
//!
//! The tests marked `ignored` are not tests but the programs of the other process.

#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use shm_rpc::container_side::{ContainerSide, Next};
use shm_rpc::engine_side::{Completion, EngineSide};
use shm_rpc::handshake::{ContainerSession, EngineListener, EngineSession, Received};
use shm_rpc::{LaneConfig, Status};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const SOCKET_VARIABLE: &str = "LANE_TEST_SOCKET";
const INCARNATION: u64 = 77;
const CONFIG: LaneConfig = LaneConfig::new(4, 2, 256 * 1024, 256 * 1024);
/// Looks at the other process before a test gives up: a watchdog, not a measurement.
const PATIENCE: u32 = 6000;

/// A test's own process, in the role of a container.
struct Replica {
    child: Child,
    path: PathBuf,
}

impl Replica {
    fn start(role: &str) -> (Replica, EngineListener) {
        let path = std::env::temp_dir().join(format!("lane-{role}-{}.sock", std::process::id()));
        let listener = EngineListener::bind(&path).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args([role, "--exact", "--ignored", "--nocapture"])
            .env(SOCKET_VARIABLE, &path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        (Replica { child, path }, listener)
    }

    fn exits_well(mut self) {
        assert!(self.child.wait().unwrap().success());
        assert!(!self.path.exists());
    }
}

/// Waits a little for `look` to find something.
fn await_some<T>(mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..PATIENCE {
        if let Some(found) = look() {
            return found;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    panic!("the other process did nothing for too long");
}

fn welcome(mut listener: EngineListener) -> (EngineSession, EngineSide) {
    let mut session = await_some(|| listener.try_accept().unwrap());
    let mut buffer = [0; 64];
    let bytes = await_some(|| match session.try_recv(&mut buffer).unwrap() {
        Received::Message(bytes) => Some(bytes),
        Received::WouldBlock => None,
        Received::Closed => panic!("the container went away"),
    });
    assert_eq!(&buffer[..bytes], b"hello");
    let (side, fds) = EngineSide::create(CONFIG, INCARNATION).unwrap();
    session.send_lane(b"welcome", &fds).unwrap();
    (session, side)
}

/// Sleeps on the bell as a reactor would, with a bound.
fn next_completion(side: &mut EngineSide) -> Completion {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    await_some(|| {
        if side.announce_sleep() {
            // The bell is never read, so here it only paces the look; reactors use edges.
            let mut fds = [PollFd::from_borrowed_fd(side.bell(), PollFlags::IN)];
            poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 1_000_000 })).unwrap();
            side.awake();
        }
        side.poll().unwrap()
    })
}

fn payload(tag: u64) -> Vec<u8> {
    let len = 1 + (tag as usize * 7919) % CONFIG.request_slot_bytes as usize;
    (0..len).map(|at| (at as u64 ^ tag) as u8).collect()
}

#[test]
fn batches_cross_to_another_process_and_back_unharmed() {
    let (replica, listener) = Replica::start("echoing_container");
    let (_session, mut side) = welcome(listener);
    for tag in 0..500 {
        let sent = payload(tag);
        let slot = side.lease().unwrap();
        side.write(&slot, 0, &sent).unwrap();
        side.publish(slot, tag, 0, sent.len() as u32);
        let done = next_completion(&mut side);
        assert_eq!((done.tag, done.status), (tag, Status::Ok));
        let mut got = vec![0; done.total_bytes as usize];
        side.read(&done, 0, &mut got).unwrap();
        side.finish(done);
        assert!(got == sent, "batch {tag} came back changed");
    }
    side.shut();
    replica.exits_well();
}

#[test]
fn a_container_ends_when_its_engine_goes_without_farewell() {
    let (replica, listener) = Replica::start("faithful_container");
    let (session, side) = welcome(listener);
    drop((session, side));
    replica.exits_well();
}

#[test]
fn an_engine_sees_a_killed_container_and_loses_nothing_but_the_lane() {
    let (mut replica, listener) = Replica::start("silent_container");
    let (mut session, mut side) = welcome(listener);
    let slot = side.lease().unwrap();
    side.publish(slot, 1, 0, 1);
    replica.child.kill().unwrap();
    replica.child.wait().unwrap();
    let closed = await_some(|| match session.try_recv(&mut [0; 8]).unwrap() {
        Received::Closed => Some(true),
        Received::WouldBlock | Received::Message(_) => None,
    });
    assert!(closed && side.poll().unwrap().is_none());
    assert_eq!(side.in_flight(), 1);
}

#[test]
fn lanes_leave_no_descriptor_and_no_mapping_behind() {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["counting_program", "--exact", "--ignored"])
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
}

fn join() -> (ContainerSession, ContainerSide) {
    let path = std::env::var(SOCKET_VARIABLE).unwrap();
    let mut session = ContainerSession::connect(Path::new(&path)).unwrap();
    session.send(b"hello").unwrap();
    let mut buffer = [0; 64];
    let (_, fds) = session.recv_lane(&mut buffer).unwrap();
    let side = ContainerSide::map(fds.unwrap(), CONFIG, INCARNATION).unwrap();
    (session, side)
}

#[test]
#[ignore = "the program of the other process"]
fn echoing_container() {
    let (session, mut side) = join();
    loop {
        match side.next(Duration::from_secs(1)).unwrap() {
            Next::Request(request) => {
                let mut bytes = vec![0; request.total_bytes as usize];
                side.read(&request, 0, &mut bytes).unwrap();
                side.write_reply(&request, 0, &bytes).unwrap();
                side.reply(request, Status::Ok, 0, bytes.len() as u32, 0, 0);
            }
            Next::Idle => assert!(!session.is_closed(), "the engine left without a farewell"),
            Next::Shut => return,
        }
    }
}

#[test]
#[ignore = "the program of the other process"]
fn faithful_container() {
    let (session, mut side) = join();
    while !session.is_closed() {
        assert!(matches!(side.next(Duration::from_secs(1)), Ok(Next::Idle)));
    }
}

#[test]
#[ignore = "the program of the other process"]
fn silent_container() {
    let (_session, mut side) = join();
    loop {
        drop(side.next(Duration::from_secs(1)));
    }
}

#[test]
#[ignore = "the program of the other process"]
fn counting_program() {
    let counts = || {
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        (open, maps.lines().filter(|line| line.contains("memfd:")).count())
    };
    let before = counts();
    for round in 0..20 {
        let path = std::env::temp_dir().join(format!("lane-count-{}.sock", std::process::id()));
        let mut listener = EngineListener::bind(&path).unwrap();
        let mut theirs = ContainerSession::connect(&path).unwrap();
        let mut ours = listener.try_accept().unwrap().unwrap();
        let (engine, fds) = EngineSide::create(CONFIG, round).unwrap();
        ours.send_lane(b"welcome", &fds).unwrap();
        let (_, received) = theirs.recv_lane(&mut [0; 16]).unwrap();
        let container = ContainerSide::map(received.unwrap(), CONFIG, round).unwrap();
        assert_ne!(counts(), before);
        drop((engine, container, fds));
        let wrong = EngineSide::create(CONFIG, round).unwrap();
        assert!(ContainerSide::map(wrong.1, CONFIG, round + 1).is_err());
    }
    assert_eq!(counts(), before);
}
