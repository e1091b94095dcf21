//! A replica on whose device something happened that may have broken it begins anew: it answers what it has, leaves, and
//! comes back with a CUDA context of its own. What waits, waits for it.

use std::sync::Arc;
use std::time::Duration;

use super::Keeper;
use crate::fleet::seats::Taken;

/// Of a life that a suspicion may end: what a model does to its GPU by itself must not keep all that are there loading.
const LIFE_LEAST: Duration = Duration::from_secs(10);

impl Keeper {
    /// Waits until it is to begin anew; says why.
    pub(super) async fn suspicion(&self, seat: Option<&Taken>) -> Arc<str> {
        let Some(seat) = seat else { return std::future::pending().await };
        let clock = self.shared.config.clock;
        let began = clock.now();
        let why = seat.suspect().await;
        tokio::time::sleep(LIFE_LEAST.saturating_sub(clock.now().since(began))).await;
        tracing::warn!(model = self.name(), replica = %self.replica, "begins anew: {why}");
        why
    }
}
