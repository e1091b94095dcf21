//! Shared memory in the hands of the interpreter, and the only unsafe code of this crate.
//!
//! A batch is one [`BatchMemory`]: all its arrays have it as their base object, however they were
//! sliced, so the batch is held exactly as long as that object lives. The lane keeps the other
//! [`Arc`] of the [`Region`] and looks at the count once the model answered: a batch still held
//! escapes, that is, the range the views see becomes private memory, freed with the last view.
//! Counting exported buffers instead would be wrong: NumPy gives its buffer back at once and keeps
//! only the reference.

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use shm_rpc::container_side::{ContainerSide, Escaped, Request};
use std::ffi::c_int;
use std::sync::{Arc, Mutex, PoisonError};

/// The bytes of one request or reply, in its slot or escaped from it.
pub(crate) struct Region {
    base: *mut u8,
    len: usize,
    escaped: Mutex<Option<Escaped>>,
}

// SAFETY: only an address range; nothing here reads or writes through it. `Escaped` is `Send`.
unsafe impl Send for Region {}
// SAFETY: as above; the one field that changes is behind a mutex.
unsafe impl Sync for Region {}

impl Region {
    pub(crate) fn of(side: &ContainerSide, request: &Request) -> Arc<Region> {
        let (base, len) = side.request_bytes(request);
        Arc::new(Region { base, len, escaped: Mutex::new(None) })
    }

    /// The reply slot that belongs to the request.
    pub(crate) fn of_reply(side: &mut ContainerSide, request: &Request) -> Arc<Region> {
        let (base, len) = side.reply_ptr(request);
        Arc::new(Region { base, len, escaped: Mutex::new(None) })
    }

    pub(crate) fn address(&self) -> usize {
        self.base.addr()
    }

    /// Whether an array's bytes lie exactly at `offset`.
    pub(crate) fn holds(&self, array: &PyUntypedBuffer, offset: u32) -> bool {
        array.buf_ptr().addr() == self.base.addr() + offset as usize
    }

    /// Whether an array's bytes begin anywhere inside.
    pub(crate) fn overlaps(&self, array: &PyUntypedBuffer) -> bool {
        let begin = self.base.addr();
        (begin..begin + self.len).contains(&array.buf_ptr().addr())
    }

    /// Hands over the private memory that now lies under the views.
    pub(crate) fn escape(&self, escaped: Escaped) {
        *self.escaped.lock().unwrap_or_else(PoisonError::into_inner) = Some(escaped);
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let escaped = self.escaped.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(escaped) = escaped.take() {
            // SAFETY: every view holds a `BatchMemory`, which holds this region; none is left.
            unsafe { escaped.unmap() }
        }
    }
}

/// What arrays over a batch or its reply have as their base: exports the slot's bytes, writable.
#[pyclass(frozen, module = "hydrofoil._native")]
pub(crate) struct BatchMemory {
    region: Arc<Region>,
}

impl BatchMemory {
    pub(crate) fn new(region: &Arc<Region>) -> BatchMemory {
        BatchMemory { region: Arc::clone(region) }
    }
}

#[pymethods]
impl BatchMemory {
    /// # Safety
    /// Called by the interpreter alone, with a `view` that may be written.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let Region { base, len, .. } = *slf.get().region;
        let len = isize::try_from(len).map_err(|_| PyBufferError::new_err("batch too large"))?;
        // SAFETY: `view` is the interpreter's to fill. The range stays mapped and readable and
        // writable while `slf` lives, which the call makes the view's owner: a slot is unmapped or
        // reused only once no `BatchMemory` of it is left, or after its escape.
        let filled =
            unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), base.cast(), len, 0, flags) };
        if filled == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}

/// Copies a contiguous array to `at` in the reply slot. The caller has laid it out there.
pub(crate) fn copy_array(
    side: &mut ContainerSide,
    request: &Request,
    at: u32,
    array: &PyUntypedBuffer,
) {
    let (slot, slot_bytes) = side.reply_ptr(request);
    let (at, len) = (at as usize, array.len_bytes());
    assert!(array.is_c_contiguous(), "outputs are made contiguous before they get here");
    assert!(at <= slot_bytes && len <= slot_bytes - at, "outputs are laid out inside the slot");
    if len == 0 {
        return;
    }
    // SAFETY: the buffer is held, so its memory is valid for `len` bytes, all of them in one piece;
    // the slot is valid for writes and holds `at + len` bytes, checked above; an array of a model may
    // lie in a request slot, but not in this reply slot: one that does is copied out of it first.
    unsafe { slot.add(at).copy_from_nonoverlapping(array.buf_ptr().cast(), len) }
}
