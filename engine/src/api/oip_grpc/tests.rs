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

mod bounds;
mod pages;
mod streams;

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
        assert_eq!(nowhere.unwrap_err().code(), Code::NotFound);
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
