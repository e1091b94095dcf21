//! One deployed model: what is wanted of it, what runs of it, who waits for it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio::sync::{Mutex, Notify};

use super::events::{Event, Listeners};
use super::overseer::Overseer;
use super::store::StoreError;
use super::wanted::{ModelRow, Replicas, Role};
use super::{FleetError, wall_ms};
use crate::fleet::catalog::DefaultVersion;
use crate::fleet::launch::Place;
use crate::fleet::model::Model;
use crate::fleet::supervisor::Shared;
use crate::ids::Version;
use crate::observe::deployments::Outcome;

pub(super) struct Managed {
    overseer: Weak<Overseer>,
    pub(super) shared: Rc<Shared>,
    pub(super) name: Arc<str>,
    /// As the store has it.
    pub(super) row: RefCell<ModelRow>,
    pub(super) running: RefCell<BTreeMap<u64, Rc<Running>>>,
    /// Versions whose files lie on the disk.
    pub(super) files: RefCell<BTreeSet<u64>>,
    /// What the containers of each version are.
    pub(super) places: RefCell<BTreeMap<u64, Place>>,
    pub(super) listeners: RefCell<Listeners>,
    /// Something was: look again.
    pub(super) changed: Notify,
    /// Held from the look at the row to its commit.
    pub(super) changing: Mutex<()>,
}

/// One version that runs, or is about to.
pub(super) struct Running {
    pub(super) version: u64,
    pub(super) role: Cell<Role>,
    pub(super) stage: RefCell<Stage>,
    pub(super) model: RefCell<Option<Rc<Model>>>,
    /// Requests that name it find it.
    pub(super) published: Cell<bool>,
    /// Its answer was compared with what it is to be, and is.
    pub(super) checked: Cell<bool>,
    pub(super) slo: RefCell<Option<String>>,
    /// Another one, with other settings, is on its way to its place.
    pub(super) replacing: Cell<bool>,
    /// Between how many replicas it was told to stay.
    pub(super) bounds: Cell<Option<Replicas>>,
}

/// As [`super::reconcile::Phase`], by what was done; whether it is live is the model's to say.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stage {
    Loading,
    Up,
    Checking,
    Checked,
    Failed(super::wanted::Failure),
    Leaving,
}

impl Managed {
    pub(super) fn new(
        overseer: &Rc<Overseer>,
        name: &str,
        row: ModelRow,
        places: BTreeMap<u64, Place>,
    ) -> Rc<Managed> {
        let managed = Managed {
            overseer: Rc::downgrade(overseer),
            shared: overseer.shared.clone(),
            name: name.into(),
            files: RefCell::new(row.versions.keys().copied().collect()),
            row: RefCell::new(row),
            running: RefCell::default(),
            places: RefCell::new(places),
            listeners: RefCell::default(),
            changed: Notify::new(),
            changing: Mutex::new(()),
        };
        managed.publish_default();
        Rc::new(managed)
    }

    /// The overseer lives as long as the engine.
    pub(super) fn overseer(&self) -> Result<Rc<Overseer>, FleetError> {
        self.overseer.upgrade().ok_or(FleetError::Stopping)
    }

    pub(super) fn is_ending(&self) -> bool {
        *self.shared.stopping.borrow()
    }

    pub(super) fn now_ms(&self) -> u64 {
        wall_ms(self.shared.config.clock)
    }

    /// Writes what is wanted from now on; it is so once this returns. Called with `changing` held.
    pub(super) async fn commit(&self, row: ModelRow) -> Result<(), FleetError> {
        let overseer = self.overseer()?;
        let stored = (!row.versions.is_empty()).then(|| row.clone());
        let written: Result<(), StoreError> = overseer.holds()?.store.put(&self.name, stored).await;
        written?;
        *self.row.borrow_mut() = row;
        self.changed.notify_one();
        Ok(())
    }

    /// Requests without a version go to the active one, and to no other.
    pub(super) fn publish_default(&self) {
        let row = self.row.borrow();
        let default = match row.active {
            Some(version) => DefaultVersion::Only(Version(version)),
            None if row.versions.is_empty() => DefaultVersion::Newest,
            None => DefaultVersion::None,
        };
        self.shared.publish(|catalog| catalog.with_default(&self.name, default));
    }

    pub(super) fn tell(&self, version: u64, event: &Event) {
        self.listeners.borrow_mut().tell(version, event);
    }

    pub(super) fn count(&self, outcome: Outcome) {
        if let Ok(overseer) = self.overseer() {
            overseer.counts.count(outcome);
        }
    }

    pub(super) fn step(&self, version: u64, text: impl Into<String>) {
        self.tell(version, &Event::Step(text.into()));
    }

    pub(super) fn url(&self) -> String {
        format!("{}/v2/models/{}", self.shared.config.base_url, self.name)
    }

    pub(super) fn running(&self, version: u64) -> Option<Rc<Running>> {
        self.running.borrow().get(&version).cloned()
    }

    /// Nothing is wanted of it, nothing is left of it, and nobody is about to change that.
    pub(super) fn is_gone(&self) -> bool {
        self.row.borrow().versions.is_empty()
            && self.running.borrow().is_empty()
            && self.files.borrow().is_empty()
            && self.changing.try_lock().is_ok()
    }
}

impl Running {
    pub(super) fn new(version: u64, role: Role, row: &ModelRow) -> Rc<Running> {
        Rc::new(Running {
            version,
            role: Cell::new(role),
            stage: RefCell::new(Stage::Loading),
            model: RefCell::default(),
            published: Cell::new(false),
            checked: Cell::new(false),
            slo: RefCell::new(row.slo.clone()),
            replacing: Cell::new(false),
            bounds: Cell::new(row.replicas),
        })
    }

    pub(super) fn model(&self) -> Option<Rc<Model>> {
        self.model.borrow().clone()
    }

    /// Tells a model how many replicas it is to have: within the bounds, and the fewest where nothing else is known.
    pub(super) fn bind(&self, model: &Model) {
        let Some(Replicas { min, max }) = self.bounds.get() else { return };
        let most = model.replicas_max();
        let (min, max) = (min.min(most), max.min(most));
        model.wanted.set(Some(model.wanted.get().unwrap_or(min).clamp(min, max)));
    }

    pub(super) fn is_leaving(&self) -> bool {
        *self.stage.borrow() == Stage::Leaving
    }

    /// At least one replica answers.
    pub(super) fn is_live(&self) -> bool {
        self.model().is_some_and(|model| model.live.get() > 0)
    }
}
