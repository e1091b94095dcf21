//! A replica that should not stay where it is: its next life loads, elsewhere or on the same device, while this one still
//! answers. Where there is no room for both, one that may be broken begins anew, and one on a device that is not fit stays
//! as long as it answers.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use super::birth::Loaded;
use super::life::Life;
use super::seating::Sits;
use super::{Keeper, LifeError};
use crate::fleet::seats::Unfit;
use crate::fleet::standing::Standing;

/// Between two looks for another seat, while the replica stays where it is.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Between two suspicions that lead to a new life: what a model does to its GPU by itself must not keep all that are there
/// loading.
const SUSPECT_PAUSE: Duration = Duration::from_secs(10);

/// A replica that leaves.
pub(super) struct Move {
    pub(super) why: Arc<str>,
    /// None: there was no room for it beside this one.
    pub(super) next: Option<Next>,
}

/// The next life of a replica, as far as it gets without its predecessor's place.
pub(super) struct Next {
    life: Life,
    loaded: Loaded,
    standing: Standing,
}

impl Keeper {
    /// The life that begins now: one that has loaded already, or a new one.
    pub(super) fn begin(&mut self) -> (Life, Option<Loaded>) {
        let Some(next) = self.next.take() else { return (Life::default(), None) };
        self.standing.borrow_mut().becomes(next.standing);
        (next.life, Some(next.loaded))
    }

    /// Waits until it should not stay, and has the next life loaded.
    pub(super) async fn moves(&self, sits: Option<&Sits>) -> Move {
        let Some((sits, seat)) = sits.and_then(|sits| Some((sits, sits.seat.as_ref()?))) else {
            return std::future::pending().await;
        };
        let began = self.shared.config.clock.now();
        let mut said = false;
        loop {
            let why = match seat.unfit().await {
                Unfit::Device(why) => why,
                Unfit::Replica(why) => {
                    let age = self.shared.config.clock.now().since(began);
                    tokio::time::sleep(SUSPECT_PAUSE.saturating_sub(age)).await;
                    if !self.has_room_beside(sits).await {
                        return Move { why, next: None };
                    }
                    why
                }
            };
            match Box::pin(self.load_next()).await {
                Ok(next) => return self.told(why, next),
                Err(error) if !said => {
                    said = true;
                    tracing::warn!(model = self.name(), replica = %self.replica, "stays where it is ({why}): {error}");
                }
                Err(_) => {}
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// For another life on the same kind of device, while this one is still there.
    async fn has_room_beside(&self, sits: &Sits) -> bool {
        self.sit().await.is_ok_and(|there| there.class == sits.class)
    }

    async fn load_next(&self) -> Result<Next, LifeError> {
        let mut life = Life::default();
        let standing = Standing::new(self.replica, self.shared.config.clock.now());
        let standing = RefCell::new(standing);
        let loaded = self.load(&mut life, &standing).await?;
        Ok(Next { life, loaded, standing: standing.into_inner() })
    }

    fn told(&self, why: Arc<str>, next: Next) -> Move {
        let to = next.standing.on.as_deref().unwrap_or("wherever the system lets it");
        tracing::warn!(model = self.name(), replica = %self.replica, to, "begins anew: {why}");
        Move { why, next: Some(next) }
    }

    /// Its next life is ready, or it left to begin anew, or Docker had no GPU to give and it may run without one: no
    /// back-off.
    pub(super) fn goes_on_at_once(&self, error: &LifeError) -> bool {
        let moves = self.next.is_some() || matches!(error, LifeError::Moved { .. });
        if !moves || self.signals.is_ending() {
            return self.goes_without_gpu(error);
        }
        let now = self.shared.config.clock.now();
        self.standing.borrow_mut().waits(now, error.to_string().into());
        true
    }
}
