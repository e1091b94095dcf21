//! A GPU, by CUDA's driver API, cuBLAS and NVRTC, which are loaded at run time: the same program serves with and
//! without them.
//!
//! Every call goes through `driver`, `blas` or `rtc` of `call`: a library or a function that isn't there, or an
//! answer other than success, is a [`CudaError`] with the call's name. What is here holds the context it was made in, and
//! the context is current on the one thread that opened it, which is the thread that serves. Lengths are asserted before
//! a call: they are ours. Deliberately absent: what is computed (`models`), host memory (`staging`), several devices.
#![expect(unsafe_code, reason = "CUDA is called through its C interface")]

mod blas;
mod call;
mod choice;
mod kernels;
mod memory;
mod stream;

use std::ffi::{CStr, c_int, c_uint};
use std::rc::Rc;

use cudarc::driver::sys::{
    CUcontext, CUctx_flags, CUdevice, CUdevice_attribute, CUuuid, cuCtxSetCurrent, cuDeviceGet,
    cuDeviceGetAttribute, cuDeviceGetCount, cuDeviceGetName, cuDeviceGetUuid_v2,
    cuDevicePrimaryCtxRelease_v2, cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxSetFlags_v2,
    cuDeviceTotalMem_v2, cuDriverGetVersion, cuInit, cuMemGetInfo_v2,
};

pub use blas::{Blas, Linear};
pub use call::CudaError;
pub use choice::Wanted;
pub use kernels::{Kernels, Pool};
pub use memory::{DeviceMemory, Pinned, Registered, Registration};
pub use stream::{Event, Graph, Stream};

use call::{driver, load_driver};

/// Fewer cores than this, and a thread that waits for the device by spinning takes one from who feeds it.
const CORES_TO_SPIN: usize = 4;
/// Longer names are cut.
const NAME_BYTES_MAX: usize = 256;

/// A device as CUDA shows it to this process.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DeviceInfo {
    pub ordinal: i32,
    /// As NVML and Docker name it: `GPU-…`, of a slice `MIG-…`.
    pub uuid: String,
    pub name: String,
    pub compute_capability: (i32, i32),
    pub memory_bytes: u64,
    /// Host memory that exists already can be pinned.
    pub registers_host_memory: bool,
    /// So can memory that this process may only read.
    pub registers_read_only: bool,
}

impl Wanted {
    /// What this process was given.
    pub fn of_environment() -> Wanted {
        choice::wanted(|name| std::env::var(name).ok())
    }
}

/// The newest CUDA that the driver knows, as `12.4`.
pub fn driver_version() -> Result<String, CudaError> {
    load_driver()?;
    let mut version: c_int = 0;
    // SAFETY: it writes one number.
    driver("cuDriverGetVersion", || unsafe { cuDriverGetVersion(&mut version) })?;
    Ok(format!("{}.{}", version / 1000, version % 1000 / 10))
}

/// What this process may use, in CUDA's order.
pub fn visible() -> Result<Vec<DeviceInfo>, CudaError> {
    load_driver()?;
    // SAFETY: 0 is the only flag there is.
    driver("cuInit", || unsafe { cuInit(0) })?;
    let mut count: c_int = 0;
    // SAFETY: it writes one number.
    driver("cuDeviceGetCount", || unsafe { cuDeviceGetCount(&mut count) })?;
    (0..count).map(describe).collect()
}

fn describe(ordinal: c_int) -> Result<DeviceInfo, CudaError> {
    let device = device(ordinal)?;
    let of = |attribute| attribute_of(device, attribute);
    let capability = (
        of(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        of(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    );
    let registers = of(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED)?;
    let read_only = of(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED)?;
    let name = name_of(device)?;
    Ok(DeviceInfo {
        ordinal,
        uuid: uuid_of(device, &name)?,
        name,
        compute_capability: capability,
        memory_bytes: memory_of(device)?,
        registers_host_memory: registers != 0,
        registers_read_only: read_only != 0,
    })
}

fn device(ordinal: c_int) -> Result<CUdevice, CudaError> {
    let mut device = 0;
    // SAFETY: it writes one handle.
    driver("cuDeviceGet", || unsafe { cuDeviceGet(&mut device, ordinal) })?;
    Ok(device)
}

fn attribute_of(device: CUdevice, attribute: CUdevice_attribute) -> Result<c_int, CudaError> {
    let mut value = 0;
    // SAFETY: it writes one number; the device was just found.
    driver("cuDeviceGetAttribute", || unsafe {
        cuDeviceGetAttribute(&mut value, attribute, device)
    })?;
    Ok(value)
}

fn name_of(device: CUdevice) -> Result<String, CudaError> {
    let mut name = [0_u8; NAME_BYTES_MAX];
    // SAFETY: it writes at most the bytes it is told, a zero at their end.
    driver("cuDeviceGetName", || unsafe {
        cuDeviceGetName(name.as_mut_ptr().cast(), NAME_BYTES_MAX as c_int, device)
    })?;
    let text = CStr::from_bytes_until_nul(&name).map(CStr::to_string_lossy);
    Ok(text.unwrap_or_default().into_owned())
}

/// The second version of the call: the first answers for a slice with its GPU's.
fn uuid_of(device: CUdevice, name: &str) -> Result<String, CudaError> {
    let mut uuid = CUuuid { bytes: [0; 16] };
    // SAFETY: it writes 16 bytes.
    driver("cuDeviceGetUuid_v2", || unsafe { cuDeviceGetUuid_v2(&mut uuid, device) })?;
    Ok(choice::uuid_text(uuid.bytes.map(|byte| byte as u8), name))
}

fn memory_of(device: CUdevice) -> Result<u64, CudaError> {
    let mut bytes = 0_usize;
    // SAFETY: it writes one number.
    driver("cuDeviceTotalMem_v2", || unsafe { cuDeviceTotalMem_v2(&mut bytes, device) })?;
    Ok(bytes as u64)
}

/// The device's primary context, current on the thread that opened it. Released when the last thing made in it is gone.
#[derive(Debug)]
pub struct Context {
    device: CUdevice,
    info: DeviceInfo,
    /// Whoever waits sleeps instead of spinning.
    blocks: bool,
}

impl Context {
    /// Opens a device of [`visible`].
    pub fn open(info: &DeviceInfo) -> Result<Rc<Context>, CudaError> {
        let device = device(info.ordinal)?;
        let blocks = std::thread::available_parallelism().is_ok_and(|it| it.get() < CORES_TO_SPIN);
        if blocks {
            let flags = CUctx_flags::CU_CTX_SCHED_BLOCKING_SYNC as c_uint;
            // SAFETY: plain numbers.
            driver("cuDevicePrimaryCtxSetFlags_v2", || unsafe {
                cuDevicePrimaryCtxSetFlags_v2(device, flags)
            })?;
        }
        let mut raw: CUcontext = std::ptr::null_mut();
        // SAFETY: it writes one handle; `Context` gives the reference back once.
        driver("cuDevicePrimaryCtxRetain", || unsafe {
            cuDevicePrimaryCtxRetain(&mut raw, device)
        })?;
        let context = Context { device, info: info.clone(), blocks };
        // SAFETY: the context was just retained and lives as long as `context`.
        driver("cuCtxSetCurrent", || unsafe { cuCtxSetCurrent(raw) })?;
        Ok(Rc::new(context))
    }

    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn blocks(&self) -> bool {
        self.blocks
    }

    /// Bytes of the device's memory that nobody holds.
    pub fn free_bytes(&self) -> Result<u64, CudaError> {
        let (mut free, mut total) = (0_usize, 0_usize);
        // SAFETY: it writes two numbers.
        driver("cuMemGetInfo_v2", || unsafe { cuMemGetInfo_v2(&mut free, &mut total) })?;
        Ok(free as u64)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once in `open`, and all that was made in it holds it. An error has nobody to go to: this
        // process has no use for the device any more.
        let _released = driver("cuDevicePrimaryCtxRelease_v2", || unsafe {
            cuDevicePrimaryCtxRelease_v2(self.device)
        });
    }
}
