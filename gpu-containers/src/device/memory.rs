//! Memory of the device, and host memory that it can reach by itself.

use std::ffi::{c_uint, c_void};
use std::ptr::NonNull;
use std::rc::Rc;

use cudarc::driver::sys::{
    CUdeviceptr, cuMemAlloc_v2, cuMemFree_v2, cuMemFreeHost, cuMemHostAlloc, cuMemHostRegister_v2,
    cuMemHostUnregister, cuMemcpyDtoHAsync_v2, cuMemcpyHtoDAsync_v2, cuMemsetD8Async,
};

use super::call::driver;
use super::{Context, CudaError, Stream};

/// CUDA's flag for memory that this process maps without the right to write; `CU_MEMHOSTREGISTER_READ_ONLY`.
const READ_ONLY: c_uint = 0x08;

/// A piece of the device's memory.
#[derive(Debug)]
pub struct DeviceMemory {
    at: CUdeviceptr,
    bytes: usize,
    _context: Rc<Context>,
}

impl DeviceMemory {
    /// At least one byte: CUDA refuses none. All zeros once `stream` has come to it.
    pub fn zeroed(stream: &Stream, bytes: usize) -> Result<DeviceMemory, CudaError> {
        let bytes = bytes.max(1);
        let mut at = 0;
        // SAFETY: it writes one address; the context is current.
        driver("cuMemAlloc_v2", || unsafe { cuMemAlloc_v2(&mut at, bytes) })?;
        let memory = DeviceMemory { at, bytes, _context: stream.context().clone() };
        // SAFETY: exactly the bytes just allocated.
        driver("cuMemsetD8Async", || unsafe { cuMemsetD8Async(at, 0, bytes, stream.raw()) })?;
        Ok(memory)
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn at(&self) -> CUdeviceptr {
        self.at
    }

    /// Holds at least so many numbers of 32 bits.
    pub(super) fn holds_f32(&self, elements: usize) -> bool {
        elements.checked_mul(size_of::<f32>()).is_some_and(|bytes| bytes <= self.bytes)
    }

    /// Queues a copy of `bytes` to the start of this memory.
    ///
    /// # Safety
    /// The bytes stay where they are, unchanged, until the stream has done the copy.
    pub unsafe fn write_later(&self, bytes: &[u8], stream: &Stream) -> Result<(), CudaError> {
        assert!(bytes.len() <= self.bytes, "a copy fits the memory it goes to");
        if bytes.is_empty() {
            return Ok(());
        }
        let from = bytes.as_ptr().cast();
        // SAFETY: both ranges are long enough; the caller keeps the source.
        driver("cuMemcpyHtoDAsync_v2", || unsafe {
            cuMemcpyHtoDAsync_v2(self.at, from, bytes.len(), stream.raw())
        })
    }

    /// Copies `bytes` to the start of this memory, and waits for it.
    pub fn write(&self, bytes: &[u8], stream: &Stream) -> Result<(), CudaError> {
        // SAFETY: the bytes are borrowed until the stream is done, which is awaited even after an error.
        let queued = unsafe { self.write_later(bytes, stream) };
        let done = stream.synchronize();
        queued.and(done)
    }

    /// Queues a copy of this memory's first bytes, as many as `into` holds.
    ///
    /// # Safety
    /// The bytes stay where they are and nobody looks at them until the stream has done the copy.
    pub unsafe fn read_later(&self, into: &mut [u8], stream: &Stream) -> Result<(), CudaError> {
        assert!(into.len() <= self.bytes, "a copy lies in the memory it comes from");
        if into.is_empty() {
            return Ok(());
        }
        let to = into.as_mut_ptr().cast();
        // SAFETY: both ranges are long enough; the caller keeps the target.
        driver("cuMemcpyDtoHAsync_v2", || unsafe {
            cuMemcpyDtoHAsync_v2(to, self.at, into.len(), stream.raw())
        })
    }

    /// Copies this memory's first bytes, as many as `into` holds, and waits for it.
    pub fn read(&self, into: &mut [u8], stream: &Stream) -> Result<(), CudaError> {
        // SAFETY: the bytes are borrowed until the stream is done, which is awaited even after an error.
        let queued = unsafe { self.read_later(into, stream) };
        let done = stream.synchronize();
        queued.and(done)
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        // SAFETY: allocated once, freed once; the call waits for what still uses it.
        let _freed = driver("cuMemFree_v2", || unsafe { cuMemFree_v2(self.at) });
    }
}

/// Host memory that CUDA allocated, pinned from the start.
#[derive(Debug)]
pub struct Pinned {
    at: NonNull<u8>,
    bytes: usize,
    _context: Rc<Context>,
}

impl Pinned {
    pub fn zeroed(context: &Rc<Context>, bytes: usize) -> Result<Pinned, CudaError> {
        let bytes = bytes.max(1);
        let mut at: *mut c_void = std::ptr::null_mut();
        // SAFETY: it writes one address; the context is current.
        driver("cuMemHostAlloc", || unsafe { cuMemHostAlloc(&mut at, bytes, 0) })?;
        let at = NonNull::new(at.cast::<u8>()).expect("a successful allocation has an address");
        // SAFETY: exactly the bytes just allocated, which nobody else knows yet.
        unsafe { at.as_ptr().write_bytes(0, bytes) };
        Ok(Pinned { at, bytes, _context: context.clone() })
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: allocated, zeroed, and borrowed with `self`.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.bytes) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: allocated, zeroed, and borrowed for itself with `self`.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: allocated once, freed once; the call waits for what still uses it.
        let _freed = driver("cuMemFreeHost", || unsafe { cuMemFreeHost(self.at.as_ptr().cast()) });
    }
}

/// What this process may do with memory that is to be pinned where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    ReadWrite,
    ReadOnly,
}

/// Memory of the host's, pinned where it lies until this is dropped.
#[derive(Debug)]
pub struct Registered {
    at: *mut u8,
    bytes: usize,
    _context: Rc<Context>,
}

impl Registered {
    /// Pins whole pages. Costs milliseconds, so once, not for each batch.
    ///
    /// # Safety
    /// The range is mapped as `registration` says and stays so until what is returned is dropped.
    pub unsafe fn new(
        context: &Rc<Context>,
        at: *mut u8,
        bytes: usize,
        registration: Registration,
    ) -> Result<Registered, CudaError> {
        assert!(bytes > 0, "CUDA accepts an empty range and fails later");
        let flags = match registration {
            Registration::ReadWrite => 0,
            Registration::ReadOnly => READ_ONLY,
        };
        // SAFETY: the caller vouches for the range.
        driver("cuMemHostRegister_v2", || unsafe {
            cuMemHostRegister_v2(at.cast(), bytes, flags)
        })?;
        Ok(Registered { at, bytes, _context: context.clone() })
    }

    /// Whether all of these bytes are pinned by this.
    pub fn covers(&self, bytes: &[u8]) -> bool {
        let (from, start) = (bytes.as_ptr() as usize, self.at as usize);
        from >= start && from + bytes.len() <= start + self.bytes
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: registered once, let go of once, while it is still mapped.
        let _let_go =
            driver("cuMemHostUnregister", || unsafe { cuMemHostUnregister(self.at.cast()) });
    }
}
