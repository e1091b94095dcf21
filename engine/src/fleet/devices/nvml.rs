//! GPUs as NVIDIA's management library tells of them. The one place that knows nvml-wrapper.
//!
//! The library is looked for when it is asked for; a machine without it has no GPUs and a reason. Nothing here calls
//! CUDA, so the engine never holds memory of a GPU.

use std::ffi::OsString;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::inventory::{Gpu, Health, Slice};
use super::linux;

pub use self::events::DriverEvents;

mod events;
#[cfg(test)]
mod tests;

/// Names another library in place of the system's: for tests, and for drivers that lie elsewhere.
const LIBRARY_VARIABLE: &str = "FOIL_NVML";
const LIBRARY: &str = "libnvidia-ml.so.1";

/// For the driver to say what there is: one that nothing keeps awake wakes each GPU first, which takes seconds; one whose
/// GPU has fallen off the bus may never answer.
const SURVEY_WAIT: Duration = Duration::from_secs(20);

/// GPUs of one host; the driver itself ends at 64.
const GPUS_MAX: u32 = 256;
/// Slices of one GPU; today's are split into seven.
const SLICES_MAX: u32 = 32;

/// What stands between the card's name and the slice's profile in the name of a slice.
const PROFILE_MARK: &str = " MIG ";

/// Why there are no GPUs.
#[derive(Debug, thiserror::Error)]
pub enum NoGpus {
    #[error("{library} is not here")]
    NoLibrary { library: String },
    #[error("NVIDIA's driver is not loaded")]
    NoDriver,
    #[error("NVIDIA's driver and its library are of different versions, as after an update")]
    TwoVersions,
    #[error("this user may not speak with NVIDIA's driver")]
    NoPermission,
    #[error("NVIDIA's driver has no GPU here")]
    None,
    #[error("NVIDIA's library fails: {why}")]
    Failed { why: String },
}

impl NoGpus {
    /// What to do where there should be some.
    pub fn remedy(&self) -> &'static str {
        match self {
            NoGpus::NoLibrary { .. } => {
                "sudo ubuntu-drivers install  # or your system's package of the driver; of a container: docker run --gpus all …"
            }
            NoGpus::NoDriver => "sudo modprobe nvidia",
            NoGpus::TwoVersions => "sudo reboot",
            NoGpus::NoPermission => "ls -l /dev/nvidia*",
            NoGpus::None => "lspci | grep -i nvidia",
            NoGpus::Failed { .. } => "nvidia-smi",
        }
    }
}

/// NVIDIA's library, opened.
pub struct Gpus {
    nvml: Nvml,
}

/// What was found by looking.
#[derive(Debug, Default)]
pub struct Listing {
    pub gpus: Vec<Gpu>,
    /// GPUs that don't even say who they are.
    pub unreadable: Vec<String>,
}

/// What the driver says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    pub version: String,
    /// The newest CUDA that it runs, as in `12.8`.
    pub cuda: String,
}

/// All that is found once.
#[derive(Debug)]
pub struct Survey {
    pub driver: Driver,
    pub listing: Listing,
}

/// What there is, within a bound: on a thread of its own, which is left behind where the driver hangs.
pub fn survey(library: Option<OsString>) -> Result<Survey, NoGpus> {
    let (tell, told) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let found =
            Gpus::open(library).map(|gpus| Survey { driver: gpus.driver(), listing: gpus.list() });
        // Nobody may wait for it any more.
        let _late = tell.send(found);
    });
    told.recv_timeout(SURVEY_WAIT).unwrap_or_else(|_| {
        let why = format!("no answer within {} s", SURVEY_WAIT.as_secs());
        Err(NoGpus::Failed { why })
    })
}

/// The library that the environment names, if it does.
pub fn library() -> Option<OsString> {
    std::env::var_os(LIBRARY_VARIABLE).filter(|path| !path.is_empty())
}

impl Gpus {
    /// Opens `library`, or the system's.
    pub fn open(library: Option<OsString>) -> Result<Gpus, NoGpus> {
        let library = library.unwrap_or(LIBRARY.into());
        let nvml = Nvml::builder().lib_path(&library).init();
        let nvml = nvml.map_err(|error| match error {
            NvmlError::LibloadingError(_) => {
                NoGpus::NoLibrary { library: library.display().to_string() }
            }
            error => why_none(error),
        })?;
        match nvml.device_count().map_err(why_none)? {
            0 => Err(NoGpus::None),
            _ => Ok(Gpus { nvml }),
        }
    }

    pub fn driver(&self) -> Driver {
        let cuda = self.nvml.sys_cuda_driver_version().unwrap_or_default();
        let (major, minor) = (
            nvml_wrapper::cuda_driver_version_major(cuda),
            nvml_wrapper::cuda_driver_version_minor(cuda),
        );
        let version = self.nvml.sys_driver_version().unwrap_or_default();
        Driver { version, cuda: format!("{major}.{minor}") }
    }

    pub fn list(&self) -> Listing {
        let mut listing = Listing::default();
        for index in 0..self.count() {
            match self.nvml.device_by_index(index).and_then(|device| gpu(&device)) {
                Ok(gpu) => listing.gpus.push(gpu),
                Err(error) => listing.unreadable.push(format!("GPU {index}: {error}")),
            }
        }
        listing
    }

    fn count(&self) -> u32 {
        self.nvml.device_count().unwrap_or(0).min(GPUS_MAX)
    }
}

fn why_none(error: NvmlError) -> NoGpus {
    match error {
        NvmlError::DriverNotLoaded => NoGpus::NoDriver,
        NvmlError::LibRmVersionMismatch => NoGpus::TwoVersions,
        NvmlError::NoPermission => NoGpus::NoPermission,
        error => NoGpus::Failed { why: error.to_string() },
    }
}

/// One that says who it is. What else it does not say is left out; that it is lost shows in its memory.
fn gpu(device: &Device<'_>) -> Result<Gpu, NvmlError> {
    let uuid = device.uuid()?;
    let name = device.name().unwrap_or_default();
    let (memory, health) = match device.memory_info() {
        Ok(memory) => ((memory.total, memory.reserved, memory.used), Health::Healthy),
        Err(error) => ((0, 0, 0), Health::Unhealthy { reason: error.to_string() }),
    };
    let (memory_bytes, reserved_bytes, used_bytes) = memory;
    Ok(Gpu {
        uuid,
        name,
        memory_bytes,
        reserved_bytes,
        used_bytes,
        node: node(device),
        compute_capability: compute_capability(device),
        slices: slices(device),
        health,
    })
}

/// Where it hangs, not where its own memory is (NVML's NUMA node, which only coherent GPUs have).
fn node(device: &Device<'_>) -> Option<u32> {
    linux::node_of_pci(Path::new(linux::ROOT), &device.pci_info().ok()?.bus_id)
}

fn compute_capability(device: &Device<'_>) -> Option<String> {
    let found = device.cuda_compute_capability().ok()?;
    Some(format!("{}.{}", found.major, found.minor))
}

/// None where the card is whole; some, perhaps none of them, where it is split.
fn slices(device: &Device<'_>) -> Option<Vec<Slice>> {
    let is_split = device.mig_mode().is_ok_and(|mode| mode.current != 0);
    is_split.then(|| each_slice(device).filter_map(|device| slice(&device).ok()).collect())
}

fn each_slice<'nvml>(device: &Device<'nvml>) -> impl Iterator<Item = Device<'nvml>> {
    let count = device.mig_device_count().unwrap_or(0).min(SLICES_MAX);
    (0..count).filter_map(|index| device.mig_device_by_index(index).ok())
}

fn slice(device: &Device<'_>) -> Result<Slice, NvmlError> {
    let memory = device.memory_info()?;
    let name = device.name().unwrap_or_default();
    let profile = name.split_once(PROFILE_MARK).map_or(name.as_str(), |(_, profile)| profile);
    Ok(Slice {
        uuid: device.uuid()?,
        profile: profile.to_owned(),
        memory_bytes: memory.total,
        used_bytes: memory.used,
    })
}
