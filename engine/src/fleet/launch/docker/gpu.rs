//! How Docker is asked for a GPU, and how its refusal is told from others.

use bollard::models::{DeviceRequest, ResourcesUlimits};

use super::{API_LEAST, Docker, DockerError, Gear};

/// What NVIDIA's toolkit calls its devices in the Container Device Interface.
const CDI_KIND: &str = "nvidia.com/gpu=";
/// Docker's names for the two ways; the first is where it has such devices from, too.
pub(super) const CDI_DRIVER: &str = "cdi";
const NVIDIA_DRIVER: &str = "nvidia";
/// What a container may do with it: computing, and asking how it is.
const CAPABILITIES: [&str; 3] = ["gpu", "compute", "utility"];

/// Parts of Docker's messages, in lower case, that mean that this host's Docker has no such GPU to give.
const REFUSALS: [&str; 7] = [
    "could not select device driver",
    "cdi device injection failed",
    "unresolvable cdi devices",
    "unknown runtime specified",
    "nvidia-container-cli",
    "nvidia-container-runtime",
    "nvidia-cdi-hook",
];

/// The way to one GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By the name that Docker lists it under.
    Cdi { device: String },
    /// By Docker's driver for NVIDIA; whether it is there shows when the container is started.
    NvidiaDriver { uuid: String },
}

/// Pure: the way that a daemon with this gear has to a GPU or slice; None: it is too old for either.
pub(super) fn way(gear: &Gear, uuid: &str) -> Option<Way> {
    let device = format!("{CDI_KIND}{uuid}");
    if gear.cdi_devices.contains(&device) {
        return Some(Way::Cdi { device });
    }
    (gear.api >= API_LEAST).then(|| Way::NvidiaDriver { uuid: uuid.to_owned() })
}

/// A bound on what a process may pin: what a GPU copies from must stay in memory.
pub(super) fn unlimited_memlock() -> ResourcesUlimits {
    ResourcesUlimits { name: Some("memlock".into()), soft: Some(-1), hard: Some(-1) }
}

impl Way {
    pub(super) fn request(&self) -> DeviceRequest {
        match self {
            // With a count or options Docker refuses it.
            Way::Cdi { device } => DeviceRequest {
                driver: Some(CDI_DRIVER.into()),
                device_ids: Some(vec![device.clone()]),
                ..Default::default()
            },
            Way::NvidiaDriver { uuid } => DeviceRequest {
                driver: Some(NVIDIA_DRIVER.into()),
                device_ids: Some(vec![uuid.clone()]),
                capabilities: Some(vec![CAPABILITIES.map(str::to_owned).into()]),
                ..Default::default()
            },
        }
    }

    /// Docker's driver says by itself which devices are visible; anything else said would be heard first.
    pub(super) fn says_what_is_visible(&self) -> bool {
        matches!(self, Way::NvidiaDriver { .. })
    }
}

impl Gear {
    /// GPUs and slices that Docker lists by name.
    pub fn gpu_names(&self) -> impl Iterator<Item = &str> {
        self.cdi_devices.iter().map(String::as_str).filter(|name| name.starts_with(CDI_KIND))
    }
}

impl Docker {
    /// Asked once, and again after a refusal: somebody may have installed what was lacking.
    pub(super) async fn way_to(&self, uuid: &str) -> Result<Way, DockerError> {
        let known = self.known_gear.take();
        let gear = match known {
            Some(gear) => gear,
            None => self.gear().await?,
        };
        let way = way(&gear, uuid);
        self.known_gear.replace(Some(gear));
        way.ok_or_else(|| DockerError::NoGpuRuntime {
            message: "it is older than Docker 20.10".to_owned(),
        })
    }

    /// Of a container that was to get a GPU.
    pub(super) fn gpu_refused(&self, error: DockerError) -> DockerError {
        match error {
            DockerError::Refused { message, .. } if is_refusal(&message) => {
                self.known_gear.take();
                DockerError::NoGpuRuntime { message }
            }
            error => error,
        }
    }
}

/// Whether Docker means that it has no GPU to give.
fn is_refusal(message: &str) -> bool {
    let message = message.to_lowercase();
    REFUSALS.iter().any(|part| message.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daemon(api: (usize, usize), cdi: &[&str]) -> Gear {
        let cdi_devices = cdi.iter().map(|&it| it.into()).collect();
        Gear { api, cdi_devices, ..Gear::default() }
    }

    #[test]
    fn a_gpu_is_asked_for_by_the_name_that_docker_lists_it_under() {
        let way = way(&daemon((1, 52), &["nvidia.com/gpu=0", "nvidia.com/gpu=GPU-1"]), "GPU-1");
        let way = way.expect("a way");
        let request = way.request();
        assert_eq!(request.driver.as_deref(), Some("cdi"));
        assert_eq!(request.device_ids, Some(vec!["nvidia.com/gpu=GPU-1".to_owned()]));
        assert_eq!((request.count, request.options, request.capabilities), (None, None, None));
        assert!(!way.says_what_is_visible());
    }

    #[test]
    fn a_gpu_that_is_not_listed_is_asked_for_by_the_driver() {
        for offers in [daemon((1, 52), &["nvidia.com/gpu=0"]), daemon((1, 41), &[])] {
            let way = way(&offers, "MIG-1").expect("a way");
            let request = way.request();
            assert_eq!(request.driver.as_deref(), Some("nvidia"));
            assert_eq!(request.device_ids, Some(vec!["MIG-1".to_owned()]));
            let capabilities = request.capabilities.expect("some");
            assert_eq!(capabilities, [["gpu", "compute", "utility"]]);
            assert!(way.says_what_is_visible());
        }
        assert_eq!(way(&daemon((1, 40), &[]), "GPU-1"), None);
    }

    #[test]
    fn refusals_for_want_of_a_gpu_are_told_from_others() {
        for message in [
            "could not select device driver \"nvidia\" with capabilities: [[gpu compute utility]]",
            "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=GPU-1",
            "Unknown runtime specified nvidia",
            "nvidia-container-cli: initialization error: load library failed: libnvidia-ml.so.1",
        ] {
            assert!(is_refusal(message), "{message}");
        }
        assert!(!is_refusal("write /var/lib/docker: no space left on device"));
    }
}
