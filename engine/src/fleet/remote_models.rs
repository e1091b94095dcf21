//! A model version whose replicas the engine does not start: they come from outside, and go when they like.
//!
//! Its declaration is known before any of them comes, so its dispatcher runs from the beginning. While no replica is
//! there it is unavailable and says why; nothing waits for one.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use schemas::lifecycle::ModelSpec;
use tokio::sync::{mpsc, oneshot};

use super::catalog::{ModelEntry, ModelState};
use super::retire::forget;
use super::supervisor::Shared;
use crate::dispatch::handle::{Entrance, ModelHandle};
use crate::dispatch::hang_ups::HangUps;
use crate::dispatch::lane::remote::EngineEnd;
use crate::dispatch::warm_up::Order;
use crate::dispatch::{
    CONTROL_MESSAGES_MAX, ControlMsg, CoreMsg, FixedBatches, HANDOFF_TASKS_MAX, LaneSide,
    ModelSetup, ReplicaFault, ReplicaLane, Sharing,
};
use crate::ids::{ClassId, DeviceClass, Incarnation, ReplicaId, Version};
use crate::observe::stages::ModelNames;

/// What callers are told to wait while no replica is there.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(1);

/// The name of the one class of devices there is: nobody says what a replica from outside runs on.
const DEVICE: &str = "remote";

/// What is to be known of a model before any replica of it comes.
#[derive(Debug)]
pub struct Declared {
    pub name: Arc<str>,
    pub version: Version,
    pub spec: ModelSpec,
    /// None: learned.
    pub fixed_batches: Option<FixedBatches>,
    pub batch_bytes_max: u64,
    pub sharing: Sharing,
    /// Why it can't answer while no replica is there.
    pub absent: Arc<str>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EstablishError {
    #[error("there is a model of this name and version")]
    NameTaken,
    #[error("the engine is shutting down")]
    Stopping,
}

pub struct RemoteModel {
    shared: Rc<Shared>,
    handle: ModelHandle,
    control: mpsc::Sender<ControlMsg>,
    absent: Arc<str>,
    live: Cell<usize>,
    /// Its ready line was printed.
    announced: Cell<bool>,
}

/// A replica between its coming and its going.
pub struct Joined {
    pub replica: ReplicaId,
    pub incarnation: Incarnation,
    fault: oneshot::Receiver<ReplicaFault>,
}

impl Joined {
    /// Why the dispatcher ended it, if it did.
    pub fn fault(&mut self) -> Option<String> {
        self.fault.try_recv().ok().map(|fault| fault.why)
    }
}

impl RemoteModel {
    /// Gives the model a dispatcher and publishes it.
    pub async fn establish(
        shared: Rc<Shared>,
        declared: Declared,
    ) -> Result<RemoteModel, EstablishError> {
        let config = &shared.config;
        if config.catalog.load().find(&declared.name, Some(declared.version)).is_ok() {
            return Err(EstablishError::NameTaken);
        }
        let core = shared.take_core();
        let (submit, submissions) = mpsc::channel(HANDOFF_TASKS_MAX);
        let (control, changes) = mpsc::channel(CONTROL_MESSAGES_MAX);
        let (notes, hang_ups) = HangUps::channel();
        let entrance =
            Entrance { submissions: submit, hang_ups: notes, control: control.downgrade() };
        let Declared { name, version, absent, .. } = declared;
        let spec = Arc::new(declared.spec);
        let setup = ModelSetup {
            name: name.clone(),
            version,
            spec: spec.clone(),
            batch_bytes_max: declared.batch_bytes_max,
            sharing: declared.sharing,
            fixed_batches: declared.fixed_batches,
            sample: None,
            stored_profiles: Vec::new(),
            queue_tasks_max: config.limits.queue_tasks_max,
            queue_bytes_max: config.limits.queue_bytes_max,
            names: ModelNames { devices: [DEVICE.into()].into(), classes: config.classes.clone() },
            submissions,
            hang_ups,
            control: changes,
            events: shared.events.clone(),
        };
        let start = CoreMsg::StartModel(Box::new(setup));
        config.links[core.0].send(start).await.map_err(|_| EstablishError::Stopping)?;
        let handle = ModelHandle::new(name, version, spec, core, ClassId::DEFAULT, entrance);
        let state = absent_state(&absent);
        shared.publish(|catalog| catalog.with(ModelEntry { handle: handle.clone(), state }));
        Ok(RemoteModel {
            shared,
            handle,
            control,
            absent,
            live: Cell::new(0),
            announced: Cell::new(false),
        })
    }

    /// A replica is there, at the other end of this lane. It is asked from now on, without a warm-up: what it makes of
    /// rows that nobody asked for is not known.
    pub async fn replica_up(&self, replica: ReplicaId, end: EngineEnd) -> Joined {
        let incarnation = self.shared.incarnation();
        let (tell, fault) = oneshot::channel();
        self.shared.faults.borrow_mut().insert(incarnation, tell);
        let (device, side) = (DeviceClass(0), LaneSide::Remote(end));
        let lane = Box::new(ReplicaLane { replica, device, incarnation, silence_max: None, side });
        let (live, _at_once) = oneshot::channel();
        self.tell(ControlMsg::ReplicaUp { lane, warm_up: Order::Off, live }).await;
        self.live.set(self.live.get() + 1);
        self.set_state(ModelState::Ready);
        if !self.announced.replace(true) {
            self.print_ready();
        }
        Joined { replica, incarnation, fault }
    }

    /// It has gone, or the dispatcher ended it. With the last one, what waits is answered.
    pub async fn replica_down(&self, joined: &Joined, why: Arc<str>) {
        let Joined { replica, incarnation, .. } = *joined;
        self.shared.faults.borrow_mut().remove(&incarnation);
        self.tell(ControlMsg::ReplicaDown { replica, incarnation, last_output: why }).await;
        self.live.set(self.live.get() - 1);
        if self.live.get() > 0 {
            return;
        }
        self.set_state(absent_state(&self.absent));
        let (reason, retry_after) = (self.absent.clone(), UNAVAILABLE_RETRY);
        self.tell(ControlMsg::Unavailable { reason, retry_after }).await;
    }

    /// Nobody finds it any more; another of its name and version may be established.
    pub fn unpublish(&self) {
        self.shared.publish(|catalog| catalog.without(&self.handle));
    }

    /// Comes back when all it accepted is answered; its dispatcher has ended then.
    pub async fn drain(&self) {
        let (done, drained) = oneshot::channel();
        self.tell(ControlMsg::Drain(done)).await;
        // An error means that the dispatcher has ended: there is nothing to wait for.
        drained.await.unwrap_or(());
        self.shared.leave_core(self.handle.core);
        forget(&self.shared, &self.handle).await;
    }

    fn print_ready(&self) {
        let ModelHandle { name, version, spec, .. } = &self.handle;
        eprintln!(
            "ready  {name} v{version}  {}/v2/models/{name}  ({}, max_batch {})",
            self.shared.config.base_url, spec.platform, spec.max_batch
        );
    }

    fn set_state(&self, state: ModelState) {
        self.shared.publish(|catalog| catalog.with_state(&self.handle, state));
    }

    async fn tell(&self, message: ControlMsg) {
        if self.control.send(message).await.is_err() {
            tracing::debug!("a dispatcher ended before its replica");
        }
    }
}

fn absent_state(absent: &Arc<str>) -> ModelState {
    ModelState::Absent { reason: absent.clone(), retry_after: UNAVAILABLE_RETRY }
}
