//! What HTTP/1 must not let pass, by the byte: every request gets the answers listed here and no other, then its
//! connection ends or goes on as good as before.

use std::time::Duration;

use crate::api::front_end::{HttpLimits, HttpOptions};
use crate::api::test_server::{ROW, Script, TestServer, entry, post, run, spec};
use crate::observe::metrics::ErrorKind;

/// So short that connections which stay open are soon told from those that end.
const IDLE: Duration = Duration::from_millis(100);

fn quick() -> TestServer {
    let limits = HttpLimits { head_time_max: IDLE, idle_time_max: IDLE, ..HttpLimits::default() };
    let model = entry(spec("m", false), 1, Script::Echo);
    TestServer::start_with(vec![model], limits, HttpOptions::default())
}

/// The statuses of all that is answered to `bytes` on one connection.
async fn answers(server: &TestServer, bytes: &[u8]) -> Vec<u16> {
    let mut client = server.client().await;
    client.send_all(bytes).await;
    statuses(&client.ended().await)
}

/// Bodies here are JSON on one line, so that a status line is one wherever it stands.
fn statuses(answered: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answered);
    let lines = text.match_indices("HTTP/1.");
    lines.map(|(at, _)| text[at + 9..at + 12].parse().unwrap()).collect()
}

async fn check(cases: &[(&str, &[u16])]) {
    let server = quick();
    for (request, expected) in cases {
        let request = request.replace('\n', "\r\n").replace("<LF>", "\n").replace("<CR>", "\r");
        let found = answers(&server, request.as_bytes()).await;
        assert_eq!(found, *expected, "{request}");
    }
    assert_eq!(server.infer("", ROW).await.status, 200);
}

const INFER: &str = "POST /v2/models/m/infer HTTP/1.1\nhost: x\n";

#[test]
fn a_body_has_one_length() {
    let lengths = [
        "content-length: 3\ncontent-length: 5",
        "content-length: 5, 5",
        "content-length: +5",
        "content-length: -5",
        "content-length: 0x5",
        "content-length: 5 5",
        "content-length:",
        "content-length: 99999999999999999999",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: identity",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked\ntransfer-encoding: identity",
        "transfer-encoding : chunked",
        "content-length : 5",
    ];
    let requests: Vec<_> = lengths.iter().map(|lines| format!("{INFER}{lines}\n\nhello")).collect();
    let old = "POST /v2/models/m/infer HTTP/1.0\ntransfer-encoding: chunked\n\n0\n\n";
    let same = format!("{INFER}content-length: 5\ncontent-length: 5\n\nhello{LIVE}");
    run(async {
        let refused = requests.iter().map(String::as_str).chain([old]);
        let mut cases: Vec<(&str, &[u16])> = refused.map(|request| (request, &[400][..])).collect();
        cases.push((&same, &[400, 200]));
        check(&cases).await;
    });
}

const LIVE: &str = "GET /v2/health/live HTTP/1.1\nhost: x\n\n";

#[test]
fn what_stands_behind_an_ambiguous_body_is_never_a_request() {
    // A proxy that went by the length would have sent all of this as one request.
    let chunked = format!("0\n\n{LIVE}");
    let length = chunked.replace('\n', "\r\n").len();
    let both = [
        format!("content-length: {length}\ntransfer-encoding: chunked"),
        format!("transfer-encoding: chunked\ncontent-length: {length}"),
    ];
    let requests = both.map(|lines| format!("{INFER}{lines}\n\n{chunked}"));
    let page = format!("GET /v2 HTTP/1.1\nhost: x\ntransfer-encoding: chunked\n\n{chunked}");
    run(async {
        check(&[(&requests[0], &[400]), (&requests[1], &[400]), (&page, &[200])]).await;
    });
}

#[test]
fn chunks_are_as_long_as_they_say() {
    let bodies = [
        "zz\nhello\n0\n\n",
        "-1\nhello\n0\n\n",
        "fffffffffffffffff\nhello\n0\n\n",
        "\nhello\n0\n\n",
        "5\nhelloworld\n0\n\n",
        "5<LF>hello\n0\n\n",
        "0x5\nhello\n0\n\n",
    ];
    let extension = format!("5;{}\nhello\n0\n\n", "e".repeat(100_000));
    let bodies = bodies.iter().copied().chain([extension.as_str()]);
    let requests: Vec<_> =
        bodies.map(|body| format!("{INFER}transfer-encoding: chunked\n\n{body}{LIVE}")).collect();
    run(async {
        let cases: Vec<_> = requests.iter().map(|request| (request.as_str(), &[400][..])).collect();
        check(&cases).await;
    });
}

#[test]
fn heads_are_well_formed() {
    run(async {
        check(&[
            ("GET /v2 HTTP/1.1\nhost: x\na: b\n folded\n\n", &[400]),
            ("GET /v2 HTTP/1.1\nhost: x\nno colon\n\n", &[400]),
            ("GET /v2 HTTP/1.1\nhost: x\n: no name\n\n", &[400]),
            ("GET /v2 HTTP/1.1\nhost: x\na b: c\n\n", &[400]),
            ("GET /v2 HTTP/1.1\nhost: x\na: b\0c\n\n", &[400]),
            ("GET /v2 HTTP/1.1\nhost: x\na: b<CR>c\n\n", &[400]),
            ("GET /v2\0 HTTP/1.1\nhost: x\n\n", &[400]),
            (" GET /v2 HTTP/1.1\nhost: x\n\n", &[400]),
            ("GET  /v2 HTTP/1.1\nhost: x\n\n", &[400]),
            ("GET /v2 /v2 HTTP/1.1\nhost: x\n\n", &[400]),
            ("GET /v2 HTTP/9.9\nhost: x\n\n", &[400]),
            ("GET /v2 HTTP/2.0\nhost: x\n\n", &[400]),
            ("GE\0T /v2 HTTP/1.1\nhost: x\n\n", &[400]),
            ("\0\0\0\0\n\n", &[400]),
        ])
        .await;
    });
}

#[test]
fn odd_but_lawful_requests_are_answered_once() {
    run(async {
        check(&[
            // A line may end in LF alone.
            ("GET /v2 HTTP/1.1<LF>host: x<LF><LF>", &[200]),
            // An empty line or two may stand before a request.
            ("\n\nGET /v2 HTTP/1.1\nhost: x\n\n", &[200]),
            ("GET http://elsewhere/v2/health/live HTTP/1.1\nhost: x\n\n", &[200]),
            ("GET /v2 HTTP/1.1\nhost: x\ncontent-length: 5\n\nhello", &[200]),
            ("GET /v2 HTTP/1.1\nhost: x\nupgrade: h2c\nconnection: upgrade\n\n", &[200]),
            ("GET /v2 HTTP/1.0\n\nGET /v2 HTTP/1.1\nhost: x\n\n", &[200]),
            ("get /v2 HTTP/1.1\nhost: x\n\n", &[405]),
            ("OPTIONS * HTTP/1.1\nhost: x\n\n", &[404]),
            // A tunnel that is refused leaves a connection as it was.
            (
                "CONNECT elsewhere:443 HTTP/1.1\nhost: x\n\nGET /v2 HTTP/1.1\nhost: x\n\n",
                &[404, 200],
            ),
            ("GET v2 HTTP/1.1\nhost: x\n\n", &[404]),
            ("GET /v2 HTTP/1.1\nhost: x\nexpect: a miracle\n\n", &[200]),
            ("GET /v2 HTTP/1.1\nhost: x\n\n\u{1}\u{2}garbage\n\n", &[200, 400]),
        ])
        .await;
    });
}

#[test]
fn heads_end_at_their_bounds() {
    let line = |text: String| format!("GET /v2 HTTP/1.1\nhost: x\n{text}\n");
    let headers = |count| line("a: b\n".repeat(count));
    let (few, many, all) = (headers(90), headers(101), headers(100_000));
    let wide = line(format!("a: {}\n", "b".repeat(70_000)));
    let endless = format!("GET /v2 HTTP/1.1\nhost: x\na: {}", "b".repeat(1_000_000));
    let path = format!("GET /{} HTTP/1.1\nhost: x\n\n", "p".repeat(70_000));
    run(async {
        check(&[
            (&few, &[200]),
            (&many, &[431]),
            (&all, &[431]),
            (&wide, &[431]),
            (&endless, &[431]),
            (&path, &[431]),
        ])
        .await;
    });
}

#[test]
fn a_client_that_expects_leave_gets_it_once() {
    run(async {
        let server = quick();
        let mut client = server.client().await;
        let whole = post("/v2/models/m/infer", "Expect: 100-continue\r\n", ROW);
        let (head, body) = whole.split_at(whole.len() - ROW.len());
        client.send(head).await;
        assert_eq!(client.reply().await.status, 100);
        client.send(body).await;
        assert_eq!(client.reply().await.status, 200);
        // The empty expectation of C++ clients asks for nothing.
        client.send(&post("/v2/models/m/infer", "Expect:\r\n", ROW)).await;
        assert_eq!(client.reply().await.status, 200);
        assert!(client.ended().await.is_empty());
    });
}

#[test]
fn ten_thousand_requests_in_one_breath_are_answered_in_order() {
    const COUNT: usize = 10_000;
    run(async {
        let server = quick();
        let mut client = server.client().await;
        let pages =
            [&b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n"[..], b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n"];
        let requests = pages.concat().repeat(COUNT / 2);
        let found = statuses(&client.exchange(&requests).await);
        assert_eq!(found, [200, 404].repeat(COUNT / 2));
        assert_eq!(server.errors(ErrorKind::UnknownPath), COUNT as u64 / 2);
    });
}

#[test]
fn a_head_that_never_ends_is_let_go_however_it_trickles() {
    run(async {
        let server = quick();
        let mut client = server.client().await;
        client.send(b"GET /v2 HTTP/1.1\r\n").await;
        let mut sent = 0;
        // A byte at a time, until the server has had enough.
        while client.stream.try_write(b"a").is_ok() && sent < 10_000 {
            sent += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(sent < 10_000, "it was never closed");
    });
}
