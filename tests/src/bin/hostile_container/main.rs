//! A container that breaks the rules, one at a time.
//!
//! `foil serve --python hostile-container attack.tail_jump.py` starts it in place of Python: the
//! middle of the target's name is the attack. Its first life serves honestly for a few requests and
//! then attacks, or, for attacks on the handshake, ends; the second attacks there; later lives
//! serve honestly for good. So a test sees the attack named, the replica replaced, and the model
//! served again.
//!
//! It is also a second implementation of the lane, written from the prose of shm-rpc alone: it maps
//! nothing and uses nothing of that crate but the hash of its build.
#![forbid(unsafe_code)]

mod attack;
mod lane;
mod socket;

use std::path::Path;

use attack::Attack;
use lane::Lane;
use schemas::lifecycle::{
    FromContainer, FromEngine, Hello, Late, ModelSpec, SCHEMA_VERSION, decode_from_engine,
    encode_from_container,
};
use schemas::tensor::{DType, Dim, TensorSpec};
use socket::Socket;

/// Honest answers before the first life turns.
const HONEST_ANSWERS: u32 = 5;

fn main() {
    let target = std::env::args().skip_while(|it| it != "--target").nth(1).expect("--target");
    if let Some(step) = name_of(&target).strip_prefix("wait_") {
        return wait_at(step, &target);
    }
    let attack = attack_of(&target).expect("it is no step to wait at");
    let life = count_life(&format!("{target}.lives"));
    let in_handshake = attack.is_on_the_handshake();
    let turn = match (life, in_handshake) {
        (1, true) => Turn::End,
        (1, false) => Turn::Attack,
        _ => Turn::Never,
    };
    let socket = if life == 2 && in_handshake { attack.shake_hands() } else { shake_hands() };
    let (socket, mut lane) = socket;
    if life == 1 && attack == Attack::ReadyTwice {
        socket.send(&encode_from_container(&FromContainer::Ready));
    }
    serve(&mut lane, &socket, attack, turn);
}

/// What stands in `attack.<name>.py`.
fn name_of(target: &str) -> &str {
    let file = Path::new(target).file_stem().and_then(|it| it.to_str()).expect("a file");
    file.split('.').nth(1).expect("attack.<name>.py")
}

fn attack_of(target: &str) -> Option<Attack> {
    let name = name_of(target);
    (!name.starts_with("wait_")).then(|| Attack::named(name))
}

/// Goes as far as `step`, says so in a file, and waits for the engine to be gone.
fn wait_at(step: &str, target: &str) {
    let reached = |at: &str, socket: &Socket| {
        if at == step {
            std::fs::write(format!("{target}.reached"), at).expect("the directory is writable");
            while !socket.is_closed() {
                std::thread::park_timeout(std::time::Duration::from_millis(1));
            }
            std::process::exit(0);
        }
    };
    let socket = Socket::connect();
    reached("connected", &socket);
    socket.send(&encode_from_container(&FromContainer::Hello(hello())));
    reached("hello_sent", &socket);
    let mut lane = welcomed(&socket);
    reached("welcomed", &socket);
    socket.send(&encode_from_container(&FromContainer::Ready));
    reached("ready", &socket);
    while let Some(request) = lane.next_request(&socket) {
        reached("with_request", &socket);
        lane.answer(&request);
        reached("answered", &socket);
    }
}

/// What happens once enough was answered honestly.
#[derive(PartialEq)]
enum Turn {
    Never,
    End,
    Attack,
}

fn serve(lane: &mut Lane, socket: &Socket, attack: Attack, turn: Turn) {
    let mut answered = 0;
    loop {
        let Some(request) = lane.next_request(socket) else { return };
        if answered < HONEST_ANSWERS || turn == Turn::Never {
            lane.answer(&request);
            answered += 1;
        } else if turn == Turn::End {
            // The request in hand is the engine's to run again.
            std::process::exit(0);
        } else {
            attack.strike(lane, socket, &request);
        }
    }
}

/// Which life this is: counted in a file beside the target.
fn count_life(path: &str) -> u32 {
    let lives = std::fs::read_to_string(path).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    std::fs::write(path, (lives + 1).to_string()).expect("the target's directory is writable");
    lives + 1
}

/// What an honest container does to get a lane.
fn shake_hands() -> (Socket, Lane) {
    let socket = Socket::connect();
    socket.send(&encode_from_container(&FromContainer::Hello(hello())));
    let lane = welcomed(&socket);
    socket.send(&encode_from_container(&FromContainer::Ready));
    (socket, lane)
}

fn welcomed(socket: &Socket) -> Lane {
    let (message, fds) = socket.receive();
    match decode_from_engine(&message).expect("an engine's message") {
        FromEngine::Welcome(welcome) => Lane::join(welcome.lane, fds),
        FromEngine::Refused { message } => {
            println!("refused: {message}");
            std::process::exit(1);
        }
    }
}

/// Echoes two numbers a row; a batch may take half a second.
fn hello() -> Hello {
    let target = std::env::args().skip_while(|it| it != "--target").nth(1).expect("--target");
    let tensor = |name: &str| TensorSpec {
        name: name.to_owned(),
        dtype: DType::F32,
        dims: vec![Dim::Batch, Dim::Fixed(2)],
    };
    let nonce = std::env::var("FOIL_NONCE").ok().and_then(|it| it.parse().ok()).expect("a nonce");
    Hello {
        schema_version: SCHEMA_VERSION,
        abi_hash: lane::ABI_HASH,
        nonce,
        spec: ModelSpec {
            name: "attacker".into(),
            platform: "hostile".into(),
            inputs: vec![tensor("x")],
            outputs: vec![tensor("y")],
            batched: true,
            max_batch: 4,
            slo_us: None,
            late: Late::Serve,
            batch_timeout_us: 500_000,
            replicas: 1,
            pad: false,
            decoupled: attack_of(&target).is_some_and(Attack::is_in_parts),
        },
    }
}
