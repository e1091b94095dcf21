//! Floods over HTTP: an engine's memory stays within the bounds that it was given, and it answers afterwards.

use std::net::TcpStream;

use harness::client::{Client, bytes_of};
use harness::engine::{Engine, Scratch, command};

const MIB: u64 = 1 << 20;
/// Connections that send a head without an end. Both of the process's ends fit the usual 1,024 descriptors.
const ENDLESS_HEADS: usize = 300;
/// Just below the bound of a head.
const HEAD_BYTES: usize = 60 << 10;
/// Bodies on their way at the same time, each as large as one may be: four times what may be gathered.
const LARGE_BODIES: usize = 32;
const BODY_BYTES: u64 = 8 * MIB;
const GATHERED_BYTES: u64 = 64 * MIB;
/// What the flood may add to the engine's memory: what may be gathered, the last doubling of a body that grows, the
/// heads with their buffers, and what an allocator keeps.
const GROWTH_BYTES_MAX: u64 = GATHERED_BYTES * 4;

/// The most memory the engine has had, in bytes.
fn peak_bytes(engine: &Engine) -> u64 {
    engine.memory("VmHWM")
}

fn serve(scratch: &Scratch) -> Engine {
    scratch.write("models/noop/model.toml", "runtime = \"native\"\nkind = \"noop\"\n");
    scratch.write("models/noop/1/.keep", "");
    let limits =
        format!("[limits]\nbody_bytes_max = {BODY_BYTES}\ngathered_bytes_max = {GATHERED_BYTES}\n");
    scratch.write("foil.toml", &limits);
    let (config, models) = (scratch.path("foil.toml"), scratch.path("models"));
    Engine::start_with(command(&["--config", &config, &models]), 1)
}

#[test]
fn memory_stays_bounded_under_a_flood_of_heads_and_bodies() {
    let scratch = Scratch::new("floods");
    let engine = serve(&scratch);
    let before = peak_bytes(&engine);
    let head = format!("GET /v2 HTTP/1.1\r\nhost: x\r\na: {}", "b".repeat(HEAD_BYTES));
    let heads: Vec<Client> =
        (0..ENDLESS_HEADS).map(|_| sending(&engine, head.as_bytes())).collect();
    let with_heads = peak_bytes(&engine);
    let half = vec![b' '; BODY_BYTES as usize / 2];
    let begun = bytes_of("POST", "/v2/models/noop/infer", &[], &[&half[..], &half].concat());
    let begun = &begun[..begun.len() - half.len()];
    let bodies: Vec<Client> = (0..LARGE_BODIES).map(|_| sending(&engine, begun)).collect();
    let refused = bodies.into_iter().filter(|client| answered(&client.stream)).count();
    let peak = peak_bytes(&engine);
    println!(
        "peak: {} MiB at rest, {} with heads, {} with bodies",
        before / MIB,
        with_heads / MIB,
        peak / MIB
    );
    assert!(refused > 0, "so many bodies can't all be gathered");
    assert!(peak - before < GROWTH_BYTES_MAX, "it grew by {} MiB", (peak - before) / MIB);
    drop(heads);
    assert_eq!(engine.get("/v2/models/noop/ready").status, 200);
}

fn sending(engine: &Engine, bytes: &[u8]) -> Client {
    let mut client = engine.client();
    client.send(bytes);
    client
}

/// Whether something has come back.
fn answered(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    stream.peek(&mut [0]).is_ok_and(|count| count > 0)
}
