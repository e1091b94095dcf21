//! The driver against small servers on loopback, each a thread that ends with its connections.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::arrivals::{Arrivals, Pattern};
use crate::check::Reference;
use crate::measured::Failures;
use crate::plan::{Expect, Transport};

const REQUEST: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nping";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npong";

/// Reads whole requests and lets `answer` write; false ends the connection. Threads end with the test's process at
/// the latest.
fn server(answer: impl Fn(&mut TcpStream, u64) -> bool + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.expect("accept"), answer.clone());
            std::thread::spawn(move || {
                let mut request = vec![0; REQUEST.len()];
                let mut count = 0;
                while stream.read_exact(&mut request).is_ok() && answer(&mut stream, count) {
                    count += 1;
                }
            });
        }
    });
    address
}

/// A server that answers everything at once and rightly.
pub(crate) fn prompt_target() -> Target {
    target(server(pong))
}

fn target(address: SocketAddr) -> Target {
    Target::one(address, REQUEST.to_vec(), Expect::same(b"pong".to_vec()))
}

fn plan(load: Load) -> Plan {
    let warm_up = Duration::from_millis(20);
    Plan { load, warm_up, ..Plan::closed(4, Duration::from_millis(200)) }
}

/// Until all that is to be asked is answered, however long that takes.
fn to_the_last(load: Load) -> Plan {
    Plan { warm_up: Duration::ZERO, measure: Duration::from_secs(60), ..plan(load) }
}

fn open(rate: f64) -> Load {
    Load::Open(Arrivals::of(&Pattern::Constant, Some(rate), 1).expect("a rate"))
}

fn run(address: SocketAddr, plan: &Plan) -> Measured {
    drive(&target(address), plan, &mut |_| {}).expect("a run")
}

fn pong(stream: &mut TcpStream, _: u64) -> bool {
    stream.write_all(ANSWER).is_ok()
}

#[test]
fn a_server_behind_a_unix_socket_is_asked_like_any_other() {
    let path = std::env::temp_dir().join(format!("foil-bench-{}-driver", std::process::id()));
    let listener = UnixListener::bind(&path).expect("bind");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("accept");
            std::thread::spawn(move || {
                let mut request = vec![0; REQUEST.len()];
                while stream.read_exact(&mut request).is_ok() && stream.write_all(ANSWER).is_ok() {}
            });
        }
    });
    let expect = Expect::same(b"pong".to_vec());
    let target = Target::one(Address::unix(&path), REQUEST.to_vec(), expect);
    for load in [Load::Closed, open(2_000.0)] {
        let measured = drive(&target, &plan(load), &mut |_| {}).expect("a run");
        assert!(measured.answered > 0);
        assert_eq!(measured.failures.total(), 0);
    }
    std::fs::remove_file(&path).expect("gone");
    let refused = drive(&target, &plan(Load::Closed), &mut |_| {}).expect_err("nobody listens");
    assert!(refused.to_string().contains("unix:"), "{refused}");
}

#[test]
fn a_closed_loop_keeps_asking_and_counts_right_answers() {
    let measured = run(server(pong), &plan(Load::Closed));
    assert!(measured.answered > 10, "{measured:?}");
    assert_eq!(measured.failures, Failures::default());
}

#[test]
fn an_answer_in_many_pieces_is_one_answer() {
    let address = server(|stream, _| {
        let pieces = ANSWER.chunks(7);
        stream.set_nodelay(true).is_ok()
            && pieces.map(|piece| stream.write_all(piece)).all(|written| written.is_ok())
    });
    let measured = run(address, &plan(Load::Closed));
    assert!(measured.answered > 0);
    assert_eq!(measured.failures, Failures::default());
}

#[test]
fn an_answer_longer_than_the_buffer_is_read_whole() {
    let body = vec![b'x'; 100_000];
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let answer = [head.as_bytes(), &body].concat();
    let address = server(move |stream, _| stream.write_all(&answer).is_ok());
    let target = Target::one(address, REQUEST.to_vec(), Expect::same(body));
    let measured = drive(&target, &plan(Load::Closed), &mut |_| {}).expect("a run");
    assert!(measured.answered > 0);
    assert_eq!(measured.failures, Failures::default());
}

#[test]
fn an_open_loop_sends_what_is_due_and_no_more() {
    let measured = run(server(pong), &Plan { requests_max: 200, ..to_the_last(open(1_000.0)) });
    assert_eq!((measured.due, measured.sent, measured.latency.summary().samples), (200, 200, 200));
    assert_eq!(measured.failures, Failures::default());
}

/// The server stops for 100 ms once. Only four requests can meet it on their connections, but all that were due
/// meanwhile waited.
#[test]
fn latency_of_an_open_loop_counts_from_the_due_time() {
    let address = server(|stream, count| {
        if count == 20 {
            let mut silent = stream.try_clone().expect("clone");
            silent.set_read_timeout(Some(Duration::from_millis(100))).expect("timeout");
            let _ = silent.read(&mut [0; 1]);
        }
        pong(stream, count)
    });
    let plan =
        Plan { connections: 1, connections_max: 1, warm_up: Duration::ZERO, ..plan(open(1_000.0)) };
    let measured = run(address, &plan);
    let (from_due, from_send) = (measured.latency.summary(), measured.service.summary());
    assert!(from_due.p50_us > from_send.p50_us.map(|us| us * 5.0), "{from_due:?} {from_send:?}");
    assert!(measured.blocked.summary().max_us > Some(50_000.0));
    assert!(measured.send_lag.summary().p50_us < Some(10_000.0), "the wait was not the driver's");
}

#[test]
fn wrong_answers_are_failures_and_no_latencies() {
    let busy = server(|stream, _| {
        stream.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\npong").is_ok()
    });
    let measured = run(busy, &plan(Load::Closed));
    assert!(measured.failures.wrong_status > 0);
    assert_eq!((measured.answered, measured.latency.summary().samples), (0, 0));
    let liar = server(|stream, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npang").is_ok()
    });
    assert!(run(liar, &plan(Load::Closed)).failures.wrong_body > 0);
}

#[test]
fn wrong_values_are_wrong_bodies_and_told() {
    let server = server(|stream, _| {
        let head =
            r#"{"outputs":[{"name":"y","datatype":"UINT8","parameters":{"binary_data_size":1}}]}"#;
        let (header, body) = (head.len(), head.len() + 1);
        let answer = format!(
            "HTTP/1.1 200 OK\r\nInference-Header-Content-Length: {header}\r\nContent-Length: {body}\r\n\r\n{head}\x07"
        );
        stream.write_all(answer.as_bytes()).is_ok()
    });
    let asked = |value| {
        let values = Reference { values: vec![value], tolerance: 0.0, output: None };
        let expect = Expect { values: Some(values), ..Expect::default() };
        crate::plan::Request { bytes: REQUEST.to_vec(), expect }
    };
    let target = Target {
        address: server.into(),
        transport: Transport::Http1,
        requests: vec![asked(7.0), asked(8.0)],
    };
    let plan = Plan { requests_max: 20, warm_up: Duration::ZERO, ..plan(Load::Closed) };
    let measured = drive(&target, &plan, &mut |_| {}).expect("a run");
    assert_eq!((measured.answered, measured.failures.wrong_body), (10, 10));
    let told = measured.wrong_answers.first();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].request, &*told[0].told), (1, "value 0 is 7, expected was 8"));
}

#[test]
fn a_connection_closed_before_its_answer_is_a_failure_and_replaced() {
    let measured = run(
        server(|stream, count| count < 3 && pong(stream, count)),
        &Plan {
            measure: Duration::from_millis(20),
            warm_up: Duration::ZERO,
            requests_max: 200,
            ..plan(Load::Closed)
        },
    );
    assert!(measured.failures.closed > 0, "{measured:?}");
    assert!(measured.answered > measured.failures.closed, "{measured:?}");
}

#[test]
fn a_server_that_hangs_up_on_every_request_is_asked_to_the_end() {
    let measured = run(server(|_, _| false), &plan(Load::Closed));
    assert_eq!((measured.answered, measured.failures.total()), (0, measured.failures.closed));
    assert!(measured.failures.closed > 10, "{measured:?}");
}

#[test]
fn an_answer_that_ends_its_connection_is_no_failure() {
    let closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npong";
    let measured = run(server(|stream, _| stream.write_all(closing).is_err()), &plan(Load::Closed));
    assert!(measured.answered > 10 && measured.opened > 10, "{measured:?}");
    assert_eq!(measured.failures, Failures::default());
}

#[test]
fn an_idle_connection_that_is_closed_is_nobodys_failure() {
    // One answer a connection, and its end unannounced: between two requests that are 50 ms apart.
    let address = server(|stream, _| !pong(stream, 0));
    let plan = Plan { requests_max: 4, ..to_the_last(open(20.0)) };
    let measured = run(address, &plan);
    assert_eq!((measured.answered, measured.failures), (4, Failures::default()));
}

#[test]
fn a_server_that_goes_away_leaves_a_report() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        drop(listener);
        let mut request = vec![0; REQUEST.len()];
        for count in 0..10 {
            stream.read_exact(&mut request).expect("a request");
            assert!(pong(&mut stream, count));
        }
    });
    let plan = Plan { connections: 1, warm_up: Duration::ZERO, ..plan(Load::Closed) };
    let measured = run(address, &plan);
    serving.join().expect("served ten");
    assert_eq!(measured.answered, 10);
    assert!(measured.failures.refused > 0, "{measured:?}");
    assert_eq!(measured.failures.total(), measured.failures.refused + measured.failures.closed);
}

/// One answer in the first 100 ms: whoever is due meanwhile gets a connection of its own.
#[test]
fn an_open_loop_opens_connections_rather_than_wait() {
    let address = server(|stream, count| {
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("timeout");
        let mut silent = stream.try_clone().expect("clone");
        let _ = silent.read(&mut [0; 1]);
        stream.set_read_timeout(None).expect("timeout");
        pong(stream, count)
    });
    let plan = to_the_last(open(500.0));
    let plan = Plan { connections: 1, connections_max: 200, requests_max: 100, ..plan };
    let measured = run(address, &plan);
    assert!(measured.opened > 30, "{measured:?}");
    // A busy machine may keep the driver from the last of them.
    let failures = measured.failures;
    assert_eq!((measured.blocked.summary().samples, failures.held), (0, 0));
    assert_eq!((measured.due, measured.sent + failures.dropped), (100, 100));
}

#[test]
fn requests_go_out_in_turn_and_each_knows_its_answer() {
    let address = server(|stream, count| {
        let answer = if count % 2 == 0 { "HTTP/1.1 200 OK" } else { "HTTP/1.1 404 Gone" };
        stream.write_all(format!("{answer}\r\nContent-Length: 0\r\n\r\n").as_bytes()).is_ok()
    });
    let request = |status| crate::plan::Request {
        bytes: REQUEST.to_vec(),
        expect: Expect { status: Some(status), ..Expect::default() },
    };
    let target = Target {
        address: address.into(),
        transport: Transport::Http1,
        requests: vec![request(200), request(404)],
    };
    let plan = Plan { connections: 1, ..plan(Load::Closed) };
    let measured = drive(&target, &plan, &mut |_| {}).expect("a run");
    assert!(measured.answered > 10);
    assert_eq!(measured.failures, Failures::default());
}

#[test]
fn stretches_are_handed_out_while_the_run_goes_on() {
    let (full, stretches) = std::sync::mpsc::sync_channel(100);
    let (_give_back, spare) = std::sync::mpsc::sync_channel(1);
    let feed = Feed { every: Duration::from_millis(20), full, spare, stop: Arc::default() };
    let target = target(server(pong));
    let last = drive_fed(&target, &plan(Load::Closed), &mut |_| {}, feed).expect("a run");
    let stretches: Vec<Measured> = stretches.try_iter().collect();
    assert!(stretches.len() > 3, "{}", stretches.len());
    let mut whole = last;
    stretches.iter().for_each(|stretch| whole.add(stretch));
    assert_eq!(whole.window, Duration::from_millis(200));
    assert_eq!(whole.latency.summary().samples, whole.sent);
}

#[test]
fn a_run_can_be_stopped() {
    let stop = Arc::new(AtomicBool::new(true));
    let (full, _stretches) = std::sync::mpsc::sync_channel(1);
    let (_give_back, spare) = std::sync::mpsc::sync_channel(1);
    let feed = Feed { every: Duration::from_secs(1), full, spare, stop };
    let plan = Plan { measure: Duration::from_secs(3_600), ..plan(Load::Closed) };
    let measured = drive_fed(&target(server(pong)), &plan, &mut |_| {}, feed).expect("a run");
    assert!(measured.stopped);
    assert!(measured.window < Duration::from_secs(10));
}

#[test]
fn a_run_is_bounded_in_requests() {
    let plan = Plan { requests_max: 10, warm_up: Duration::ZERO, ..plan(Load::Closed) };
    assert_eq!(run(server(pong), &plan).answered, 10);
}

#[test]
fn edges_come_once_and_in_order() {
    let mut edges = Vec::new();
    drive(&target(server(pong)), &plan(Load::Closed), &mut |edge| edges.push(edge)).expect("a run");
    assert_eq!(edges, [Edge::MeasureStarts, Edge::MeasureEnds]);
}

#[test]
fn nobody_there_is_said_plainly() {
    let gone = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
    let result = drive(&target(gone), &plan(Load::Closed), &mut |_| {});
    assert!(matches!(result, Err(DriverError::Connect { .. })), "{result:?}");
}
