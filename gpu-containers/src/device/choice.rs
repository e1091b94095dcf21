//! Which device a container was given. Pure.

use super::{CudaError, DeviceInfo};

/// What the engine says a replica was placed on.
const FOIL_GPU: &str = "FOIL_GPU";
/// What CUDA itself goes by.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";
/// What stands for no device in either.
const NONE: [&str; 5] = ["", "-1", "none", "void", "cpu"];

/// Where a model is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    Cpu,
    /// The device of this UUID, or the first that CUDA shows.
    Gpu(Option<String>),
}

/// From the environment: without either variable, or where one says none, a container runs on the CPU, whatever the
/// machine has.
pub(super) fn wanted(get: impl Fn(&str) -> Option<String>) -> Wanted {
    let named = |name| get(name).map(|value| value.trim().to_owned());
    let given = [named(FOIL_GPU), named(VISIBLE)];
    match given {
        [None, None] => Wanted::Cpu,
        _ if given.iter().flatten().any(|value| NONE.contains(&value.as_str())) => Wanted::Cpu,
        [gpu, _] => Wanted::Gpu(gpu),
    }
}

impl Wanted {
    /// The device meant, among those CUDA shows.
    pub(crate) fn among(&self, visible: &[DeviceInfo]) -> Result<DeviceInfo, CudaError> {
        let uuid = match self {
            Wanted::Gpu(Some(uuid)) => Some(uuid.as_str()),
            Wanted::Gpu(None) | Wanted::Cpu => None,
        };
        let found = match uuid {
            None => visible.first(),
            Some(uuid) => visible.iter().find(|device| means(uuid, device)),
        };
        found.cloned().ok_or_else(|| CudaError::NoDevice {
            wanted: uuid.unwrap_or("a GPU").to_owned(),
            visible: named(visible),
        })
    }
}

/// As CUDA has it, the start of a UUID is enough. A UUID is one whether it is said to be a GPU's or a slice's.
fn means(wanted: &str, device: &DeviceInfo) -> bool {
    let digits = |uuid: &str| {
        let uuid = uuid.to_ascii_lowercase();
        uuid.strip_prefix("mig-").or(uuid.strip_prefix("gpu-")).unwrap_or(&uuid).to_owned()
    };
    let wanted = digits(wanted);
    !wanted.is_empty() && digits(&device.uuid).starts_with(&wanted)
}

fn named(visible: &[DeviceInfo]) -> String {
    let names: Vec<&str> = visible.iter().map(|device| device.uuid.as_str()).collect();
    if names.is_empty() { "there is none".to_owned() } else { names.join(", ") }
}

/// As NVML writes it. A slice says so in its name only.
pub(super) fn uuid_text(bytes: [u8; 16], name: &str) -> String {
    let hex = |part: &[u8]| part.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let parts = [&bytes[..4], &bytes[4..6], &bytes[6..8], &bytes[8..10], &bytes[10..]].map(hex);
    let kind = if name.contains(" MIG ") { "MIG" } else { "GPU" };
    format!("{kind}-{}", parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(settings: &[(&str, &str)]) -> Wanted {
        wanted(|name| {
            let found = settings.iter().find(|(given, _)| *given == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn device(ordinal: i32, uuid: &str) -> DeviceInfo {
        DeviceInfo {
            ordinal,
            uuid: uuid.to_owned(),
            name: "H100".to_owned(),
            compute_capability: (9, 0),
            memory_bytes: 1,
            registers_host_memory: true,
            registers_read_only: false,
        }
    }

    #[test]
    fn without_a_word_of_a_gpu_a_model_runs_on_the_cpu() {
        assert_eq!(of(&[]), Wanted::Cpu);
        for none in NONE {
            assert_eq!(of(&[(VISIBLE, none)]), Wanted::Cpu, "{none:?}");
            assert_eq!(of(&[(FOIL_GPU, none), (VISIBLE, "0")]), Wanted::Cpu, "{none:?}");
            assert_eq!(of(&[(FOIL_GPU, "GPU-1"), (VISIBLE, none)]), Wanted::Cpu, "{none:?}");
        }
        assert_eq!(of(&[(VISIBLE, "0")]), Wanted::Gpu(None));
        let both = of(&[(FOIL_GPU, "GPU-1"), (VISIBLE, "GPU-1")]);
        assert_eq!(both, Wanted::Gpu(Some("GPU-1".to_owned())));
    }

    #[test]
    fn a_device_is_found_by_its_uuid_and_a_wrong_one_is_refused_with_those_there_are() {
        let visible = [device(0, "GPU-aa"), device(1, "GPU-bb")];
        let by = |uuid: &str| Wanted::Gpu(Some(uuid.to_owned())).among(&visible);
        assert_eq!(by("gpu-BB").map(|it| it.ordinal), Ok(1));
        assert_eq!(by("MIG-bb").map(|it| it.ordinal), Ok(1), "whatever it is said to be of");
        let refused = by("GPU-cc").unwrap_err().to_string();
        assert!(refused.contains("GPU-cc") && refused.contains("GPU-aa, GPU-bb"), "{refused}");
        assert_eq!(Wanted::Gpu(None).among(&visible).map(|it| it.ordinal), Ok(0));
        let refused = Wanted::Gpu(None).among(&[]).unwrap_err().to_string();
        assert!(refused.contains("there is none"), "{refused}");
    }

    #[test]
    fn a_uuid_is_written_as_the_tools_of_the_driver_write_it() {
        let bytes = std::array::from_fn(|at| at as u8 * 17);
        let text = uuid_text(bytes, "NVIDIA H100 80GB HBM3");
        assert_eq!(text, "GPU-00112233-4455-6677-8899-aabbccddeeff");
        assert!(uuid_text(bytes, "NVIDIA H100 80GB HBM3 MIG 1g.10gb").starts_with("MIG-"));
    }
}
