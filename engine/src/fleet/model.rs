//! One model version of the fleet: what it was made from, who keeps its replicas, where it stands.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use schemas::lifecycle::REPLICAS_MAX;
use tokio::sync::{Notify, mpsc, watch};

use super::appraisal::Trials;
use super::autoscale::Bounds;
use super::placement::Curve;
use super::profiles::Key;
use super::scaling::Kept;
use super::standing::Standing;
use super::target::Target;
use crate::dispatch::ControlMsg;
use crate::dispatch::handle::ModelHandle;
use crate::ids::{ClassId, DeviceClass};

/// Whether requests find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the catalog, or will be with its first hello.
    Served,
    /// It comes to life beside the one whose place it is to take.
    Beside,
    /// Out of the catalog; what was accepted is answered.
    Leaving,
}

/// One model version.
pub struct Model {
    pub target: Target,
    /// Of requests that name none.
    pub class: ClassId,
    /// Of its files as they were when it was started; unset until they have been read.
    pub digest: OnceCell<u64>,
    pub place: Cell<Place>,
    /// The one whose place it takes.
    pub before: Weak<Model>,
    pub established: OnceCell<Established>,
    pub live: Cell<usize>,
    /// A replica has become live.
    pub came_up: Notify,
    /// Its ready line was printed.
    pub announced: Cell<bool>,
    /// The engine was started with it.
    pub of_start: Cell<bool>,
    /// A first life that fails is not its last.
    pub keeps_trying: Cell<bool>,
    /// It was said that it has no user of its own.
    pub warned: Cell<bool>,
    /// Replicas in a row that ended in their warm-up.
    pub warm_up_ends: Cell<u32>,
    /// Batches that the profile stored last had learned from.
    pub batches_stored: Cell<u64>,
    /// Its replicas are to end and not to start again.
    pub stopping: watch::Sender<bool>,
    /// As many replicas as it was told to have; None: as many as it declares.
    pub wanted: Cell<Option<u32>>,
    /// Between how many the engine chooses by the load; None: it doesn't.
    pub scale: Cell<Option<Bounds>>,
    /// Its first replica was live: the others may start.
    pub others_may_start: Cell<bool>,
    /// What it is asked for: cost per second, smoothed.
    pub load: Cell<f64>,
    /// How fast it is on which devices, as far as that was measured.
    pub measured: RefCell<BTreeMap<DeviceClass, Curve>>,
    pub trials: RefCell<Trials>,
    /// The most that a replica of it took of a GPU's memory, beside CUDA itself.
    pub gpu_peak_bytes: Rc<Cell<u64>>,
    /// Those that keep its replicas, also the ones on their way out.
    pub keepers: RefCell<Vec<Kept>>,
}

/// What is known once the first replica said hello.
pub struct Established {
    pub handle: ModelHandle,
    pub control: mpsc::Sender<ControlMsg>,
    /// None where nothing is stored.
    pub profile_key: Option<Key>,
}

impl Model {
    pub fn new(target: Target, class: ClassId, before: Option<&Rc<Model>>) -> Rc<Model> {
        let place = if before.is_some() { Place::Beside } else { Place::Served };
        Model::placed(target, class, place, before)
    }

    pub fn placed(
        target: Target,
        class: ClassId,
        place: Place,
        before: Option<&Rc<Model>>,
    ) -> Rc<Model> {
        let scale = target.scale;
        Rc::new(Model {
            target,
            class,
            digest: OnceCell::new(),
            place: Cell::new(place),
            before: before.map(Rc::downgrade).unwrap_or_default(),
            established: OnceCell::new(),
            live: Cell::new(0),
            came_up: Notify::new(),
            announced: Cell::new(false),
            of_start: Cell::new(false),
            keeps_trying: Cell::new(false),
            warned: Cell::new(false),
            warm_up_ends: Cell::new(0),
            batches_stored: Cell::new(0),
            stopping: watch::Sender::new(false),
            wanted: Cell::new(None),
            scale: Cell::new(scale),
            others_may_start: Cell::new(false),
            load: Cell::new(0.0),
            measured: RefCell::default(),
            trials: RefCell::default(),
            gpu_peak_bytes: Rc::default(),
            keepers: RefCell::default(),
        })
    }

    /// As it was told, else as its groups of devices say, else its declaration; one until that is known.
    pub fn replicas(&self) -> u32 {
        let declared = || self.established.get().map_or(1, |known| known.handle.spec.replicas);
        let given = || self.target.devices.replicas();
        self.wanted.get().or_else(given).unwrap_or_else(declared)
    }

    /// More it can't be told to have.
    pub fn replicas_max(&self) -> u32 {
        self.target.devices.replicas().unwrap_or(REPLICAS_MAX)
    }

    /// What each of its replicas is doing, in order of their ids.
    pub fn standings(&self) -> Vec<Standing> {
        let keepers = self.keepers.borrow();
        let mut all: Vec<_> = keepers.iter().map(|it| it.standing.borrow().clone()).collect();
        all.sort_by_key(|standing| standing.replica);
        all
    }

    /// As it is served, or will be; None before a file's model has said its own.
    pub fn name(&self) -> Option<&str> {
        let said = || self.established.get().map(|known| &*known.handle.name);
        self.target.name.as_deref().or_else(said)
    }

    /// Whether `other` is still there and gives its place to this one.
    pub fn takes_place_of(&self, other: &Model) -> bool {
        std::ptr::eq(self.before.as_ptr(), other)
    }
}
