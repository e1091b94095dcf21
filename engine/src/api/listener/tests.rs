mod hostile;
mod over_http2;

use crate::api::front_end::{HttpLimits, HttpOptions};
use tokio::sync::mpsc;

use super::*;
use crate::api::test_server::{Client, ROW, Script, TestServer, entry, post, run, spec};

fn quick(limits: HttpLimits) -> TestServer {
    let model = entry(spec("m", false), 1, Script::Echo);
    TestServer::start_with(vec![model], limits, HttpOptions::default())
}

fn infer() -> Vec<u8> {
    post("/v2/models/m/infer", "", ROW)
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    run(async {
        let server = quick(HttpLimits::default());
        let mut client = server.client().await;
        let live = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n";
        client
            .send(
                &[&infer()[..], live, &infer(), b"GET /nope HTTP/1.1\r\nhost: x\r\n\r\n"].concat(),
            )
            .await;
        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(client.reply().await.status);
        }
        assert_eq!(statuses, [200, 200, 200, 404]);
    });
}

#[test]
fn a_body_may_arrive_in_pieces_and_chunks() {
    run(async {
        let server = quick(HttpLimits::default());
        let mut client = server.client().await;
        for piece in infer().chunks(40) {
            client.send(piece).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.reply().await.status, 200);
        let (first, last) = ROW.split_at(30);
        let mut chunked =
            b"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
                .to_vec();
        for chunk in [first, last] {
            chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            chunked.extend_from_slice(chunk);
            chunked.extend_from_slice(b"\r\n");
        }
        client.send(&chunked).await;
        client.send(b"0\r\n\r\n").await;
        assert_eq!(client.reply().await.status, 200);
    });
}

#[test]
fn an_oversized_body_is_refused_and_its_sender_gets_to_know() {
    run(async {
        let limits = HttpLimits { body_bytes_max: 1000, ..HttpLimits::default() };
        let server = quick(limits);
        // Nothing of the body is waited for.
        let mut client = server.client().await;
        client
            .send(b"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 5000000\r\n\r\n")
            .await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.headers["connection"].as_str()), (413, "close"));
        // A sender that sends all of it first can still read the answer.
        let mut client = server.client().await;
        client.send(&post("/v2/models/m/infer", "", &vec![b' '; 5_000_000])).await;
        assert_eq!(client.reply().await.status, 413);
        // Without a length it is counted.
        let mut client = server.client().await;
        let head = "POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n400\r\n";
        client.send(head.as_bytes()).await;
        client.send(&[b' '; 0x400]).await;
        assert_eq!(client.reply().await.status, 413);
        assert_eq!(server.errors(ErrorKind::TooLarge), 3);
    });
}

#[test]
fn a_client_that_waits_for_leave_sends_no_oversized_body() {
    run(async {
        let limits = HttpLimits { body_bytes_max: 1000, ..HttpLimits::default() };
        let server = quick(limits);
        let mut client = server.client().await;
        let head = "POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2000\r\n\r\n";
        client.send(head.as_bytes()).await;
        assert_eq!(client.reply().await.status, 413);
        assert!(client.closed().await);
    });
}

#[test]
fn slow_heads_and_bodies_end() {
    run(async {
        let limits = HttpLimits {
            head_time_max: Duration::from_millis(100),
            idle_time_max: Duration::from_millis(100),
            body_time_max: Duration::from_millis(100),
            ..HttpLimits::default()
        };
        let server = quick(limits);
        let mut silent = server.client().await;
        let mut slow_head = server.client().await;
        slow_head.send(b"POST /v2/mod").await;
        let mut slow_body = server.client().await;
        slow_body.send(&infer()[..infer().len() - 1]).await;
        let reply = slow_body.reply().await;
        assert_eq!(reply.status, 408);
        assert!(slow_body.closed().await && slow_head.closed().await && silent.closed().await);
        assert_eq!(server.errors(ErrorKind::SlowSender), 1);
        // An answered client is let go too, but only after its own time.
        let mut idle = server.client().await;
        idle.send(&infer()).await;
        assert_eq!(idle.reply().await.status, 200);
        assert!(idle.closed().await);
    });
}

#[test]
fn a_truncated_body_harms_nobody_else() {
    run(async {
        let server = quick(HttpLimits::default());
        let mut client = server.client().await;
        client.send(&infer()[..100]).await;
        drop(client);
        assert_eq!(server.infer("", ROW).await.status, 200);
    });
}

#[test]
fn what_is_not_http_is_refused() {
    run(async {
        let server = quick(HttpLimits::default());
        let reply = server.ask(b"\x16\x03\x01 hello\r\n\r\n").await;
        assert_eq!(reply.status, 400);
        assert_eq!(server.infer("", ROW).await.status, 200);
    });
}

#[test]
fn connections_beyond_the_bound_are_told_so() {
    run(async {
        let server = quick(HttpLimits { connections_max: 1, ..HttpLimits::default() });
        let mut first = server.client().await;
        first.send(&infer()).await;
        assert_eq!(first.reply().await.status, 200);
        let reply = server.infer("", ROW).await;
        assert_eq!((reply.status, reply.headers["retry-after"].as_str()), (503, "1"));
        assert!(reply.error().contains("retry"));
        drop(first);
        // The place is free as soon as the server has seen its client go.
        while server.infer("", ROW).await.status != 200 {
            tokio::task::yield_now().await;
        }
    });
}

async fn answered_and_closed(mut client: Client) {
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.headers["connection"].as_str()), (200, "close"));
    assert!(client.closed().await);
}

#[test]
fn draining_answers_everything_accepted_and_then_ends() {
    run(async {
        let (hold, mut held) = mpsc::channel(4);
        let echo = entry(spec("m", false), 1, Script::Echo);
        let slow = entry(spec("slow", false), 1, Script::Hold(hold));
        let server = TestServer::start(vec![echo, slow]);
        let mut waiting = server.client().await;
        waiting.send(&post("/v2/models/slow/infer", "", ROW)).await;
        let submission = held.recv().await.unwrap();
        let mut idle = server.client().await;
        idle.send(&infer()).await;
        assert_eq!(idle.reply().await.status, 200);

        server.drain.send(DrainPhase::NotReady).unwrap();
        while server.get("/v2/health/ready").await.status == 200 {
            tokio::task::yield_now().await;
        }
        assert_eq!(server.infer("", ROW).await.status, 200);

        // These two are accepted by the kernel before the listener closes.
        let mut connected = server.client().await;
        server.drain.send(DrainPhase::Closing).unwrap();
        connected.send(&infer()).await;
        idle.send(&infer()).await;
        answered_and_closed(connected).await;
        answered_and_closed(idle).await;
        assert!(!server.serving.is_finished());

        let outputs = submission.inputs.tensors;
        let timings = crate::query::types::Timings::default();
        let prediction = crate::query::types::Prediction { outputs, timings };
        submission.reply.waiter.send(Ok(prediction)).unwrap();
        answered_and_closed(waiting).await;
        server.serving.await.unwrap().unwrap();
        assert_eq!(server.recorder.connections(), 0);
    });
}

#[test]
fn draining_closes_connections_that_stay_silent() {
    run(async {
        let server = quick(HttpLimits::default());
        let mut never_asked = server.client().await;
        let mut asked = server.client().await;
        asked.send(&infer()).await;
        assert_eq!(asked.reply().await.status, 200);
        server.drain.send(DrainPhase::Closing).unwrap();
        server.serving.await.unwrap().unwrap();
        assert!(never_asked.closed().await && asked.closed().await);
    });
}

#[test]
fn two_listeners_share_a_port() {
    let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let second = bind(first.local_addr().unwrap()).unwrap();
    assert_eq!(first.local_addr().unwrap(), second.local_addr().unwrap());
}

#[test]
fn the_refusal_of_a_connection_is_whole() {
    let text = std::str::from_utf8(TURNED_AWAY).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("content-length: {}\r\n", body.len()))
            || head.ends_with(&format!("content-length: {}", body.len()))
    );
    assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
}
