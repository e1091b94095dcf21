//! A whole engine's end of a lane, while a mutator thread rewrites the container's segment under it.
#![no_main]

use std::sync::atomic::{AtomicBool, Ordering};

use libfuzzer_sys::fuzz_target;
use rustix::io::pwrite;
use schemas::predict::{BatchHeader, read_reply};
use shm_rpc::engine_side::EngineSide;
use shm_rpc::{LaneConfig, Memory};

/// One descriptor or word, written somewhere into the container's segment.
type Scribble = (u16, Vec<u8>);

/// Rounds the mutator repeats its scribbles; enough to overlap with the engine's reads.
const MUTATOR_ROUNDS: usize = 20;

fuzz_target!(|input: (bool, Vec<Scribble>, Vec<Scribble>)| {
    let (posix, before, during) = input;
    let memory = if posix { Memory::Posix } else { Memory::Memfd };
    let config = LaneConfig { memory, ..LaneConfig::new(4, 2, 8192, 8192) };
    let (mut engine, fds) = EngineSide::create(config, 1).expect("a lane");
    let [_, container_out, ..] = fds.as_fds();
    let scribble = |scribbles: &[Scribble]| {
        for (at, bytes) in scribbles {
            let _written = pwrite(container_out, bytes, u64::from(*at));
        }
    };
    scribble(&before);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..MUTATOR_ROUNDS {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                scribble(&during);
            }
        });
        drive(&mut engine);
        done.store(true, Ordering::Relaxed);
    });
});

/// What the dispatcher does with a lane: fill slots, poll, verify copies, finish, sleep.
fn drive(engine: &mut EngineSide) {
    let mut header = BatchHeader::default();
    for tag in 0..12 {
        if let Some(slot) = engine.lease() {
            if engine.write(&slot, 0, b"request").is_err() {
                return;
            }
            engine.publish(slot, tag, 7, 7);
        }
        let Ok(polled) = engine.poll() else { return };
        let Some(completion) = polled else {
            if engine.announce_sleep() {
                engine.awake();
            }
            continue;
        };
        let mut head = vec![0; completion.header_bytes as usize];
        engine.read(&completion, 0, &mut head).expect("a checked length");
        if read_reply(&head, &mut header).is_ok() {
            for tensor in &header.tensors {
                if tensor.check(completion.total_bytes).is_ok() {
                    let mut copy = vec![0; tensor.len as usize];
                    engine.read(&completion, tensor.offset, &mut copy).expect("a checked tensor");
                }
            }
        }
        engine.finish(completion);
    }
}
