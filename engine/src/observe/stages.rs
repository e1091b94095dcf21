//! Recorders: one per core and model version, written by that core alone.
//!
//! Plain cells: no atomics, no locks, a few nanoseconds a record. A scrape asks the core for a copy.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::histogram::Histogram;
use super::metrics::{BATCH_ROWS, ClassOutcome, ErrorKind, Loss, SHED_WAIT_S, STAGE_S, Stage};
use super::predictions::PredictionsRecorder;
use super::statistics::{Compute, Statistics};
use crate::classes::{CLASSES_MAX, Classes};
use crate::clock::Time;
use crate::ids::{ByName, ClassId, CoreId, DeviceClass, Version};
use crate::query::types::Timings;

type ByModel = ByName<(Arc<str>, Version), Rc<ModelRecorder>>;

/// All that one core records.
#[derive(Debug)]
pub struct CoreRecorder {
    core: CoreId,
    models: RefCell<ByModel>,
    /// Errors that concern no model: unknown paths and names, slow or oversized requests.
    errors: RefCell<[u64; ErrorKind::COUNT]>,
    connections: Cell<u64>,
    accepted: Cell<u64>,
    /// By Clipper's measures; empty unless its interface is on.
    pub predictions: PredictionsRecorder,
}

impl CoreRecorder {
    pub fn new(core: CoreId) -> Rc<CoreRecorder> {
        Rc::new(CoreRecorder {
            core,
            models: RefCell::default(),
            errors: RefCell::new([0; ErrorKind::COUNT]),
            connections: Cell::new(0),
            accepted: Cell::new(0),
            predictions: PredictionsRecorder::default(),
        })
    }

    /// The recorder of a model version, made at its first use.
    pub fn model(&self, name: &Arc<str>, version: Version) -> Rc<ModelRecorder> {
        let mut models = self.models.borrow_mut();
        models.entry((name.clone(), version)).or_insert_with(ModelRecorder::new).clone()
    }

    /// The same, on the core that owns the model: it alone knows how its devices are called.
    pub fn owned_model(
        &self,
        name: &Arc<str>,
        version: Version,
        names: &ModelNames,
    ) -> Rc<ModelRecorder> {
        let recorder = self.model(name, version);
        recorder.counts.borrow_mut().names = Some(names.clone());
        recorder
    }

    /// Drops what was counted of a model version that has gone. Whoever still answers for it counts into what it holds.
    pub fn forget(&self, name: &Arc<str>, version: Version) {
        self.models.borrow_mut().remove(&(name.clone(), version));
    }

    pub fn connection_opened(&self) {
        self.connections.set(self.connections.get() + 1);
        self.accepted.set(self.accepted.get() + 1);
    }

    pub fn connection_closed(&self) {
        self.connections.set(self.connections.get() - 1);
    }

    pub fn connections(&self) -> u64 {
        self.connections.get()
    }

    pub fn error(&self, kind: ErrorKind) {
        self.errors.borrow_mut()[kind as usize] += 1;
    }

    /// A copy of everything.
    pub fn snapshot(&self) -> CoreSnapshot {
        let models = self.models.borrow();
        CoreSnapshot {
            core: self.core,
            connections: self.connections.get(),
            accepted: self.accepted.get(),
            errors: *self.errors.borrow(),
            models: models
                .iter()
                .map(|((name, version), recorder)| ModelSnapshot {
                    name: name.clone(),
                    version: *version,
                    counts: recorder.counts.borrow().clone(),
                })
                .collect(),
        }
    }
}

/// One model version on one core.
#[derive(Debug)]
pub struct ModelRecorder {
    counts: RefCell<ModelCounts>,
}

impl ModelRecorder {
    fn new() -> Rc<ModelRecorder> {
        Rc::new(ModelRecorder { counts: RefCell::new(ModelCounts::new()) })
    }

    /// A request got its answer, `total` after its last byte was read.
    pub fn answered(&self, total: Duration) {
        let mut counts = self.counts.borrow_mut();
        counts.answered += 1;
        counts.stage(Stage::Total).record(total.as_secs_f64());
    }

    pub fn error(&self, kind: ErrorKind) {
        self.counts.borrow_mut().errors[kind as usize] += 1;
    }

    pub fn stage(&self, stage: Stage, took: Duration) {
        self.counts.borrow_mut().stage(stage).record(took.as_secs_f64());
    }

    /// Where an answered task's time went.
    pub fn task_stages(&self, timings: &Timings) {
        let mut counts = self.counts.borrow_mut();
        counts.stage(Stage::Queue).record(timings.queue.as_secs_f64());
        counts.stage(Stage::Lane).record(timings.lane.as_secs_f64());
        counts.stage(Stage::Model).record(timings.model.as_secs_f64());
    }

    /// A batch came back, with predictions or without.
    pub fn batch(&self, rows: u32) {
        self.counts.borrow_mut().batch_rows.record(f64::from(rows));
    }

    /// So many bytes of rows went to a replica or came back.
    pub fn lane_bytes(&self, bytes: u64) {
        self.counts.borrow_mut().lane_bytes += bytes;
    }

    /// A batch was run, and all of its time is known.
    pub fn executed(&self, rows: u32, compute: &Compute, now: Time) {
        self.counts.borrow_mut().statistics.executed(rows, compute, now);
    }

    /// A task of so many rows has its prediction: it waited in the queue, then its batch was run.
    pub fn predicted(&self, rows: u32, queue: Duration, compute: &Compute) {
        self.counts.borrow_mut().statistics.predicted(rows, queue, compute);
    }

    /// A task left without a prediction, this long after it was submitted.
    pub fn failed_after(&self, waited: Duration) {
        self.counts.borrow_mut().statistics.failed(waited);
    }

    /// A copy, all of the same moment.
    pub fn statistics(&self) -> Statistics {
        self.counts.borrow().statistics.clone()
    }

    /// What waits now, and how many have been accepted and not answered, these among them.
    pub fn queue(&self, tasks: usize, bytes: u64, in_flight: usize) {
        let mut counts = self.counts.borrow_mut();
        counts.queue_tasks = tasks as u64;
        counts.queue_bytes = bytes;
        counts.in_flight = in_flight as u64;
    }

    /// A task of this class ended so.
    pub fn class(&self, class: ClassId, outcome: ClassOutcome) {
        self.counts.borrow_mut().by_class[usize::from(class.0)][outcome as usize] += 1;
    }

    /// A task was shed, this long after it was submitted.
    pub fn shed_after(&self, waited: Duration) {
        self.counts.borrow_mut().shed_waits.record(waited.as_secs_f64());
    }

    pub fn by_class(&self) -> ClassCounts {
        self.counts.borrow().by_class
    }

    /// Writes down how the batching stands.
    pub fn batching(&self, write: impl FnOnce(&mut Batching)) {
        write(&mut self.counts.borrow_mut().batching);
    }

    pub fn scale(&self, scale: ScaleStanding) {
        self.counts.borrow_mut().scale = scale;
    }

    pub fn replicas(&self, live: usize) {
        self.counts.borrow_mut().replicas = live as u64;
    }

    /// The gauges of a dispatcher that has given way.
    pub fn let_go(&self) {
        let mut counts = self.counts.borrow_mut();
        (counts.queue_tasks, counts.queue_bytes) = (0, 0);
        (counts.in_flight, counts.replicas) = (0, 0);
        (counts.batching, counts.names) = (Batching::default(), None);
        counts.scale = ScaleStanding::default();
    }

    /// The dispatcher of these devices and classes is the model's now.
    pub fn take_over(&self, names: &ModelNames) {
        self.counts.borrow_mut().names = Some(names.clone());
    }

    pub fn replica_lost(&self, loss: Loss) {
        self.counts.borrow_mut().replicas_lost[loss as usize] += 1;
    }

    /// A task was with two replicas when they died.
    pub fn quarantined(&self) {
        self.counts.borrow_mut().quarantined += 1;
    }
}

/// How one model's batching stands: totals since the start, and its present target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batching {
    /// Tasks turned away or given up, by the reason's name.
    pub shed: [(&'static str, u64); SHED_REASONS],
    pub hedged_batches: u64,
    pub predicted_drain_ns: u64,
    pub devices: [DeviceStanding; DeviceClass::COUNT_MAX],
    /// Cost of the smallest batch that keeps up with the arrivals.
    pub target_cost: u64,
}

/// How many replicas a model has to have, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ScaleStanding {
    /// As many as it was told to have.
    pub wanted: u32,
    /// As many as would carry the load.
    pub needed: u32,
    /// Cost per second that arrives.
    pub load: f64,
    /// Cost per second that one replica carries; zero while nothing is known.
    pub capacity: f64,
}

/// How one class of a model's devices stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceStanding {
    pub live: u64,
    /// Of the live ones, those that have a batch.
    pub busy: u64,
    /// Times it was found to have become slower or faster.
    pub regimes: u64,
    /// What a batch of cost 1 is expected to take; zero while nothing is known.
    pub one_ns: u64,
    /// And one of the target's cost.
    pub target_ns: u64,
}

/// How often each class's tasks ended how.
pub type ClassCounts = [[u64; ClassOutcome::COUNT]; CLASSES_MAX];

/// What a model's devices and the engine's classes are called.
#[derive(Clone, Debug)]
pub struct ModelNames {
    /// By [`DeviceClass`]; at least one, at most [`DeviceClass::COUNT_MAX`].
    pub devices: Arc<[Arc<str>]>,
    pub classes: Classes,
}

/// Reasons for which tasks are shed.
pub const SHED_REASONS: usize = 6;

/// What one core knows of one model version.
#[derive(Clone, Debug)]
pub struct ModelCounts {
    pub answered: u64,
    pub errors: [u64; ErrorKind::COUNT],
    pub stages: [Histogram; Stage::COUNT],
    pub batch_rows: Histogram,
    pub queue_tasks: u64,
    pub queue_bytes: u64,
    /// Accepted and not answered: queued, or with a replica.
    pub in_flight: u64,
    /// Of rows, to replicas and back.
    pub lane_bytes: u64,
    pub replicas: u64,
    pub replicas_lost: [u64; Loss::COUNT],
    pub quarantined: u64,
    /// Of the one core that owns the model.
    pub scale: ScaleStanding,
    pub by_class: ClassCounts,
    /// From submission to the refusal.
    pub shed_waits: Histogram,
    /// Of the one core that owns the model.
    pub names: Option<ModelNames>,
    /// Of the one core that owns the model; nothing on the others.
    pub batching: Batching,
    /// Counted by the model's dispatcher: on one core, or where it was loaded anew on another, on each for its time.
    pub statistics: Statistics,
}

impl ModelCounts {
    pub fn new() -> ModelCounts {
        ModelCounts {
            answered: 0,
            errors: [0; ErrorKind::COUNT],
            stages: std::array::from_fn(|_| Histogram::new(&STAGE_S)),
            batch_rows: Histogram::new(&BATCH_ROWS),
            queue_tasks: 0,
            queue_bytes: 0,
            in_flight: 0,
            lane_bytes: 0,
            replicas: 0,
            replicas_lost: [0; Loss::COUNT],
            quarantined: 0,
            scale: ScaleStanding::default(),
            by_class: ClassCounts::default(),
            shed_waits: Histogram::new(&SHED_WAIT_S),
            names: None,
            batching: Batching::default(),
            statistics: Statistics::default(),
        }
    }

    fn stage(&mut self, stage: Stage) -> &mut Histogram {
        &mut self.stages[stage as usize]
    }

    /// Adds what another core knows of the same model version.
    pub fn merge(&mut self, other: &ModelCounts) {
        self.answered += other.answered;
        self.errors.iter_mut().zip(&other.errors).for_each(|(mine, theirs)| *mine += theirs);
        self.stages.iter_mut().zip(&other.stages).for_each(|(mine, theirs)| mine.merge(theirs));
        self.batch_rows.merge(&other.batch_rows);
        self.queue_tasks += other.queue_tasks;
        self.queue_bytes += other.queue_bytes;
        self.in_flight += other.in_flight;
        self.lane_bytes += other.lane_bytes;
        self.replicas += other.replicas;
        let lost = self.replicas_lost.iter_mut().zip(&other.replicas_lost);
        lost.for_each(|(mine, theirs)| *mine += theirs);
        self.quarantined += other.quarantined;
        if other.scale != ScaleStanding::default() {
            self.scale = other.scale;
        }
        let by_class = self.by_class.iter_mut().flatten().zip(other.by_class.iter().flatten());
        by_class.for_each(|(mine, theirs)| *mine += theirs);
        self.shed_waits.merge(&other.shed_waits);
        self.names = self.names.take().or_else(|| other.names.clone());
        if other.batching != Batching::default() {
            self.batching = other.batching;
        }
        self.statistics.merge(&other.statistics);
    }
}

impl Default for ModelCounts {
    fn default() -> ModelCounts {
        ModelCounts::new()
    }
}

#[derive(Clone, Debug)]
pub struct ModelSnapshot {
    pub name: Arc<str>,
    pub version: Version,
    pub counts: ModelCounts,
}

/// A core's records at one moment.
#[derive(Clone, Debug)]
pub struct CoreSnapshot {
    pub core: CoreId,
    pub connections: u64,
    pub accepted: u64,
    pub errors: [u64; ErrorKind::COUNT],
    pub models: Vec<ModelSnapshot>,
}
