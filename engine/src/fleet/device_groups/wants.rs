//! What a group's replicas want of their device: `device` and its companions in model.toml and in `[[devices]]`.

use crate::config::{DeviceToml, ModelToml};
use crate::fleet::launch::{MemoryError, parse_memory};

/// Of the device that each replica of a group gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Nothing was said: they run wherever the system lets them.
    Anything,
    /// So many CPUs for each, of the engine's choice; 0: it is not pinned.
    Cpu { threads: u32 },
    Gpu {
        /// How the name of the GPU, or of its slice's profile, begins.
        name: Option<String>,
        /// Of one replica; 0: nobody knows.
        memory_bytes: u64,
        /// It shares the GPU with nobody.
        whole: bool,
    },
}

/// Where a model's replicas may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    One(Wants),
    /// `auto`: the first where there is one, else the second.
    Either(Wants, Wants),
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WantsError {
    #[error("device '{device}' does not exist; use cpu, gpu or auto")]
    Device { device: String },
    #[error("device = \"auto\" goes with the whole model; in [[devices]] make a group for each")]
    AutoGroup,
    #[error("{setting} goes with device = \"gpu\" or \"auto\"; say one of them, or leave it out")]
    NeedsGpu { setting: &'static str },
    #[error("threads are CPUs of a replica on the CPU; with device = \"gpu\" leave them out")]
    NeedsCpu,
    #[error("threads is 0; a replica has at least one, or leave it out")]
    NoThreads,
    #[error("cpus names the CPUs, threads lets the engine choose them; leave one of the two out")]
    CpusAndThreads,
    #[error("gpu_memory {0}")]
    Memory(#[from] MemoryError),
    #[error("gpu is empty; write how the GPU's name begins, as in H100, or leave it out")]
    NoName,
}

/// The keys as they stand in either table.
struct Keys<'a> {
    device: Option<&'a str>,
    gpu_memory: Option<&'a str>,
    gpu: Option<&'a str>,
    gpu_whole: Option<bool>,
    threads: Option<u32>,
    has_cpus: bool,
}

pub(super) fn of_model(toml: &ModelToml) -> Result<Said, WantsError> {
    read(&Keys {
        device: toml.device.as_deref(),
        gpu_memory: toml.gpu_memory.as_deref(),
        gpu: toml.gpu.as_deref(),
        gpu_whole: toml.gpu_whole,
        threads: toml.threads,
        has_cpus: toml.cpus.is_some(),
    })
}

pub(super) fn of_group(toml: &DeviceToml) -> Result<Wants, WantsError> {
    let said = read(&Keys {
        device: toml.device.as_deref(),
        gpu_memory: toml.gpu_memory.as_deref(),
        gpu: toml.gpu.as_deref(),
        gpu_whole: toml.gpu_whole,
        threads: toml.threads,
        has_cpus: toml.cpus.is_some(),
    })?;
    match said {
        Said::One(wants) => Ok(wants),
        Said::Either(..) => Err(WantsError::AutoGroup),
    }
}

/// A key of a model that can't stand beside its groups.
pub(super) fn of_groups_alone(toml: &ModelToml) -> Option<&'static str> {
    let keys = [
        ("device", toml.device.is_some()),
        ("gpu_memory", toml.gpu_memory.is_some()),
        ("gpu", toml.gpu.is_some()),
        ("gpu_whole", toml.gpu_whole.is_some()),
        ("threads", toml.threads.is_some()),
    ];
    keys.into_iter().find_map(|(key, said)| said.then_some(key))
}

fn read(keys: &Keys<'_>) -> Result<Said, WantsError> {
    match keys.device {
        None | Some("cpu") => {
            keys.refuse_gpu()?;
            Ok(Said::One(keys.cpu(keys.device.is_some())?))
        }
        Some("gpu") if keys.threads.is_some() => Err(WantsError::NeedsCpu),
        Some("gpu") => Ok(Said::One(keys.gpu()?)),
        Some("auto") => Ok(Said::Either(keys.gpu()?, keys.cpu(true)?)),
        Some(device) => Err(WantsError::Device { device: device.to_owned() }),
    }
}

impl Keys<'_> {
    fn refuse_gpu(&self) -> Result<(), WantsError> {
        let said = [
            ("gpu_memory", self.gpu_memory.is_some()),
            ("gpu", self.gpu.is_some()),
            ("gpu_whole", self.gpu_whole.is_some()),
        ];
        match said.into_iter().find(|(_, said)| *said) {
            Some((setting, _)) => Err(WantsError::NeedsGpu { setting }),
            None => Ok(()),
        }
    }

    fn cpu(&self, device_said: bool) -> Result<Wants, WantsError> {
        match self.threads {
            Some(0) => Err(WantsError::NoThreads),
            Some(_) if self.has_cpus => Err(WantsError::CpusAndThreads),
            Some(threads) => Ok(Wants::Cpu { threads }),
            None if device_said => Ok(Wants::Cpu { threads: 0 }),
            None => Ok(Wants::Anything),
        }
    }

    /// One that nobody knows the memory of shares with nobody.
    fn gpu(&self) -> Result<Wants, WantsError> {
        if self.gpu.is_some_and(|name| name.trim().is_empty()) {
            return Err(WantsError::NoName);
        }
        let memory_bytes = self.gpu_memory.map(parse_memory).transpose()?;
        Ok(Wants::Gpu {
            name: self.gpu.map(|name| name.trim().to_owned()),
            memory_bytes: memory_bytes.unwrap_or(0),
            whole: self.gpu_whole.unwrap_or(false) || memory_bytes.is_none(),
        })
    }
}
