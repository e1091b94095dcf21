//! Real connections and tonic's client.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::Frame;
use schemas::health::HealthCheckRequest;
use schemas::health::health_check_response::ServingStatus;
use schemas::health::health_client::HealthClient;
use schemas::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use schemas::inference::infer_parameter::ParameterChoice;
use schemas::inference::model_infer_request::InferInputTensor;
use schemas::inference::{
    InferParameter, InferTensorContents, ModelConfigRequest, ModelInferRequest,
    ModelMetadataRequest, ModelReadyRequest, ServerLiveRequest, ServerMetadataRequest,
    ServerReadyRequest,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tonic::codegen::Service;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_reflection::pb::v1 as reflection_v1;
use tonic_reflection::pb::v1alpha as reflection_v1_alpha;

use super::*;
use crate::api::connections::DrainPhase;
use crate::api::front_end::{HttpLimits, HttpOptions};
use crate::api::test_server::{Script, TestServer, entry, run, spec};
use crate::dispatch::handle::Submission;
use crate::fleet::catalog::ModelState;
use crate::query::types::TaskError;

type Client = GrpcInferenceServiceClient<Channel>;

async fn channel(server: &TestServer) -> Channel {
    Endpoint::from_shared(format!("http://{}", server.grpc)).unwrap().connect().await.unwrap()
}

async fn client(server: &TestServer) -> Client {
    Client::new(channel(server).await)
}

fn limited(limits: HttpLimits, script: Script) -> TestServer {
    let model = entry(spec("m", false), 1, script);
    TestServer::start_with(vec![model], limits, HttpOptions::default())
}

/// A row for model `m`, raw.
fn row() -> ModelInferRequest {
    rows(1)
}

fn rows(count: i64) -> ModelInferRequest {
    let input = InferInputTensor {
        name: "x".into(),
        datatype: "FP32".into(),
        shape: vec![count, 2],
        ..Default::default()
    };
    ModelInferRequest {
        model_name: "m".into(),
        id: "7".into(),
        inputs: vec![input],
        raw_input_contents: vec![vec![0u8; 8 * count as usize].into()],
        ..Default::default()
    }
}

/// A row that the model can't take.
fn wrong() -> ModelInferRequest {
    ModelInferRequest { id: "wrong".into(), ..rows(99) }
}

fn with_timeout(us: i64, mut request: ModelInferRequest) -> ModelInferRequest {
    let parameter_choice = Some(ParameterChoice::Int64Param(us));
    request.parameters.insert("timeout".into(), InferParameter { parameter_choice });
    request
}

async fn held(waiting: &mut mpsc::Receiver<Submission>) -> Submission {
    waiting.recv().await.expect("the dispatcher lives")
}

#[test]
fn raw_and_typed_questions_get_the_same_raw_answer() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let mut client = client(&server).await;
        let bytes: Bytes = [1.5f32, -2.0].map(f32::to_le_bytes).concat().into();
        let raw = ModelInferRequest { raw_input_contents: vec![bytes.clone()], ..row() };
        let mut typed = ModelInferRequest { raw_input_contents: Vec::new(), ..row() };
        let fp32_contents = vec![1.5, -2.0];
        typed.inputs[0].contents =
            Some(InferTensorContents { fp32_contents, ..Default::default() });
        for request in [raw, typed] {
            let answer = client.model_infer(request).await.unwrap().into_inner();
            assert_eq!((answer.id.as_str(), answer.model_version.as_str()), ("7", "1"));
            assert_eq!(answer.outputs[0].shape, [1, 2]);
            assert_eq!(answer.raw_output_contents, std::slice::from_ref(&bytes));
        }
    });
}

#[test]
fn whats_wrong_is_said_by_a_status_and_counted() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let mut client = client(&server).await;
        let unknown = ModelInferRequest { model_name: "n".into(), ..row() };
        let version = ModelInferRequest { model_version: "9".into(), ..row() };
        let no_version = ModelInferRequest { model_version: "new".into(), ..row() };
        let cases = [
            (unknown, Code::NotFound, ErrorKind::UnknownModel),
            (version, Code::NotFound, ErrorKind::UnknownVersion),
            (no_version, Code::InvalidArgument, ErrorKind::UnknownVersion),
            (wrong(), Code::InvalidArgument, ErrorKind::BadInput),
        ];
        for (request, code, kind) in cases {
            let before = server.errors(kind);
            let status = client.model_infer(request).await.unwrap_err();
            assert_eq!((status.code(), server.errors(kind)), (code, before + 1), "{status}");
        }
        let nowhere = client.model_config(ModelConfigRequest::default()).await;
        assert!(nowhere.is_ok() || nowhere.unwrap_err().code() == Code::Unimplemented);
    });
}

#[test]
fn overload_is_unavailable_and_says_when_to_come_again() {
    run(async {
        let retry_after = Duration::from_millis(250);
        let server = TestServer::one(Script::Fail(TaskError::Overloaded { retry_after }));
        let status = client(&server).await.model_infer(row()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "250");
    });
}

#[test]
fn a_deadline_is_the_smaller_of_the_calls_and_the_parameters() {
    run(async {
        let (sender, mut waiting) = mpsc::channel(1);
        let server = TestServer::one(Script::Hold(sender));
        let hour = Duration::from_secs(3600);
        for (by_call, by_parameter_us) in
            [(hour / 2, 0), (hour, 1_800_000_000), (hour / 2, 3_600_000_000)]
        {
            let mut request = Request::new(with_timeout(by_parameter_us, row()));
            request.set_timeout(by_call);
            let mut client = client(&server).await;
            let asked = tokio::spawn(async move { client.model_infer(request).await });
            let submission = held(&mut waiting).await;
            let deadline = submission.terms.deadline;
            assert!(deadline.is_hard());
            let left = deadline.due.since(submission.submitted);
            assert!(left <= hour / 2 && left > hour / 4, "{left:?}");
            submission.reply.waiter.send(Err(TaskError::DeadlinePassed)).unwrap();
            assert_eq!(asked.await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
        }
    });
}

#[test]
fn a_call_that_is_cancelled_leaves_nobody_waiting() {
    run(async {
        let (sender, mut waiting) = mpsc::channel(1);
        let server = TestServer::one(Script::Hold(sender));
        let mut client = client(&server).await;
        let mut other = client.clone();
        let asked = tokio::spawn(async move { client.model_infer(row()).await });
        let mut submission = held(&mut waiting).await;
        asked.abort();
        submission.reply.waiter.closed().await;
        // The stream was reset, not its connection.
        let alive = other.server_live(ServerLiveRequest {}).await.unwrap();
        assert!(alive.into_inner().live);
        assert_eq!(server.errors(ErrorKind::ClientGone), 1);
    });
}

#[test]
fn messages_up_to_the_limit_are_taken_and_longer_ones_refused() {
    run(async {
        let limits = HttpLimits { body_bytes_max: 1 << 20, ..HttpLimits::default() };
        let server = limited(limits, Script::Echo);
        let mut client = client(&server).await;
        let padded = |bytes: usize| ModelInferRequest { id: "x".repeat(bytes), ..row() };
        let answer = client.model_infer(padded((1 << 20) - 1000)).await.unwrap();
        assert_eq!(answer.into_inner().id.len(), (1 << 20) - 1000);
        let status = client.model_infer(padded(1 << 20)).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.message().contains("1048576"), "{status}");
        assert_eq!(server.errors(ErrorKind::TooLarge), 1);
    });
}

#[test]
fn messages_may_be_compressed_within_the_same_limit() {
    use tonic::codec::CompressionEncoding::{Deflate, Gzip};
    run(async {
        let limits = HttpLimits { body_bytes_max: 1 << 20, ..HttpLimits::default() };
        let server = limited(limits, Script::Echo);
        for encoding in [Gzip, Deflate] {
            let mut client =
                client(&server).await.send_compressed(encoding).accept_compressed(encoding);
            let answer = client.model_infer(row()).await.unwrap();
            assert!(answer.metadata().contains_key("grpc-encoding"));
            assert_eq!(answer.into_inner().raw_output_contents.len(), 1);
            let bomb = ModelInferRequest { id: "x".repeat(2 << 20), ..row() };
            let status = client.model_infer(bomb).await.unwrap_err();
            assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        }
        let mut plain = client(&server).await.accept_compressed(Gzip);
        let answer = plain.model_infer(row()).await.unwrap();
        assert!(
            !answer.metadata().contains_key("grpc-encoding"),
            "nobody compressed, so nobody does"
        );
    });
}

/// A body that begins and never goes on.
struct Stuck(Option<Bytes>);

impl hyper::body::Body for Stuck {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.0.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Poll::Pending,
        }
    }
}

async fn begun(channel: &mut Channel, body: Bytes) -> hyper::http::Response<Body> {
    let request = hyper::Request::post(MODEL_INFER)
        .header("content-type", "application/grpc")
        .body(Body::new(Stuck(Some(body))))
        .unwrap();
    std::future::poll_fn(|context| channel.poll_ready(context)).await.unwrap();
    channel.call(request).await.unwrap()
}

#[test]
fn a_message_that_stops_half_way_is_given_up() {
    run(async {
        let limits =
            HttpLimits { body_time_max: Duration::from_millis(50), ..HttpLimits::default() };
        let server = limited(limits, Script::Echo);
        let response =
            begun(&mut channel(&server).await, Bytes::from_static(&[0, 0, 0, 0, 9, 1])).await;
        assert_eq!(
            Status::from_header_map(response.headers()).unwrap().code(),
            Code::DeadlineExceeded
        );
        assert_eq!(server.errors(ErrorKind::SlowSender), 1);
    });
}

#[test]
fn unfinished_messages_of_one_connection_are_bounded_together() {
    run(async {
        let limits = HttpLimits { body_bytes_max: 10_000, ..HttpLimits::default() };
        let server = limited(limits, Script::Echo);
        let channel = channel(&server).await;
        let piece = || {
            let mut piece = BytesMut::from(&[0, 0, 0, 0x27, 0x10][..]);
            piece.resize(9_000, 0);
            piece.freeze()
        };
        let mut unfinished = tokio::task::JoinSet::new();
        for _ in 0..5 {
            let mut channel = channel.clone();
            unfinished.spawn(async move { begun(&mut channel, piece()).await });
        }
        let refused = unfinished.join_next().await.unwrap().unwrap();
        let code = Status::from_header_map(refused.headers()).unwrap().code();
        assert_eq!((code, unfinished.len()), (Code::ResourceExhausted, 4));
    });
}

#[test]
fn a_silent_connection_is_closed() {
    run(async {
        let quick = Duration::from_millis(40);
        let limits =
            HttpLimits { head_time_max: quick, idle_time_max: quick, ..HttpLimits::default() };
        let server = limited(limits, Script::Echo);
        let mut mute = TcpStream::connect(server.grpc).await.unwrap();
        let mut idle = TcpStream::connect(server.grpc).await.unwrap();
        idle.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        for stream in [&mut mute, &mut idle] {
            let mut said = Vec::new();
            stream.read_to_end(&mut said).await.unwrap();
        }
    });
}

#[test]
fn health_is_told_of_the_server_and_of_each_model() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let mut client = HealthClient::new(channel(&server).await);
        let ask = |service: &str| HealthCheckRequest { service: service.into() };
        for service in ["", "inference.GRPCInferenceService", "m"] {
            let status = client.check(ask(service)).await.unwrap().into_inner().status();
            assert_eq!(status, ServingStatus::Serving, "{service}");
        }
        assert_eq!(client.check(ask("n")).await.unwrap_err().code(), Code::NotFound);
        let mut watched = client.watch(ask("m")).await.unwrap().into_inner();
        assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        let handle = server.catalog.load().find("m", None).unwrap().handle.clone();
        let loading = server.catalog.load().with_state(&handle, ModelState::Loading);
        server.catalog.store(loading.into());
        assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        let mut unknown = client.watch(ask("n")).await.unwrap().into_inner();
        assert_eq!(
            unknown.message().await.unwrap().unwrap().status(),
            ServingStatus::ServiceUnknown
        );
    });
}

#[test]
fn the_server_and_its_models_describe_themselves() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let mut client = client(&server).await;
        assert!(client.server_ready(ServerReadyRequest {}).await.unwrap().into_inner().ready);
        let about = client.server_metadata(ServerMetadataRequest {}).await.unwrap().into_inner();
        assert_eq!(about.name, "hydrofoil");
        assert!(about.extensions.iter().any(|it| it == "binary_tensor_data"));
        let asked = |name: &str| ModelMetadataRequest { name: name.into(), version: String::new() };
        let model = client.model_metadata(asked("m")).await.unwrap().into_inner();
        assert_eq!(
            (model.versions, model.inputs[0].shape.as_slice()),
            (vec!["1".into()], &[-1, 2][..])
        );
        assert_eq!(client.model_metadata(asked("n")).await.unwrap_err().code(), Code::NotFound);
        for (name, ready) in [("m", true), ("n", false)] {
            let asked = ModelReadyRequest { name: name.into(), version: String::new() };
            assert_eq!(
                client.model_ready(asked).await.unwrap().into_inner().ready,
                ready,
                "{name}"
            );
        }
    });
}

#[test]
fn reflection_lists_and_defines_the_services_under_both_its_names() {
    use reflection_v1::server_reflection_request::MessageRequest;
    use reflection_v1::server_reflection_response::MessageResponse;
    run(async {
        let server = TestServer::one(Script::Echo);
        let ask = |message| reflection_v1::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message),
        };
        let symbol = MessageRequest::FileContainingSymbol("inference.GRPCInferenceService".into());
        let asked = [MessageRequest::ListServices(String::new()), symbol].map(ask);
        let mut client = reflection_v1::server_reflection_client::ServerReflectionClient::new(
            channel(&server).await,
        );
        let answers =
            client.server_reflection_info(futures_util::stream::iter(asked)).await.unwrap();
        let mut answers = answers.into_inner();
        let Some(MessageResponse::ListServicesResponse(list)) =
            answers.message().await.unwrap().unwrap().message_response
        else {
            panic!("a list was asked for");
        };
        let names: Vec<_> = list.service.iter().map(|it| it.name.as_str()).collect();
        assert!(
            names.contains(&service::SERVICE_NAME) && names.contains(&health_server::SERVICE_NAME),
            "{names:?}"
        );
        let file = answers.message().await.unwrap().unwrap().message_response;
        assert!(matches!(file, Some(MessageResponse::FileDescriptorResponse(_))), "{file:?}");

        use reflection_v1_alpha::server_reflection_client::ServerReflectionClient;
        use reflection_v1_alpha::server_reflection_request::MessageRequest::ListServices;
        let ask = reflection_v1_alpha::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(ListServices(String::new())),
        };
        let mut older = ServerReflectionClient::new(channel(&server).await);
        let answers =
            older.server_reflection_info(futures_util::stream::iter([ask])).await.unwrap();
        assert!(answers.into_inner().message().await.unwrap().is_some());
    });
}

#[test]
fn a_stream_answers_in_order_and_survives_an_error() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let asked = [row(), wrong(), ModelInferRequest { id: "8".into(), ..row() }];
        let answers =
            client(&server).await.model_stream_infer(futures_util::stream::iter(asked)).await;
        let mut answers = answers.unwrap().into_inner();
        let mut seen = Vec::new();
        while let Some(answer) = answers.message().await.unwrap() {
            let response = answer.infer_response.unwrap();
            let last = &response.parameters["triton_final_response"].parameter_choice;
            assert_eq!(last, &Some(ParameterChoice::BoolParam(true)));
            seen.push((response.id, answer.error_message.is_empty()));
        }
        let expected = [("7", true), ("wrong", false), ("8", true)];
        assert_eq!(seen, expected.map(|(id, fine)| (id.to_owned(), fine)));
        assert_eq!(server.errors(ErrorKind::BadInput), 1);
    });
}

#[test]
fn a_stream_ends_by_a_status_where_its_client_wants_that() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let mut asked = Request::new(futures_util::stream::iter([row(), wrong(), row()]));
        asked.metadata_mut().insert("triton_grpc_error", "true".parse().unwrap());
        let mut answers =
            client(&server).await.model_stream_infer(asked).await.unwrap().into_inner();
        assert!(answers.message().await.unwrap().is_some());
        assert_eq!(answers.message().await.unwrap_err().code(), Code::InvalidArgument);
    });
}

#[test]
fn questions_of_a_stream_are_asked_side_by_side() {
    run(async {
        let (sender, mut waiting) = mpsc::channel(2);
        let server = TestServer::one(Script::Hold(sender));
        let asked = futures_util::stream::iter([row(), row()]);
        let answers = client(&server).await.model_stream_infer(asked).await.unwrap();
        let (first, second) = (held(&mut waiting).await, held(&mut waiting).await);
        for submission in [second, first] {
            submission.reply.waiter.send(Err(TaskError::DeadlinePassed)).unwrap();
        }
        let mut answers = answers.into_inner();
        for _ in 0..2 {
            assert!(!answers.message().await.unwrap().unwrap().error_message.is_empty());
        }
    });
}

#[test]
fn a_stream_that_is_dropped_leaves_nobody_waiting() {
    run(async {
        let (sender, mut waiting) = mpsc::channel(2);
        let server = TestServer::one(Script::Hold(sender));
        let asked = futures_util::stream::iter([row(), row()]);
        let answers = client(&server).await.model_stream_infer(asked).await.unwrap();
        let mut both = [held(&mut waiting).await, held(&mut waiting).await];
        drop(answers);
        for submission in &mut both {
            submission.reply.waiter.closed().await;
        }
    });
}

#[test]
fn a_drain_answers_what_was_accepted_and_ends_open_streams() {
    run(async {
        let (sender, mut waiting) = mpsc::channel(1);
        let server = TestServer::one(Script::Hold(sender));
        let mut client = client(&server).await;
        let mut streaming = client.clone();
        let open = futures_util::stream::pending::<ModelInferRequest>();
        let mut answers = streaming.model_stream_infer(open).await.unwrap().into_inner();
        let asked = tokio::spawn(async move { client.model_infer(row()).await });
        let submission = held(&mut waiting).await;
        server.drain.send_replace(DrainPhase::Closing);
        let ended = answers.message().await.unwrap_err();
        assert_eq!(ended.code(), Code::Unavailable, "{ended}");
        submission.reply.waiter.send(Err(TaskError::DeadlinePassed)).unwrap();
        assert_eq!(asked.await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
        server.serving_grpc.await.unwrap().unwrap();
    });
}

#[test]
fn ids_in_the_metadata_go_back_with_answers_and_errors() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let mut client = client(&server).await;
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let named = |message: ModelInferRequest| {
            let mut request = Request::new(message);
            request.metadata_mut().insert("traceparent", parent.parse().unwrap());
            request.metadata_mut().insert("x-request-id", "job-7".parse().unwrap());
            request
        };
        let answer = client.model_infer(named(row())).await.unwrap();
        let failed = client.model_infer(named(wrong())).await.unwrap_err();
        for metadata in [answer.metadata(), failed.metadata()] {
            assert_eq!(metadata.get("traceparent").unwrap(), parent);
            assert_eq!(metadata.get("x-request-id").unwrap(), "job-7");
        }
        let bare = client.model_infer(row()).await.unwrap();
        assert!(bare.metadata().get("x-request-id").is_none(), "none is made up");
    });
}

#[test]
fn settings_are_shown_changed_and_refused() {
    run(async {
        use schemas::inference::log_settings_request::setting_value::ParameterChoice as Log;
        use schemas::inference::{LogSettingsRequest, TraceSettingRequest, log_settings_request};
        use schemas::inference::{ModelStatisticsRequest, trace_setting_request};

        let server = TestServer::administered(Script::Echo);
        let mut client = client(&server).await;
        let trace = |model: &str, name: &str, value: &[&str]| {
            let value = value.iter().map(|it| (*it).to_owned()).collect();
            let setting = trace_setting_request::SettingValue { value };
            let settings = [(name.to_owned(), setting)].into();
            TraceSettingRequest { settings, model_name: model.to_owned() }
        };
        let shown = client.trace_setting(TraceSettingRequest::default()).await.unwrap();
        assert_eq!(shown.into_inner().settings["trace_level"].value, ["OFF"]);
        let changed = client.trace_setting(trace("m", "trace_rate", &["5"])).await.unwrap();
        assert_eq!(changed.into_inner().settings["trace_rate"].value, ["5"]);
        let cleared = client.trace_setting(trace("m", "trace_rate", &[])).await.unwrap();
        assert_eq!(cleared.into_inner().settings["trace_rate"].value, ["1000"]);
        let file = client.trace_setting(trace("", "trace_file", &["/tmp/x"])).await.unwrap_err();
        let nobody = client.trace_setting(trace("n", "trace_rate", &["5"])).await.unwrap_err();
        assert_eq!((file.code(), nobody.code()), (Code::Unimplemented, Code::NotFound));

        let log = |name: &str, choice| {
            let setting = log_settings_request::SettingValue { parameter_choice: Some(choice) };
            LogSettingsRequest { settings: [(name.to_owned(), setting)].into() }
        };
        let verbose = log("log_verbose_level", Log::Uint32Param(1));
        assert!(client.log_settings(verbose).await.is_ok());
        let loud = client.log_settings(log("log_info", Log::StringParam("loud".into()))).await;
        assert_eq!(loud.unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(server.get("/v2/logging").await.json()["log_verbose_level"], 1);

        let public = TestServer::one(Script::Echo);
        let mut public = self::client(&public).await;
        assert!(public.log_settings(LogSettingsRequest::default()).await.is_ok());
        let refused = public.trace_setting(trace("m", "trace_rate", &["5"])).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);

        let unknown = ModelStatisticsRequest { name: "n".into(), version: String::new() };
        assert_eq!(client.model_statistics(unknown).await.unwrap_err().code(), Code::NotFound);
    });
}
