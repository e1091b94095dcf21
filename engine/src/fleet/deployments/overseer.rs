//! All deployed models of this engine, each looked after by a task of its own on the control thread.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::rc::Rc;

use serde_json::Value;
use tokio::sync::Semaphore;

use super::artifacts::Artifacts;
use super::asks::{Ask, RuntimeOf, Set};
use super::lock::StateLock;
use super::model::Managed;
use super::store::{Desired, Store};
use super::{FleetError, Opened, Places, carry_out, check_name, output, report, runtime};
use crate::fleet::orders::OrderError;
use crate::fleet::supervisor::Shared;
use crate::observe::deployments::DeploymentCounts;

/// Asks that are carried out, beside those that wait to be taken up.
const ASKS_UNDER_WAY_MAX: usize = 64;

/// Looks after deployments, or says that this engine does not.
pub struct Overseer {
    pub(super) shared: Rc<Shared>,
    pub(super) holds: Option<Holds>,
    pub(super) models: RefCell<BTreeMap<String, Rc<Managed>>>,
    /// Models that may come to life at a time: each takes a CPU and the disk.
    pub(super) loads: Semaphore,
    /// Active versions of the engine's start whose fate is not known yet.
    to_start: Cell<usize>,
    pub(super) counts: DeploymentCounts,
    under_way: Semaphore,
    /// What was found out about the places where models run.
    pub(super) runtimes: RefCell<HashMap<RuntimeOf, Value>>,
}

/// What is held of the state directory.
pub(super) struct Holds {
    pub(super) store: Store,
    pub(super) artifacts: Artifacts,
    pub(super) state: PathBuf,
    lock: RefCell<StateLock>,
}

impl Overseer {
    pub fn new(
        shared: Rc<Shared>,
        opened: Option<Opened>,
        counts: DeploymentCounts,
    ) -> Rc<Overseer> {
        let (holds, desired, mut places) = match opened {
            None => (None, Desired::default(), Places::default()),
            Some(Opened { lock, store, artifacts, desired, places, state }) => {
                let lock = RefCell::new(lock);
                (Some(Holds { store, artifacts, state, lock }), desired, places)
            }
        };
        let cpus = shared.config.repositories.cpus.len();
        let overseer = Rc::new(Overseer {
            shared,
            holds,
            models: RefCell::default(),
            loads: Semaphore::new((cpus / 2).max(1)),
            to_start: Cell::new(desired.values().filter(|row| row.active.is_some()).count()),
            counts,
            under_way: Semaphore::new(ASKS_UNDER_WAY_MAX),
            runtimes: RefCell::default(),
        });
        if overseer.to_start.get() == 0 {
            overseer.shared.deployments_started();
        }
        for (name, row) in desired {
            let places = places.remove(&name).unwrap_or_default();
            overseer.look_after(Managed::new(&overseer, &name, row, places));
        }
        overseer
    }

    /// From now on, until nothing of it is left.
    fn look_after(self: &Rc<Self>, managed: Rc<Managed>) -> Rc<Managed> {
        let name = managed.name.to_string();
        self.shared.deployed.borrow_mut().insert(name.clone());
        self.models.borrow_mut().insert(name.clone(), managed.clone());
        let overseer = self.clone();
        let driven = managed.clone();
        tokio::task::spawn_local(async move {
            carry_out::drive(driven).await;
            overseer.models.borrow_mut().remove(&name);
            overseer.shared.deployed.borrow_mut().remove(&name);
        });
        managed
    }

    pub(super) fn holds(&self) -> Result<&Holds, FleetError> {
        self.holds.as_ref().ok_or(FleetError::NotManaging)
    }

    pub(super) fn find(&self, name: &str) -> Result<Rc<Managed>, FleetError> {
        let found = self.models.borrow().get(name).cloned();
        let found = found.filter(|it| !it.row.borrow().versions.is_empty());
        found.ok_or_else(|| {
            let name = name.to_owned();
            match self.is_served_otherwise(&name) {
                true => FleetError::NotDeployed { name },
                false => FleetError::NoModel { name },
            }
        })
    }

    /// The model of this name, which need not be there yet.
    pub(super) fn find_or_make(self: &Rc<Self>, name: &str) -> Result<Rc<Managed>, FleetError> {
        check_name(name)?;
        if let Some(found) = self.models.borrow().get(name) {
            return Ok(found.clone());
        }
        if self.is_served_otherwise(name) {
            return Err(FleetError::NotDeployed { name: name.to_owned() });
        }
        Ok(self.look_after(Managed::new(self, name, Default::default(), Default::default())))
    }

    /// From a TARGET, a repository, or by a container that came by itself.
    fn is_served_otherwise(&self, name: &str) -> bool {
        let models = self.shared.models.borrow();
        let catalog = self.shared.config.catalog.load();
        !self.models.borrow().contains_key(name)
            && (models.iter().any(|model| model.name() == Some(name))
                || catalog.versions(name).next().is_some())
    }

    /// Carries out one ask in a task of its own.
    pub fn take(self: &Rc<Self>, ask: Ask) {
        let overseer = self.clone();
        tokio::task::spawn_local(async move { overseer.answer(ask).await });
    }

    async fn answer(self: Rc<Self>, ask: Ask) {
        let Ok(_room) = self.under_way.try_acquire() else {
            return ask.refuse(OrderError::Busy.into());
        };
        match ask {
            Ask::Show { what, done } => drop(done.send(report::show(&self, &what).await)),
            Ask::Output { of, done } => drop(done.send(output::output(&self, &of))),
            Ask::Runtime { of, done } => drop(done.send(runtime::of(&self, &of).await)),
            ask => match self.may_change() {
                Ok(()) => self.change(ask).await,
                Err(why) => ask.refuse(why),
            },
        }
    }

    fn may_change(&self) -> Result<(), FleetError> {
        self.holds()?;
        if *self.shared.stopping.borrow() {
            return Err(FleetError::Stopping);
        }
        if self.shared.handing_over.get() {
            return Err(OrderError::HandingOver.into());
        }
        Ok(())
    }

    async fn change(self: &Rc<Self>, ask: Ask) {
        match ask {
            Ask::Roll { name, roll, done } => drop(done.send(self.roll(&name, roll).await)),
            Ask::Set { name, set, done } => drop(done.send(self.set(&name, set).await)),
            Ask::Remove { name, version, done } => {
                drop(done.send(self.remove(&name, version).await));
            }
            Ask::Show { .. } | Ask::Output { .. } | Ask::Runtime { .. } => {}
        }
    }

    async fn set(&self, name: &str, set: Set) -> Result<Value, FleetError> {
        let managed = self.find(name)?;
        managed.set(set).await?;
        Ok(report::managed(self, &managed))
    }

    /// An active version of the engine's start is up, or known not to come up at once.
    pub(super) fn one_started(&self) {
        let left = self.to_start.get();
        self.to_start.set(left.saturating_sub(1));
        if left == 1 {
            self.shared.deployments_started();
        }
    }

    /// Another engine takes this one's place, or has not after all. What was let in before is written first: the other
    /// one reads what is wanted once it has the lock.
    pub async fn hand_over(&self, under_way: bool) {
        let Some(holds) = &self.holds else { return };
        let models: Vec<_> = self.models.borrow().values().cloned().collect();
        if under_way {
            for managed in &models {
                drop(managed.changing.lock().await);
            }
        }
        let done = match under_way {
            true => holds.lock.borrow().release(),
            false => holds.lock.borrow_mut().retake(),
        };
        if let Err(error) = done {
            tracing::error!(%error, "the lock of the state directory could not change hands");
        }
        for managed in &models {
            managed.changed.notify_one();
        }
    }
}
