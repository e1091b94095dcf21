//! Owns the fleet: which models and replicas there are, on which core each model's dispatcher runs, when all of it
//! ends. Each replica has a keeper of its own on this, the control, thread.
//!
//! The first replica of a model establishes it: its declaration says how many replicas there are, and a core takes the
//! dispatcher.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::catalog::{Catalog, PublishedCatalog};
use super::changes;
use super::deployments::causes::explained;
use super::deployments::wanted::Failure;
use super::deployments::{Opened, Overseer};
use super::digest;
use super::keeper::LifeError;
use super::launch::Launchers;
use super::launch::process::Programs;
use super::launch::users::Users;
use super::learned::{keep_storing, store_last};
use super::model::Model;
use super::orders::Order;
use super::profiles::Profiles;
use super::repository::Repositories;
use super::reviewer::keep_reviewing;
use super::scaler::keep_scaling;
use super::scaling;
pub use super::scaling::{keepers_ended, set_replicas, start_others};
use super::seats::{Devices, Seats};
use super::target::Target;
use super::welcome::LaneSettings;
use crate::classes::Classes;
use crate::clock::Clock;
use crate::config::Limits;
use crate::dispatch::handle::ModelHandle;
use crate::dispatch::{ControlMsg, CoreLinks, FleetEvent, ReplicaFault};
use crate::ids::{ClassId, CoreId, Incarnation, ReplicaId};
use crate::observe::deployments::DeploymentCounts;

/// Faults on their way from dispatchers; each replica has at most one.
const EVENTS_MAX: usize = 1024;

/// What the fleet is made from.
pub struct FleetConfig {
    pub clock: Clock,
    pub limits: Limits,
    pub lane: LaneSettings,
    /// CPUs of the front end, which no model can own.
    pub cores: Vec<usize>,
    /// Whether each replica gets a user of its own.
    pub users: Option<Users>,
    pub programs: Programs,
    pub launchers: Launchers,
    pub classes: Classes,
    pub catalog: PublishedCatalog,
    pub links: CoreLinks,
    /// Private directory for the replicas' sockets.
    pub sockets: PathBuf,
    /// Replicas are warmed up, unless their model says otherwise.
    pub warm_up: bool,
    /// Where learned latency profiles are kept.
    pub profiles: Option<Profiles>,
    /// Where models are looked for at run time.
    pub repositories: Repositories,
    /// Whether models come and go at run time.
    pub changes: bool,
    /// Between two looks at the repositories; None: they are not polled.
    pub poll_every: Option<Duration>,
    pub devices: Devices,
    /// In front of a model's path in the ready line: `http://127.0.0.1:8000`.
    pub base_url: String,
}

/// A model that could not be brought to life when the engine started.
#[derive(Debug)]
pub struct StartError {
    pub model: String,
    pub error: LifeError,
    pub output: String,
}

impl std::error::Error for StartError {}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not start: {}", self.model, self.error)?;
        if !self.output.is_empty() {
            write!(f, "\nlast output of its container:")?;
            self.output.lines().try_for_each(|line| write!(f, "\n    {line}"))?;
        }
        match explained(self.error.to_string(), self.output.clone()) {
            Failure { cause: Some(cause), fix: Some(fix), .. } if !self.error.says_what_to_do() => {
                write!(f, "\nprobably {cause}: {fix}")
            }
            _ => Ok(()),
        }
    }
}

/// Every model and replica of this engine.
pub struct Fleet {
    shared: Rc<Shared>,
    overseer: Option<Rc<Overseer>>,
}

/// What every keeper shares.
pub struct Shared {
    pub config: FleetConfig,
    pub events: mpsc::Sender<FleetEvent>,
    /// Who waits for a fault of which incarnation.
    pub faults: RefCell<HashMap<Incarnation, oneshot::Sender<ReplicaFault>>>,
    next_incarnation: Cell<u64>,
    /// Models per core.
    load: RefCell<Vec<usize>>,
    /// Models of the engine's start that have not been ready yet; one more for all that are deployed.
    to_start: Cell<usize>,
    /// Names whose versions the deployments look after.
    pub deployed: RefCell<BTreeSet<String>>,
    pub stopping: watch::Sender<bool>,
    /// Deployed models are up, or known not to come up at once; true where there are none.
    deployments_up: watch::Sender<bool>,
    /// Another engine is to take this one's place: nothing changes until it has, or won't.
    pub handing_over: Cell<bool>,
    pub models: RefCell<Vec<Rc<Model>>>,
    pub seats: Rc<Seats>,
    /// Why the last load of a name failed. Only names of directories get here, and an index drops those that are gone.
    pub complaints: RefCell<BTreeMap<String, String>>,
}

impl Fleet {
    pub fn new(config: FleetConfig) -> Fleet {
        let (events, mailbox) = mpsc::channel(EVENTS_MAX);
        let seats = Seats::new(&config.devices, config.clock);
        let shared = Rc::new(Shared {
            load: RefCell::new(vec![0; config.links.len()]),
            config,
            events,
            faults: RefCell::default(),
            next_incarnation: Cell::new(1),
            to_start: Cell::new(0),
            deployed: RefCell::default(),
            stopping: watch::Sender::new(false),
            deployments_up: watch::Sender::new(false),
            handing_over: Cell::new(false),
            models: RefCell::default(),
            seats,
            complaints: RefCell::default(),
        });
        shared.seats.watch(&shared.config.devices);
        tokio::task::spawn_local(deliver_faults(shared.clone(), mailbox));
        tokio::task::spawn_local(keep_storing(shared.clone()));
        tokio::task::spawn_local(keep_scaling(shared.clone()));
        tokio::task::spawn_local(keep_reviewing(shared.clone()));
        Fleet { shared, overseer: None }
    }

    /// For those that bring models of their own.
    pub fn shared(&self) -> Rc<Shared> {
        self.shared.clone()
    }

    /// Looks after deployed models from now on, beside so many others of the engine's start; without a state directory it
    /// says that it doesn't.
    pub fn manage(&mut self, opened: Option<Opened>, others: usize, counts: DeploymentCounts) {
        self.shared.to_start.set(others + 1);
        self.overseer = Some(Overseer::new(self.shared.clone(), opened, counts));
    }

    /// Starts all models at once and waits until each has its first live replica, or the first that can't.
    pub async fn start(&mut self, targets: Vec<(Target, ClassId)>) -> Result<(), StartError> {
        if self.overseer.is_none() {
            self.manage(None, targets.len(), DeploymentCounts::default());
        }
        let mut firsts = Vec::new();
        for (target, class) in targets {
            let model = Model::new(target, class, None);
            model.of_start.set(true);
            let first = begin(&self.shared, &model);
            self.learn_digest(&model);
            firsts.push((model, first));
        }
        for (model, first) in firsts {
            // The keeper tells before it does anything else; it ends early only when the engine stops.
            first.await.unwrap_or(Err(StartError::stopping(&model)))?;
            start_others(&self.shared, &model);
        }
        Ok(())
    }

    /// Waits until deployed models answer, or are known not to come up at once: for an engine that takes another's place.
    pub async fn deployments_up(&self) {
        let mut up = self.shared.deployments_up.subscribe();
        // An error can't be: the sender is held.
        let _up = up.wait_for(|up| *up).await;
    }

    /// Takes orders from now on.
    pub fn follow(&self, orders: mpsc::Receiver<Order>) {
        let overseer = self.overseer.clone();
        tokio::task::spawn_local(changes::follow(self.shared.clone(), overseer, orders));
        if let Some(every) = self.shared.config.poll_every {
            tokio::task::spawn_local(changes::poll(self.shared.clone(), every));
        }
    }

    /// By which a later load sees whether anything has changed.
    fn learn_digest(&self, model: &Rc<Model>) {
        if !self.shared.config.changes {
            return;
        }
        let model = model.clone();
        tokio::task::spawn_local(async move {
            let program = model.target.program.clone();
            if let Ok(digest) =
                tokio::task::spawn_blocking(move || digest::of_files(&program)).await
            {
                // Nobody else sets it for a model of the engine's start.
                let _first = model.digest.set(digest);
            }
        });
    }

    /// From now on, or no longer: orders are refused, and what was learned is stored for the engine that takes over.
    pub async fn hand_over(&self, under_way: bool) {
        self.shared.handing_over.set(under_way);
        if let Some(overseer) = &self.overseer {
            overseer.hand_over(under_way).await;
        }
        if under_way {
            store_last(&self.shared).await;
        }
    }

    /// Drains every dispatcher, lets containers leave, reaps them.
    pub async fn stop(self) {
        self.shared.stopping.send_replace(true);
        let models = self.shared.models.borrow().clone();
        for model in &models {
            model.stopping.send_replace(true);
        }
        store_last(&self.shared).await;
        let mut drained = Vec::new();
        for model in &models {
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
        for model in &models {
            keepers_ended(model).await;
        }
    }
}

/// Starts a model's first replica; tells when it is live, or why it won't be.
pub fn begin(shared: &Rc<Shared>, model: &Rc<Model>) -> oneshot::Receiver<Result<(), StartError>> {
    let (tell, first) = oneshot::channel();
    shared.models.borrow_mut().push(model.clone());
    if *shared.stopping.borrow() {
        model.stopping.send_replace(true);
    }
    scaling::keep(shared, model, ReplicaId(0), Some(tell));
    first
}

impl StartError {
    pub fn stopping(model: &Model) -> StartError {
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

impl Shared {
    pub fn incarnation(&self) -> Incarnation {
        let incarnation = self.next_incarnation.get();
        self.next_incarnation.set(incarnation + 1);
        Incarnation(incarnation)
    }

    /// The core with the fewest models.
    pub fn take_core(&self) -> CoreId {
        let mut load = self.load.borrow_mut();
        let core = (0..load.len()).min_by_key(|&core| load[core]).unwrap_or(0);
        load[core] += 1;
        CoreId(core)
    }

    /// A model that had this core has gone.
    pub fn leave_core(&self, core: CoreId) {
        self.load.borrow_mut()[core.0] -= 1;
    }

    /// One of the models that the engine started with is ready.
    fn one_started(&self) {
        let left = self.to_start.get();
        self.to_start.set(left.saturating_sub(1));
        if left == 1 {
            self.publish(Catalog::started);
        }
    }

    /// All deployed models are up, or known not to come up at once.
    pub fn deployments_started(&self) {
        self.deployments_up.send_replace(true);
        self.one_started();
    }

    /// Prints the ready line, once.
    pub fn announce(&self, model: &Model) {
        let Some(known) = model.established.get() else { return };
        if model.announced.replace(true) {
            return;
        }
        if model.of_start.get() {
            self.one_started();
        }
        let ModelHandle { name, version, spec, .. } = &known.handle;
        let count = model.replicas();
        let replicas = if count == 1 { "replica" } else { "replicas" };
        eprintln!(
            "ready  {name} v{version}  {}/v2/models/{name}  ({}, {count} {replicas}, max_batch {})",
            self.config.base_url, spec.platform, spec.max_batch
        );
    }

    pub fn publish(&self, change: impl FnOnce(&Catalog) -> Catalog) {
        let catalog = &self.config.catalog;
        catalog.store(Arc::new(change(&catalog.load())));
    }
}
