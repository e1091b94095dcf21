//! How much slower than the model's centre curve each replica is.

use crate::ids::{ById, ReplicaId};

/// Share of a new ratio; slow, so that a regime of the model is not taken for one of the replica.
const SHARE: f64 = 0.02;
const RATIO_MIN: f64 = 0.5;
const RATIO_MAX: f64 = 2.0;

#[derive(Debug, Default)]
pub(super) struct Scales {
    by_replica: ById<ReplicaId, f64>,
}

impl Scales {
    pub(super) fn of(&self, replica: ReplicaId) -> f64 {
        self.by_replica.get(&replica).copied().unwrap_or(1.0)
    }

    pub(super) fn observe(&mut self, replica: ReplicaId, ratio: f64) {
        let scale = self.by_replica.entry(replica).or_insert(1.0);
        *scale += SHARE * (ratio.clamp(RATIO_MIN, RATIO_MAX) - *scale);
    }
}
