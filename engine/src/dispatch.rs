//! From a task to a live replica and back, on the core that owns the model.
//!
//! A core is one thread with one runtime. Its mailbox carries what other threads want of it: models to start,
//! answers for connections it holds, a snapshot of its histograms. A model's dispatcher is one task on its core;
//! connections reach it through [`handle::ModelHandle`], from any core, without a lock.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use schemas::lifecycle::ModelSpec;
use tokio::sync::{mpsc, oneshot};

pub use crate::batch::fixed::FixedBatches;
pub use crate::batch::latency_profile::Bucket;
use crate::clock::Clock;
use crate::ids::{CoreId, DeviceClass, Incarnation, ReplicaId, Version};
use crate::observe::metrics::Loss;
use crate::observe::predictions::PredictionsSnapshot;
use crate::observe::stages::{CoreRecorder, CoreSnapshot, ModelNames, ScaleStanding};
use crate::observe::statistics::Statistics;
use crate::query::types::TaskResult;

pub mod cause;
pub mod check;
pub mod dispatcher;
mod explain;
pub mod handle;
pub mod hang_ups;
pub mod in_flight;
pub mod lane;
pub mod outbox;
pub mod parts;
pub mod pulse;
mod recent;
pub mod warm_up;

/// Messages waiting for a core. A full mailbox delays nothing on the request path: answers then go to their
/// waiters one by one (see [`outbox`]).
pub const CORE_MAILBOX_MESSAGES_MAX: usize = 1024;

/// Changes waiting for a dispatcher: a few per replica and incarnation; the supervisor waits when it is full.
pub const CONTROL_MESSAGES_MAX: usize = 64;

/// Submissions in the hand-off to a dispatcher, which moves all of them into the model's queue every turn. It
/// must exceed the connections of one core, or a burst would be refused before the queue's own bound is met.
pub const HANDOFF_TASKS_MAX: usize = 8192;

/// One answer on its way to the connection that waits for it.
#[derive(Debug)]
pub struct Delivery {
    pub waiter: oneshot::Sender<TaskResult>,
    pub result: TaskResult,
}

/// What a core is asked for by other threads.
#[derive(Debug)]
pub enum CoreMsg {
    StartModel(Box<ModelSetup>),
    /// Told once the core gets to it: whatever it looked up in an earlier catalog has been submitted by then, because
    /// nothing waits between the two.
    Pass(oneshot::Sender<()>),
    /// The model version has gone: so may what was counted of it.
    Forget(Arc<str>, Version),
    Answers(Vec<Delivery>),
    Snapshot(oneshot::Sender<CoreSnapshot>),
    /// What its applications were asked.
    Predictions(oneshot::Sender<PredictionsSnapshot>),
}

/// The mailboxes of all cores, by [`CoreId`].
pub type CoreLinks = Arc<[mpsc::Sender<CoreMsg>]>;

/// All a core needs to become the owner of one model version.
#[derive(Debug)]
pub struct ModelSetup {
    pub name: Arc<str>,
    pub version: Version,
    pub spec: Arc<ModelSpec>,
    /// Most that the rows of one batch may take: what a slot of its lanes holds, or what is sent at a time.
    pub batch_bytes_max: u64,
    /// Which rows may share a batch.
    pub sharing: Sharing,
    /// Batches of a fixed size; None: learned ones.
    pub fixed_batches: Option<FixedBatches>,
    /// Rows for the warm-up; None: zeros.
    pub sample: Option<warm_up::rows::Rows>,
    /// What earlier lives of the model learned.
    pub stored_profiles: Vec<(DeviceClass, Vec<Bucket>)>,
    pub queue_tasks_max: usize,
    pub queue_bytes_max: u64,
    /// Of its devices and the engine's classes.
    pub names: ModelNames,
    pub submissions: mpsc::Receiver<handle::Submission>,
    pub hang_ups: hang_ups::HangUps,
    pub control: mpsc::Receiver<ControlMsg>,
    pub events: mpsc::Sender<FleetEvent>,
}

/// Which rows of a model may share a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Those whose shapes let them lie in one tensor.
    OneTensor,
    /// All: its lanes send every row by itself.
    RowByRow,
}

/// A replica that said it is ready.
pub struct ReplicaLane {
    pub replica: ReplicaId,
    pub device: DeviceClass,
    pub incarnation: Incarnation,
    /// It beats, and is ended when it has not for this long. None: no beat is expected.
    pub silence_max: Option<Duration>,
    pub side: LaneSide,
}

/// The engine's side of a lane that nobody serves yet.
pub enum LaneSide {
    Shm(shm_rpc::engine_side::EngineSide),
    Remote(lane::remote::EngineEnd),
}

impl fmt::Debug for ReplicaLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplicaLane({}, incarnation {})", self.replica, self.incarnation)
    }
}

/// From the supervisor to a dispatcher.
#[derive(Debug)]
pub enum ControlMsg {
    ReplicaUp {
        lane: Box<ReplicaLane>,
        warm_up: warm_up::Order,
        /// Told once the replica may be asked.
        live: oneshot::Sender<()>,
    },
    ReplicaDown {
        replica: ReplicaId,
        incarnation: Incarnation,
        last_output: Arc<str>,
    },
    /// The replica gets no new batch, and hears that it may leave once the one it has is back.
    ReplicaLeave {
        replica: ReplicaId,
        incarnation: Incarnation,
    },
    /// No replica is coming back soon: what waits is answered with the reason.
    Unavailable {
        reason: Arc<str>,
        retry_after: Duration,
    },
    /// What the batching knows and does, for people.
    Explain(oneshot::Sender<serde_json::Value>),
    /// What the statistics extension counts, all of one moment.
    Statistics(oneshot::Sender<Statistics>),
    /// What was learned so far, to be stored.
    Profiles(oneshot::Sender<Vec<LearnedProfile>>),
    /// What it is asked for and what it can carry.
    Load {
        /// What was made of the last answer, for the metrics.
        scale: ScaleStanding,
        reply: oneshot::Sender<LoadReading>,
    },
    /// Answered once nothing is queued or in flight and the lanes are shut; the dispatcher ends then.
    Drain(oneshot::Sender<()>),
    /// Another dispatcher answers from now on, or nobody: gauges are no longer this one's.
    GiveWay,
    /// The dispatcher before it, of the same name and version, has given way.
    Succeed,
}

/// What a model was asked for, since its dispatcher began, and what its replicas carry.
#[derive(Clone, Copy, Debug)]
pub struct LoadReading {
    /// Cost of all tasks that came, also of those that were turned away.
    pub arrived: u64,
    pub turned_away: u64,
    /// Cost per second of one replica within the SLO; None while nothing is known.
    pub capacity: Option<f64>,
}

/// What a model's batches were learned to take on one class of devices.
#[derive(Clone, Debug)]
pub struct LearnedProfile {
    pub device: DeviceClass,
    /// Batches learned from: more of them, and there is news to store.
    pub batches: u32,
    pub buckets: Vec<Bucket>,
}

/// From a dispatcher to the supervisor: end this incarnation and replace it.
#[derive(Debug)]
pub enum FleetEvent {
    ReplicaFault {
        model: Arc<str>,
        version: Version,
        replica: ReplicaId,
        incarnation: Incarnation,
        fault: ReplicaFault,
    },
}

/// Why a dispatcher gave a replica up.
#[derive(Clone, Debug)]
pub struct ReplicaFault {
    pub loss: Loss,
    /// A sentence.
    pub why: String,
}

/// What every task on one core shares.
#[derive(Clone, Debug)]
pub struct Core {
    pub id: CoreId,
    pub clock: Clock,
    pub links: CoreLinks,
    pub recorder: Rc<CoreRecorder>,
}

/// Serves the core's mailbox until every sender is gone.
pub async fn run_core_mailbox(core: Core, mut mailbox: mpsc::Receiver<CoreMsg>) {
    while let Some(message) = mailbox.recv().await {
        match message {
            CoreMsg::StartModel(setup) => {
                tokio::task::spawn_local(dispatcher::Dispatcher::new(&core, *setup).run());
            }
            // Whoever waited for it may have given up.
            CoreMsg::Pass(passed) => drop(passed.send(())),
            CoreMsg::Forget(name, version) => core.recorder.forget(&name, version),
            CoreMsg::Answers(deliveries) => outbox::complete(deliveries),
            // A scrape that gave up no longer listens; nothing is lost.
            CoreMsg::Snapshot(reply) => drop(reply.send(core.recorder.snapshot())),
            CoreMsg::Predictions(reply) => drop(reply.send(core.recorder.predictions.snapshot())),
        }
    }
}
