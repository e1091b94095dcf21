//! Steps that look at the machine, with our own commands where they are there.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::program::said;
use super::site::{Left, Site};
use super::step::{Findings, Stop, fail, skip};
use crate::environment::{CpuTimes, Environment};

/// What `foil-container probe` exits with where there is no driver.
const EXIT_NO_DRIVER: i32 = 3;
const NVIDIA_SMI_WAIT: Duration = Duration::from_secs(10);

pub(super) fn environment(site: &Site, left: Left) -> Result<Findings, Stop> {
    let detail = json!({
        "machine": Environment::capture(CpuTimes::now(), None),
        "cpus": site.cpus,
        "python": as_value(&site.python),
        "gpu": as_value(&site.gpu),
        "nvidia_smi": nvidia_smi(site, left),
        "lane": { "kind": site.lane.0, "why": site.lane.1 },
        "bundle": site.bundle,
        "model_sizes": site.sizes,
    });
    let kernel = detail["machine"]["kernel"].as_str().unwrap_or_default().to_owned();
    Ok(Findings::of(detail).noted(in_words(site, &kernel)))
}

fn in_words(site: &Site, kernel: &str) -> String {
    let gpu = site.gpu.as_ref().map_or("no GPU".to_owned(), |gpu| gpu.name.clone());
    let python = match &site.python {
        Ok(python) => format!("Python {}", python.version),
        Err(_) => "no Python".to_owned(),
    };
    let torch = site.python.as_ref().ok().and_then(|python| python.torch.as_ref());
    let torch = torch.map_or("no PyTorch".to_owned(), |version| format!("PyTorch {version}"));
    let lane = if site.lane.0 == "posix" { "posix" } else { "memfd" };
    let (cpus, why) = (site.cpus.len(), &site.lane.1);
    format!("Linux {kernel}, {cpus} CPUs, {gpu}, {python}, {torch}, lane {lane}: {why}")
}

fn as_value<T: serde::Serialize>(found: &Result<T, String>) -> Value {
    match found {
        Ok(found) => json!(found),
        Err(why) => json!({ "none": why }),
    }
}

fn nvidia_smi(site: &Site, left: Left) -> Value {
    let limit = left.within(NVIDIA_SMI_WAIT).span();
    let said = said(&mut Command::new("nvidia-smi"), &site.workplace.file(""), limit);
    said.map_or_else(|error| json!({ "none": error.to_string() }), |said| json!(said.out))
}

/// What `foil devices` finds.
pub(super) fn devices(site: &Site, left: Left) -> Result<Findings, Stop> {
    let found = ours(site, left, "foil", &["devices", "--json"])?;
    let gpus = gpus_of(&found);
    if let Ok(gpu) = &site.gpu {
        let named = gpus.iter().any(|it| it["uuid"] == gpu.uuid.as_str());
        if !named {
            return Err(fail(format!("foil devices does not list {}, nvidia-smi does", gpu.uuid)));
        }
    }
    let count = gpus.len() as f64;
    Ok(Findings::of(found).figure("GPUs", count, "", None))
}

fn gpus_of(inventory: &Value) -> Vec<Value> {
    let hosts = inventory["hosts"].as_array().into_iter().flatten();
    hosts.flat_map(|host| host["gpus"].as_array().cloned().unwrap_or_default()).collect()
}

/// Bytes in use on the GPU, whoever uses them, as NVML has it.
pub(super) fn used_bytes(site: &Site, uuid: &str, left: Left) -> Result<f64, Stop> {
    let found = ours(site, left, "foil", &["devices", "--json"])?;
    let gpus = gpus_of(&found);
    let gpu = gpus.iter().find(|gpu| gpu["uuid"] == uuid);
    let used = gpu.and_then(|gpu| gpu["used_bytes"].as_f64());
    used.ok_or_else(|| fail(format!("foil devices does not say what is used of {uuid}")))
}

/// What `foil doctor` says. A line that fails is news for who runs the check, not a failure of it.
pub(super) fn doctor(site: &Site, left: Left) -> Result<Findings, Stop> {
    let said = site.ask("foil", &["doctor", "--json"], left)?;
    if said.is_unknown() {
        return Err(skip("this foil has no doctor"));
    }
    let found = said.json().ok_or_else(|| fail(said.complaint()))?;
    let words = in_levels(&found);
    Ok(Findings::of(found).noted(words))
}

/// How many lines are ok, warn and fail, wherever in the document a line has its level.
fn in_levels(found: &Value) -> String {
    const LEVELS: [&str; 3] = ["ok", "warn", "fail"];
    let text = found.to_string();
    let counted =
        LEVELS.map(|level| format!("{} {level}", text.matches(&format!(":\"{level}\"")).count()));
    counted.join(", ")
}

/// What the native container can do with the GPU. Where there is none it must say so, and not break.
pub(super) fn probe(site: &Site, left: Left) -> Result<Findings, Stop> {
    let said = site.ask("foil-container", &["probe", "--json"], left)?;
    if said.is_unknown() {
        return Err(skip("this foil-container has no probe"));
    }
    let found = json!({ "exit": said.code, "said": said.json(), "complaint": said.err });
    match (&site.gpu, said.code) {
        (Ok(_), Some(0)) => Ok(Findings::of(found).noted("it answers")),
        (Err(_), Some(EXIT_NO_DRIVER)) => {
            Ok(Findings::of(found).noted("no driver, and it says so"))
        }
        (Ok(gpu), _) => Err(fail(format!("{} is there: {}", gpu.name, said.complaint()))),
        (Err(_), _) => Err(fail(format!(
            "without a driver it should exit {EXIT_NO_DRIVER}: {}",
            said.complaint()
        ))),
    }
}

fn ours(site: &Site, left: Left, program: &str, arguments: &[&str]) -> Result<Value, Stop> {
    let said = site.ask(program, arguments, left)?;
    if said.is_unknown() {
        return Err(skip(format!("this {program} has no {}", arguments[0])));
    }
    match said.json() {
        Some(found) if said.is_success() => Ok(found),
        _ => Err(fail(said.complaint())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doctors_lines_are_counted_by_their_level() {
        let found = json!([{"level": "ok"}, {"level": "warn"}, {"level": "ok", "says": "warn"}]);
        assert_eq!(in_levels(&found), "2 ok, 2 warn, 0 fail");
    }

    #[test]
    fn gpus_of_every_host_are_found() {
        let inventory =
            json!({"hosts": [{"gpus": [{"uuid": "a"}]}, {}, {"gpus": [{"uuid": "b"}]}]});
        let uuids: Vec<Value> = gpus_of(&inventory).iter().map(|gpu| gpu["uuid"].clone()).collect();
        assert_eq!(uuids, ["a", "b"]);
        assert!(gpus_of(&json!({})).is_empty());
    }
}
