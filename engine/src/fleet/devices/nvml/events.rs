//! The driver's own events, and looks at what each GPU uses.

use std::path::Path;
use std::time::Duration;

use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::struct_wrappers::event::EventData;
use nvml_wrapper::{Device, EventSet};

use super::{Gpus, each_slice};
use crate::fleet::devices::health::{GpuProcess, Look, MemoryRead, Unread, Waited};
use crate::fleet::devices::linux;

/// NVML's own number where it doesn't know which Xid it was.
const XID_UNKNOWN: u64 = 999;

/// A wait that is under way.
pub struct DriverEvents<'nvml> {
    set: Option<EventSet<'nvml>>,
    /// GPUs that tell of no events, and why; looks watch them alone.
    pub silent: Vec<String>,
}

impl Gpus {
    /// Asks each GPU for its events. One that refuses spoils the set it was to join, so the next is made without it.
    pub fn events(&self) -> Result<DriverEvents<'_>, String> {
        let mut silent = Vec::new();
        let mut refused = Vec::new();
        for _ in 0..=self.count() {
            let set = self.nvml.create_event_set().map_err(|error| error.to_string())?;
            match self.join(set, &refused) {
                Ok(set) => return Ok(DriverEvents { set, silent }),
                Err((index, error)) => {
                    silent.push(format!("GPU {index} tells of no events: {error}"));
                    refused.push(index);
                }
            }
        }
        Ok(DriverEvents { set: None, silent })
    }

    /// All but the refused; no set where none is left.
    fn join<'nvml>(
        &'nvml self,
        mut set: EventSet<'nvml>,
        refused: &[u32],
    ) -> Result<Option<EventSet<'nvml>>, (u32, NvmlError)> {
        let mut count = 0;
        for index in (0..self.count()).filter(|index| !refused.contains(index)) {
            let device = self.nvml.device_by_index(index).map_err(|error| (index, error))?;
            let wanted = wanted(&device).map_err(|error| (index, error))?;
            set = device.register_events(wanted, set).map_err(|error| (index, error.error))?;
            count += 1;
        }
        Ok((count > 0).then_some(set))
    }

    /// One look at each GPU and its slices.
    pub fn look(&self, gpus: &[String]) -> Vec<Look> {
        let look = |gpu: &String| {
            let device = self.nvml.device_by_uuid(gpu.as_str());
            let read = device.and_then(|device| memory(&device)).map_err(unread);
            Look { gpu: gpu.clone(), read }
        };
        gpus.iter().map(look).collect()
    }
}

impl DriverEvents<'_> {
    /// The next event; nothing if none comes within `span`, or sooner.
    pub fn wait(&self, span: Duration) -> Waited {
        let Some(set) = &self.set else { return Waited::Nothing };
        match set.wait(u32::try_from(span.as_millis()).unwrap_or(u32::MAX)) {
            Ok(event) => waited(&event),
            Err(NvmlError::Timeout) => Waited::Nothing,
            Err(NvmlError::GpuLost) => Waited::Lost,
            Err(error) => Waited::Failed { why: error.to_string() },
        }
    }
}

fn wanted(device: &Device<'_>) -> Result<EventTypes, NvmlError> {
    let known = device.supported_event_types()?;
    let wanted = known & (EventTypes::CRITICAL_XID_ERROR | EventTypes::DOUBLE_BIT_ECC_ERROR);
    if wanted.is_empty() { Err(NvmlError::NotSupported) } else { Ok(wanted) }
}

fn waited(event: &EventData<'_>) -> Waited {
    let gpu = match event.device.uuid() {
        Ok(gpu) => gpu,
        // Whose event it was is not known, so it may be anyone's.
        Err(error) => return Waited::Failed { why: format!("an event of no known GPU: {error}") },
    };
    match event.event_data {
        Some(XidError::Value(number)) => Waited::Xid { gpu, number },
        Some(XidError::Unknown) => Waited::Xid { gpu, number: XID_UNKNOWN },
        None if event.event_type.contains(EventTypes::DOUBLE_BIT_ECC_ERROR) => {
            Waited::DoubleBitEcc { gpu }
        }
        None => Waited::Nothing,
    }
}

fn memory(device: &Device<'_>) -> Result<Vec<MemoryRead>, NvmlError> {
    let slices = each_slice(device).filter_map(|slice| read(&slice).ok());
    Ok([read(device)?].into_iter().chain(slices).collect())
}

fn read(device: &Device<'_>) -> Result<MemoryRead, NvmlError> {
    let used_bytes = device.memory_info()?.used;
    let (held_bytes, processes) = held(device);
    Ok(MemoryRead { uuid: device.uuid()?, used_bytes, held_bytes, processes })
}

/// By processes that compute, together and each; None together where the driver doesn't say of all.
fn held(device: &Device<'_>) -> (Option<u64>, Vec<GpuProcess>) {
    let Ok(processes) = device.running_compute_processes() else { return (None, Vec::new()) };
    let bytes = |process: &ProcessInfo| match process.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => Some(bytes),
        UsedGpuMemory::Unavailable => None,
    };
    let of = |process: &ProcessInfo| {
        let lineage = linux::lineage(Path::new(linux::ROOT), process.pid);
        Some(GpuProcess { lineage, bytes: bytes(process)? })
    };
    (processes.iter().map(bytes).sum(), processes.iter().filter_map(of).collect())
}

fn unread(error: NvmlError) -> Unread {
    let is_lost = matches!(
        error,
        NvmlError::GpuLost | NvmlError::ResetRequired | NvmlError::NotFound | NvmlError::IrqIssue
    );
    Unread { why: error.to_string(), is_lost }
}
