//! A replica on whose device something happened that may have broken it begins anew: it answers what it has, leaves, and
//! comes back with a CUDA context of its own. What waits, waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::seating::Sits;
use super::{Keeper, LifeError};
use crate::dispatch::ReplicaFault;
use crate::fleet::launch::Container;
use crate::ids::Incarnation;

/// Of a life that a suspicion may end: what a model does to its GPU by itself must not keep all that are there loading.
const LIFE_LEAST: Duration = Duration::from_secs(10);

impl Keeper {
    /// Waits until it is to begin anew.
    pub(super) async fn suspicion(&self, sits: Option<&Sits>) -> Arc<str> {
        let Some(seat) = sits.and_then(|sits| sits.seat.as_ref()) else {
            return std::future::pending().await;
        };
        let clock = self.shared.config.clock;
        let began = clock.now();
        let why = seat.suspect().await;
        tokio::time::sleep(LIFE_LEAST.saturating_sub(clock.now().since(began))).await;
        why
    }

    pub(super) async fn leave_as_suspect(
        &self,
        process: &mut Container,
        incarnation: Incarnation,
        fault: oneshot::Receiver<ReplicaFault>,
        why: Arc<str>,
    ) -> LifeError {
        tracing::warn!(model = self.name(), replica = %self.replica, "begins anew: {why}");
        match self.leave(process, incarnation, fault).await {
            LifeError::Stopping if !self.signals.is_ending() => LifeError::Suspect { why },
            error => error,
        }
    }
}
