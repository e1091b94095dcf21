//! `foil ls` and `foil ps`: what there is, as tables for people or as the engine's own JSON.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::ClientError;
use super::answers::{Model, Models, Replica, Replicas, Version};
use super::commands::{print, print_json};
use super::engine_link::{Engine, page};
use crate::cli::fleet::Ls;
use crate::clock::Clock;
use crate::table::{ago, render, rough, size};

pub(super) async fn ls(flags: Ls) -> Result<(), ClientError> {
    let engine = Engine::reach(&flags.reach)?;
    let path = flags.name.as_deref().map_or("/fleet/models".to_owned(), page);
    if flags.json {
        return print_json(&engine.get::<Value>(&path).await?);
    }
    let now = Clock::start().wall();
    print(&match flags.name {
        None => models(&engine.get::<Models>(&path).await?.models, now),
        Some(_) => versions(&engine.get::<Model>(&path).await?, now),
    })
}

pub(super) async fn ps(flags: Ls) -> Result<(), ClientError> {
    let engine = Engine::reach(&flags.reach)?;
    let is_meant = |model: &str| flags.name.as_deref().is_none_or(|name| name == model);
    if flags.json {
        let mut answer = engine.get::<Value>("/fleet/replicas").await?;
        if let Some(list) = answer["replicas"].as_array_mut() {
            list.retain(|it| is_meant(it["model"].as_str().unwrap_or_default()));
        }
        return print_json(&answer);
    }
    let mut found = engine.get::<Replicas>("/fleet/replicas").await?.replicas;
    found.retain(|it| is_meant(&it.model));
    print(&replicas(&found, Clock::start().wall()))
}

fn models(models: &[Model], now: SystemTime) -> String {
    if models.is_empty() {
        return "no models yet; deploy one: foil deploy model.py\n".to_owned();
    }
    let header = ["MODEL", "VERSION", "STANDING", "REPLICAS", "SLO", "LAUNCHER", "DEPLOYED", "URL"];
    let rows: Vec<_> = models.iter().map(|model| model_row(model, now)).collect();
    render(header, &rows)
}

fn model_row(model: &Model, now: SystemTime) -> [String; 8] {
    // A model whose first version has not made it yet shows how that stands.
    let shown = model.active_version().or(model.newest());
    let version = |text: fn(&Version) -> String| shown.map_or(String::new(), text);
    [
        model.name.clone(),
        version(|it| it.version.to_string()),
        version(standing),
        replica_counts(model),
        model.slo.clone().unwrap_or_default(),
        version(|it| it.launcher.clone().unwrap_or_default()),
        shown.and_then(|it| since(it.deployed.as_deref()?, now)).map(ago).unwrap_or_default(),
        model.url.clone().unwrap_or_default(),
    ]
}

/// Live of wanted, and the bounds where the load decides.
fn replica_counts(model: &Model) -> String {
    let counts = model.replicas;
    let bounds = if counts.min == counts.max {
        String::new()
    } else {
        format!(" ({}..{})", counts.min, counts.max)
    };
    format!("{}/{}{bounds}", counts.live, counts.wanted)
}

/// One word: the role tells more where the version has no traffic.
fn standing(version: &Version) -> String {
    match version.role.as_str() {
        "active" | "" => version.standing.clone(),
        role if role == version.standing => role.to_owned(),
        role => format!("{role}, {}", version.standing),
    }
}

fn versions(model: &Model, now: SystemTime) -> String {
    let slo = model.slo.as_ref().map_or(String::new(), |slo| format!("  slo {slo}"));
    let url = model.url.as_ref().map_or(String::new(), |url| format!("  {url}"));
    let from = if model.managed { "" } else { "  served from a TARGET of foil serve" };
    let head = format!("{}  {} replicas{slo}{url}{from}\n", model.name, replica_counts(model));
    let header = ["VERSION", "ROLE", "STANDING", "LAUNCHER", "IMAGE", "SIZE", "DEPLOYED", "NOTE"];
    let mut newest_first: Vec<&Version> = model.versions.iter().collect();
    newest_first.sort_by_key(|it| std::cmp::Reverse(it.version));
    let rows: Vec<_> = newest_first.iter().map(|it| version_row(model, it, now)).collect();
    head + &render(header, &rows)
}

fn version_row(model: &Model, version: &Version, now: SystemTime) -> [String; 8] {
    let deployed = version.deployed.as_deref().and_then(|at| since(at, now));
    [
        version.version.to_string(),
        version.role.clone(),
        version.standing.clone(),
        version.launcher.clone().unwrap_or_default(),
        version.image.clone().unwrap_or_default(),
        version.bytes.map(size).unwrap_or_default(),
        deployed.map(ago).unwrap_or_default(),
        note(model, version, now),
    ]
}

/// Why it is not up; else how long it stays, and whether a rollback leads there.
fn note(model: &Model, version: &Version, now: SystemTime) -> String {
    if let Some(why) = version.why.clone().filter(|why| !why.is_empty()) {
        return why;
    }
    let previous = (model.previous == Some(version.version)).then(|| "rollback leads here".into());
    let warm = version.warm_until.as_deref().and_then(|at| until(at, now));
    let warm = warm.map(|span| format!("warm for {}", rough(whole_minutes(span))));
    previous.into_iter().chain(warm).collect::<Vec<String>>().join(", ")
}

/// Rounded up: ten minutes are not nine a moment later.
fn whole_minutes(span: Duration) -> Duration {
    Duration::from_secs(span.as_secs().div_ceil(60) * 60)
}

fn replicas(replicas: &[Replica], now: SystemTime) -> String {
    if replicas.is_empty() {
        return "no replicas run; `foil ls` shows the models\n".to_owned();
    }
    let header = [
        "MODEL",
        "VERSION",
        "REPLICA",
        "STANDING",
        "LAUNCHER",
        "PID",
        "CONTAINER",
        "DEVICE",
        "ON",
        "RESTARTS",
        "SINCE",
        "LAST ERROR",
    ];
    let rows: Vec<_> = replicas.iter().map(|replica| replica_row(replica, now)).collect();
    render(header, &rows)
}

fn replica_row(replica: &Replica, now: SystemTime) -> [String; 12] {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let since = replica.since.as_deref().and_then(|at| since(at, now));
    [
        replica.model.clone(),
        replica.version.to_string(),
        replica.replica.to_string(),
        replica.standing.clone(),
        text(&replica.launcher),
        replica.pid.map(|pid| pid.to_string()).unwrap_or_default(),
        text(&replica.container),
        text(&replica.device),
        on(replica),
        replica.restarts.to_string(),
        since.map(ago).unwrap_or_default(),
        text(&replica.last_error),
    ]
}

/// The device that it was given, and the CPUs that it is pinned to.
fn on(replica: &Replica) -> String {
    let cpus = replica.cpus.as_ref().filter(|cpus| !cpus.is_empty()).map(|cpus| {
        format!("CPU {}", cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(","))
    });
    let gpu = replica.on.clone().filter(|on| !on.starts_with("cpu"));
    gpu.into_iter().chain(cpus).collect::<Vec<_>>().join(" ")
}

/// How long ago an instant of the engine's was; nothing where it can't be read. Clocks may differ: the future is now.
fn since(instant: &str, now: SystemTime) -> Option<Duration> {
    Some(now.duration_since(moment(instant)?).unwrap_or_default())
}

fn until(instant: &str, now: SystemTime) -> Option<Duration> {
    moment(instant)?.duration_since(now).ok()
}

fn moment(instant: &str) -> Option<SystemTime> {
    Some(instant.parse::<jiff::Timestamp>().ok()?.into())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn now() -> SystemTime {
        moment("2026-01-02T00:10:00Z").unwrap()
    }

    fn digits() -> Model {
        serde_json::from_value(json!({
            "name": "digits", "active": 2, "previous": 1, "managed": true, "slo": "20ms",
            "replicas": {"min": 1, "max": 4, "live": 1, "wanted": 2},
            "url": "http://127.0.0.1:8000/v2/models/digits", "field_of_the_future": 1,
            "versions": [
                {"version": 1, "role": "warm", "standing": "ready", "why": null, "launcher": "process", "image": null,
                 "deployed": "2026-01-01T00:10:00Z", "warm_until": "2026-01-02T00:15:00Z", "digest": "00", "bytes": 1234},
                {"version": 2, "role": "active", "standing": "ready", "why": null, "launcher": "process",
                 "deployed": "2026-01-02T00:07:00Z", "warm_until": null, "bytes": 1234},
                {"version": 3, "role": "failed", "standing": "failed", "why": "exit code 1\nTraceback", "launcher": "process",
                 "deployed": "2026-01-02T00:09:00Z"},
            ],
        }))
        .unwrap()
    }

    #[test]
    fn a_model_is_listed_by_its_active_version() {
        let shown = models(&[digits()], now());
        let expected = "MODEL   VERSION  STANDING  REPLICAS    SLO   LAUNCHER  DEPLOYED       URL\n\
            digits  2        ready     1/2 (1..4)  20ms  process   3 minutes ago  http://127.0.0.1:8000/v2/models/digits\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_models_versions_are_listed_newest_first_with_what_is_worth_knowing() {
        let shown = versions(&digits(), now());
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines[0],
            "digits  1/2 (1..4) replicas  slo 20ms  http://127.0.0.1:8000/v2/models/digits"
        );
        assert!(lines[2].starts_with("3        failed  failed    process   -"), "{shown}");
        assert!(lines[2].ends_with("exit code 1"), "{shown}");
        assert!(
            lines[4].ends_with("24 hours ago    rollback leads here, warm for 5 minutes"),
            "{shown}"
        );
    }

    #[test]
    fn a_first_version_that_is_not_up_shows_its_role() {
        let mut model = digits();
        model.active = None;
        assert!(models(&[model], now()).contains(" failed "));
    }

    #[test]
    fn replicas_show_where_they_run_and_since_when() {
        let replica = serde_json::from_value(json!({
            "model": "digits", "version": 2, "replica": 0, "standing": "live", "launcher": "process", "pid": 7,
            "container": null, "device": "cpu", "cpus": null, "restarts": 0, "since": "2026-01-02T00:09:00Z",
            "last_error": null,
        }));
        let shown = replicas(&[replica.unwrap()], now());
        let expected = "MODEL   VERSION  REPLICA  STANDING  LAUNCHER  PID  DEVICE  RESTARTS  SINCE\n\
            digits  2        0        live      process   7    cpu     0         60 seconds ago\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn replicas_that_were_given_a_device_show_which() {
        let on_a = |on: Value, cpus: Value| -> Replica {
            let replica = json!({
                "model": "m", "version": 1, "replica": 0, "standing": "live", "launcher": "process",
                "device": "gpu", "on": on, "cpus": cpus,
            });
            serde_json::from_value(replica).expect("a replica")
        };
        assert_eq!(on(&on_a(json!("GPU-1"), Value::Null)), "GPU-1");
        assert_eq!(on(&on_a(json!("cpu0"), json!([2, 3]))), "CPU 2,3");
        assert_eq!(on(&on_a(json!("cpu0"), Value::Null)), "");
        assert_eq!(on(&on_a(Value::Null, json!([1]))), "CPU 1");
    }

    #[test]
    fn emptiness_says_what_to_do() {
        assert!(models(&[], now()).contains("foil deploy"));
        assert!(replicas(&[], now()).contains("foil ls"));
    }
}
