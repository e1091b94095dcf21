//! The commands that change a deployed model, and its logs.

use std::io::{self, Write};

use hyper::Method;
use serde_json::{Value, json};

use super::answers::Model;
use super::deploy::follow;
use super::engine_link::{Engine, nothing, page, text_body};
use super::error::ClientError;
use super::events;
use super::progress::Progress;
use crate::cli::fleet::{Logs, Patience, Promote, Reach, Rm, Rollback, Scale, SetSlo};
use crate::table::counted;

/// The engine looks this long for lines before it says that there are none.
const LOGS_SILENCE: std::time::Duration = std::time::Duration::from_secs(30);

pub(super) async fn scale(flags: Scale) -> Result<(), ClientError> {
    let wanted = flags.replicas;
    let body = if wanted.min == wanted.max {
        json!({ "replicas": wanted.min })
    } else {
        json!({ "min": wanted.min, "max": wanted.max })
    };
    let said = |model: &Model| {
        let counts = model.replicas;
        let wanted = if counts.min == counts.max {
            counted(counts.min as usize, "replica")
        } else {
            format!("{} to {} replicas, as the load asks for", counts.min, counts.max)
        };
        format!("{}  {wanted}; {} live now\n", model.name, counts.live)
    };
    change(&flags.reach, &flags.name, "scale", body, flags.json, said).await
}

pub(super) async fn slo(flags: SetSlo) -> Result<(), ClientError> {
    let body = match flags.slo.as_str() {
        "none" => json!({ "slo": null }),
        slo => json!({ "slo": slo }),
    };
    let said = |model: &Model| match &model.slo {
        Some(slo) => format!("{}  slo {slo}\n", model.name),
        None => format!("{}  slo as the model declares it\n", model.name),
    };
    change(&flags.reach, &flags.name, "slo", body, flags.json, said).await
}

/// A change that is answered with the model as it is then.
async fn change(
    reach: &Reach,
    name: &str,
    what: &str,
    body: Value,
    json: bool,
    said: impl Fn(&Model) -> String,
) -> Result<(), ClientError> {
    let engine = Engine::reach(reach)?;
    let path = format!("{}/{what}", page(name));
    let answer: Value = engine.json(Method::POST, &path, text_body(body.to_string())).await?;
    if json {
        return print_json(&answer);
    }
    let model = serde_json::from_value(answer)
        .map_err(|error| ClientError::Answer { why: error.to_string() })?;
    print(&said(&model))
}

pub(super) async fn rollback(flags: Rollback) -> Result<(), ClientError> {
    let path = format!("{}/rollback", page(&flags.name));
    activate(&flags.reach, &flags.patience, &flags.name, &path, json!({})).await
}

pub(super) async fn promote(flags: Promote) -> Result<(), ClientError> {
    let path = format!("{}/promote", page(&flags.name));
    let body = json!({ "version": flags.version });
    activate(&flags.reach, &flags.patience, &flags.name, &path, body).await
}

/// A version that takes the traffic, at once or after it has started anew.
async fn activate(
    reach: &Reach,
    patience: &Patience,
    name: &str,
    path: &str,
    body: Value,
) -> Result<(), ClientError> {
    let engine = Engine::reach(reach)?;
    let progress = Progress::new(patience.json);
    let body = text_body(body.to_string());
    let lines = engine.lines(Method::POST, path, body, patience.wait).await?;
    let followed = follow(name, lines, &progress, patience.json).await?;
    let ready = followed.map_err(|failed| ClientError::Failed(events::failure(name, &failed)))?;
    if patience.json {
        return Ok(());
    }
    let url = ready.url.map_or(String::new(), |url| format!("  {url}"));
    print(&format!("{name} v{} has the traffic{url}\n", ready.version))
}

pub(super) async fn rm(flags: Rm) -> Result<(), ClientError> {
    let engine = Engine::reach(&flags.reach)?;
    let path = page(&flags.name);
    let model: Model = engine.get(&path).await?;
    let versions: Vec<u64> = match flags.version {
        Some(version) => vec![version],
        None => model.versions.iter().map(|it| it.version).collect(),
    };
    let query = flags.version.map_or(String::new(), |version| format!("?version={version}"));
    engine.text(Method::DELETE, &(path + &query), nothing()).await?;
    if flags.json {
        return print_json(&json!({ "removed": { "name": flags.name, "versions": versions } }));
    }
    let versions: Vec<String> = versions.iter().map(|version| format!("v{version}")).collect();
    print(&format!("removed {} {}\n", flags.name, versions.join(", ")))
}

pub(super) async fn logs(flags: Logs) -> Result<(), ClientError> {
    let engine = Engine::reach(&flags.reach)?;
    let mut path = format!("{}/logs?lines={}", page(&flags.name), flags.lines);
    path.extend(flags.version.map(|version| format!("&version={version}")));
    path.extend(flags.replica.map(|replica| format!("&replica={replica}")));
    if flags.follow {
        path.push_str("&follow=true");
    }
    let mut lines = engine.lines(Method::GET, &path, nothing(), LOGS_SILENCE).await?;
    if flags.follow {
        lines = lines.patiently();
    }
    while let Some(line) = lines.next().await? {
        print(&format!("{}\n", String::from_utf8_lossy(&line)))?;
    }
    Ok(())
}

/// To standard output, at once.
pub(super) fn print(text: &str) -> Result<(), ClientError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

pub(super) fn print_json(value: &Value) -> Result<(), ClientError> {
    print(&format!("{value:#}\n"))
}
