//! The element-wise kernels: compiled for the device at hand, launched with their lengths checked.

use std::ffi::{CStr, CString, c_int, c_void};
use std::rc::Rc;

use cudarc::driver::sys::{
    CUfunction, CUmodule, cuLaunchKernel, cuModuleGetFunction, cuModuleLoadData, cuModuleUnload,
};
use cudarc::nvrtc::sys::{
    nvrtcCompileProgram, nvrtcCreateProgram, nvrtcDestroyProgram, nvrtcGetCUBIN, nvrtcGetCUBINSize,
    nvrtcGetProgramLog, nvrtcGetProgramLogSize, nvrtcProgram,
};

use super::call::{driver, load_rtc, rtc};
use super::{Context, CudaError, DeviceMemory, Stream};

const SOURCE: &str = include_str!("kernels.cu");
/// Threads of a block: a multiple of every device's 32 that keeps several blocks on each processor.
const THREADS: u32 = 256;

/// The compiled kernels.
#[derive(Debug)]
pub struct Kernels {
    module: CUmodule,
    pool_i32: CUfunction,
    pool_i64: CUfunction,
    bias_relu: CUfunction,
    _context: Rc<Context>,
}

/// The mean of what each row's ids name.
pub struct Pool<'a> {
    /// `rows · per_row` ids of 4 or 8 bytes each.
    pub ids: &'a DeviceMemory,
    pub id_bytes: usize,
    /// `vocabulary · width`, row-major.
    pub table: &'a DeviceMemory,
    /// `rows · width`, row-major.
    pub out: &'a DeviceMemory,
    pub rows: usize,
    pub per_row: usize,
    pub width: usize,
    pub vocabulary: usize,
}

impl Kernels {
    pub fn compile(context: &Rc<Context>) -> Result<Kernels, CudaError> {
        let image = compile(context.info().compute_capability)?;
        let mut module: CUmodule = std::ptr::null_mut();
        // SAFETY: it writes one handle; the image is a whole cubin, which carries its own length.
        driver("cuModuleLoadData", || unsafe {
            cuModuleLoadData(&mut module, image.as_ptr().cast())
        })?;
        let none = std::ptr::null_mut();
        let mut kernels = Kernels {
            module,
            pool_i32: none,
            pool_i64: none,
            bias_relu: none,
            _context: context.clone(),
        };
        kernels.pool_i32 = kernels.function(c"pool_i32")?;
        kernels.pool_i64 = kernels.function(c"pool_i64")?;
        kernels.bias_relu = kernels.function(c"bias_relu")?;
        Ok(kernels)
    }

    fn function(&self, name: &CStr) -> Result<CUfunction, CudaError> {
        let mut function: CUfunction = std::ptr::null_mut();
        // SAFETY: it writes one handle, which lives as long as the module; the name ends in a zero.
        driver("cuModuleGetFunction", || unsafe {
            cuModuleGetFunction(&mut function, self.module, name.as_ptr())
        })?;
        Ok(function)
    }

    /// Queues the gathering and its mean.
    pub fn pool(&self, pool: &Pool<'_>, stream: &Stream) -> Result<(), CudaError> {
        let Pool { rows, per_row, width, vocabulary, id_bytes, .. } = *pool;
        assert!(rows * per_row * id_bytes <= pool.ids.bytes(), "ids are whole");
        assert!(pool.table.holds_f32(vocabulary * width), "the table is whole");
        assert!(pool.out.holds_f32(rows * width), "the means fit");
        let function = match id_bytes {
            4 => self.pool_i32,
            8 => self.pool_i64,
            other => unreachable!("ids of {other} bytes were refused when the weights were read"),
        };
        let (mut ids, mut table, mut out) = (pool.ids.at(), pool.table.at(), pool.out.at());
        let (mut per_row, mut width) = (per_row as c_int, width as c_int);
        let mut vocabulary = vocabulary as i64;
        let mut arguments = [
            address(&mut ids),
            address(&mut table),
            address(&mut out),
            address(&mut per_row),
            address(&mut width),
            address(&mut vocabulary),
        ];
        let threads = (width as u32).next_multiple_of(32).min(THREADS);
        // SAFETY: the arguments have the types of `pool_i32` and `pool_i64`, in order, and the memory the lengths they
        // are told.
        unsafe { launch(function, [rows as u32, threads], &mut arguments, stream) }
    }

    /// Queues `x[row] += bias` for each row, and zero for what is below if `relu`.
    pub fn bias_relu(
        &self,
        x: &DeviceMemory,
        bias: &DeviceMemory,
        [rows, width]: [usize; 2],
        relu: bool,
        stream: &Stream,
    ) -> Result<(), CudaError> {
        assert!(x.holds_f32(rows * width) && bias.holds_f32(width), "both are whole");
        let (mut x, mut bias, mut width_int) = (x.at(), bias.at(), width as c_int);
        let mut elements = (rows * width) as i64;
        let mut relu = c_int::from(relu);
        let mut arguments = [
            address(&mut x),
            address(&mut bias),
            address(&mut width_int),
            address(&mut elements),
            address(&mut relu),
        ];
        let blocks = (rows * width).div_ceil(THREADS as usize) as u32;
        // SAFETY: the arguments have the types of `bias_relu`, in order, and the memory the lengths it is told.
        unsafe { launch(self.bias_relu, [blocks, THREADS], &mut arguments, stream) }
    }
}

impl Drop for Kernels {
    fn drop(&mut self) {
        // SAFETY: loaded once, unloaded once.
        let _unloaded = driver("cuModuleUnload", || unsafe { cuModuleUnload(self.module) });
    }
}

fn address<T>(argument: &mut T) -> *mut c_void {
    std::ptr::from_mut(argument).cast()
}

/// # Safety
/// The arguments are what the kernel takes, and valid for what it does with them.
unsafe fn launch(
    function: CUfunction,
    [blocks, threads]: [u32; 2],
    arguments: &mut [*mut c_void],
    stream: &Stream,
) -> Result<(), CudaError> {
    let none = std::ptr::null_mut();
    // SAFETY: the function lives with its module; the arguments are read during the call.
    driver("cuLaunchKernel", || unsafe {
        let arguments = arguments.as_mut_ptr();
        cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, 0, stream.raw(), arguments, none)
    })
}

/// Machine code for just this device: no driver of NVRTC's major version is too old for it, as one can be for
/// intermediate code.
fn compile((major, minor): (i32, i32)) -> Result<Vec<u8>, CudaError> {
    load_rtc()?;
    let source = CString::new(SOURCE).expect("the source has no zero byte");
    let (name, none) = (c"kernels.cu".as_ptr(), std::ptr::null());
    let mut program = Program(std::ptr::null_mut());
    // SAFETY: two texts that end in a zero, no headers; it writes one handle.
    rtc("nvrtcCreateProgram", || unsafe {
        nvrtcCreateProgram(&mut program.0, source.as_ptr(), name, 0, none, none)
    })?;
    let architecture = CString::new(format!("--gpu-architecture=sm_{major}{minor}"))
        .expect("numbers have no zero byte");
    let options = [architecture.as_ptr()];
    // SAFETY: one option, a text that ends in a zero; the program lives.
    let compiled = rtc("nvrtcCompileProgram", || unsafe {
        nvrtcCompileProgram(program.0, options.len() as c_int, options.as_ptr())
    });
    compiled.map_err(|error| program.why(&error))?;
    program.cubin()
}

struct Program(nvrtcProgram);

impl Program {
    fn cubin(&self) -> Result<Vec<u8>, CudaError> {
        let mut bytes = 0_usize;
        // SAFETY: it writes one number.
        rtc("nvrtcGetCUBINSize", || unsafe { nvrtcGetCUBINSize(self.0, &mut bytes) })?;
        let mut cubin = vec![0_u8; bytes];
        // SAFETY: it writes as many bytes as it said.
        rtc("nvrtcGetCUBIN", || unsafe { nvrtcGetCUBIN(self.0, cubin.as_mut_ptr().cast()) })?;
        Ok(cubin)
    }

    /// The compiler's own words, else its error.
    fn why(&self, error: &CudaError) -> CudaError {
        let log = self.log().ok().filter(|log| !log.trim().is_empty());
        CudaError::Compile { log: log.unwrap_or_else(|| error.to_string()) }
    }

    fn log(&self) -> Result<String, CudaError> {
        let mut bytes = 0_usize;
        // SAFETY: it writes one number.
        rtc("nvrtcGetProgramLogSize", || unsafe { nvrtcGetProgramLogSize(self.0, &mut bytes) })?;
        let mut log = vec![0_u8; bytes];
        // SAFETY: it writes as many bytes as it said, a zero last.
        rtc("nvrtcGetProgramLog", || unsafe {
            nvrtcGetProgramLog(self.0, log.as_mut_ptr().cast())
        })?;
        let text = CStr::from_bytes_until_nul(&log).map(CStr::to_string_lossy);
        Ok(text.unwrap_or_default().into_owned())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: created once, destroyed once; a null one is refused.
        let _destroyed = rtc("nvrtcDestroyProgram", || unsafe { nvrtcDestroyProgram(&mut self.0) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ampere, Hopper, and what no compiler knows. The compiler needs no device; without one there is nothing to ask.
    #[test]
    fn kernels_compile_to_machine_code_where_there_is_a_compiler() {
        if load_rtc().is_err() {
            return;
        }
        for capability in [(8, 0), (9, 0)] {
            let cubin = compile(capability).expect("a device of some years");
            assert!(cubin.starts_with(b"\x7fELF"), "{capability:?}");
        }
        let refused = compile((1, 1)).expect_err("no such device").to_string();
        assert!(refused.contains("nvrtcCompileProgram"), "{refused}");
    }
}
