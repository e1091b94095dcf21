//! iceoryx2's request-response under the measurement that the lane goes through.
//!
//! Two processes, this one and itself started again, each spinning on a core of its own; 3 KiB copied into the loaned
//! request, out of it, into the loaned response, and out again. Prints one JSON line. `cargo xtask lanes` runs it in
//! turns with the lane's own benchmark; both use the loop, the clock and the pinning of the crate `bench`.

#![forbid(unsafe_code)]

use std::error::Error;
use std::hint::black_box;
use std::os::unix::process::parent_id;
use std::process::ExitCode;
use std::time::Duration;

use bench::clock::wait_until;
use bench::samples::{Plan, Times, sample};
use bench::threads::pin;
use bench::twin::Twin;
use iceoryx2::port::client::Client;
use iceoryx2::port::server::Server;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::PortFactory as _;
use iceoryx2::service::port_factory::request_response::PortFactory;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const PAYLOAD_BYTES: usize = 3 * 1024;
type Payload = [u8; PAYLOAD_BYTES];
type Service = PortFactory<ipc::Service, Payload, (), Payload, ()>;

/// The same as the lane's.
const PLAN: Plan = Plan { warm: 10_000, timed: 100_000 };
/// Starting a program takes milliseconds; a busy machine takes longer.
const JOIN_WAIT: Duration = Duration::from_secs(10);
/// Fruitless looks before each side asks whether the other still lives.
const LOOKS: u64 = 1 << 16;
const LOOKS_MAX: u64 = 1 << 32;
/// The first byte of the request that ends the server.
const LEAVE: u8 = u8::MAX;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["server", name] => serve(name),
        [client, server] => match (client.parse(), server.parse()) {
            (Ok(client), Ok(server)) => measure(client, server),
            _ => Err("usage: lane-iceoryx2 [CLIENT_CORE SERVER_CORE]".into()),
        },
        _ => measure(0, 1),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lane-iceoryx2: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(client_core: usize, server_core: usize) -> Outcome<()> {
    if client_core == server_core {
        return Err("two spinning sides need a core each".into());
    }
    set_log_level(LogLevel::Error);
    let name = format!("hydrofoil/bench/{}", std::process::id());
    let node = NodeBuilder::new().create::<ipc::Service>()?;
    let service = open(&node, &name)?;
    let client = service.client_builder().create()?;
    let mut twin = Twin::start(server_core, &["server".as_ref(), name.as_ref()])?;
    let there = wait_until(JOIN_WAIT, || {
        service.dynamic_config().number_of_servers() > 0 || twin.has_ended()
    });
    if !there || twin.has_ended() {
        return Err("the server did not come".into());
    }
    pin(client_core)?;
    let times = round_trips(&client)?;
    ask(&client, &[LEAVE; PAYLOAD_BYTES])?;
    twin.leaves()?;
    println!("{{\"iceoryx2_ns\":{},\"iceoryx2_p99_ns\":{}}}", times.p50_ns, times.p99_ns);
    Ok(())
}

fn open(node: &Node<ipc::Service>, name: &str) -> Outcome<Service> {
    let builder = node.service_builder(&name.try_into()?);
    Ok(builder.request_response::<Payload, Payload>().open_or_create()?)
}

fn round_trips(client: &Client<ipc::Service, Payload, (), Payload, ()>) -> Outcome<Times> {
    let request = [7; PAYLOAD_BYTES];
    let mut reply = [0; PAYLOAD_BYTES];
    let times = sample(PLAN, |_, clock| -> Outcome<u64> {
        let begun_ns = clock.now_ns();
        let pending = ask(client, &request)?;
        for _ in 0..LOOKS_MAX {
            if let Some(response) = pending.receive()? {
                reply.copy_from_slice(response.payload());
                return Ok(clock.now_ns() - begun_ns);
            }
        }
        Err("the server does not answer".into())
    })?;
    assert_eq!(reply, request, "the reply is the request");
    Ok(times)
}

type Pending = iceoryx2::pending_response::PendingResponse<ipc::Service, Payload, (), Payload, ()>;

#[inline]
fn ask(
    client: &Client<ipc::Service, Payload, (), Payload, ()>,
    payload: &Payload,
) -> Outcome<Pending> {
    Ok(client.loan_uninit()?.write_payload(*payload).send()?)
}

/// The other process: answers every request with its own bytes, until told to leave or left alone.
fn serve(name: &str) -> Outcome<()> {
    set_log_level(LogLevel::Error);
    let parent = parent_id();
    let node = NodeBuilder::new().create::<ipc::Service>()?;
    let service = open(&node, name)?;
    let server = service.server_builder().create()?;
    let mut bytes = [0; PAYLOAD_BYTES];
    while parent_id() == parent {
        for _ in 0..LOOKS {
            answer(&server, &mut bytes)?;
            if bytes[0] == LEAVE {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[inline]
fn answer(
    server: &Server<ipc::Service, Payload, (), Payload, ()>,
    bytes: &mut Payload,
) -> Outcome<()> {
    let Some(request) = server.receive()? else { return Ok(()) };
    bytes.copy_from_slice(request.payload());
    let bytes: &Payload = black_box(bytes);
    Ok(request.loan_uninit()?.write_payload(*bytes).send()?)
}
