//! What became of deployments since the engine started: counted where they are carried out, read by a scrape.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a deployment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was up and found good.
    Ready,
    /// It did not come up, or its answer was not the expected one.
    Failed,
    /// A newer one was wanted before it was ready, or none any more.
    Superseded,
}

impl Outcome {
    pub const ALL: [Outcome; 3] = [Outcome::Ready, Outcome::Failed, Outcome::Superseded];

    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ready => "ready",
            Outcome::Failed => "failed",
            Outcome::Superseded => "superseded",
        }
    }
}

/// One for the whole engine.
#[derive(Clone, Debug, Default)]
pub struct DeploymentCounts(Arc<[AtomicU64; Outcome::ALL.len()]>);

impl DeploymentCounts {
    pub fn count(&self, outcome: Outcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn get(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize].load(Ordering::Relaxed)
    }
}
