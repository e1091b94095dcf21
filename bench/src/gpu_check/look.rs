//! Steps that look at the machine, with our own commands where they are there.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::program::said;
use super::site::{Left, Site};
use super::speed::REGISTERED_GAIN_MIN;
use super::step::{Due, Findings, Stop, fail};
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
    let found = said.json().ok_or_else(|| fail(said.complaint()))?;
    let words = in_levels(&found);
    Ok(Findings::of(found).noted(words))
}

fn in_levels(found: &Value) -> String {
    ["ok", "warn", "fail"].map(|level| format!("{} {level}", found[level])).join(", ")
}

/// What the native container can do with the GPU. Where there is none it must say so, and not break.
pub(super) fn probe(site: &Site, left: Left) -> Result<Findings, Stop> {
    let said = site.ask("foil-container", &["probe", "--json"], left)?;
    let found = json!({ "exit": said.code, "said": said.json(), "complaint": said.err });
    match (&site.gpu, said.code) {
        (Ok(_), Some(0)) => Ok(copies(found)),
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

/// What it measured of copies to the first device.
fn copies(found: Value) -> Findings {
    let measured = &found["said"]["devices"][0]["measured"];
    let speeds = ["pageable", "shared", "shared_registered", "pinned"]
        .map(|memory| (memory, measured[memory]["to_device_gb_s"].as_f64()));
    let [_, shared, registered, _] = speeds.map(|(_, speed)| speed);
    let mut findings = Findings::of(found);
    for (memory, speed) in speeds {
        if let Some(speed) = speed {
            findings = findings.figure(format!("from {memory} memory"), speed, "GB/s", None);
        }
    }
    match shared.zip(registered) {
        Some((shared, registered)) => {
            let due = Some(Due::AtLeast(REGISTERED_GAIN_MIN));
            findings.figure("registered by unregistered", registered / shared, "×", due)
        }
        None => findings.noted("copies were not measured; see the JSON"),
    }
}

fn ours(site: &Site, left: Left, program: &str, arguments: &[&str]) -> Result<Value, Stop> {
    let said = site.ask(program, arguments, left)?;
    match said.json() {
        Some(found) if said.is_success() => Ok(found),
        _ => Err(fail(said.complaint())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::step::Verdict;
    use super::*;

    #[test]
    fn copies_are_told_as_far_as_they_were_measured() {
        let speed = |speed: f64| json!({"to_device_gb_s": speed, "from_device_gb_s": 1.0});
        let measured = json!({"pageable": speed(9.0), "shared": speed(10.0), "pinned": speed(55.0),
            "shared_registered": speed(53.0)});
        let told = copies(json!({"said": {"devices": [{"measured": measured}]}}));
        let last = told.figures.last().expect("a ratio");
        assert_eq!((told.figures.len(), last.value, last.verdict), (5, 5.3, Verdict::Pass));
        let refused = json!({"shared": speed(10.0), "shared_registered": {"error": "801"}});
        let told = copies(json!({"said": {"devices": [{"measured": refused}]}}));
        assert_eq!(told.figures.len(), 1);
        assert!(told.note.contains("not measured"));
    }

    #[test]
    fn a_doctors_lines_are_counted_by_their_level() {
        assert_eq!(in_levels(&json!({"ok": 7, "warn": 2, "fail": 0})), "7 ok, 2 warn, 0 fail");
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
