//! The driver against a tonic server on loopback, in a thread with a runtime of its own.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use prost::Message;
use schemas::inference::grpc_inference_service_server::{
    GrpcInferenceService, GrpcInferenceServiceServer,
};
use schemas::inference::model_infer_response::InferOutputTensor;
use schemas::inference::model_metadata_response::TensorMetadata;
use schemas::inference::{
    ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse,
    ModelReadyRequest, ModelReadyResponse, ServerLiveRequest, ServerLiveResponse,
};
use tokio::sync::Notify;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Response, Status};

use super::*;
use crate::arrivals::{Arrivals, Pattern};
use crate::measured::Failures;
use crate::payload::{Encoding, Input, floats, payload};
use crate::plan::{Expect, Load};

const SEED: u64 = 7;

fn tcp(target: &Target) -> SocketAddr {
    target.address.tcp().expect("gRPC goes over TCP")
}

/// What the server does with a request, told how many came before.
type Act = fn(u64) -> Do;

#[derive(Clone, Copy)]
enum Do {
    Answer,
    AnswerAfter(Duration),
    Refuse,
    /// The whole server ends, in the middle of everything.
    GoAway,
}

struct Model {
    act: Act,
    count: AtomicU64,
    gone: Arc<Notify>,
}

#[tonic::async_trait]
impl GrpcInferenceService for Model {
    async fn server_live(
        &self,
        _: tonic::Request<ServerLiveRequest>,
    ) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn model_ready(
        &self,
        asked: tonic::Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        let ready = asked.get_ref().name == "echo" && asked.get_ref().version != "9";
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn model_metadata(
        &self,
        asked: tonic::Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let tensor = |name: &str, datatype: &str, shape: &[i64]| TensorMetadata {
            name: name.to_owned(),
            datatype: datatype.to_owned(),
            shape: shape.to_vec(),
        };
        Ok(Response::new(ModelMetadataResponse {
            name: asked.into_inner().name,
            inputs: vec![tensor("x", "FP32", &[-1, 4]), tensor("w", "BYTES", &[-1, 1])],
            ..ModelMetadataResponse::default()
        }))
    }

    /// Answers with the first tensor.
    async fn model_infer(
        &self,
        asked: tonic::Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        match (self.act)(self.count.fetch_add(1, Ordering::Relaxed)) {
            Do::Answer => {}
            Do::AnswerAfter(span) => tokio::time::sleep(span).await,
            Do::Refuse => return Err(Status::resource_exhausted("the queue is full")),
            Do::GoAway => {
                self.gone.notify_one();
                std::future::pending::<()>().await;
            }
        }
        Ok(Response::new(echo(&asked.into_inner())))
    }
}

fn echo(asked: &ModelInferRequest) -> ModelInferResponse {
    let first = &asked.inputs[0];
    let output = InferOutputTensor {
        name: "y".to_owned(),
        datatype: first.datatype.clone(),
        shape: first.shape.clone(),
        ..InferOutputTensor::default()
    };
    ModelInferResponse {
        model_name: asked.model_name.clone(),
        outputs: vec![output],
        raw_output_contents: vec![asked.raw_input_contents[0].clone()],
        ..ModelInferResponse::default()
    }
}

/// Threads end with the test's process at the latest.
fn served<Serving: Future<Output = ()>>(
    serve: impl FnOnce(tokio::net::TcpListener) -> Serving + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.set_nonblocking(true).expect("non-blocking");
    let address = listener.local_addr().expect("address");
    std::thread::spawn(move || {
        runtime().expect("a runtime").block_on(async move {
            serve(tokio::net::TcpListener::from_std(listener).expect("a listener")).await;
        });
    });
    address
}

fn server_with(act: Act, builder: Server) -> SocketAddr {
    served(move |listener| async move {
        let gone = Arc::<Notify>::default();
        let model = Model { act, count: AtomicU64::new(0), gone: Arc::clone(&gone) };
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let mut builder = builder;
        let server = builder.add_service(GrpcInferenceServiceServer::new(model));
        tokio::select! {
            served = server.serve_with_incoming(incoming) => served.expect("served"),
            () = gone.notified() => {}
        }
    })
}

fn server(act: Act) -> SocketAddr {
    server_with(act, Server::builder())
}

fn target(address: SocketAddr) -> Target {
    let mut target = prepare(address, "echo", Some(1), 2, SEED).expect("a target");
    let asked = ModelInferRequest::decode(&*target.requests[0].bytes).expect("a request");
    target.requests[0].expect =
        Expect { body: Some(echo(&asked).encode_to_vec()), ..Expect::default() };
    target
}

fn plan(load: Load) -> Plan {
    let warm_up = Duration::from_millis(20);
    Plan { load, warm_up, ..Plan::closed(4, Duration::from_millis(200)) }
}

/// 1,000 requests a second for 200 ms.
fn open() -> Plan {
    let arrivals = Arrivals::of(&Pattern::Constant, Some(1_000.0), 1).expect("a rate");
    let warm_up = Duration::ZERO;
    Plan { connections_max: 100, warm_up, ..plan(Load::Open(arrivals)) }
}

/// The first 200 of them, however long that takes.
fn open_to_the_last() -> Plan {
    Plan { requests_max: 200, measure: Duration::from_secs(60), ..open() }
}

fn run_on(address: SocketAddr, plan: &Plan) -> Measured {
    drive(&target(address), plan, &mut |_| {}).expect("a run")
}

fn feed(stop: bool) -> (Feed, std::sync::mpsc::Receiver<Measured>) {
    let (full, stretches) = std::sync::mpsc::sync_channel(100);
    let (_, spare) = std::sync::mpsc::sync_channel(1);
    let stop = Arc::new(AtomicBool::new(stop));
    (Feed { every: Duration::from_millis(20), full, spare, stop }, stretches)
}

// ---- what is asked ----

#[test]
fn the_request_carries_the_values_that_http_would() {
    let target = prepare(server(|_| Do::Answer), "echo", Some(1), 2, SEED).expect("a target");
    let asked = ModelInferRequest::decode(&*target.requests[0].bytes).expect("a request");
    assert_eq!((asked.model_name.as_str(), asked.model_version.as_str()), ("echo", "1"));
    assert_eq!(
        (asked.inputs[0].shape.as_slice(), asked.inputs[1].datatype.as_str()),
        (&[2, 4][..], "BYTES")
    );
    let sent: Vec<f32> = asked.raw_input_contents[0]
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes(four.try_into().expect("four")))
        .collect();
    assert_eq!(sent, floats(&Input::fp32("x", &[2, 4]), SEED));
    let words = Input {
        name: "w".to_owned(),
        datatype_name: "BYTES".to_owned(),
        datatype: crate::payload::Datatype::Bytes,
        shape: vec![2, 1],
    };
    let http = payload(Encoding::Binary, &[Input::fp32("x", &[2, 4]), words], SEED);
    assert_eq!(asked.raw_input_contents.concat(), http.body[http.header_bytes.expect("binary")..]);
}

#[test]
fn a_server_is_asked_how_it_is_and_for_one_answer() {
    let address = server(|_| Do::Answer);
    assert!(is_live(address).expect("an answer"));
    assert!(is_ready(address, "echo", None).expect("an answer"));
    let target = target(address);
    assert_eq!(
        Some(ask(tcp(&target), &target.requests[0].bytes).expect("an answer")),
        target.requests[0].expect.body
    );
}

#[test]
fn a_model_that_is_not_ready_is_said_plainly() {
    let address = server(|_| Do::Answer);
    for (model, version) in [("none", None), ("echo", Some(9))] {
        let result = prepare(address, model, version, 1, SEED);
        assert!(matches!(result, Err(GrpcError::NotReady { .. })), "{result:?}");
    }
}

#[test]
fn a_refusal_is_told_in_the_servers_words() {
    let refusing = target(server(|_| Do::Refuse));
    let result = ask(tcp(&refusing), &refusing.requests[0].bytes);
    let Err(GrpcError::Refused { status, told, .. }) = result else { panic!("{result:?}") };
    assert_eq!((status, told.as_str()), (8, "the queue is full"));
}

#[test]
fn nobody_there_is_said_plainly() {
    let target = target(server(|_| Do::Answer));
    let gone = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
    let result =
        drive(&Target { address: gone.into(), ..target }, &plan(Load::Closed), &mut |_| {});
    assert!(matches!(result, Err(DriverError::Connect { .. })), "{result:?}");
    assert!(matches!(is_live(gone), Err(GrpcError::Connect { .. })));
}

#[test]
fn a_server_of_another_protocol_is_no_peer() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("write");
    });
    let result = is_live(address);
    assert!(matches!(result, Err(GrpcError::Connect { .. })), "{result:?}");
}

// ---- loops ----

#[test]
fn a_closed_loop_keeps_asking_and_counts_right_answers() {
    let measured = run_on(server(|_| Do::Answer), &plan(Load::Closed));
    assert!(measured.answered > 10, "{measured:?}");
    assert_eq!((measured.failures, measured.opened), (Failures::default(), 0));
}

/// Longer than a frame and than the window that HTTP/2 begins with.
#[test]
fn long_requests_and_answers_go_through() {
    let address = server(|_| Do::Answer);
    let mut target = prepare(address, "echo", Some(1), 20_000, SEED).expect("a target");
    let answer = ask(tcp(&target), &target.requests[0].bytes).expect("an answer");
    assert!(answer.len() > 4 * 4 * 20_000, "{}", answer.len());
    target.requests[0].expect.body = Some(answer);
    let plan = Plan { requests_max: 20, warm_up: Duration::ZERO, ..plan(Load::Closed) };
    let plan = Plan { measure: Duration::from_secs(60), ..plan };
    let measured = drive(&target, &plan, &mut |_| {}).expect("a run");
    assert_eq!((measured.answered, measured.failures), (20, Failures::default()));
}

#[test]
fn a_closed_loop_has_one_request_on_each_connection() {
    // Answers take longer than the run: whoever sent more would be seen.
    let slow = server(|_| Do::AnswerAfter(Duration::from_millis(300)));
    let plan = Plan { warm_up: Duration::ZERO, ..plan(Load::Closed) };
    let measured = run_on(slow, &plan);
    assert_eq!((measured.sent, measured.answered, measured.failures.total()), (4, 0, 0));
    assert!(
        measured.latency.summary().p50_us >= Some(299_000.0),
        "{:?}",
        measured.latency.summary()
    );
}

#[test]
fn an_open_loop_sends_what_is_due_and_no_more() {
    for wait in [Wait::Sleep, Wait::Spin] {
        let measured = run_on(server(|_| Do::Answer), &Plan { wait, ..open_to_the_last() });
        assert_eq!((measured.due, measured.sent), (200, 200), "{measured:?}");
        assert_eq!(measured.latency.summary().samples, 200);
        assert_eq!((measured.failures, measured.opened), (Failures::default(), 0));
    }
}

/// The server stops for 100 ms once. Only one request can meet it, but the 39 that were due in the next 39 ms waited
/// for 61 ms or more.
#[test]
fn latency_of_an_open_loop_counts_from_the_due_time() {
    let stalls = |count| match count {
        20 => Do::AnswerAfter(Duration::from_millis(100)),
        _ => Do::Answer,
    };
    let plan = Plan { connections: 1, connections_max: 1, requests_max: 60, ..open_to_the_last() };
    let measured = run_on(server(stalls), &plan);
    let (from_due, from_send) = (measured.latency.summary(), measured.service.summary());
    assert!(from_due.p50_us > Some(60_000.0), "{from_due:?} {from_send:?}");
    assert!(from_send.p50_us < from_due.p50_us, "{from_due:?} {from_send:?}");
    assert!(measured.blocked.summary().samples > 0, "{measured:?}");
    assert_eq!((measured.sent, measured.failures), (60, Failures::default()));
}

#[test]
fn streams_share_few_connections() {
    let slow = server(|_| Do::AnswerAfter(Duration::from_millis(50)));
    let measured = run_on(slow, &open_to_the_last());
    assert_eq!((measured.opened, measured.failures), (0, Failures::default()));
    assert_eq!((measured.sent, measured.blocked.summary().samples), (200, 0));
}

#[test]
fn more_connections_are_opened_where_the_server_allows_few_streams() {
    let few = Server::builder().max_concurrent_streams(2);
    let slow = server_with(|_| Do::AnswerAfter(Duration::from_millis(50)), few);
    let measured = run_on(slow, &open_to_the_last());
    assert!(measured.opened > 10, "{measured:?}");
    assert_eq!((measured.sent, measured.failures), (200, Failures::default()));
}

#[test]
fn what_never_found_room_was_held() {
    let silent = server(|_| Do::AnswerAfter(Duration::from_secs(1)));
    let plan = Plan { connections_max: 10, ..open() };
    let measured = run_on(silent, &plan);
    let Failures { held, dropped, .. } = measured.failures;
    assert_eq!((measured.due, measured.sent, held + dropped), (200, 10, 190));
    assert!(held > 0, "{measured:?}");
}

#[test]
fn requests_go_out_in_turn_and_each_knows_its_answer() {
    let one = target(server(|count| if count % 2 == 0 { Do::Answer } else { Do::Refuse }));
    let refused = crate::plan::Request {
        expect: Expect { status: Some(8), ..Expect::default() },
        ..one.requests[0].clone()
    };
    let target = Target { requests: vec![one.requests[0].clone(), refused], ..one };
    let plan = Plan { connections: 1, ..plan(Load::Closed) };
    let measured = drive(&target, &plan, &mut |_| {}).expect("a run");
    assert!(measured.answered > 10, "{measured:?}");
    assert_eq!(measured.failures, Failures::default());
}

// ---- failures ----

#[test]
fn wrong_answers_are_failures_and_no_latencies() {
    let measured = run_on(server(|_| Do::Refuse), &plan(Load::Closed));
    assert!(measured.failures.wrong_status > 10, "{measured:?}");
    assert_eq!((measured.answered, measured.latency.summary().samples), (0, 0));
    let mut other = target(server(|_| Do::Answer));
    other.requests[0].expect.body = Some(b"other".to_vec());
    let measured = drive(&other, &plan(Load::Closed), &mut |_| {}).expect("a run");
    assert!(measured.failures.wrong_body > 10, "{measured:?}");
}

#[test]
fn a_stream_that_is_reset_is_a_failure_and_its_connection_goes_on() {
    let resetting = served(|listener| async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
                while let Some(Ok((_, mut response))) = connection.accept().await {
                    response.send_reset(h2::Reason::CANCEL);
                }
            });
        }
    });
    let target = Target { address: resetting.into(), ..target(server(|_| Do::Answer)) };
    let plan = Plan { requests_max: 100, warm_up: Duration::ZERO, ..plan(Load::Closed) };
    let measured = drive(&target, &plan, &mut |_| {}).expect("a run");
    assert!(measured.failures.closed > 10, "{measured:?}");
    assert_eq!((measured.failures.total(), measured.opened), (measured.failures.closed, 0));
}

/// A request that is being written while the server says that it takes no more is lost with the connection.
#[test]
fn a_connection_that_the_server_retires_is_replaced() {
    let retiring = Server::builder().max_connection_age(Duration::from_millis(200));
    let plan = Plan { measure: Duration::from_millis(500), ..plan(Load::Closed) };
    let measured = run_on(server_with(|_| Do::Answer, retiring), &plan);
    let Measured { opened, answered, failures, .. } = measured;
    assert!(opened > 0 && answered > 10 && failures.closed <= opened, "{measured:?}");
    assert_eq!(failures.total(), failures.closed);
}

#[test]
fn a_server_that_goes_away_leaves_a_report() {
    let leaves: Act = |count| if count < 40 { Do::Answer } else { Do::GoAway };
    for load in [Load::Closed, open().load] {
        let measured = run_on(server(leaves), &Plan { load, ..open_to_the_last() });
        let Measured { sent, answered, failures, .. } = measured;
        // Some answers may still be on their way as it ends.
        assert!((1..=40).contains(&answered) && failures.closed > 0, "{measured:?}");
        assert_eq!((sent, failures.refused + failures.closed), (200, 200 - answered));
        assert_eq!(failures.total(), 200 - answered);
    }
}

// ---- runs ----

#[test]
fn stretches_are_handed_out_while_the_run_goes_on() {
    let (feed, stretches) = feed(false);
    let target = target(server(|_| Do::Answer));
    let mut whole = drive_fed(&target, &plan(Load::Closed), &mut |_| {}, feed).expect("a run");
    let stretches: Vec<Measured> = stretches.try_iter().collect();
    assert!(stretches.len() > 3, "{}", stretches.len());
    stretches.iter().for_each(|stretch| whole.add(stretch));
    assert_eq!(whole.window, Duration::from_millis(200));
    assert_eq!(whole.latency.summary().samples, whole.sent);
}

#[test]
fn a_run_can_be_stopped() {
    let (feed, _stretches) = feed(true);
    let plan = Plan { measure: Duration::from_secs(3_600), ..plan(Load::Closed) };
    let target = target(server(|_| Do::Answer));
    let measured = drive_fed(&target, &plan, &mut |_| {}, feed).expect("a run");
    assert!(measured.stopped && measured.window < Duration::from_secs(10));
}

#[test]
fn a_run_is_bounded_in_requests() {
    for plan in [plan(Load::Closed), open()] {
        let plan = Plan { requests_max: 10, warm_up: Duration::ZERO, ..plan };
        assert_eq!(run_on(server(|_| Do::Answer), &plan).answered, 10);
    }
}

#[test]
fn edges_come_once_and_in_order() {
    let mut edges = Vec::new();
    let target = target(server(|_| Do::Answer));
    drive(&target, &plan(Load::Closed), &mut |edge| edges.push(edge)).expect("a run");
    assert_eq!(edges, [Edge::MeasureStarts, Edge::MeasureEnds]);
}
