//! A front end on a free port with a scripted dispatcher behind it, and a client that speaks HTTP by the byte.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use schemas::lifecycle::{Late, ModelSpec};
use schemas::tensor::{DType, Dim, TensorSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::admin::Door;
use super::front_end::{FrontEnd, HttpLimits, HttpOptions};
use super::listener::{DrainPhase, bind, oip, serve};
use super::oip_grpc;
use crate::classes::{Classes, SloClass};
use crate::client_shm::registry::Registry;
use crate::clock::Clock;
use crate::dispatch::handle::{Entrance, ModelHandle, Submission};
use crate::dispatch::hang_ups::HangUps;
use crate::fleet::catalog::{Catalog, ModelEntry, ModelState, PublishedCatalog};
use crate::fleet::orders::FleetLink;
use crate::ids::{ClassId, CoreId, Version};
use crate::observe::metrics::ErrorKind;
use crate::observe::reports::{Reporting, Reports};
use crate::observe::stages::CoreRecorder;
use crate::query::types::{Prediction, TaskError, Timings};

/// No test takes a tenth of it; it is there so that a hang fails.
const WATCHDOG: Duration = Duration::from_secs(30);

/// Runs a test on a runtime like a core's.
pub(super) fn run<F: Future<Output = ()>>(test: F) {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async { tokio::time::timeout(WATCHDOG, test).await.expect("the test hangs") });
}

/// How the scripted dispatcher treats what it gets.
#[derive(Clone, Debug)]
pub(super) enum Script {
    /// Outputs are the inputs.
    Echo,
    Fail(TaskError),
    /// Hands the submission to the test.
    Hold(mpsc::Sender<Submission>),
}

pub(super) struct TestServer {
    pub(super) addr: SocketAddr,
    pub(super) grpc: SocketAddr,
    pub(super) catalog: PublishedCatalog,
    pub(super) recorder: Rc<CoreRecorder>,
    pub(super) drain: watch::Sender<DrainPhase>,
    pub(super) serving: JoinHandle<std::io::Result<()>>,
    pub(super) serving_grpc: JoinHandle<std::io::Result<()>>,
}

/// `x: f32[n, 2]` in and out, and `s: bytes[n]` beside it where `with_text`.
pub(super) fn spec(name: &str, with_text: bool) -> ModelSpec {
    let x =
        TensorSpec { name: "x".into(), dtype: DType::F32, dims: vec![Dim::Batch, Dim::Fixed(2)] };
    let s = TensorSpec { name: "s".into(), dtype: DType::Bytes, dims: vec![Dim::Batch] };
    let tensors = if with_text { vec![x, s] } else { vec![x] };
    ModelSpec {
        name: name.into(),
        platform: "python".into(),
        inputs: tensors.clone(),
        outputs: tensors,
        batched: true,
        max_batch: 4,
        slo_us: Some(20_000),
        late: Late::Serve,
        batch_timeout_us: 1_000_000,
        replicas: 1,
        pad: false,
        decoupled: false,
    }
}

pub(super) fn entry(spec: ModelSpec, version: u64, script: Script) -> ModelEntry {
    let (submissions, mut arriving) = mpsc::channel::<Submission>(64);
    tokio::task::spawn_local(async move {
        while let Some(submission) = arriving.recv().await {
            follow(&script, submission).await;
        }
    });
    let name: Arc<str> = spec.name.as_str().into();
    // Nobody listens: a page that asks the dispatcher says that it has gone.
    let (control, _) = mpsc::channel(1);
    let (hang_ups, _) = HangUps::channel();
    let entrance = Entrance { submissions, hang_ups, control: control.downgrade() };
    let (version, core, class) = (Version(version), CoreId(0), ClassId::DEFAULT);
    let handle = ModelHandle::new(name, version, Arc::new(spec), core, class, entrance);
    ModelEntry { handle, state: ModelState::Ready }
}

/// `gold` beside the default.
fn classes() -> Classes {
    Classes::new(vec![SloClass { priority: Some(1), ..SloClass::new("gold", 10) }]).unwrap()
}

async fn follow(script: &Script, submission: Submission) {
    match script {
        Script::Echo => {
            let timings = Timings {
                queue: Duration::from_micros(1_234_005),
                lane: Duration::from_nanos(900),
                model: Duration::from_micros(42),
                batch_rows: 8,
            };
            let outputs = submission.inputs.tensors;
            let _ = submission.reply.waiter.send(Ok(Prediction { outputs, timings }));
        }
        Script::Fail(error) => drop(submission.reply.waiter.send(Err(error.clone()))),
        Script::Hold(test) => test.send(submission).await.unwrap(),
    }
}

impl TestServer {
    pub(super) fn start(entries: Vec<ModelEntry>) -> TestServer {
        TestServer::start_with(entries, HttpLimits::default(), HttpOptions::default())
    }

    pub(super) fn start_with(
        entries: Vec<ModelEntry>,
        limits: HttpLimits,
        options: HttpOptions,
    ) -> TestServer {
        TestServer::start_sharing(entries, limits, options, None)
    }

    /// One model `m` behind the administrators' door, which is open to whoever is on this machine.
    pub(super) fn administered(script: Script) -> TestServer {
        let model = entry(spec("m", false), 1, script);
        let (limits, options) = (HttpLimits::default(), HttpOptions::default());
        TestServer::start_behind(Door::Admin { token: None }, vec![model], limits, options, None)
    }

    /// With memory that clients registered.
    pub(super) fn start_sharing(
        entries: Vec<ModelEntry>,
        limits: HttpLimits,
        options: HttpOptions,
        shared_memory: Option<Arc<Registry>>,
    ) -> TestServer {
        TestServer::start_behind(Door::Public, entries, limits, options, shared_memory)
    }

    fn start_behind(
        door: Door,
        entries: Vec<ModelEntry>,
        limits: HttpLimits,
        options: HttpOptions,
        shared_memory: Option<Arc<Registry>>,
    ) -> TestServer {
        let catalog =
            entries.into_iter().fold(Catalog::default().started(), |all, one| all.with(one));
        let catalog: PublishedCatalog = Arc::new(ArcSwap::from_pointee(catalog));
        let core = CoreId(0);
        let recorder = CoreRecorder::new(core);
        let front = FrontEnd {
            core,
            clock: Clock::start(),
            catalog: catalog.clone(),
            classes: classes(),
            recorder: recorder.clone(),
            reports: Rc::new(Reports::new(Reporting::default(), core, Duration::ZERO)),
            limits,
            options,
            shared_memory,
            door,
            fleet: FleetLink::channel().0,
        };
        let [http_listener, grpc_listener] =
            [(); 2].map(|()| bind("127.0.0.1:0".parse().unwrap()).unwrap());
        let [addr, grpc] = [&http_listener, &grpc_listener].map(|it| it.local_addr().unwrap());
        let (drain, phase) = watch::channel(DrainPhase::Serving);
        let front = Rc::new(front);
        let grpc_end = serve(front.clone(), grpc_listener, phase.clone(), oip_grpc::oip);
        let serving_grpc = tokio::task::spawn_local(grpc_end);
        let serving = tokio::task::spawn_local(serve(front, http_listener, phase, oip));
        TestServer { addr, grpc, catalog, recorder, drain, serving, serving_grpc }
    }

    /// One model `m`, version 1.
    pub(super) fn one(script: Script) -> TestServer {
        TestServer::start(vec![entry(spec("m", false), 1, script)])
    }

    pub(super) async fn client(&self) -> Client {
        Client { stream: TcpStream::connect(self.addr).await.unwrap(), unread: Vec::new() }
    }

    /// One request on a connection of its own.
    pub(super) async fn ask(&self, request: &[u8]) -> Reply {
        let mut client = self.client().await;
        client.send(request).await;
        client.reply().await
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.ask(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await
    }

    pub(super) async fn infer(&self, headers: &str, body: &[u8]) -> Reply {
        self.ask(&post("/v2/models/m/infer", headers, body)).await
    }

    /// Errors of a kind, of all models and of none.
    pub(super) fn errors(&self, kind: ErrorKind) -> u64 {
        let snapshot = self.recorder.snapshot();
        let of_models = snapshot.models.iter().map(|model| model.counts.errors[kind as usize]);
        of_models.sum::<u64>() + snapshot.errors[kind as usize]
    }
}

/// `headers` are whole lines.
pub(super) fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// A row for model `m`.
pub(super) const ROW: &[u8] =
    br#"{"id":"7","inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1.5,-2]}]}"#;

pub(super) struct Client {
    pub(super) stream: TcpStream,
    unread: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The sentence of an error.
    pub(super) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

impl Client {
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends what the server takes: it may close before it has read everything.
    pub(super) async fn send_all(&mut self, bytes: &[u8]) {
        let _closed = self.stream.write_all(bytes).await;
    }

    /// Sends while it reads, to the end of the connection; all that came.
    pub(super) async fn exchange(&mut self, bytes: &[u8]) -> Vec<u8> {
        let (mut read, mut write) = self.stream.split();
        let mut answered = Vec::new();
        let (sent, received) =
            tokio::join!(write.write_all(bytes), read.read_to_end(&mut answered));
        sent.unwrap();
        received.unwrap();
        answered
    }

    pub(super) async fn reply(&mut self) -> Reply {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            assert!(self.fill().await, "the connection closed before an answer");
        };
        let head = String::from_utf8(self.unread.drain(..end + 4).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: HashMap<_, _> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length: usize = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
        while self.unread.len() < length {
            assert!(self.fill().await, "the connection closed inside an answer");
        }
        let body = self.unread.drain(..length).collect();
        Reply { status, headers, body }
    }

    /// Whether the server closed the connection without another byte.
    pub(super) async fn closed(&mut self) -> bool {
        self.unread.is_empty() && !self.fill().await
    }

    /// Reads to the end of the connection, whatever comes; all of it.
    pub(super) async fn ended(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.unread)
    }

    async fn fill(&mut self) -> bool {
        let mut piece = [0; 4096];
        let count = self.stream.read(&mut piece).await.unwrap_or(0);
        self.unread.extend_from_slice(&piece[..count]);
        count > 0
    }
}
