//! How many replicas a model has, changed while it serves: more keepers, or the ones of the highest ids are told to go.
//!
//! Ids stay dense. One that is on its way out keeps its id until it has gone; if it is wanted again by then, it starts
//! anew. What goes answers the batch it has, within `limits.drain_s`.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::keeper::{First, Keeper};
use super::model::Model;
use super::standing::Standing;
use super::supervisor::Shared;
use crate::ids::{DeviceClass, ReplicaId};

#[cfg(test)]
mod tests;

/// A number of replicas that a model can't have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScaleError {
    #[error("a model has at least one replica; remove it if it is not to be served")]
    None,
    #[error("{wanted} replicas are more than this model can have; use at most {most}")]
    TooMany { wanted: u32, most: u32 },
}

/// Who keeps one replica, how to tell that it is to go, and what it is doing.
pub struct Kept {
    pub replica: ReplicaId,
    pub standing: Rc<RefCell<Standing>>,
    leave: watch::Sender<bool>,
    keeper: JoinHandle<()>,
}

impl Kept {
    fn is_leaving(&self) -> bool {
        *self.leave.borrow()
    }
}

/// Gives a model so many replicas, now or once its first one is live; it serves all the while.
pub fn set_replicas(shared: &Rc<Shared>, model: &Rc<Model>, wanted: u32) -> Result<(), ScaleError> {
    let most = model.replicas_max();
    match wanted {
        0 => return Err(ScaleError::None),
        _ if wanted > most => return Err(ScaleError::TooMany { wanted, most }),
        _ => model.wanted.set(Some(wanted)),
    }
    adjust(shared, model);
    Ok(())
}

/// The first replica is live.
pub fn start_others(shared: &Rc<Shared>, model: &Rc<Model>) {
    model.others_may_start.set(true);
    adjust(shared, model);
}

/// Waits for the end of those that were told to.
pub async fn keepers_ended(model: &Model) {
    let keepers = std::mem::take(&mut *model.keepers.borrow_mut());
    for kept in keepers {
        if let Err(error) = kept.keeper.await {
            tracing::error!(%error, "a replica's keeper ended early");
        }
    }
}

/// From now on there is such a replica.
pub fn keep(shared: &Rc<Shared>, model: &Rc<Model>, replica: ReplicaId, first: Option<First>) {
    keep_on(shared, model, replica, first, None);
}

/// A replica more, of the next id, that lives once and only until it was measured on such a device.
pub fn try_on(shared: &Rc<Shared>, model: &Rc<Model>, class: DeviceClass) {
    keep_on(shared, model, ReplicaId(model.replicas()), None, Some(class));
}

fn keep_on(
    shared: &Rc<Shared>,
    model: &Rc<Model>,
    replica: ReplicaId,
    first: Option<First>,
    trial: Option<DeviceClass>,
) {
    let (leave, leaving) = watch::channel(false);
    let standing = Standing::new(replica, shared.config.clock.now());
    let standing = Rc::new(RefCell::new(standing));
    let keeper =
        Keeper::new(shared.clone(), model.clone(), replica, leaving.clone(), standing.clone());
    let keeper = keeper.on_trial(trial);
    let (shared, of) = (shared.clone(), model.clone());
    let keeper = tokio::task::spawn_local(async move {
        keeper.run(first).await;
        if *leaving.borrow() || trial.is_some() {
            of.keepers.borrow_mut().retain(|kept| kept.replica != replica);
            adjust(&shared, &of);
        }
    });
    model.keepers.borrow_mut().push(Kept { replica, standing, leave, keeper });
}

/// Starts what is missing and tells to go what is too much. Whoever is still on its way out is looked at again once it
/// has gone.
fn adjust(shared: &Rc<Shared>, model: &Rc<Model>) {
    if !model.others_may_start.get() || *model.stopping.borrow() {
        return;
    }
    let wanted = model.replicas();
    for kept in model.keepers.borrow().iter() {
        if kept.replica.0 >= wanted && !kept.is_leaving() {
            kept.leave.send_replace(true);
        }
    }
    let is_kept = |id: &u32| model.keepers.borrow().iter().any(|kept| kept.replica.0 == *id);
    let missing: Vec<_> = (0..wanted).filter(|id| !is_kept(id)).collect();
    missing.into_iter().for_each(|id| keep(shared, model, ReplicaId(id), None));
}
