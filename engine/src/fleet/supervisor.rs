//! Keeps every wanted replica alive: one task a replica, on the control thread.
//!
//! A life: start the process, welcome it, hand its lane to the model's dispatcher, wait for its end, tell the
//! dispatcher, wait the back-off, start again. The first replica of a model also establishes the model: its declaration
//! says how many replicas there are, and a core takes the dispatcher.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use schemas::lifecycle::ModelSpec;
use tokio::sync::{mpsc, oneshot, watch};

use super::catalog::{Catalog, ModelEntry, ModelState, PublishedCatalog};
use super::launch::process::{Process, Programs, Start};
use super::liveness::BackOff;
use super::target::Target;
use super::welcome::{Door, Guest, WelcomeError, geometry};
use crate::clock::{Clock, Time};
use crate::config::Limits;
use crate::dispatch::handle::ModelHandle;
use crate::dispatch::{
    CONTROL_MESSAGES_MAX, ControlMsg, CoreLinks, CoreMsg, FleetEvent, HANDOFF_TASKS_MAX,
    ModelSetup, ReplicaLane,
};
use crate::ids::{CoreId, Incarnation, ReplicaId};

/// Faults on their way from dispatchers; each replica has at most one.
const EVENTS_MAX: usize = 1024;

/// What callers are told to wait while a model has no replica.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(1);

/// A dead replica that is back within this leaves its model ready: requests wait in the queue meanwhile.
const BACK_AT_ONCE: Duration = Duration::from_millis(500);

/// What the fleet is made from.
pub struct FleetConfig {
    pub clock: Clock,
    pub limits: Limits,
    pub programs: Programs,
    pub catalog: PublishedCatalog,
    pub links: CoreLinks,
    /// Private directory for the replicas' sockets.
    pub sockets: PathBuf,
    /// In front of a model's path in the ready line: `http://127.0.0.1:8000`.
    pub base_url: String,
}

/// Why an incarnation ended, or never came to life.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    #[error("its process could not be started: {0}")]
    Spawn(std::io::Error),
    #[error("its process ended with {0}")]
    Exited(ExitStatus),
    #[error("it could not be waited for: {0}")]
    Wait(std::io::Error),
    #[error(transparent)]
    Welcome(#[from] WelcomeError),
    #[error("it did not say hello within {seconds} s (limits.hello_s)")]
    HelloLate { seconds: u64 },
    #[error("it did not finish loading within {seconds} s (limits.load_s)")]
    LoadLate { seconds: u64 },
    #[error("it declares another model than before; restart foil to serve a changed file")]
    Changed,
    #[error(
        "a model named '{name}' version {version} is served already; give one of them another --name"
    )]
    NameTaken { name: String, version: u64 },
    #[error("{0}")]
    Fault(String),
    #[error("the engine is shutting down")]
    Stopping,
}

/// A model that could not be brought to life when the engine started.
#[derive(Debug)]
pub struct StartError {
    model: String,
    error: LifeError,
    output: String,
}

impl std::error::Error for StartError {}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not start: {}", self.model, self.error)?;
        if self.output.is_empty() {
            return Ok(());
        }
        write!(f, "\nlast output of its container:")?;
        self.output.lines().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// Every model and replica of this engine.
pub struct Fleet {
    shared: Rc<Shared>,
    keepers: Vec<tokio::task::JoinHandle<()>>,
}

struct Shared {
    config: FleetConfig,
    events: mpsc::Sender<FleetEvent>,
    /// Who waits for a fault of which incarnation.
    faults: RefCell<HashMap<Incarnation, oneshot::Sender<String>>>,
    next_incarnation: Cell<u64>,
    /// Models per core.
    load: RefCell<Vec<usize>>,
    stopping: watch::Sender<bool>,
    models: RefCell<Vec<Rc<Model>>>,
}

struct Model {
    target: Target,
    established: OnceCell<Established>,
    live: Cell<usize>,
}

/// What is known once the first replica said hello.
struct Established {
    handle: ModelHandle,
    control: mpsc::Sender<ControlMsg>,
}

impl Fleet {
    pub fn new(config: FleetConfig) -> Fleet {
        let (events, mailbox) = mpsc::channel(EVENTS_MAX);
        let shared = Rc::new(Shared {
            load: RefCell::new(vec![0; config.links.len()]),
            config,
            events,
            faults: RefCell::default(),
            next_incarnation: Cell::new(1),
            stopping: watch::Sender::new(false),
            models: RefCell::default(),
        });
        tokio::task::spawn_local(deliver_faults(shared.clone(), mailbox));
        Fleet { shared, keepers: Vec::new() }
    }

    /// Starts all models at once and waits until each has its first live replica, or the first that can't.
    pub async fn start(&mut self, targets: Vec<Target>) -> Result<(), StartError> {
        let mut firsts = Vec::new();
        for target in targets {
            let (tell, first) = oneshot::channel();
            let model = Rc::new(Model { target, established: OnceCell::new(), live: Cell::new(0) });
            self.shared.models.borrow_mut().push(model.clone());
            let keeper = Keeper::new(self.shared.clone(), model.clone(), ReplicaId(0));
            self.keepers.push(tokio::task::spawn_local(keeper.run(Some(tell))));
            firsts.push((model, first));
        }
        for (model, first) in firsts {
            // The keeper tells before it does anything else; it ends early only when the engine stops.
            first.await.unwrap_or(Err(StartError::stopping(&model)))?;
            self.start_others(&model);
        }
        Ok(())
    }

    fn start_others(&mut self, model: &Rc<Model>) {
        let replicas = model.established.get().map_or(1, |known| known.handle.spec.replicas);
        for replica in 1..replicas {
            let keeper = Keeper::new(self.shared.clone(), model.clone(), ReplicaId(replica));
            self.keepers.push(tokio::task::spawn_local(keeper.run(None)));
        }
    }

    /// Drains every dispatcher, lets containers leave, reaps them.
    pub async fn stop(self) {
        self.shared.stopping.send_replace(true);
        let mut drained = Vec::new();
        for model in self.shared.models.borrow().iter() {
            let Some(known) = model.established.get() else { continue };
            let (done, wait) = oneshot::channel();
            let control = known.control.clone();
            drained.push(async move {
                if control.send(ControlMsg::Drain(done)).await.is_ok() {
                    // An error means that the dispatcher has ended: there is nothing to wait for.
                    wait.await.unwrap_or(());
                }
            });
        }
        for drain in drained {
            drain.await;
        }
        for keeper in self.keepers {
            if let Err(error) = keeper.await {
                tracing::error!(%error, "a replica's keeper ended early");
            }
        }
    }
}

impl StartError {
    fn stopping(model: &Model) -> StartError {
        let (model, output) = (model.target.label(), String::new());
        StartError { model, error: LifeError::Stopping, output }
    }
}

async fn deliver_faults(shared: Rc<Shared>, mut mailbox: mpsc::Receiver<FleetEvent>) {
    while let Some(FleetEvent::ReplicaFault { incarnation, fault, .. }) = mailbox.recv().await {
        if let Some(keeper) = shared.faults.borrow_mut().remove(&incarnation) {
            // A keeper that has gone on to the next incarnation needs no telling.
            let _gone = keeper.send(fault);
        }
    }
}

/// Keeps one replica alive.
struct Keeper {
    shared: Rc<Shared>,
    model: Rc<Model>,
    replica: ReplicaId,
    back_off: BackOff,
    stopping: watch::Receiver<bool>,
}

type First = oneshot::Sender<Result<(), StartError>>;

impl Keeper {
    fn new(shared: Rc<Shared>, model: Rc<Model>, replica: ReplicaId) -> Keeper {
        let stopping = shared.stopping.subscribe();
        Keeper { shared, model, replica, back_off: BackOff::default(), stopping }
    }

    async fn run(mut self, mut first: Option<First>) {
        while !*self.stopping.borrow() {
            let mut life = Life::default();
            let error = self.live(&mut life, &mut first).await;
            let output = life.process.as_ref().map(|it| it.log.text()).unwrap_or_default();
            self.bury(&mut life, &error).await;
            if let Some(tell) = first.take() {
                let model = self.model.target.label();
                // Nobody listens when another model failed first.
                let _failed = tell.send(Err(StartError { model, error, output }));
                return;
            }
            if *self.stopping.borrow() {
                return;
            }
            self.wait_back_off(&life, &error).await;
        }
    }

    /// One incarnation, until whatever ends it.
    async fn live(&mut self, life: &mut Life, first: &mut Option<First>) -> LifeError {
        let incarnation = self.shared.incarnation();
        life.incarnation = Some(incarnation);
        let mut guest = match self.bring_to_life(life, incarnation).await {
            Ok(guest) => guest,
            Err(error) => return error,
        };
        life.live_since = Some(self.shared.config.clock.now());
        self.came_up();
        if let Some(tell) = first.take() {
            let _listening = tell.send(Ok(()));
        }
        let (tell, fault) = oneshot::channel();
        self.shared.faults.borrow_mut().insert(incarnation, tell);
        let Some(process) = life.process.as_mut() else { return LifeError::Stopping };
        let mut stopping = self.stopping.clone();
        tokio::select! {
            ended = process.ended() => ended.map_or_else(LifeError::Wait, LifeError::Exited),
            error = guest.closed() => closed_or_exited(process, error).await,
            Ok(fault) = fault => LifeError::Fault(fault),
            _ = stopping.wait_for(|stopping| *stopping) => {
                // The dispatcher tells the container to leave once nothing waits; give it all the time that takes.
                let drain = Duration::from_secs(self.shared.config.limits.drain_s);
                let _in_time = tokio::time::timeout(drain, process.ended()).await;
                LifeError::Stopping
            }
        }
    }

    async fn bring_to_life(
        &self,
        life: &mut Life,
        incarnation: Incarnation,
    ) -> Result<Guest, LifeError> {
        let limits = &self.shared.config.limits;
        let nonce = RandomState::new().hash_one((incarnation, std::process::id()));
        let socket = self.shared.config.sockets.join(format!("{incarnation}.sock"));
        let door = Door::open(&socket)?;
        let process = life.process.insert(self.spawn(&socket, nonce).map_err(LifeError::Spawn)?);
        let mut stopping = self.stopping.clone();
        let hello = async {
            let mut guest = door.accept().await?;
            let spec = guest.hello(nonce).await?;
            Ok((guest, spec))
        };
        let hello = tokio::time::timeout(Duration::from_secs(limits.hello_s), hello);
        let late = LifeError::HelloLate { seconds: limits.hello_s };
        let (mut guest, spec) = tokio::select! {
            hello = hello => alive(process, hello.map_err(|_| late)?).await?,
            ended = process.ended() => return Err(ended.map_or_else(LifeError::Wait, LifeError::Exited)),
            _ = stopping.wait_for(|stopping| *stopping) => return Err(LifeError::Stopping),
        };
        let geometry = geometry(&spec, incarnation, limits.slot_bytes_max)?;
        self.establish(spec, geometry).await?;
        let load = tokio::time::timeout(Duration::from_secs(limits.load_s), guest.join(geometry));
        let late = LifeError::LoadLate { seconds: limits.load_s };
        let side = tokio::select! {
            side = load => alive(process, side.map_err(|_| late)?).await?,
            ended = process.ended() => return Err(ended.map_or_else(LifeError::Wait, LifeError::Exited)),
            _ = stopping.wait_for(|stopping| *stopping) => return Err(LifeError::Stopping),
        };
        let up = ReplicaLane { replica: self.replica, incarnation, side };
        self.tell(ControlMsg::ReplicaUp(Box::new(up))).await;
        Ok(guest)
    }

    fn spawn(&self, socket: &std::path::Path, nonce: u64) -> std::io::Result<Process> {
        let target = &self.model.target;
        let mut env: Vec<(String, OsString)> =
            target.env.iter().map(|(key, value)| (key.clone(), value.into())).collect();
        let ours = [
            ("FOIL_SOCKET", socket.as_os_str().to_owned()),
            ("FOIL_NONCE", nonce.to_string().into()),
            ("FOIL_VERSION", target.version.to_string().into()),
            ("FOIL_REPLICA", self.replica.to_string().into()),
            ("FOIL_DEVICE", "cpu".into()),
            ("FOIL_SETTINGS", target.settings.clone().into()),
        ];
        env.extend(ours.map(|(key, value)| (key.to_owned(), value)));
        Process::start(Start {
            program: &target.program,
            programs: &self.shared.config.programs,
            env,
            label: format!("{}/{}", self.name(), self.replica),
            clock: self.shared.config.clock,
        })
    }

    fn name(&self) -> String {
        let known = self.model.established.get().map(|known| known.handle.name.to_string());
        known
            .or_else(|| self.model.target.name.as_deref().map(str::to_owned))
            .unwrap_or_else(|| "model".into())
    }

    /// The first hello makes the model; later ones must say the same.
    async fn establish(
        &self,
        spec: ModelSpec,
        geometry: schemas::lifecycle::LaneGeometry,
    ) -> Result<(), LifeError> {
        if let Some(known) = self.model.established.get() {
            return if *known.handle.spec == spec { Ok(()) } else { Err(LifeError::Changed) };
        }
        let version = self.model.target.version;
        let name = self.model.target.name.clone().unwrap_or_else(|| spec.name.as_str().into());
        if self.shared.config.catalog.load().find(&name, Some(version)).is_ok() {
            return Err(LifeError::NameTaken { name: name.to_string(), version: version.0 });
        }
        let (core, spec) = (self.shared.take_core(), Arc::new(spec));
        let (submit, submissions) = mpsc::channel(HANDOFF_TASKS_MAX);
        let (control, changes) = mpsc::channel(CONTROL_MESSAGES_MAX);
        let handle = ModelHandle::new(name.clone(), version, spec.clone(), core, submit);
        let setup = ModelSetup {
            name,
            version,
            spec,
            geometry,
            queue_tasks_max: self.shared.config.limits.queue_tasks_max,
            queue_bytes_max: self.shared.config.limits.queue_bytes_max,
            submissions,
            control: changes,
            events: self.shared.events.clone(),
        };
        let start = CoreMsg::StartModel(Box::new(setup));
        self.shared.config.links[core.0].send(start).await.map_err(|_| LifeError::Stopping)?;
        let entry = ModelEntry { handle: handle.clone(), state: ModelState::Loading };
        self.shared.publish(|catalog| catalog.with(entry));
        // Only the first replica's keeper gets here before the others exist.
        let _first = self.model.established.set(Established { handle, control });
        Ok(())
    }

    fn came_up(&self) {
        let Some(known) = self.model.established.get() else { return };
        let first = self.model.live.get() == 0;
        self.model.live.set(self.model.live.get() + 1);
        self.set_state(ModelState::Ready);
        if first {
            self.print_ready(&known.handle);
        }
    }

    fn print_ready(&self, handle: &ModelHandle) {
        let ModelHandle { name, version, spec, .. } = handle;
        let replicas = if spec.replicas == 1 { "replica" } else { "replicas" };
        eprintln!(
            "ready  {name} v{version}  {}/v2/models/{name}  ({}, {} {replicas}, max_batch {})",
            self.shared.config.base_url, spec.platform, spec.replicas, spec.max_batch
        );
    }

    /// Ends what is left of an incarnation and tells the dispatcher.
    async fn bury(&mut self, life: &mut Life, error: &LifeError) {
        let Some(incarnation) = life.incarnation else { return };
        self.shared.faults.borrow_mut().remove(&incarnation);
        let Some(process) = life.process.as_mut() else { return };
        let ended = match error {
            LifeError::Stopping => process.end().await,
            _ => process.kill().await,
        };
        if let Err(error) = ended {
            tracing::error!(%error, "a container could not be reaped");
        }
        if life.live_since.is_some() {
            self.model.live.set(self.model.live.get() - 1);
            let last_output = process.log.last_line();
            let replica = self.replica;
            self.tell(ControlMsg::ReplicaDown { replica, incarnation, last_output }).await;
        }
    }

    async fn wait_back_off(&mut self, life: &Life, error: &LifeError) {
        let now = self.shared.config.clock.now();
        let wait = self.back_off.after_end(now, life.live_since);
        tracing::warn!(model = self.name(), replica = %self.replica, ?wait, "a replica ended: {error}");
        let back_at_once = life.live_since.is_some() && wait <= BACK_AT_ONCE;
        if self.model.live.get() == 0 && !back_at_once {
            self.unavailable(life, error, wait).await;
        }
        let mut stopping = self.stopping.clone();
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    async fn unavailable(&self, life: &Life, error: &LifeError, wait: Duration) {
        let last = life.process.as_ref().map_or("(no output)".into(), |it| it.log.last_line());
        let reason: Arc<str> = format!("{error}. Last output: {last}").into();
        let retry_after = wait.max(UNAVAILABLE_RETRY);
        self.set_state(ModelState::Unavailable { reason: reason.clone(), retry_after });
        self.tell(ControlMsg::Unavailable { reason, retry_after }).await;
    }

    fn set_state(&self, state: ModelState) {
        let Some(known) = self.model.established.get() else { return };
        let (name, version) = (&known.handle.name, known.handle.version);
        self.shared.publish(|catalog| catalog.with_state(name, version, state));
    }

    async fn tell(&self, message: ControlMsg) {
        let Some(known) = self.model.established.get() else { return };
        if known.control.send(message).await.is_err() {
            tracing::debug!("a dispatcher ended before its replica");
        }
    }
}

impl Shared {
    fn incarnation(&self) -> Incarnation {
        let incarnation = self.next_incarnation.get();
        self.next_incarnation.set(incarnation + 1);
        Incarnation(incarnation)
    }

    /// The core with the fewest models.
    fn take_core(&self) -> CoreId {
        let mut load = self.load.borrow_mut();
        let core = (0..load.len()).min_by_key(|&core| load[core]).unwrap_or(0);
        load[core] += 1;
        CoreId(core)
    }

    fn publish(&self, change: impl FnOnce(&Catalog) -> Catalog) {
        let catalog = &self.config.catalog;
        catalog.store(Arc::new(change(&catalog.load())));
    }
}

/// One incarnation as far as it got.
#[derive(Default)]
struct Life {
    incarnation: Option<Incarnation>,
    process: Option<Process>,
    live_since: Option<Time>,
}

/// A container that closes its socket is about to end: how it ended says more than that it closed.
async fn closed_or_exited(process: &mut Process, error: WelcomeError) -> LifeError {
    match tokio::time::timeout(Duration::from_secs(1), process.ended()).await {
        Ok(Ok(status)) => LifeError::Exited(status),
        _ => LifeError::Welcome(error),
    }
}

async fn alive<T>(process: &mut Process, met: Result<T, WelcomeError>) -> Result<T, LifeError> {
    match met {
        Ok(met) => Ok(met),
        Err(WelcomeError::Closed) => Err(closed_or_exited(process, WelcomeError::Closed).await),
        Err(error) => Err(error.into()),
    }
}
