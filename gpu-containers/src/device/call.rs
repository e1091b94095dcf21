//! The one way into CUDA's libraries: loaded or refused, guarded, checked.

use std::any::Any;
use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use cudarc::cublas::sys as cublas_sys;
use cudarc::driver::sys::{self, CUresult};
use cudarc::nvrtc::sys as nvrtc_sys;

/// Why the device did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CudaError {
    #[error("{library} can't be loaded: {mend}")]
    NoLibrary { library: &'static str, mend: &'static str },
    #[error("{call} failed: {name} ({code})")]
    Failed { call: &'static str, name: String, code: u32 },
    #[error("{call} can't be called, the library is of another version: {message}")]
    Uncallable { call: &'static str, message: String },
    #[error("{call} has nothing to say for {seconds} s: the device hangs")]
    Silent { call: &'static str, seconds: u64 },
    #[error("nvrtcCompileProgram failed: {log}")]
    Compile { log: String },
    #[error("{wanted} is not among the GPUs this process may use: {visible}")]
    NoDevice { wanted: String, visible: String },
}

/// Before any call of the driver's: bindings whose library is missing panic.
pub(super) fn load_driver() -> Result<(), CudaError> {
    let mend =
        "install NVIDIA's driver; in Docker, ask for the GPU (--gpus) with the container toolkit";
    // SAFETY: it only loads a library.
    loaded("libcuda.so.1", mend, || unsafe { sys::is_culib_present() })
}

pub(super) fn load_blas() -> Result<(), CudaError> {
    let mend = "install cuBLAS of CUDA 12 or 13, or name its directory in LD_LIBRARY_PATH";
    // SAFETY: it only loads a library.
    loaded("libcublas.so", mend, || unsafe { cublas_sys::is_culib_present() })
}

pub(super) fn load_rtc() -> Result<(), CudaError> {
    let mend = "install NVRTC of CUDA 12 or 13, or name its directory in LD_LIBRARY_PATH";
    // SAFETY: it only loads a library.
    loaded("libnvrtc.so", mend, || unsafe { nvrtc_sys::is_culib_present() })
}

fn loaded(
    library: &'static str,
    mend: &'static str,
    present: impl FnOnce() -> bool,
) -> Result<(), CudaError> {
    match catch_unwind(AssertUnwindSafe(present)) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(CudaError::NoLibrary { library, mend }),
    }
}

/// A call of the driver's.
pub(super) fn driver(call: &'static str, run: impl FnOnce() -> CUresult) -> Result<(), CudaError> {
    match guarded(call, run)? {
        CUresult::CUDA_SUCCESS => Ok(()),
        result => Err(CudaError::Failed { call, name: driver_name(result), code: result as u32 }),
    }
}

/// Whether what was asked for is done; a call of the driver's that says "not yet" by its result.
pub(super) fn is_done(
    call: &'static str,
    run: impl FnOnce() -> CUresult,
) -> Result<bool, CudaError> {
    match guarded(call, run)? {
        CUresult::CUDA_ERROR_NOT_READY => Ok(false),
        result => driver(call, || result).map(|()| true),
    }
}

/// A call of cuBLAS's.
pub(super) fn blas(
    call: &'static str,
    run: impl FnOnce() -> cublas_sys::cublasStatus_t,
) -> Result<(), CudaError> {
    match guarded(call, run)? {
        cublas_sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS => Ok(()),
        status => Err(CudaError::Failed { call, name: format!("{status:?}"), code: status as u32 }),
    }
}

/// A call of NVRTC's.
pub(super) fn rtc(
    call: &'static str,
    run: impl FnOnce() -> nvrtc_sys::nvrtcResult,
) -> Result<(), CudaError> {
    match guarded(call, run)? {
        nvrtc_sys::nvrtcResult::NVRTC_SUCCESS => Ok(()),
        result => Err(CudaError::Failed { call, name: format!("{result:?}"), code: result as u32 }),
    }
}

/// A function that the library lacks panics in the bindings.
fn guarded<R>(call: &'static str, run: impl FnOnce() -> R) -> Result<R, CudaError> {
    catch_unwind(AssertUnwindSafe(run))
        .map_err(|panic| CudaError::Uncallable { call, message: said(panic.as_ref()) })
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

/// By the driver itself, which knows results that the bindings don't.
fn driver_name(result: CUresult) -> String {
    let mut name: *const c_char = std::ptr::null();
    // SAFETY: it writes one pointer, to a text that is never freed, or null for results it doesn't know.
    let asked = guarded("cuGetErrorName", || unsafe { sys::cuGetErrorName(result, &mut name) });
    if asked.is_err() || name.is_null() {
        return format!("{result:?}");
    }
    // SAFETY: not null, so one of the driver's own texts, which end in a zero.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_fails_or_is_missing_is_named() {
        let missing = guarded("cuNever", || -> u32 { panic!("Missing symbol cuNever") });
        let text = missing.unwrap_err().to_string();
        assert!(text.starts_with("cuNever can't be called") && text.contains("Missing symbol"));
        let status = cublas_sys::cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED;
        let text = blas("cublasCreate_v2", || status).unwrap_err().to_string();
        assert_eq!(text, "cublasCreate_v2 failed: CUBLAS_STATUS_ALLOC_FAILED (3)");
        assert_eq!(driver("cuInit", || CUresult::CUDA_SUCCESS), Ok(()));
    }

    #[test]
    fn a_library_that_is_not_there_says_what_to_install() {
        let text = loaded("libcuda.so.1", "install it", || false).unwrap_err().to_string();
        assert_eq!(text, "libcuda.so.1 can't be loaded: install it");
    }
}
