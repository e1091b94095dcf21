//! Owns the fleet: which models and replicas there are, on which core each model's dispatcher runs, when all of it
//! ends. Each replica has a [`Keeper`] of its own on this, the control, thread.
//!
//! The first replica of a model establishes it: its declaration says how many replicas there are, and a core takes the
//! dispatcher.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::catalog::{Catalog, PublishedCatalog};
use super::keeper::{Keeper, LifeError};
use super::launch::process::Programs;
use super::launch::users::Users;
use super::learned::{keep_storing, store_last};
use super::profiles::{Key, Profiles};
use super::target::Target;
use super::welcome::LaneSettings;
use crate::classes::Classes;
use crate::clock::Clock;
use crate::config::Limits;
use crate::dispatch::handle::ModelHandle;
use crate::dispatch::{ControlMsg, CoreLinks, FleetEvent};
use crate::ids::{ClassId, CoreId, Incarnation, ReplicaId};

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
    pub classes: Classes,
    pub catalog: PublishedCatalog,
    pub links: CoreLinks,
    /// Private directory for the replicas' sockets.
    pub sockets: PathBuf,
    /// Replicas are warmed up, unless their model says otherwise.
    pub warm_up: bool,
    /// Where learned latency profiles are kept.
    pub profiles: Option<Profiles>,
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

/// What every keeper shares.
pub struct Shared {
    pub config: FleetConfig,
    pub events: mpsc::Sender<FleetEvent>,
    /// Who waits for a fault of which incarnation.
    pub faults: RefCell<HashMap<Incarnation, oneshot::Sender<String>>>,
    next_incarnation: Cell<u64>,
    /// Models per core.
    load: RefCell<Vec<usize>>,
    pub stopping: watch::Sender<bool>,
    pub models: RefCell<Vec<Rc<Model>>>,
}

/// One model version.
pub struct Model {
    pub target: Target,
    /// Of requests that name none.
    pub class: ClassId,
    pub established: OnceCell<Established>,
    pub live: Cell<usize>,
    /// Its ready line was printed.
    pub announced: Cell<bool>,
    /// It was said that it has no user of its own.
    pub warned: Cell<bool>,
    /// Replicas in a row that ended in their warm-up.
    pub warm_up_ends: Cell<u32>,
    /// Batches that the profile stored last had learned from.
    pub batches_stored: Cell<u64>,
}

/// What is known once the first replica said hello.
pub struct Established {
    pub handle: ModelHandle,
    pub control: mpsc::Sender<ControlMsg>,
    /// None where nothing is stored.
    pub profile_key: Option<Key>,
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
        tokio::task::spawn_local(keep_storing(shared.clone()));
        Fleet { shared, keepers: Vec::new() }
    }

    /// For those that bring models of their own.
    pub fn shared(&self) -> Rc<Shared> {
        self.shared.clone()
    }

    /// Starts all models at once and waits until each has its first live replica, or the first that can't.
    pub async fn start(&mut self, targets: Vec<(Target, ClassId)>) -> Result<(), StartError> {
        let mut firsts = Vec::new();
        for (target, class) in targets {
            let (tell, first) = oneshot::channel();
            let model = Rc::new(Model {
                target,
                class,
                established: OnceCell::new(),
                live: Cell::new(0),
                announced: Cell::new(false),
                warned: Cell::new(false),
                warm_up_ends: Cell::new(0),
                batches_stored: Cell::new(0),
            });
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
        for replica in 1..model.replicas() {
            let keeper = Keeper::new(self.shared.clone(), model.clone(), ReplicaId(replica));
            self.keepers.push(tokio::task::spawn_local(keeper.run(None)));
        }
    }

    /// Drains every dispatcher, lets containers leave, reaps them.
    pub async fn stop(self) {
        self.shared.stopping.send_replace(true);
        store_last(&self.shared).await;
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

impl Model {
    /// As its groups of devices say, else its declaration; one until that is known.
    pub fn replicas(&self) -> u32 {
        let declared = || self.established.get().map_or(1, |known| known.handle.spec.replicas);
        self.target.devices.replicas().unwrap_or_else(declared)
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

    pub fn publish(&self, change: impl FnOnce(&Catalog) -> Catalog) {
        let catalog = &self.config.catalog;
        catalog.store(Arc::new(change(&catalog.load())));
    }
}
