//! What a container is told of its seat.

use std::ffi::OsString;

use crate::fleet::device_groups::{DeviceGroup, Wants};

/// CUDA's own: which GPUs it shows, by UUID; an empty one hides all.
const CUDA_DEVICES: &str = "CUDA_VISIBLE_DEVICES";
/// Of NVIDIA's container runtime. Images made for CUDA ask for all GPUs by it.
const NVIDIA_DEVICES: &str = "NVIDIA_VISIBLE_DEVICES";
const NO_DEVICE: &str = "void";
/// Ours.
const GPU: &str = "FOIL_GPU";
/// How idle threads of OpenMP wait: by default they spin, which takes the time of whoever else has the CPU.
const WAIT_POLICY: &str = "OMP_WAIT_POLICY";

type Variables = Vec<(String, OsString)>;

/// What the model's own variables may change.
pub fn advice(group: &DeviceGroup, shares_cpus: bool) -> Variables {
    match group.wants {
        Wants::Cpu { .. } if shares_cpus => vec![variable(WAIT_POLICY, "PASSIVE")],
        _ => Vec::new(),
    }
}

/// What nobody may change: a replica sees the device that it was given and no other.
pub fn devices(group: &DeviceGroup, gpu: Option<&str>) -> Variables {
    match (&group.wants, gpu) {
        (_, Some(uuid)) => vec![variable(CUDA_DEVICES, uuid), variable(GPU, uuid)],
        (Wants::Cpu { .. }, None) => {
            vec![variable(CUDA_DEVICES, ""), variable(NVIDIA_DEVICES, NO_DEVICE)]
        }
        (Wants::Anything | Wants::Gpu { .. }, None) => Vec::new(),
    }
}

fn variable(name: &str, value: &str) -> (String, OsString) {
    (name.to_owned(), value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(wants: Wants) -> DeviceGroup {
        DeviceGroup { name: "g".into(), replicas: None, env: Vec::new(), cpus: None, wants }
    }

    #[test]
    fn a_replica_sees_its_own_gpu_or_none() {
        let gpu = group(Wants::Gpu { name: None, memory_bytes: 1, whole: false });
        let told = devices(&gpu, Some("GPU-1"));
        assert_eq!(told, [variable(CUDA_DEVICES, "GPU-1"), variable(GPU, "GPU-1")]);
        let told = devices(&group(Wants::Cpu { threads: 2 }), None);
        assert_eq!(told, [variable(CUDA_DEVICES, ""), variable(NVIDIA_DEVICES, NO_DEVICE)]);
    }

    #[test]
    fn a_model_that_says_nothing_is_told_nothing() {
        let silent = group(Wants::Anything);
        assert_eq!(devices(&silent, None), []);
        assert_eq!(advice(&silent, true), []);
    }

    #[test]
    fn threads_wait_without_spinning_where_their_cpus_are_shared() {
        let cpu = group(Wants::Cpu { threads: 1 });
        assert_eq!(advice(&cpu, true), [variable(WAIT_POLICY, "PASSIVE")]);
        assert_eq!(advice(&cpu, false), []);
    }
}
