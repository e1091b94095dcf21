//! Warm-up: before anybody's question, a replica runs synthetic batches on its own lane.
//!
//! What they take is where the model's latency profile starts; what their first ones cost (compilers, allocators, cold
//! caches) no caller pays. They pass by the queue and the batcher, which hears of a replica once it is live. Which
//! batch comes next is decided in [`plan`], what they hold in [`rows`], what becomes of a stored profile in [`prior`];
//! here is who is being warmed up. The dispatcher sends and receives.
//!
//! A model that raises on synthetic rows goes live as it is, and is sent no more of them. A replica that dies or stays
//! away in its warm-up is a replica lost like any other.

use std::rc::Rc;
use std::time::Duration;

use schemas::lifecycle::ModelSpec;
use tokio::sync::oneshot;

use crate::batch::latency_profile::Bucket;
use crate::clock::Time;
use crate::ids::{BatchId, DeviceClass, ReplicaId};

pub mod plan;
pub mod prior;
pub mod rows;

use plan::Plan;
use prior::Prior;
use rows::Rows;

/// Synthetic batches have ids the batcher never gets to, so that a reply says which kind it answers.
const FIRST_BATCH: u64 = 1 << 63;

/// Whether a replica is to be warmed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Run,
    /// Switched off for this model or this engine.
    Off,
    /// Its model's replicas died of it.
    GivenUp,
}

/// How a device class came by its profile.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    pub device: DeviceClass,
    pub ended: Ended,
    /// Synthetic batches that came back, and the rows of the largest that counts.
    pub batches: u32,
    pub rows_largest: u32,
    pub took: Duration,
    pub prior: Prior,
    /// Sizes that the prior knew.
    pub prior_sizes: usize,
}

/// How a warm-up ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Done,
    Off,
    GivenUp,
    /// The model raised on a synthetic batch.
    Raised,
    /// No synthetic row fits a slot.
    TooLarge,
}

impl Ended {
    pub fn name(self) -> &'static str {
        match self {
            Ended::Done => "done",
            Ended::Off => "switched off",
            Ended::GivenUp => "given up: replicas ended in it",
            Ended::Raised => "cut short: the model raised on a synthetic batch",
            Ended::TooLarge => "left out: a synthetic row does not fit a slot",
        }
    }
}

/// One replica that is not live yet.
#[derive(Debug)]
pub struct Warming {
    pub replica: ReplicaId,
    pub device: DeviceClass,
    pub plan: Plan,
    pub rows: Rc<Rows>,
    pub ended: Ended,
    /// When the batch that is out has taken too long.
    pub times_out: Time,
    /// Told once it is live.
    pub live: oneshot::Sender<()>,
}

/// Every warm-up of one model.
#[derive(Debug)]
pub struct WarmUps {
    sample: Option<Rc<Rows>>,
    stored: Vec<(DeviceClass, Vec<Bucket>)>,
    warming: Vec<Warming>,
    batches_sent: u64,
    raised: bool,
    origins: Vec<Origin>,
}

impl WarmUps {
    /// `stored`: what earlier lives of the model learned.
    pub fn new(sample: Option<Rows>, stored: Vec<(DeviceClass, Vec<Bucket>)>) -> WarmUps {
        WarmUps {
            sample: sample.map(Rc::new),
            stored,
            warming: Vec::new(),
            batches_sent: 0,
            raised: false,
            origins: Vec::new(),
        }
    }

    // ---- getters ----

    /// Replicas that are not live yet.
    pub fn count(&self) -> usize {
        self.warming.len()
    }

    pub fn is_warming(&self, replica: ReplicaId) -> bool {
        self.warming.iter().any(|it| it.replica == replica)
    }

    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// What earlier lives learned, by class.
    pub fn all_stored(&self) -> &[(DeviceClass, Vec<Bucket>)] {
        &self.stored
    }

    /// What an earlier life learned of this class.
    pub fn stored(&self, device: DeviceClass) -> &[Bucket] {
        let found = self.stored.iter().find(|(class, _)| *class == device);
        found.map_or(&[], |(_, buckets)| buckets.as_slice())
    }

    /// What synthetic batches are made of; a row takes at most `bytes_max`.
    pub fn rows(&self, spec: &ModelSpec, bytes_max: u64) -> Rc<Rows> {
        self.sample.clone().unwrap_or_else(|| Rc::new(Rows::zeros(spec, bytes_max)))
    }

    pub fn has_sample(&self) -> bool {
        self.sample.is_some()
    }

    /// The model raised on a synthetic batch before.
    pub fn raised(&self) -> bool {
        self.raised
    }

    pub fn next_timeout(&self) -> Option<Time> {
        self.warming.iter().map(|it| it.times_out).min()
    }

    /// A replica whose batch is out for too long.
    pub fn overdue(&self, now: Time) -> Option<ReplicaId> {
        self.warming.iter().find(|it| it.times_out <= now).map(|it| it.replica)
    }

    // ---- commands ----

    pub fn begin(&mut self, warming: Warming) {
        self.end(warming.replica);
        self.warming.push(warming);
    }

    pub fn get_mut(&mut self, replica: ReplicaId) -> Option<&mut Warming> {
        self.warming.iter_mut().find(|it| it.replica == replica)
    }

    /// It is live, or gone.
    pub fn end(&mut self, replica: ReplicaId) -> Option<Warming> {
        let at = self.warming.iter().position(|it| it.replica == replica)?;
        Some(self.warming.swap_remove(at))
    }

    pub fn next_batch(&mut self) -> BatchId {
        self.batches_sent += 1;
        BatchId(FIRST_BATCH + self.batches_sent)
    }

    /// Returns whether that is news.
    pub fn handle_raised(&mut self) -> bool {
        !std::mem::replace(&mut self.raised, true)
    }

    pub fn remember(&mut self, origin: Origin) {
        self.origins.retain(|it| it.device != origin.device);
        self.origins.push(origin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::warm_up::plan::{Bounds, Care};

    fn warming(replica: u32, times_out_s: u64) -> Warming {
        let bounds = Bounds { rows_max: 1, slo: Duration::from_secs(1), care: Care::Measure };
        let spec = ModelSpec {
            name: "m".into(),
            platform: "test".into(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            batched: false,
            max_batch: 1,
            slo_us: None,
            late: schemas::lifecycle::Late::Serve,
            batch_timeout_us: 1,
            replicas: 1,
            pad: false,
            decoupled: false,
        };
        Warming {
            replica: ReplicaId(replica),
            device: DeviceClass(0),
            plan: Plan::new(bounds),
            rows: Rc::new(Rows::zeros(&spec, 0)),
            ended: Ended::Done,
            times_out: Time::ZERO.after(Duration::from_secs(times_out_s)),
            live: oneshot::channel().0,
        }
    }

    #[test]
    fn the_batch_that_is_out_for_longest_is_overdue_first() {
        let mut all = WarmUps::new(None, Vec::new());
        assert_eq!(all.next_timeout(), None);
        all.begin(warming(0, 9));
        all.begin(warming(1, 5));
        let five = Time::ZERO.after(Duration::from_secs(5));
        assert_eq!(all.next_timeout(), Some(five));
        assert_eq!(all.overdue(five), Some(ReplicaId(1)));
        assert!(all.end(ReplicaId(1)).is_some() && all.end(ReplicaId(1)).is_none());
        assert_eq!((all.overdue(five), all.count()), (None, 1));
    }

    #[test]
    fn ids_of_synthetic_batches_are_none_of_the_batchers() {
        let mut all = WarmUps::new(None, Vec::new());
        let (first, second) = (all.next_batch(), all.next_batch());
        assert!(first != second && first.0 > u64::MAX / 2);
    }

    #[test]
    fn a_model_that_raises_is_news_once() {
        let mut all = WarmUps::new(None, Vec::new());
        assert!(all.handle_raised() && !all.handle_raised() && all.raised());
    }
}
