//! The same version with other settings comes up beside the one that runs and takes its place, as a load anew does.

use std::rc::Rc;

use super::FleetError;
use super::carry_out::scale;
use super::model::{Managed, Running};
use super::start::{others, read};
use crate::fleet::catalog::{ModelEntry, ModelState};
use crate::fleet::model::{Model, Place};
use crate::fleet::retire::retire;
use crate::fleet::supervisor::{StartError, begin};

/// Begins it. One that does not come up changes nothing, and is not tried again before settings change once more.
pub(super) fn replace(managed: &Rc<Managed>, version: u64) {
    let Some(running) = managed.running(version) else { return };
    running.replacing.set(true);
    running.slo.borrow_mut().clone_from(&managed.row.borrow().slo);
    let managed = managed.clone();
    tokio::task::spawn_local(async move {
        if let Err(error) = renew(&managed, &running).await
            && !managed.is_ending()
        {
            let model = &*managed.name;
            tracing::error!(model, version, "goes on with its old settings: {error}");
        }
        running.replacing.set(false);
        managed.changed.notify_one();
    });
}

async fn renew(managed: &Rc<Managed>, running: &Rc<Running>) -> Result<(), FleetError> {
    let overseer = managed.overseer()?;
    let budget = overseer.loads.acquire().await.map_err(|_| FleetError::Stopping)?;
    let (target, class) = read(managed, running).await?;
    let Some(before) = running.model().filter(|_| !running.is_leaving()) else { return Ok(()) };
    let model = Model::placed(target, class, Place::Beside, Some(&before));
    model.wanted.set(before.wanted.get());
    running.bind(&model);
    let first = begin(&managed.shared, &model).await;
    drop(budget);
    if let Err(error) = first.unwrap_or_else(|_| Err(StartError::stopping(&model))) {
        retire(&managed.shared, &model).await;
        return Err(FleetError::Files { why: error.to_string() });
    }
    others(managed, &model).await;
    if running.is_leaving() || !take_place(managed, running, &model, &before) {
        retire(&managed.shared, &model).await;
        return Ok(());
    }
    retire(&managed.shared, &before).await;
    Ok(())
}

/// In one step of the catalog.
fn take_place(managed: &Managed, running: &Running, model: &Rc<Model>, before: &Model) -> bool {
    let Some(known) = model.established.get().filter(|_| model.live.get() > 0) else {
        return false;
    };
    model.place.set(Place::Served);
    before.place.set(Place::Leaving);
    let entry = ModelEntry { handle: known.handle.clone(), state: ModelState::Ready };
    managed.shared.publish(|catalog| catalog.with(entry));
    *running.model.borrow_mut() = Some(model.clone());
    // It was begun with the bounds of that time.
    if let Some(bounds) = running.bounds.get() {
        scale(managed, running.version, bounds);
    }
    managed.shared.announce(model);
    true
}
