//! Brings one version to life beside whatever runs, within the budget of loads.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::timeout;

use super::model::{Managed, Running, Stage};
use super::wanted::{Failure, Role};
use super::{FleetError, causes, in_archive};
use crate::fleet::cores;
use crate::fleet::keeper::LifeError;
use crate::fleet::launch::{Advice, LaunchError};
use crate::fleet::model::{Model, Place};
use crate::fleet::supervisor::{StartError, begin, start_others};
use crate::fleet::target::{self, Target};
use crate::ids::{ClassId, Version};

/// What other replicas may take after the first before a version goes on with those it has.
const REPLICAS_WAIT: Duration = Duration::from_secs(60);

/// Between two looks whether a replica is live that was not at first.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Begins it; how far it has come is the stage of what is running.
pub(super) fn start(managed: &Rc<Managed>, version: u64, role: Role) {
    let running = Running::new(version, role, &managed.row.borrow());
    managed.running.borrow_mut().insert(version, running.clone());
    let managed = managed.clone();
    tokio::task::spawn_local(async move {
        let came = bring_up(&managed, &running).await;
        settle(&managed, &running, came);
    });
}

/// Why it has not come to life.
enum Stopped {
    /// Nobody wants it any more.
    Unwanted,
    Failed(Failure),
}

fn settle(managed: &Managed, running: &Running, came: Result<(), Stopped>) {
    if !running.is_leaving() {
        match came {
            Ok(()) => *running.stage.borrow_mut() = up(running.role.get()),
            Err(Stopped::Failed(why)) => *running.stage.borrow_mut() = Stage::Failed(why),
            Err(Stopped::Unwanted) => {}
        }
    }
    managed.changed.notify_one();
}

/// What had the traffic was found good before it got it.
fn up(role: Role) -> Stage {
    match role {
        Role::Active | Role::Warm => Stage::Checked,
        Role::Candidate | Role::Held | Role::Stopped | Role::Failed => Stage::Up,
    }
}

async fn bring_up(managed: &Rc<Managed>, running: &Rc<Running>) -> Result<(), Stopped> {
    let overseer = managed.overseer().map_err(|_| Stopped::Unwanted)?;
    let version = running.version;
    if overseer.loads.available_permits() == 0 {
        managed.step(version, "waiting for other models that are loading");
    }
    let budget = overseer.loads.acquire().await.map_err(|_| Stopped::Unwanted)?;
    let read = read(managed, running).await;
    if running.is_leaving() || managed.is_ending() {
        return Err(Stopped::Unwanted);
    }
    let of_start = running.role.get() == Role::Active;
    let first = match read {
        Ok((target, class)) => {
            managed.step(version, "starting");
            let model = make(managed, running, target, class);
            *running.model.borrow_mut() = Some(model.clone());
            let first = begin(&managed.shared, &model).await;
            first
                .unwrap_or_else(|_| Err(StartError::stopping(&model)))
                .map_err(|error| failure(managed, version, &error))
        }
        Err(error) => Err(Failure { error: error.to_string(), ..Failure::default() }),
    };
    drop(budget);
    if of_start {
        overseer.one_started();
    }
    if running.is_leaving() || managed.is_ending() {
        return Err(Stopped::Unwanted);
    }
    match (first, running.model()) {
        (Ok(()), Some(model)) => others(managed, &model).await,
        (Err(why), Some(_)) if of_start => return come_back(managed, running, &why).await,
        (Err(why), _) => return Err(Stopped::Failed(why)),
        (Ok(()), None) => return Err(Stopped::Unwanted),
    }
    Ok(())
}

/// The version that has the traffic is tried until it comes up.
async fn come_back(managed: &Rc<Managed>, running: &Running, why: &Failure) -> Result<(), Stopped> {
    tracing::error!(
        model = &*managed.name,
        version = running.version,
        "the version with the traffic does not come up; trying on: {}",
        why.error
    );
    let Some(model) = running.model() else { return Err(Stopped::Unwanted) };
    while model.live.get() == 0 {
        if running.is_leaving() || managed.is_ending() {
            return Err(Stopped::Unwanted);
        }
        let _looked = timeout(LOOK_EVERY, model.came_up.notified()).await;
    }
    others(managed, &model).await;
    Ok(())
}

/// As many as it is to have, as far as they come in time.
pub(super) async fn others(managed: &Managed, model: &Rc<Model>) {
    start_others(&managed.shared, model);
    let all = async {
        while model.live.get() < model.replicas() as usize {
            model.came_up.notified().await;
        }
    };
    // It answers with those it has.
    let _in_time = timeout(REPLICAS_WAIT, all).await;
}

/// The active version is found by requests from its first hello on; others only once they have been found good.
fn make(managed: &Managed, running: &Running, target: Target, class: ClassId) -> Rc<Model> {
    let active = managed.row.borrow().active.filter(|active| *active != running.version);
    let before = active.and_then(|active| managed.running(active)?.model());
    let is_active = running.role.get() == Role::Active;
    let place = if is_active { Place::Served } else { Place::Beside };
    let model = Model::placed(target, class, place, before.as_ref());
    model.keeps_trying.set(is_active);
    running.published.set(is_active);
    // As many as carry the load now, so that no request waits for more of them when it takes over.
    model.wanted.set(before.and_then(|before| before.wanted.get()));
    running.bind(&model);
    model
}

/// The version as its files have it, with what is set for the model in their place.
pub(super) async fn read(
    managed: &Managed,
    running: &Running,
) -> Result<(Target, ClassId), FleetError> {
    let overseer = managed.overseer()?;
    let directory = overseer.holds()?.artifacts.of(&managed.name, running.version);
    let (name, version) = (managed.name.clone(), Version(running.version));
    let classes = managed.shared.config.classes.clone();
    let cpus = managed.shared.config.repositories.cpus.clone();
    let read = move || {
        let files = |why| FleetError::Files { why };
        let target = target::deployed(&name, version, &directory)
            .map_err(|error| files(in_archive(&error, &directory)))?;
        cores::check(std::slice::from_ref(&target), &cpus)
            .map_err(|error| files(error.to_string()))?;
        let class = target::class_of(&target, &classes).map_err(|it| files(it.to_string()))?;
        Ok((target, class))
    };
    let read = tokio::task::spawn_blocking(read).await.unwrap_or(Err(FleetError::Stopping));
    let (target, class) = read?;
    let slo = running.slo.borrow().clone();
    Ok((target.with_settings(slo.as_deref()), class))
}

/// In a sentence, and without where this engine keeps the version's files.
fn failure(managed: &Managed, version: u64, error: &StartError) -> Failure {
    let directory = managed
        .overseer()
        .ok()
        .and_then(|overseer| Some(overseer.holds().ok()?.artifacts.of(&managed.name, version)));
    let within = directory.map_or(String::new(), |it| format!("{}/", it.display()));
    let shown =
        |text: &str| if within.is_empty() { text.into() } else { text.replace(&within, "") };
    let (whole, output) = (shown(&error.error.to_string()), shown(&error.output));
    let sentence = whole.lines().next().unwrap_or_default().to_owned();
    let output = if output.is_empty() && whole != sentence { whole } else { output };
    let failure = causes::explained(sentence, output);
    match advice(&error.error) {
        Some(Advice { cause, fix }) => Failure { cause: Some(cause), fix: Some(fix), ..failure },
        None => failure,
    }
}

/// What Docker's own errors know of themselves.
fn advice(error: &LifeError) -> Option<Advice> {
    match error {
        LifeError::Launch(LaunchError::Docker(error)) => Some(error.advice()),
        _ => None,
    }
}
