//! Why a replica has no place, said so that whoever reads it can do something about it.

use std::fmt;

use super::CONTEXT_BYTES;
use crate::ids::DeviceClass;

/// A reason for each of an ask's choices, in their order.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub struct NoSeat {
    pub model: String,
    pub reasons: Vec<Refusal>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub class: DeviceClass,
    pub why: Why,
}

/// What stood in the way last: of the devices that passed everything before it, none passed this.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Why {
    #[error(
        "there is no GPU here; run it on a CPU, or on a host with one (`foil doctor` says why none is found)"
    )]
    NoGpu,
    #[error(
        "{uuid} is split (MIG) and has no slice to run on; make slices, or undo the split (`foil doctor` has the commands)"
    )]
    NoSlice { uuid: String },
    #[error("no GPU or slice is named '{name}'; there are {known}")]
    NoneNamed { name: String, known: String },
    #[error("{uuid} is out of service ({reason}), and no other would do; replace or reset it")]
    Unhealthy { uuid: String, reason: String },
    #[error(
        "the only GPU that would do is one replica's alone; take gpu_whole off that model, or add a GPU"
    )]
    HeldWhole,
    #[error(
        "it wants a GPU to itself and none that would do is without replicas; take gpu_whole off, or add a GPU"
    )]
    NoneEmpty,
    #[error(
        "it needs {} of GPU memory ({} of them for CUDA itself) and the most that is free on one is {}; lower gpu_memory, or unload a model",
        Size(*needed_bytes), Size(CONTEXT_BYTES), Size(*free_bytes)
    )]
    GpuMemory { needed_bytes: u64, free_bytes: u64 },
    #[error("there is no CPU here to run on; look at the inventory")]
    NoCpu,
    #[error("CPU {cpu} is not one that the engine may use; name others in cpus")]
    NotThere { cpu: usize },
    #[error(
        "it wants {threads} CPUs of its own and no NUMA node has more than {most}, which a replica stays within; lower threads to {most}"
    )]
    NodeTooSmall { threads: u32, most: usize },
    #[error(
        "it wants {threads} CPUs of its own and the most that are left on one NUMA node are {left}, without the front end's; lower threads, or unload a model"
    )]
    CpusTaken { threads: u32, left: usize },
    #[error(
        "it wants {threads} CPUs of its own and the control group's quota leaves {left:.1}; lower threads, or raise the quota"
    )]
    Quota { threads: u32, left: f64 },
    #[error(
        "it needs {} of memory and the most that is free in one place is {}; lower memory, or unload a model",
        Size(*needed_bytes), Size(*free_bytes)
    )]
    Memory { needed_bytes: u64, free_bytes: u64 },
}

impl Why {
    /// Of a choice of GPU.
    pub fn is_of_gpu(&self) -> bool {
        match self {
            Why::NoGpu
            | Why::NoSlice { .. }
            | Why::NoneNamed { .. }
            | Why::Unhealthy { .. }
            | Why::HeldWhole
            | Why::NoneEmpty
            | Why::GpuMemory { .. } => true,
            Why::NoCpu
            | Why::NotThere { .. }
            | Why::NodeTooSmall { .. }
            | Why::CpusTaken { .. }
            | Why::Quota { .. }
            | Why::Memory { .. } => false,
        }
    }
}

impl NoSeat {
    /// The reasons, each said once.
    pub fn why(&self) -> String {
        let mut told: Vec<String> = Vec::new();
        for Refusal { why, .. } in &self.reasons {
            let reason = format!("{}: {why}", if why.is_of_gpu() { "GPU" } else { "CPU" });
            if !told.contains(&reason) {
                told.push(reason);
            }
        }
        match told.is_empty() {
            true => "nothing says what it may run on; give it a device".to_owned(),
            false => told.join(". "),
        }
    }
}

impl fmt::Display for NoSeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has no place: {}", self.model, self.why())
    }
}

/// `8.5 GiB`; what `gpu_memory` calls g.
pub(super) struct Size(pub(super) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 1000.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(f, "{value:.1} {}", UNITS[unit])
    }
}
