//! Matrix products by cuBLAS.

use std::ffi::c_int;

use cudarc::cublas::sys::{
    cublasCreate_v2, cublasDestroy_v2, cublasHandle_t, cublasOperation_t, cublasSetStream_v2,
    cublasSetWorkspace_v2, cublasSgemm_v2,
};

use super::call::{blas, load_blas};
use super::{CudaError, DeviceMemory, Stream};

/// What NVIDIA recommends for its largest devices. Given beforehand, so that no product in a graph allocates.
const WORKSPACE_BYTES: usize = 32 << 20;

/// cuBLAS for one stream.
#[derive(Debug)]
pub struct Blas {
    raw: cublasHandle_t,
    /// After the handle: dropped once that is destroyed.
    _workspace: DeviceMemory,
}

/// `outputs = inputs · weightsᵀ`: row-major, one row of `inputs` a task, one row of `weights` an output.
pub struct Linear<'a> {
    pub weights: &'a DeviceMemory,
    pub inputs: &'a DeviceMemory,
    pub outputs: &'a DeviceMemory,
    pub rows: usize,
    pub input_width: usize,
    pub output_width: usize,
}

impl Blas {
    pub fn new(stream: &Stream) -> Result<Blas, CudaError> {
        load_blas()?;
        let workspace = DeviceMemory::zeroed(stream, WORKSPACE_BYTES)?;
        let mut raw: cublasHandle_t = std::ptr::null_mut();
        // SAFETY: it writes one handle; the context is current.
        blas("cublasCreate_v2", || unsafe { cublasCreate_v2(&mut raw) })?;
        let made = Blas { raw, _workspace: workspace };
        let at = made._workspace.at() as *mut _;
        // The stream first: setting it takes the workspace away.
        // SAFETY: handle and stream live; the stream outlives the handle's use, as calls borrow what they work on.
        blas("cublasSetStream_v2", || unsafe { cublasSetStream_v2(raw, stream.raw().cast()) })?;
        // SAFETY: the memory is of this size and lives as long as the handle.
        blas("cublasSetWorkspace_v2", || unsafe {
            cublasSetWorkspace_v2(raw, at, WORKSPACE_BYTES)
        })?;
        Ok(made)
    }

    /// Queues the product. In cuBLAS's eyes, which are column-major: `outputsᵀ = weights · inputsᵀ`.
    pub fn linear(&self, linear: &Linear<'_>) -> Result<(), CudaError> {
        let Linear { rows, input_width, output_width, .. } = *linear;
        assert!(linear.weights.holds_f32(input_width * output_width), "weights are whole");
        assert!(linear.inputs.holds_f32(rows * input_width), "inputs are whole");
        assert!(linear.outputs.holds_f32(rows * output_width), "outputs fit");
        let [m, n, k] = [output_width, rows, input_width].map(|size| size as c_int);
        let [weights, inputs] = [linear.weights, linear.inputs].map(|it| it.at() as *const f32);
        let outputs = linear.outputs.at() as *mut f32;
        let (keep, turn) = (cublasOperation_t::CUBLAS_OP_N, cublasOperation_t::CUBLAS_OP_T);
        let (one, none) = (1.0_f32, 0.0_f32);
        // SAFETY: three matrices of the device's memory, as long as their sizes say, asserted above; the two factors are
        // read during the call, as the handle's pointer mode is the host's.
        blas("cublasSgemm_v2", || unsafe {
            cublasSgemm_v2(
                self.raw, turn, keep, m, n, k, &one, weights, k, inputs, k, &none, outputs, m,
            )
        })
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        // SAFETY: created in `new`, destroyed once.
        let _destroyed = blas("cublasDestroy_v2", || unsafe { cublasDestroy_v2(self.raw) });
    }
}
