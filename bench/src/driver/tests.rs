//! The driver against small servers on loopback, each a thread that ends with its connections.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::arrivals::Pattern;

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

fn target(address: SocketAddr) -> Target {
    Target { address, request: REQUEST.to_vec(), status: 200, body: Some(b"pong".to_vec()) }
}

fn plan(load: Load) -> Plan {
    Plan {
        connections: 4,
        load,
        wait: Wait::Sleep,
        warm_up: Duration::from_millis(20),
        measure: Duration::from_millis(200),
        requests_max: u64::MAX,
    }
}

fn open(rate: f64) -> Load {
    Load::Open(Arrivals::new(Pattern::Constant, rate, 1).expect("a rate"))
}

fn run(address: SocketAddr, plan: &Plan) -> Measured {
    drive(&target(address), plan, &mut |_| {}).expect("a run")
}

fn pong(stream: &mut TcpStream, _: u64) -> bool {
    stream.write_all(ANSWER).is_ok()
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
    let target = Target { body: Some(body), ..target(address) };
    let measured = drive(&target, &plan(Load::Closed), &mut |_| {}).expect("a run");
    assert!(measured.answered > 0);
    assert_eq!(measured.failures, Failures::default());
}

#[test]
fn an_open_loop_sends_what_is_due_and_no_more() {
    let measured = run(server(pong), &plan(open(1_000.0)));
    let samples = measured.latency.summary().samples;
    assert!((195..=205).contains(&samples), "{samples}");
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
    let plan = Plan { connections: 1, warm_up: Duration::ZERO, ..plan(open(1_000.0)) };
    let measured = run(address, &plan);
    let (from_due, from_send) = (measured.latency.summary(), measured.service.summary());
    assert!(from_due.p50_us > from_send.p50_us.map(|us| us * 5.0), "{from_due:?} {from_send:?}");
    assert!(measured.send_lag.summary().max_us > Some(50_000.0));
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
fn a_server_that_never_keeps_alive_ends_the_run() {
    // Long enough for so many connections on a busy machine; the error ends it sooner.
    let plan = Plan { measure: Duration::from_secs(20), ..plan(Load::Closed) };
    let result = drive(&target(server(|_, _| false)), &plan, &mut |_| {});
    assert!(matches!(result, Err(DriverError::KeepsClosing)), "no end after so many");
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
