//! What GPU hosts need, from the driver to Docker. A machine without NVIDIA's cards is told so in one line.

use super::{Check, Facts, version};
use crate::fleet::devices::inventory::Gpu;
use crate::fleet::devices::nvml::Listing;
use crate::fleet::launch::docker::Gear;
use crate::host::doctor::facts::programs::Toolkit;
use crate::table::counted;

/// Older ones let a container out of its sandbox (CVE-2025-23266).
const TOOLKIT_LEAST: [u32; 3] = [1, 17, 8];

/// What the native container's libraries are of.
const CUDA_LEAST: [u32; 2] = [12, 0];

const TOOLKIT_MEND: &str = "sudo apt install nvidia-container-toolkit  # from NVIDIA's repository: \
     https://docs.nvidia.com/datacenter/cloud-native/container-toolkit";

pub(super) fn judge(facts: &Facts, has_gpus: bool) -> Vec<Check> {
    if !has_gpus {
        return vec![Check::ok("gpus", "none here; models run on CPUs")];
    }
    let mut checks = vec![driver(facts)];
    if let Ok(found) = &facts.gpus {
        checks.push(health(&found.listing));
        checks.extend(slices(&found.listing.gpus));
    }
    // Without Docker a GPU's models run as processes, which need neither.
    if let Ok(gear) = &facts.docker {
        checks.push(toolkit(&facts.toolkit));
        checks.push(docker(gear));
    }
    checks
}

fn driver(facts: &Facts) -> Check {
    let name = "gpu driver";
    match &facts.gpus {
        Err(why) => {
            let found = match facts.cards {
                1 => format!("there is a card of NVIDIA's, but {why}"),
                cards => format!("there are {cards} cards of NVIDIA's, but {why}"),
            };
            Check::fail(name, found, why.remedy())
        }
        Ok(found) => {
            let about = format!("{} (CUDA {})", found.driver.version, found.driver.cuda);
            let [major, minor] = CUDA_LEAST;
            match version(&found.driver.cuda) {
                Some(cuda) if cuda >= CUDA_LEAST => Check::ok(name, about),
                _ => Check::warn(
                    name,
                    format!("{about}; native models need CUDA {major}.{minor}"),
                    "sudo ubuntu-drivers install && sudo reboot  # or what your system calls NVIDIA's newest driver",
                ),
            }
        }
    }
}

fn health(found: &Listing) -> Check {
    let unhealthy = found
        .gpus
        .iter()
        .filter_map(|gpu| Some(format!("{}: {}", gpu.uuid, gpu.health.trouble()?)));
    let troubles: Vec<String> = unhealthy.chain(found.unreadable.clone()).collect();
    if troubles.is_empty() {
        return Check::ok("gpus", format!("{} healthy", found.gpus.len()));
    }
    Check::fail(
        "gpus",
        troubles.join("; "),
        "sudo dmesg | grep -i xid; sudo nvidia-smi --gpu-reset",
    )
}

/// A word only where a GPU is split: then nothing runs on the whole of it.
fn slices(gpus: &[Gpu]) -> Option<Check> {
    let split: Vec<_> = gpus.iter().filter_map(|gpu| Some((gpu, gpu.slices.as_ref()?))).collect();
    let empty = split.iter().find(|(_, slices)| slices.is_empty());
    let count: usize = split.iter().map(|(_, slices)| slices.len()).sum();
    match empty {
        Some((gpu, _)) => Some(Check::warn(
            "gpu slices",
            format!("{} is split (MIG) and has no slice, so nothing runs on it", gpu.uuid),
            format!(
                "sudo nvidia-smi mig -i {0} -cgi 19,19 -C  # or undo it: sudo nvidia-smi -i {0} -mig 0",
                gpu.uuid
            ),
        )),
        None if split.is_empty() => None,
        None => Some(Check::ok(
            "gpu slices",
            format!("{} of {}", counted(count, "slice"), counted(split.len(), "split GPU")),
        )),
    }
}

fn toolkit(found: &Toolkit) -> Check {
    let name = "gpu toolkit";
    let [major, minor, patch] = TOOLKIT_LEAST;
    match found {
        Toolkit::Absent => Check::warn(
            name,
            "nvidia-container-toolkit is not installed, so GPUs are for processes alone",
            TOOLKIT_MEND,
        ),
        Toolkit::Silent { why } => {
            Check::warn(name, format!("nvidia-ctk doesn't say its version: {why}"), TOOLKIT_MEND)
        }
        Toolkit::Version(found) if version(found).is_some_and(|it| it >= TOOLKIT_LEAST) => {
            Check::ok(name, found)
        }
        Toolkit::Version(found) => Check::fail(
            name,
            format!(
                "{found} lets containers out of their sandbox; {major}.{minor}.{patch} does not"
            ),
            "sudo apt install --only-upgrade nvidia-container-toolkit",
        ),
    }
}

/// Either way will do; the newer one names each device.
fn docker(gear: &Gear) -> Check {
    let name = "gpus in docker";
    let listed = gear.gpu_names().count();
    if listed > 0 {
        return Check::ok(name, format!("by CDI ({listed} names)"));
    }
    if gear.runtimes.iter().any(|it| it == "nvidia") {
        return Check::ok(name, "by the nvidia runtime");
    }
    Check::warn(
        name,
        "Docker has neither a runtime nor CDI names for them, so it may refuse to start a GPU's container",
        "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker",
    )
}
