//! Does what is to be done next for one model, one thing after the other, until nothing of it is left.

use std::rc::Rc;
use std::time::Duration;

use super::FleetError;
use super::check::check;
use super::events::Event;
use super::model::{Managed, Running, Stage};
use super::observe::observe;
use super::reconcile::{Action, Next, next};
use super::replace::replace;
use super::start::start;
use super::wanted::{Failure, ModelRow, Refused, Replicas, Role};
use crate::fleet::autoscale::Bounds;
use crate::fleet::catalog::{DefaultVersion, ModelEntry, ModelState};
use crate::fleet::model::Place;
use crate::fleet::retire::retire;
use crate::fleet::supervisor::set_replicas;
use crate::ids::Version;
use crate::observe::deployments::Outcome;

/// After a change that could not be written: the disk may have room by then.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Between two looks while another engine may be about to take over.
const HANDING_OVER: Duration = Duration::from_millis(200);

/// The longest wait for the next expiry: the wall clock may be set.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Looks after one model.
pub(super) async fn drive(managed: Rc<Managed>) {
    let mut stopping = managed.shared.stopping.subscribe();
    while !*stopping.borrow() && !managed.is_gone() {
        let step = async {
            if managed.shared.handing_over.get() {
                return wait(&managed, HANDING_OVER).await;
            }
            managed.bound_replicas();
            let now = managed.now_ms();
            let decided = next(&managed.row.borrow(), &observe(&managed), now);
            match decided {
                Next::Do(action) => {
                    if let Err(error) = carry_out(&managed, action).await {
                        tracing::error!(
                            model = &*managed.name,
                            "{error}; trying again in {TRY_AGAIN:?}"
                        );
                        tokio::time::sleep(TRY_AGAIN).await;
                    }
                }
                Next::Wait { until_ms } => {
                    let left =
                        until_ms.map(|until| Duration::from_millis(until.saturating_sub(now)));
                    wait(&managed, left.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN)).await;
                }
            }
        };
        tokio::select! {
            () = step => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }
}

async fn wait(managed: &Managed, at_most: Duration) {
    let _looked = tokio::time::timeout(at_most, managed.changed.notified()).await;
}

async fn carry_out(managed: &Rc<Managed>, action: Action) -> Result<(), FleetError> {
    match action {
        Action::Start(version) => {
            let role = managed.row.borrow().versions.get(&version).map(|row| row.role);
            if let Some(role) = role {
                start(managed, version, role);
            }
            Ok(())
        }
        Action::Check(version) => {
            check(managed, version);
            Ok(())
        }
        Action::Publish(version) => {
            publish(managed, version);
            Ok(())
        }
        Action::Activate(version) => activate(managed, version).await,
        Action::Fail(version, why) => fail(managed, version, why).await,
        Action::Expire(version) => managed.transition(|row, _| row.stop(version)).await.map(drop),
        Action::Scale(version, bounds) => {
            scale(managed, version, bounds);
            Ok(())
        }
        Action::Replace(version) => {
            replace(managed, version);
            Ok(())
        }
        Action::Retire(version) => {
            leave(managed, version);
            Ok(())
        }
        Action::RemoveFiles(version) => remove_files(managed, version).await,
    }
}

impl Managed {
    /// Only the version with the traffic is scaled by it.
    fn bound_replicas(&self) {
        let row = self.row.borrow();
        for running in self.running.borrow().values() {
            let Some(model) = running.model() else { continue };
            let bounds = row.replicas.filter(|bounds| bounds.min < bounds.max);
            let is_active = row.active == Some(running.version);
            let bounds =
                bounds.and_then(|it| Bounds::new(it.min, it.max.min(model.replicas_max())).ok());
            // Without bounds given here those of its own model.toml hold.
            model.scale.set(bounds.or(model.target.scale).filter(|_| is_active));
        }
    }

    /// One change of what is wanted, unless it makes no sense any more. True: it is durable.
    pub(super) async fn transition(
        &self,
        change: impl FnOnce(&mut ModelRow, u64) -> Result<(), Refused>,
    ) -> Result<bool, FleetError> {
        let _changing = self.changing.lock().await;
        let mut row = self.row.borrow().clone();
        if change(&mut row, self.now_ms()).is_err() {
            return Ok(false);
        }
        self.commit(row).await?;
        Ok(true)
    }
}

/// From now on requests that name it find it.
fn publish(managed: &Managed, version: u64) {
    let Some(running) = managed.running(version) else { return };
    let Some(entry) = entry(&running) else { return };
    managed.shared.publish(|catalog| catalog.with(entry));
    running.published.set(true);
    told_ready(managed, &running);
}

fn entry(running: &Running) -> Option<ModelEntry> {
    let model = running.model()?;
    let handle = model.established.get()?.handle.clone();
    model.place.set(Place::Served);
    Some(ModelEntry { handle, state: ModelState::Ready })
}

/// Durable first: whoever has seen the new version answer will find it after a crash, too.
async fn activate(managed: &Rc<Managed>, version: u64) -> Result<(), FleetError> {
    let Some(running) = managed.running(version).filter(|it| it.is_live()) else { return Ok(()) };
    let changed = managed.transition(|row, now| {
        let is_candidate = row.versions.get(&version).is_some_and(|it| it.role == Role::Candidate);
        if is_candidate { row.activate(version, now) } else { Err(Refused::NoVersion { version }) }
    });
    if !changed.await? {
        return Ok(());
    }
    running.role.set(Role::Active);
    let Some(entry) = entry(&running) else { return Ok(()) };
    let default = DefaultVersion::Only(Version(version));
    managed.shared.publish(|catalog| catalog.with(entry).with_default(&managed.name, default));
    running.published.set(true);
    if let Some(model) = running.model() {
        managed.shared.announce(&model);
    }
    told_ready(managed, &running);
    Ok(())
}

fn told_ready(managed: &Managed, running: &Running) {
    let (version, checked) = (running.version, running.checked.get());
    managed.count(Outcome::Ready);
    managed.tell(version, &Event::Ready { version, url: managed.url(), checked });
}

async fn fail(managed: &Rc<Managed>, version: u64, why: Failure) -> Result<(), FleetError> {
    let failure = why.clone();
    if managed.transition(|row, _| row.fail(version, failure)).await? {
        tracing::warn!(model = &*managed.name, version, "a deployed version failed: {}", why.error);
        managed.count(Outcome::Failed);
        managed.tell(version, &Event::Failed { version, failure: why });
    }
    leave(managed, version);
    Ok(())
}

pub(super) fn scale(managed: &Managed, version: u64, bounds: Replicas) {
    let Some(running) = managed.running(version) else { return };
    let Some(model) = running.model() else { return };
    running.bounds.set(Some(bounds));
    running.bind(&model);
    // What can't be is for the version's own settings to allow: it is not tried again.
    if bounds.min > model.replicas_max() {
        let (model, most) = (&*managed.name, model.replicas_max());
        tracing::warn!(model, version, "it can't have more than {most} replicas");
    }
    let count = model.wanted.get().unwrap_or(bounds.min);
    if let Err(error) = set_replicas(&managed.shared, &model, count) {
        tracing::warn!(model = &*managed.name, version, "not scaled to {count}: {error}");
    }
}

/// It answers what it accepted and ends, in a task of its own.
fn leave(managed: &Rc<Managed>, version: u64) {
    let Some(running) = managed.running(version).filter(|it| !it.is_leaving()) else { return };
    *running.stage.borrow_mut() = Stage::Leaving;
    let managed = managed.clone();
    tokio::task::spawn_local(async move {
        if let Some(model) = running.model() {
            retire(&managed.shared, &model).await;
        }
        managed.running.borrow_mut().remove(&version);
        managed.changed.notify_one();
    });
}

async fn remove_files(managed: &Rc<Managed>, version: u64) -> Result<(), FleetError> {
    let overseer = managed.overseer()?;
    let (artifacts, name) = (overseer.holds()?.artifacts.clone(), managed.name.clone());
    let removed = tokio::task::spawn_blocking(move || artifacts.remove(&name, version)).await;
    removed.unwrap_or(Ok(())).map_err(FleetError::Disk)?;
    managed.files.borrow_mut().remove(&version);
    managed.places.borrow_mut().remove(&version);
    Ok(())
}
