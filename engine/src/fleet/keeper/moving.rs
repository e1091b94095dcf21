//! A replica whose device is no longer fit goes elsewhere: its next life loads there while this one still answers.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use super::birth::Loaded;
use super::life::Life;
use super::seating::Sits;
use super::{Keeper, LifeError};
use crate::fleet::standing::Standing;

/// Between two looks for another seat, while the replica stays where it is.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// The next life of a replica, as far as it can get without its predecessor's place.
pub(super) struct Moved {
    /// What is the matter with the device that it leaves.
    pub(super) why: Arc<str>,
    life: Life,
    loaded: Loaded,
    standing: Standing,
}

impl Keeper {
    /// The life that begins now: one that has loaded elsewhere, or a new one.
    pub(super) fn begin(&mut self) -> (Life, Option<Loaded>) {
        let Some(moved) = self.next.take() else { return (Life::default(), None) };
        self.standing.borrow_mut().becomes(moved.standing);
        (moved.life, Some(moved.loaded))
    }

    /// Waits until its device is no longer fit, and has the next life loaded elsewhere. Without another seat the replica
    /// stays as long as it answers.
    pub(super) async fn moves(&self, sits: Option<&Sits>) -> Moved {
        let Some(seat) = sits.and_then(|sits| sits.seat.as_ref()) else {
            return std::future::pending().await;
        };
        let mut said = false;
        loop {
            let why = seat.unfit().await;
            match Box::pin(self.load_elsewhere(why)).await {
                Ok(moved) => return moved,
                Err(error) if !said => {
                    said = true;
                    tracing::warn!(model = self.name(), replica = %self.replica, "stays on a device that is not fit: {error}");
                }
                Err(_) => {}
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn load_elsewhere(&self, why: Arc<str>) -> Result<Moved, LifeError> {
        let mut life = Life::default();
        let standing = Standing::new(self.replica, self.shared.config.clock.now());
        let standing = RefCell::new(standing);
        let loaded = self.load(&mut life, &standing).await?;
        let standing = standing.into_inner();
        tracing::warn!(
            model = self.name(),
            replica = %self.replica,
            to = standing.on.as_deref().unwrap_or("the CPU"),
            "leaves its device: {why}"
        );
        Ok(Moved { why, life, loaded, standing })
    }

    /// Its next life is ready, or Docker had no GPU to give and it may run without one: no back-off.
    pub(super) fn goes_on_at_once(&self, error: &LifeError) -> bool {
        if self.next.is_none() || self.signals.is_ending() {
            return self.goes_without_gpu(error);
        }
        let now = self.shared.config.clock.now();
        self.standing.borrow_mut().waits(now, error.to_string().into());
        true
    }
}
