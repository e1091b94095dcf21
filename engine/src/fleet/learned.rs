//! Keeps what the dispatchers learned for the engine's next life. Runs on the control thread: a dispatcher is asked
//! for its profile by message, and never waits for a disk.

use std::rc::Rc;
use std::time::Duration;

use schemas::lifecycle::ModelSpec;
use tokio::sync::{mpsc, oneshot};

use super::digest;
use super::model::Model;
use super::profiles::Key;
use super::supervisor::Shared;
use super::target::Target;
use crate::dispatch::{Bucket, ControlMsg, LearnedProfile};
use crate::ids::DeviceClass;
use crate::threads;

/// What is lost at most when an engine is killed; a profile changes little in that time once it is known.
const STORE_EVERY: Duration = Duration::from_secs(30);

/// A dispatcher that does not answer within this keeps its profile to itself: it is busy with more than that.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// Taken off the time for the drain at most.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Under which key the model's profile is kept, and what earlier lives of it learned.
pub async fn recall(
    shared: &Shared,
    target: &Target,
    name: &str,
    spec: &ModelSpec,
) -> (Option<Key>, Vec<(DeviceClass, Vec<Bucket>)>) {
    let Some(profiles) = &shared.config.profiles else { return (None, Vec::new()) };
    let (lane, cpus) = (shared.config.lane.memory.name(), threads::available_cpus().len());
    let (target, version, spec) = (target.clone(), target.version, spec.clone());
    // Reads files that may lie far away; other replicas' handshakes go on meanwhile.
    let digest = tokio::task::spawn_blocking(move || digest::of(&target, &spec, lane, cpus)).await;
    let Ok(digest) = digest else { return (None, Vec::new()) };
    let key = Key { model: name.to_owned(), version, digest };
    let stored = profiles.read(&key).unwrap_or_else(|error| {
        tracing::warn!(model = name, "its stored latency profile is ignored: {error}");
        Vec::new()
    });
    (Some(key), stored)
}

/// Stores at intervals, until the fleet ends.
pub async fn keep_storing(shared: Rc<Shared>) {
    let mut stopping = shared.stopping.subscribe();
    loop {
        tokio::select! {
            () = tokio::time::sleep(STORE_EVERY) => store_all(&shared).await,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

/// The last time, with a drain waiting behind it.
pub async fn store_last(shared: &Shared) {
    if tokio::time::timeout(LAST_WAIT, store_all(shared)).await.is_err() {
        tracing::warn!("not every latency profile could be kept within {LAST_WAIT:?}");
    }
}

/// The last time of one model that goes.
pub async fn store_one(shared: &Shared, model: &Model) {
    if tokio::time::timeout(LAST_WAIT, store(shared, model)).await.is_err() {
        tracing::debug!(model = model.name(), "its latency profile was not kept");
    }
}

/// Stores every profile that changed.
async fn store_all(shared: &Shared) {
    let models = shared.models.borrow().clone();
    for model in models {
        store(shared, &model).await;
    }
}

async fn store(shared: &Shared, model: &Model) {
    let Some(profiles) = &shared.config.profiles else { return };
    let Some(known) = model.established.get() else { return };
    let Some(key) = &known.profile_key else { return };
    let Some(learned) = read(&known.control).await else { return };
    let batches = learned.iter().map(|it| u64::from(it.batches)).sum();
    if batches == model.batches_stored.get() {
        return;
    }
    match profiles.write(key, &learned) {
        Ok(()) => model.batches_stored.set(batches),
        Err(error) => {
            tracing::warn!(model = key.model, "its latency profile could not be kept: {error}")
        }
    }
}

/// None: it is too busy, or ends.
pub(super) async fn read(control: &mpsc::Sender<ControlMsg>) -> Option<Vec<LearnedProfile>> {
    tokio::time::timeout(ANSWER_WAIT, ask(control)).await.ok()?
}

async fn ask(control: &mpsc::Sender<ControlMsg>) -> Option<Vec<LearnedProfile>> {
    let (reply, answer) = oneshot::channel();
    control.send(ControlMsg::Profiles(reply)).await.ok()?;
    answer.await.ok()
}
