//! How everything stands, as JSON: what the pages of the fleet show.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::FleetError;
use super::asks::Show;
use super::model::{Managed, Running, Stage};
use super::overseer::Overseer;
use super::wanted::{Role, VersionRow};
use crate::cli::Launcher;
use crate::fleet::catalog::{Catalog, ModelEntry, ModelState};
use crate::fleet::launch::Place;
use crate::fleet::model::Model;
use crate::fleet::standing::Standing;

pub(super) async fn show(overseer: &Overseer, what: &Show) -> Result<Value, FleetError> {
    match what {
        Show::Engine => Ok(engine(overseer).await),
        Show::Models => Ok(json!({ "models": models(overseer) })),
        Show::Model { name } => model(overseer, name),
        Show::Replicas => Ok(json!({ "replicas": replicas(overseer) })),
    }
}

async fn engine(overseer: &Overseer) -> Value {
    let launchers = &overseer.shared.config.launchers;
    let available = launchers.available().await;
    let docker = if available.contains(&Launcher::Docker) {
        launchers.docker.about().await.ok().map(|about| json!(about))
    } else {
        None
    };
    let available: Vec<_> = available.into_iter().map(Launcher::name).collect();
    let clock = overseer.shared.config.clock;
    let state = overseer.holds.as_ref().map(|holds| holds.state.display().to_string());
    json!({
        "engine": {
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "started": at(clock.wall_at(crate::clock::Time::ZERO)),
            "state": state,
        },
        "launchers": available,
        "docker": docker,
    })
}

fn models(overseer: &Overseer) -> Vec<Value> {
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    for (name, managed) in &*overseer.models.borrow() {
        if !managed.row.borrow().versions.is_empty() {
            all.insert(name.clone(), self::managed(overseer, managed));
        }
    }
    let catalog = overseer.shared.config.catalog.load();
    for entry in catalog.entries() {
        let name = &*entry.handle.name;
        if !overseer.models.borrow().contains_key(name) && !all.contains_key(name) {
            all.insert(name.to_owned(), unmanaged(overseer, &catalog, name));
        }
    }
    all.into_values().collect()
}

fn model(overseer: &Overseer, name: &str) -> Result<Value, FleetError> {
    match overseer.find(name) {
        Ok(found) => Ok(managed(overseer, &found)),
        Err(error) => {
            let catalog = overseer.shared.config.catalog.load();
            let is_there = catalog.versions(name).next().is_some();
            if is_there { Ok(unmanaged(overseer, &catalog, name)) } else { Err(error) }
        }
    }
}

/// A deployed model.
pub(super) fn managed(overseer: &Overseer, managed: &Managed) -> Value {
    let row = managed.row.borrow();
    let active = row.active.and_then(|version| managed.running(version));
    let model = active.as_ref().and_then(|active| active.model());
    let live = model.as_ref().map_or(0, |model| model.live.get());
    let declared = model.as_ref().map_or(1, |model| model.replicas());
    let bounds = row.replicas.map_or((declared, declared), |it| (it.min, it.max));
    let versions = row.versions.iter().rev();
    let versions: Vec<_> =
        versions.map(|(version, row)| self::version(overseer, managed, *version, row)).collect();
    json!({
        "name": &*managed.name,
        "active": row.active,
        "previous": row.previous,
        "replicas": { "min": bounds.0, "max": bounds.1, "live": live, "wanted": declared },
        "slo": row.slo,
        "managed": true,
        "url": managed.url(),
        "versions": versions,
    })
}

fn version(overseer: &Overseer, managed: &Managed, version: u64, row: &VersionRow) -> Value {
    let place = managed.places.borrow().get(&version).cloned().unwrap_or_default();
    let running = managed.running(version);
    let why = row.why.as_ref().map(|why| why.error.clone());
    let catalog = managed.shared.config.catalog.load();
    let (standing, reason) = standing(&catalog, managed, row.role, running.as_deref());
    json!({
        "version": version,
        "role": row.role.name(),
        "standing": standing,
        "why": why.or(reason),
        "failure": row.why,
        "launcher": launcher(overseer, &place),
        "image": place.image,
        "deployed": at_ms(row.deployed_ms),
        "warm_until": row.warm_until_ms.map(at_ms),
        "digest": row.digest,
        "bytes": row.bytes,
    })
}

fn standing(
    catalog: &Catalog,
    managed: &Managed,
    role: Role,
    running: Option<&Running>,
) -> (&'static str, Option<String>) {
    match (role, running) {
        (Role::Failed, _) => ("failed", None),
        (Role::Stopped, _) => ("stopped", None),
        (_, None) => ("loading", None),
        (_, Some(running)) => match &*running.stage.borrow() {
            Stage::Failed(why) => ("unavailable", Some(why.error.clone())),
            Stage::Leaving => ("stopped", None),
            Stage::Loading => ("loading", last_error(running)),
            // One that had the traffic before the engine's start is not checked again.
            Stage::Up | Stage::Checking if matches!(role, Role::Candidate | Role::Held) => {
                ("loading", None)
            }
            Stage::Up | Stage::Checking | Stage::Checked => {
                match catalog.find(&managed.name, Some(crate::ids::Version(running.version))) {
                    Ok(entry) => state(entry),
                    Err(_) if running.is_live() => ("ready", None),
                    Err(_) => ("unavailable", last_error(running)),
                }
            }
        },
    }
}

/// Of a replica that does not come up.
fn last_error(running: &Running) -> Option<String> {
    let standings = running.model()?.standings();
    standings.iter().find_map(|standing| Some(standing.last_error.as_ref()?.to_string()))
}

fn state(entry: &ModelEntry) -> (&'static str, Option<String>) {
    match &entry.state {
        ModelState::Ready => ("ready", None),
        ModelState::Loading => ("loading", None),
        ModelState::Unavailable { reason, .. }
        | ModelState::Absent { reason, .. }
        | ModelState::Recovering { reason } => ("unavailable", Some(reason.to_string())),
    }
}

/// One from a TARGET, a repository, or a container that came by itself.
fn unmanaged(overseer: &Overseer, catalog: &Catalog, name: &str) -> Value {
    let entries = catalog.entries();
    let of_name: Vec<_> = entries.iter().filter(|entry| &*entry.handle.name == name).collect();
    let newest = of_name.last().map(|entry| entry.handle.version.0);
    let models = overseer.shared.models.borrow();
    let of = |version: u64| {
        models.iter().find(|it| it.name() == Some(name) && it.target.version.0 == version)
    };
    let model = newest.and_then(of);
    let (live, wanted) = model.map_or((0, 1), |model| (model.live.get(), model.replicas()));
    let place =
        |version| of(version).map_or_else(Place::default, |model| model.target.place.clone());
    let versions = of_name.iter().rev().map(|entry| {
        let (standing, why) = state(entry);
        json!({
            "version": entry.handle.version.0,
            "role": if Some(entry.handle.version.0) == newest { "active" } else { "held" },
            "standing": standing,
            "why": why,
            "launcher": launcher(overseer, &place(entry.handle.version.0)),
            "image": place(entry.handle.version.0).image,
            "deployed": null,
            "warm_until": null,
            "digest": null,
            "bytes": null,
        })
    });
    let versions: Vec<_> = versions.collect();
    let slo = of_name.last().and_then(|entry| entry.handle.spec.slo_us);
    json!({
        "name": name,
        "active": newest,
        "previous": null,
        "replicas": { "min": wanted, "max": wanted, "live": live, "wanted": wanted },
        "slo": slo.map(|us| format!("{us}us")),
        "managed": false,
        "url": format!("{}/v2/models/{name}", overseer.shared.config.base_url),
        "versions": versions,
    })
}

/// Every replica there is, by model, version and number.
fn replicas(overseer: &Overseer) -> Vec<Value> {
    let models = overseer.shared.models.borrow();
    let mut models: Vec<_> = models.iter().collect();
    models.sort_by_key(|model| (model.name().unwrap_or_default().to_owned(), model.target.version));
    models.iter().flat_map(|model| of_model(overseer, model)).collect()
}

fn of_model(overseer: &Overseer, model: &Model) -> Vec<Value> {
    let clock = overseer.shared.config.clock;
    let one = |standing: Standing| {
        let devices = &model.target.devices;
        let group = standing.class.map(|class| devices.group(class));
        let group = group.unwrap_or_else(|| devices.of(standing.replica).1);
        json!({
            "model": model.name(),
            "version": model.target.version.0,
            "replica": standing.replica.0,
            "standing": standing.doing.name(),
            "launcher": launcher(overseer, &model.target.place),
            "pid": standing.pid,
            "container": standing.container.as_deref(),
            "device": &*group.name,
            "on": standing.on.as_deref(),
            "cpus": standing.cpus.as_deref().or(group.cpus.as_deref()),
            "why_there": standing.why.as_deref(),
            "restarts": standing.restarts,
            "since": at(clock.wall_at(standing.since)),
            "last_error": standing.last_error.as_deref(),
        })
    };
    model.standings().into_iter().map(one).collect()
}

fn launcher(overseer: &Overseer, place: &Place) -> &'static str {
    overseer.shared.config.launchers.of(place).name()
}

fn at_ms(ms: u64) -> String {
    at(UNIX_EPOCH + Duration::from_millis(ms))
}

/// As RFC 3339 writes it, to the second.
fn at(time: SystemTime) -> String {
    let at = Timestamp::try_from(time).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
