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
#![deny(unsafe_code)]

mod attack;
mod lane;
mod socket;
mod system;

use std::path::{Path, PathBuf};

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
    if std::env::args().nth(1).as_deref() == Some(system::BOMB) {
        return system::explode();
    }
    let name = name();
    if let Some(step) = name.strip_prefix("wait_") {
        return wait_at(step, &target().display().to_string());
    }
    let attack = Attack::named(&name);
    let role = Role::of_this_life(attack);
    let at_once = role.attacks_at_once() && attack.is_on_the_handshake();
    let (socket, mut lane) = if at_once { attack.shake_hands() } else { shake_hands() };
    if role.attacks_at_once() && attack == Attack::ReadyTwice {
        socket.send(&encode_from_container(&FromContainer::Ready));
    }
    serve(&mut lane, &socket, attack, &role);
}

/// The model's file.
fn target() -> PathBuf {
    std::env::args().skip_while(|it| it != "--target").nth(1).expect("--target").into()
}

/// What stands in `attack.<name>.py`; or, where the file must have another name, in the file `attack` beside it.
fn name() -> String {
    let target = target();
    if let Ok(told) = std::fs::read_to_string(target.with_file_name("attack")) {
        return told.trim().to_owned();
    }
    let file = target.file_stem().and_then(|it| it.to_str()).expect("a file");
    file.split('.').nth(1).expect("attack.<name>.py").to_owned()
}

/// How it is known when to be hostile.
enum Role {
    /// By counting lives, in a file beside the target.
    Counted { life: u32, starts_anew: bool },
    /// As a test says in a file beside the target, where nothing can be written.
    Told { file: PathBuf, starts_anew: bool, began_hostile: bool },
}

/// What a request meets.
#[derive(PartialEq)]
enum Turn {
    Answer,
    End,
    Attack,
}

impl Role {
    fn of_this_life(attack: Attack) -> Role {
        let target = target();
        let file = target.with_file_name("turn");
        if file.exists() {
            let began_hostile = is_hostile(&file);
            return Role::Told { file, starts_anew: attack.needs_a_new_life(), began_hostile };
        }
        let life = count_life(&format!("{}.lives", target.display()));
        Role::Counted { life, starts_anew: attack.is_on_the_handshake() }
    }

    fn attacks_at_once(&self) -> bool {
        match self {
            Role::Counted { life, starts_anew: true } => *life == 2,
            Role::Counted { life, starts_anew: false } => *life == 1,
            Role::Told { began_hostile, .. } => *began_hostile,
        }
    }

    fn turn(&self, answered: u32) -> Turn {
        let (hostile, starts_anew) = match self {
            Role::Counted { life, starts_anew } => {
                (*life == 1 && answered >= HONEST_ANSWERS, *starts_anew)
            }
            Role::Told { file, starts_anew, .. } => (is_hostile(file), *starts_anew),
        };
        match (hostile, starts_anew) {
            (false, _) => Turn::Answer,
            (true, true) => Turn::End,
            (true, false) => Turn::Attack,
        }
    }
}

fn is_hostile(file: &Path) -> bool {
    std::fs::read_to_string(file).is_ok_and(|turn| turn.trim() == "attack")
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

fn serve(lane: &mut Lane, socket: &Socket, attack: Attack, role: &Role) {
    let mut answered = 0;
    loop {
        let Some(request) = lane.next_request(socket) else { return };
        match role.turn(answered) {
            Turn::Answer => {
                lane.answer(&request);
                answered += 1;
            }
            // The request in hand is the engine's to run again.
            Turn::End => std::process::exit(0),
            Turn::Attack => attack.strike(lane, socket, &request),
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
    let name = name();
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
            decoupled: !name.starts_with("wait_") && Attack::named(&name).is_in_parts(),
        },
        beats: false,
    }
}
