//! Bad requests and bad clients. One engine takes all of them, and serves as before.

use std::io::Write;

use harness::client::bytes_of;
use harness::engine::{Engine, model, wait_until};
use harness::tensors::rows;

const INFER: &str = "/v2/models/moody/infer";

fn fine(engine: &Engine) {
    assert_eq!(engine.infer("moody", &rows(&[[0.0, 1.0]])).status, 200, "it serves as before");
}

#[test]
fn malformed_requests_are_refused_with_a_sentence_and_nothing_else_happens() {
    let engine = Engine::start(&[&model("moody.py")], 1);
    let mut client = engine.client();
    let good = rows(&[[0.0, 1.0]]);
    let cases = [
        ("not JSON", "{\"inputs\": [".to_owned(), 400),
        ("empty", String::new(), 400),
        ("wrong dtype", good.replace("FP32", "FP64"), 400),
        ("unknown dtype", good.replace("FP32", "FP31"), 400),
        ("wrong shape", good.replace("[1,2]", "[1,3]"), 400),
        ("negative shape", good.replace("[1,2]", "[-1,2]"), 400),
        ("huge shape", good.replace("[1,2]", "[9223372036854775807,9223372036854775807]"), 400),
        ("no rows", good.replace("[1,2]", "[0,2]").replace("[[0.0,1.0]]", "[]"), 400),
        ("too many rows", rows(&[[0.0, 1.0]; 17]), 400),
        ("too few numbers", good.replace("[[0.0,1.0]]", "[[0.0]]"), 400),
        ("missing tensor", "{\"inputs\": []}".to_owned(), 400),
        ("unknown tensor", good.replace("\"x\"", "\"y\""), 400),
        ("text for numbers", good.replace("1.0", "\"one\""), 400),
        ("NaN", good.replace("1.0", "NaN"), 400),
        ("deep nesting", "[".repeat(100_000), 400),
        ("unknown output", good.replacen('{', "{\"outputs\": [{\"name\": \"z\"}],", 1), 400),
    ];
    for (what, body, status) in cases {
        let answer = client.post(INFER, &[], body.as_bytes());
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert!(answer.error().len() > 10, "{what}: {}", answer.error());
    }
    for (method, path, status) in [
        ("GET", INFER, 405),
        ("POST", "/v2/health/live", 405),
        ("GET", "/v2/models/nobody", 404),
        ("GET", "/v2/models/moody/versions/9", 404),
        ("GET", "/v2/models/moody/versions/x", 404),
        ("GET", "/nowhere", 404),
    ] {
        let answer = client.request(method, path, &[], b"");
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(!answer.error().is_empty());
    }
    let gzip = client.post(INFER, &[("Content-Encoding", "br")], good.as_bytes());
    assert_eq!(gzip.status, 415);
    fine(&engine);
}

#[test]
fn a_lying_header_length_is_refused() {
    let engine = Engine::start(&[&model("moody.py")], 1);
    let good = rows(&[[0.0, 1.0]]);
    for length in ["1", "99999", "4294967296", "18446744073709551616", "-1", "x", ""] {
        let headers = [("Inference-Header-Content-Length", length)];
        let answer = engine.client().post(INFER, &headers, good.as_bytes());
        assert_eq!(answer.status, 400, "{length}: {}", answer.text());
    }
    let whole = good.len().to_string();
    let headers = [("Inference-Header-Content-Length", whole.as_str())];
    let answer = engine.client().post(INFER, &headers, good.as_bytes());
    assert_eq!(answer.status, 200, "the length of a body without a binary tail is no lie");
    fine(&engine);
}

#[test]
fn oversized_and_truncated_bodies_end_their_connection_only() {
    let engine = Engine::start(&[&model("moody.py")], 1);
    let mut large = engine.client();
    large.send(
        b"POST /v2/models/moody/infer HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999\r\n\r\n",
    );
    let answer = large.read().expect("an answer before the body");
    assert_eq!(answer.status, 413);
    assert!(answer.error().contains("67108864"), "{}", answer.error());
    let mut cut = engine.client();
    cut.send(
        b"POST /v2/models/moody/infer HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n{\"in",
    );
    cut.close_sending();
    assert!(cut.read().is_none_or(|answer| answer.status == 400), "there is nobody to run it for");
    fine(&engine);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let engine = Engine::start(&[&model("moody.py")], 1);
    let mut client = engine.client();
    let mut all = Vec::new();
    for index in 0..20 {
        all.extend(bytes_of("POST", INFER, &[], rows(&[[0.0, index as f32]]).as_bytes()));
    }
    client.send(&all);
    for index in 0..20 {
        let answer = client.read().expect("an answer each");
        assert_eq!(answer.output(0)[0].as_f64(), Some(f64::from(index)));
    }
}

#[test]
fn slow_clients_are_let_go_and_hold_up_nobody() {
    let scratch = harness::Scratch::new("slow");
    scratch.write("foil.toml", "[limits]\nhead_s = 1\nbody_s = 1\n");
    let engine = Engine::start(&["--config", &scratch.path("foil.toml"), &model("moody.py")], 1);
    let mut head = engine.client();
    head.send(b"POST /v2/models/moody/infer HTTP/1.1\r\nHos");
    let mut body = engine.client();
    body.send(b"POST /v2/models/moody/infer HTTP/1.1\r\nHost: t\r\nContent-Length: 50\r\n\r\n{");
    fine(&engine);
    assert_eq!(body.read().expect("an answer").status, 408);
    assert!(head.read().is_none_or(|answer| answer.status == 408));
    fine(&engine);
}

#[test]
fn a_client_that_goes_away_costs_nothing() {
    let engine = Engine::start(&[&model("moody.py")], 1);
    fine(&engine);
    let before = engine.descriptors();
    for _ in 0..30 {
        let mut client = engine.client();
        // The model's slow row: the client is gone while it runs or waits.
        client.send(&bytes_of("POST", INFER, &[], rows(&[[10.0, 1.0]]).as_bytes()));
        client.stream.flush().expect("sent");
    }
    wait_until("the connections are closed", || engine.descriptors() <= before);
    fine(&engine);
    assert_eq!(engine.metric("foil_queue_length{model=\"moody\""), 0.0);
}
