//! The whole way of a request through the engine, in one thread and in lockstep, so that two runs do the same.
//!
//! The listener, the dispatcher, the batcher and the lane are the engine's own, over a real socket and real shared
//! memory. Its peers, the clients and the container, get their turn in the same thread, and only when the engine has
//! nothing left to do and would sleep: so batches hold one request of each connection, and whoever counts can leave
//! out what is not the engine's.

use std::error::Error;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bench::payload::{Encoding, Input, floats, http_request, payload};
use engine::api::admin::Door;
use engine::api::front_end::{FrontEnd, HttpLimits, HttpOptions};
use engine::api::listener::{self, DrainPhase};
use engine::classes::Classes;
use engine::clock::Clock;
use engine::dispatch::handle::{Entrance, ModelHandle};
use engine::dispatch::hang_ups::HangUps;
use engine::dispatch::lane::payload_bytes_max;
use engine::dispatch::warm_up::Order;
use engine::dispatch::{
    ControlMsg, Core, CoreMsg, FleetEvent, LaneSide, ModelSetup, ReplicaLane, Sharing,
    run_core_mailbox,
};
use engine::fleet::catalog::{Catalog, ModelEntry, ModelState, PublishedCatalog};
use engine::fleet::orders::FleetLink;
use engine::fleet::welcome::{LaneSettings, geometry};
use engine::ids::{ClassId, CoreId, DeviceClass, Incarnation, ReplicaId, Version};
use engine::observe::reports::{Reporting, Reports};
use engine::observe::stages::{CoreRecorder, ModelNames};
use schemas::lifecycle::{LaneGeometry, Late, ModelSpec};
use schemas::tensor::{DType, Dim, TensorSpec};
use shm_rpc::engine_side::EngineSide;
use shm_rpc::{LaneConfig, Memory};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, oneshot, watch};

use self::peers::{Container, Peers};

mod peers;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What is asked, and by how many at once: each batch holds a request of each connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) encoding: Encoding,
    pub(crate) connections: u32,
}

/// Runs what is not the engine's: whoever counts knows here that it does not count.
pub(crate) type Aside = fn(&mut dyn FnMut());

const NAME: &str = "noop";
const FEATURES: u64 = 784;
const SEED: u64 = 1;
const CORE: CoreId = CoreId(0);
const INCARNATION: Incarnation = Incarnation(1);
/// Messages of any kind that wait in a mailbox: there are a handful in all.
const MAILBOX_MESSAGES_MAX: usize = 64;

/// An engine that serves one model to its peers.
pub(crate) struct Walk {
    runtime: LocalRuntime,
    peers: Arc<Mutex<Peers>>,
    connections: u32,
    _links: Links,
}

/// The far ends of what the engine listens to: without them it would end.
struct Links {
    _core: mpsc::Sender<CoreMsg>,
    _control: mpsc::Sender<ControlMsg>,
    _events: mpsc::Receiver<FleetEvent>,
    _drain: watch::Sender<DrainPhase>,
}

impl Walk {
    /// Comes back when the model's replica is live.
    pub(crate) fn start(load: Load, aside: Aside) -> Outcome<Walk> {
        let spec = Arc::new(spec());
        let geometry = lane_geometry(&spec)?;
        let (side, fds) = EngineSide::create(LaneConfig::from(&geometry), INCARNATION.0)?;
        let listener = listener::bind(([127, 0, 0, 1], 0).into())?;
        let address = listener.local_addr()?;
        let container = Container::join(fds, &geometry)?;
        let input = Input::fp32("x", &[1, FEATURES]);
        let request = payload(load.encoding, std::slice::from_ref(&input), SEED);
        let path = format!("/v2/models/{NAME}/infer");
        let request = http_request(&address.to_string(), &path, &request);
        let sum = floats(&input, SEED).iter().sum();
        let peers = Peers::connect(address, load, request, container, sum)?;
        let peers = Arc::new(Mutex::new(peers));
        let theirs = peers.clone();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || aside(&mut || lock(&theirs).turn()))
            .build_local(LocalOptions::default())?;
        let links = runtime.block_on(serve(spec, geometry, listener, side))?;
        Ok(Walk { runtime, peers, connections: load.connections, _links: links })
    }

    /// So many requests, an equal share from each connection, and all their answers.
    pub(crate) fn ask(&self, requests: u64) {
        lock(&self.peers).ask(requests / u64::from(self.connections));
        self.runtime.block_on(poll_fn(|context| lock(&self.peers).poll_done(context)));
    }

    /// Rows of a batch so far, on average.
    pub(crate) fn rows_per_batch(&self) -> f64 {
        lock(&self.peers).rows_per_batch()
    }
}

/// Nothing is left half done by a panic: it ends the run.
fn lock(peers: &Mutex<Peers>) -> MutexGuard<'_, Peers> {
    peers.lock().unwrap_or_else(PoisonError::into_inner)
}

// ---- the engine ----

async fn serve(
    spec: Arc<ModelSpec>,
    geometry: LaneGeometry,
    listener: std::net::TcpListener,
    side: EngineSide,
) -> Outcome<Links> {
    let (core_link, mailbox) = mpsc::channel(MAILBOX_MESSAGES_MAX);
    let (clock, recorder) = (Clock::start(), CoreRecorder::new(CORE));
    let links = [core_link.clone()].into();
    let core = Core { id: CORE, clock, links, recorder: recorder.clone() };
    tokio::task::spawn_local(run_core_mailbox(core, mailbox));
    let classes = Classes::new(Vec::new())?;
    let (setup, handle, control, events) = model(spec, geometry, &classes);
    let start = CoreMsg::StartModel(Box::new(setup));
    core_link.send(start).await.map_err(|_| "the core ended")?;
    go_live(&control, side).await?;
    let catalog = Catalog::default().with(ModelEntry { handle, state: ModelState::Ready });
    let front = FrontEnd {
        core: CORE,
        clock,
        catalog: PublishedCatalog::new(ArcSwap::from_pointee(catalog)),
        classes,
        recorder,
        reports: Rc::new(Reports::new(Reporting::default(), CORE, Duration::ZERO)),
        limits: HttpLimits::default(),
        options: HttpOptions::default(),
        shared_memory: None,
        door: Door::Public,
        fleet: FleetLink::channel().0,
    };
    let (drain, phase) = watch::channel(DrainPhase::Serving);
    tokio::task::spawn_local(listener::serve(Rc::new(front), listener, phase, listener::oip));
    Ok(Links { _core: core_link, _control: control, _events: events, _drain: drain })
}

async fn go_live(control: &mpsc::Sender<ControlMsg>, side: EngineSide) -> Outcome<()> {
    let (replica, device) = (ReplicaId(0), DeviceClass(0));
    let side = LaneSide::Shm(side);
    let lane = Box::new(ReplicaLane {
        replica,
        device,
        incarnation: INCARNATION,
        silence_max: None,
        side,
    });
    let (live, is_live) = oneshot::channel();
    let up = ControlMsg::ReplicaUp { lane, warm_up: Order::Off, live };
    control.send(up).await.map_err(|_| "the dispatcher ended")?;
    Ok(is_live.await?)
}

type Model = (ModelSetup, ModelHandle, mpsc::Sender<ControlMsg>, mpsc::Receiver<FleetEvent>);

fn model(spec: Arc<ModelSpec>, geometry: LaneGeometry, classes: &Classes) -> Model {
    let (name, version): (Arc<str>, _) = (NAME.into(), Version(1));
    let (submissions, arriving) = mpsc::channel(engine::dispatch::HANDOFF_TASKS_MAX);
    let (control, changes) = mpsc::channel(MAILBOX_MESSAGES_MAX);
    let (events, faults) = mpsc::channel(MAILBOX_MESSAGES_MAX);
    let (notes, hang_ups) = HangUps::channel();
    let entrance = Entrance { submissions, hang_ups: notes, control: control.downgrade() };
    let handle =
        ModelHandle::new(name.clone(), version, spec.clone(), CORE, ClassId::DEFAULT, entrance);
    let setup = ModelSetup {
        name,
        version,
        batch_bytes_max: payload_bytes_max(&spec, geometry.request_slot_bytes),
        spec,
        sharing: Sharing::OneTensor,
        fixed_batches: None,
        sample: None,
        stored_profiles: Vec::new(),
        queue_tasks_max: 4096,
        queue_bytes_max: 1 << 28,
        names: ModelNames { devices: [Arc::from("cpu")].into(), classes: classes.clone() },
        submissions: arriving,
        hang_ups,
        control: changes,
        events,
    };
    (setup, handle, control, faults)
}

/// That of the model that the overhead is measured with: the sum of each row.
fn spec() -> ModelSpec {
    let tensor = |name: &str, dims: &[Dim]| TensorSpec {
        name: name.to_owned(),
        dtype: DType::F32,
        dims: dims.to_vec(),
    };
    ModelSpec {
        name: NAME.to_owned(),
        platform: "bench".to_owned(),
        inputs: vec![tensor("x", &[Dim::Batch, Dim::Fixed(FEATURES)])],
        outputs: vec![tensor("output", &[Dim::Batch])],
        batched: true,
        max_batch: 64,
        slo_us: None,
        late: Late::Serve,
        batch_timeout_us: 30_000_000,
        replicas: 1,
        pad: false,
        decoupled: false,
    }
}

fn lane_geometry(spec: &ModelSpec) -> Outcome<LaneGeometry> {
    let settings = LaneSettings {
        memory: Memory::Memfd,
        huge_pages: false,
        slot_bytes_max: 1 << 26,
        variable_slot_bytes: 1 << 20,
    };
    Ok(geometry(spec, INCARNATION, &settings, false)?)
}
