//! The same pages over HTTP/2 with prior knowledge, on the same port.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::api::front_end::{HttpLimits, HttpOptions};
use crate::api::http2::OwnThread;
use crate::api::listener::{DrainPhase, IDLE_GRACE};
use crate::api::test_server::{ROW, Script, TestServer, entry, run, spec};
use crate::observe::metrics::ErrorKind;
use crate::query::types::TaskError;

type Client<B> = SendRequest<B>;

async fn connect<B>(server: &TestServer) -> Client<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TcpStream::connect(server.addr).await.unwrap();
    let (client, connection) = handshake(OwnThread, TokioIo::new(stream)).await.unwrap();
    tokio::task::spawn_local(async move { drop(connection.await) });
    client
}

fn question<B>(model: &str, body: B) -> Request<B> {
    let uri = format!("http://x/v2/models/{model}/infer");
    Request::post(uri).body(body).unwrap()
}

async fn ask(client: &mut Client<Full<Bytes>>, request: Request<Full<Bytes>>) -> (u16, Bytes) {
    let response = client.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    (status, response.into_body().collect().await.unwrap().to_bytes())
}

fn quick(limits: HttpLimits) -> TestServer {
    let model = entry(spec("m", false), 1, Script::Echo);
    TestServer::start_with(vec![model], limits, HttpOptions::default())
}

/// Until the server has closed the connection, whatever it says before.
async fn ended(mut client: Client<Full<Bytes>>) {
    while poll_fn(|context| client.poll_ready(context)).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn pages_and_questions_are_the_same_as_over_http1() {
    run(async {
        let server = quick(HttpLimits::default());
        let mut client = connect(&server).await;
        let (status, body) = ask(&mut client, question("m", Full::from(ROW))).await;
        assert_eq!((status, &body[..]), (200, &server.infer("", ROW).await.body[..]));
        let page = Request::get("http://x/v2/models/m").body(Full::default()).unwrap();
        let (status, body) = ask(&mut client, page).await;
        assert_eq!((status, &body[..]), (200, &server.get("/v2/models/m").await.body[..]));
        let (status, body) = ask(&mut client, question("none", Full::from(ROW))).await;
        assert!(status == 404 && body.starts_with(b"{\"error\":"));
        assert_eq!(server.recorder.connections(), 1);
    });
}

#[test]
fn requests_of_one_connection_do_not_wait_for_each_other() {
    run(async {
        let (hold, mut held) = mpsc::channel(4);
        let slow = entry(spec("slow", false), 1, Script::Hold(hold));
        let server = TestServer::start(vec![entry(spec("m", false), 1, Script::Echo), slow]);
        let mut client = connect(&server).await;
        let waiting = client.send_request(question("slow", Full::from(ROW)));
        let waiting = tokio::task::spawn_local(waiting);
        let submission = held.recv().await.unwrap();
        assert_eq!(ask(&mut client, question("m", Full::from(ROW))).await.0, 200);
        assert!(!waiting.is_finished());
        submission.reply.waiter.send(Err(TaskError::DeadlinePassed)).unwrap();
        assert_eq!(waiting.await.unwrap().unwrap().status(), StatusCode::GATEWAY_TIMEOUT);
    });
}

#[test]
fn a_client_that_takes_its_question_back_takes_its_task_along() {
    run(async {
        let (hold, mut held) = mpsc::channel(4);
        let server = TestServer::one(Script::Hold(hold));
        let mut client = connect(&server).await;
        let waiting = tokio::task::spawn_local(client.send_request(question("m", Full::from(ROW))));
        let mut submission = held.recv().await.unwrap();
        waiting.abort();
        submission.reply.waiter.closed().await;
        assert_eq!(server.errors(ErrorKind::ClientGone), 1);
    });
}

#[test]
fn a_slow_body_ends_alone_and_a_silent_connection_whole() {
    run(async {
        let short = Duration::from_millis(100);
        let limits =
            HttpLimits { body_time_max: short, idle_time_max: short, ..HttpLimits::default() };
        let server = quick(limits);
        let (sender, receiver) = mpsc::channel::<Frame<Bytes>>(1);
        sender.send(Frame::data(Bytes::from_static(b"{"))).await.unwrap();
        let body = Trickle(receiver);
        let mut client = connect(&server).await;
        let response = client.send_request(question("m", body)).await.unwrap();
        assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(server.errors(ErrorKind::SlowSender), 1);
        drop(sender);
        let idle = connect(&server).await;
        ended(idle).await;
    });
}

/// A body whose end the test withholds.
struct Trickle(mpsc::Receiver<Frame<Bytes>>);

impl Body for Trickle {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|frame| frame.map(Ok))
    }
}

#[test]
fn an_oversized_body_or_head_is_refused() {
    run(async {
        let server = quick(HttpLimits { body_bytes_max: 1000, ..HttpLimits::default() });
        let mut client = connect(&server).await;
        let large = question("m", Full::from(vec![b' '; 2000]));
        assert_eq!(ask(&mut client, large).await.0, 413);
        let mut large = question("m", Full::from(ROW));
        let value = "v".repeat(40_000).parse().unwrap();
        large.headers_mut().insert("x-large", value);
        let response = client.send_request(large).await;
        assert!(response.map_or(true, |response| response.status().as_u16() == 431));
        assert_eq!(server.infer("", ROW).await.status, 200);
    });
}

#[test]
fn draining_answers_what_was_accepted_and_then_ends() {
    run(async {
        let (hold, mut held) = mpsc::channel(4);
        let server = TestServer::one(Script::Hold(hold));
        let mut client = connect(&server).await;
        let waiting = tokio::task::spawn_local(client.send_request(question("m", Full::from(ROW))));
        let submission = held.recv().await.unwrap();
        server.drain.send(DrainPhase::Closing).unwrap();
        tokio::time::sleep(IDLE_GRACE * 2).await;
        assert!(!server.serving.is_finished() && !waiting.is_finished());
        submission.reply.waiter.send(Err(TaskError::DeadlinePassed)).unwrap();
        assert_eq!(waiting.await.unwrap().unwrap().status(), StatusCode::GATEWAY_TIMEOUT);
        server.serving.await.unwrap().unwrap();
        assert_eq!(server.recorder.connections(), 0);
    });
}

#[test]
fn a_preface_that_nothing_follows_is_closed() {
    run(async {
        let short = Duration::from_millis(100);
        let limits = HttpLimits { head_time_max: short, ..HttpLimits::default() };
        let server = quick(limits);
        for sent in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"PRI * HT", b"P"] {
            let mut client = server.client().await;
            client.send(sent).await;
            client.ended().await;
        }
    });
}
