//! A replica whose device is no longer fit, or no longer the best, goes elsewhere: its next life loads there while this
//! one still answers.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use super::birth::Loaded;
use super::life::Life;
use super::{Keeper, LifeError};
use crate::fleet::appraisal::Votes;
use crate::fleet::seats::Taken;
use crate::fleet::standing::Standing;
use crate::ids::DeviceClass;

/// Between two looks for another seat, while the replica stays where it is.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Why a replica goes elsewhere.
enum Call {
    /// Its device is no longer fit.
    Unfit { why: Arc<str> },
    /// Measurement says so.
    Better { why: Arc<str> },
}

/// The next life of a replica, as far as it can get without its predecessor's place.
pub(super) struct Moved {
    call: Call,
    life: Life,
    loaded: Loaded,
    standing: Standing,
}

impl Moved {
    pub(super) fn why(&self) -> Arc<str> {
        match &self.call {
            Call::Unfit { why } | Call::Better { why } => why.clone(),
        }
    }
}

impl Keeper {
    /// The life that begins now: one that has loaded elsewhere, or a new one.
    pub(super) fn begin(&mut self) -> (Life, Option<Loaded>) {
        let Some(moved) = self.next.take() else { return (Life::default(), None) };
        self.moves += u32::from(matches!(moved.call, Call::Better { .. }));
        self.standing.borrow_mut().becomes(moved.standing);
        (moved.life, Some(moved.loaded))
    }

    /// Waits until another device is called for, and has the next life loaded there. Without another seat the replica
    /// stays as long as it answers.
    pub(super) async fn moves(&self, seat: Option<&Taken>) -> Moved {
        let Some(seat) = seat else { return std::future::pending().await };
        let mut said = false;
        loop {
            let (call, other_than) = tokio::select! {
                why = seat.unfit() => (Call::Unfit { why }, None),
                why = self.better(seat) => (Call::Better { why }, Some(seat.seat.class)),
            };
            match Box::pin(self.load_elsewhere(call, other_than)).await {
                Ok(moved) => return moved,
                Err(error) if !said => {
                    said = true;
                    tracing::warn!(model = self.name(), replica = %self.replica, "stays where it is: {error}");
                }
                Err(_) => {}
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until reviews agree that it should run on another kind of device; says why.
    async fn better(&self, seat: &Taken) -> Arc<str> {
        let every = Duration::from_secs(self.shared.config.limits.review_s);
        let mut votes = Votes::default();
        loop {
            tokio::time::sleep(every).await;
            if self.shared.handing_over.get() {
                continue;
            }
            let best = self.best(seat);
            tracing::debug!(model = self.name(), replica = %self.replica, ?best, "was reviewed");
            if votes.cast(seat.seat.class, best.as_ref().map(|best| best.class), self.moves)
                && let Some(best) = best
            {
                return best.why.into();
            }
        }
    }

    async fn load_elsewhere(
        &self,
        call: Call,
        other_than: Option<DeviceClass>,
    ) -> Result<Moved, LifeError> {
        let mut life = Life::default();
        let standing = Standing::new(self.replica, self.shared.config.clock.now());
        let standing = RefCell::new(standing);
        let loaded = self.load(&mut life, &standing, other_than).await?;
        let standing = standing.into_inner();
        let (model, to) = (self.name(), standing.on.as_deref().unwrap_or("the CPU"));
        let replica = self.replica;
        match &call {
            Call::Unfit { why } => tracing::warn!(model, %replica, to, "leaves its device: {why}"),
            Call::Better { why } => tracing::info!(model, %replica, to, "moves: {why}"),
        }
        Ok(Moved { call, life, loaded, standing })
    }

    pub(super) fn say_what_came_of_the_trial(
        &self,
        class: DeviceClass,
        life: &Life,
        error: &LifeError,
    ) {
        let (model, device) = (self.name(), &self.model.target.devices.group(class).name);
        if life.live_since.is_some() {
            tracing::info!(model, %device, "was measured there");
        } else if !self.signals.is_ending() {
            tracing::info!(model, %device, "can't be measured there for now: {error}");
        }
    }

    /// Its next life is ready, or Docker had no GPU to give and it may run without one: no back-off.
    pub(super) fn goes_on_at_once(&self, error: &LifeError) -> bool {
        let moves = self.next.is_some() || matches!(error, LifeError::Suspect { .. });
        if !moves || self.signals.is_ending() {
            return self.goes_without_gpu(error);
        }
        let now = self.shared.config.clock.now();
        self.standing.borrow_mut().waits(now, error.to_string().into());
        true
    }
}
