//! Sockets between two ends of one test process.

use super::*;
use crate::container_side::ContainerSide;
use crate::engine_side::EngineSide;
use crate::layout::LaneConfig;
use std::sync::atomic::{AtomicU32, Ordering};

const CONFIG: LaneConfig = LaneConfig::new(2, 2, 4096, 4096);

fn fresh_path() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("lane-{}-{number}.sock", std::process::id()))
}

fn connected() -> (EngineSession, ContainerSession) {
    let path = fresh_path();
    let mut listener = EngineListener::bind(&path).unwrap();
    let container = ContainerSession::connect(&path).unwrap();
    (listener.try_accept().unwrap().unwrap(), container)
}

#[test]
fn accepts_one_connection_and_no_second() {
    let path = fresh_path();
    let mut listener = EngineListener::bind(&path).unwrap();
    assert!(listener.try_accept().unwrap().is_none());
    assert!(path.exists());
    let _container = ContainerSession::connect(&path).unwrap();
    let _session = listener.try_accept().unwrap().unwrap();
    assert!(!path.exists());
    assert!(ContainerSession::connect(&path).is_err());
    assert!(matches!(listener.try_accept(), Err(LaneError::Closed)));
}

#[test]
fn a_listener_nobody_met_takes_its_path_away() {
    let path = fresh_path();
    let listener = EngineListener::bind(&path).unwrap();
    assert!(EngineListener::bind(&path).is_err(), "the path is taken");
    assert!(path.exists(), "and a failed bind leaves it alone");
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn messages_stay_whole_both_ways() {
    let (mut engine, mut container) = connected();
    let mut buffer = [0; 16];
    assert_eq!(engine.try_recv(&mut buffer).unwrap(), Received::WouldBlock);
    container.send(b"hello").unwrap();
    container.send(b"ready").unwrap();
    assert_eq!(engine.try_recv(&mut buffer).unwrap(), Received::Message(5));
    assert_eq!(&buffer[..5], b"hello");
    assert_eq!(engine.try_recv(&mut buffer).unwrap(), Received::Message(5));
    assert_eq!(&buffer[..5], b"ready");
    engine.send(b"welcome").unwrap();
    assert_eq!(container.recv(&mut buffer).unwrap(), 7);
}

#[test]
fn a_lane_travels_with_its_welcome() {
    let (mut engine, mut container) = connected();
    let (_side, fds) = EngineSide::create(CONFIG, 9).unwrap();
    engine.send_lane(b"welcome", &fds).unwrap();
    drop(fds);
    let mut buffer = [0; 16];
    let (bytes, lane) = container.recv_lane(&mut buffer).unwrap();
    assert_eq!(&buffer[..bytes], b"welcome");
    assert!(ContainerSide::map(lane.unwrap(), CONFIG, 9).is_ok());
    engine.send(b"plain").unwrap();
    assert!(container.recv_lane(&mut buffer).unwrap().1.is_none());
}

#[test]
fn a_message_too_large_is_refused_and_not_cut() {
    let (mut engine, mut container) = connected();
    container.send(&[7; 100]).unwrap();
    let refused = engine.try_recv(&mut [0; 10]);
    assert!(matches!(refused, Err(LaneError::MessageTooLarge { bytes: 100, bytes_max: 10 })));
    engine.send(&[7; 100]).unwrap();
    let refused = container.recv(&mut [0; 10]);
    assert!(matches!(refused, Err(LaneError::MessageTooLarge { bytes: 100, bytes_max: 10 })));
}

#[test]
fn each_end_sees_the_other_go() {
    let (mut engine, container) = connected();
    assert!(!container.is_closed());
    drop(container);
    assert_eq!(engine.try_recv(&mut [0; 8]).unwrap(), Received::Closed);
    assert!(matches!(engine.send(b"anyone?"), Err(LaneError::Closed)));

    let (mut engine, mut container) = connected();
    engine.send(b"unread").unwrap();
    assert!(!container.is_closed(), "a message waiting is not an end");
    drop(engine);
    assert!(container.is_closed());
    assert_eq!(container.recv(&mut [0; 8]).unwrap(), 6);
    assert!(matches!(container.recv(&mut [0; 8]), Err(LaneError::Closed)));
}

#[test]
fn a_container_that_does_not_read_never_blocks_the_engine() {
    let (mut engine, _container) = connected();
    let message = vec![1; 32 * 1024];
    let refused = (0..1000).find_map(|_| engine.send(&message).err());
    assert!(matches!(refused, Some(LaneError::PeerNotReading)));
}

#[test]
fn descriptors_pushed_at_a_container_are_counted() {
    let (engine, mut container) = connected();
    let one = [engine.socket.as_fd()];
    send_with(&engine.socket, b"odd", &one, SendFlags::empty()).unwrap();
    let refused = container.recv_lane(&mut [0; 8]);
    assert!(matches!(refused, Err(LaneError::DescriptorCount { count: 1, expected: 4 })));
}

#[test]
fn descriptors_pushed_at_the_engine_never_arrive() {
    let (mut engine, container) = connected();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    send_with(&container.socket, b"gift", &[writer.as_fd()], SendFlags::empty()).unwrap();
    drop(writer);
    assert_eq!(engine.try_recv(&mut [0; 8]).unwrap(), Received::Message(4));
    let end_of_file = rustix::io::read(&reader, &mut [0; 1]).unwrap();
    assert_eq!(end_of_file, 0, "the kernel closed the last writer");
}
