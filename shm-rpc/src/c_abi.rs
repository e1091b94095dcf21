//! The C ABI: a model in any language that can call C, served by the engine like every other.
//!
//! A program loads its model, calls `foil_open` with the declaration and `foil_ready`, then loops:
//! `foil_next`, `foil_input` for each input, `foil_output` for each output (numbers are written in
//! place, into the memory that the engine reads) and `foil_reply`, or `foil_fail`. Every function
//! gives a `foil_status`: 0 or more is fine, less is an error that `foil_last_error` explains.
//! Structs begin with their size, so that later versions can add fields. A handle belongs to one
//! thread at a time. Nothing here panics or unwinds into C. The header is made from this file.
#![expect(non_camel_case_types, reason = "C's names, as the header shows them")]

mod arguments;
mod model;

use arguments::{argument, null, read_model, sized, sizes, text};
use model::{CallError, Identity, Served, View, Waited};
use schemas::predict::FailureKind;
use std::cell::RefCell;
use std::ffi::{CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// Raised when a function or a field changes its meaning. Added ones do not raise it.
pub const FOIL_ABI_VERSION: u32 = 1;

/// A dimension whose size is not declared. First among the dimensions of a batched model it is the
/// batch itself.
pub const FOIL_ANY: i64 = -1;

/// What a call gives back.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum foil_status {
    /// Done; from `foil_next`: there is a batch.
    FOIL_OK = 0,
    /// Nothing came within the wait; ask again.
    FOIL_IDLE = 1,
    /// The engine is done or gone: leave.
    FOIL_SHUT = 2,
    /// An argument is null, out of range or not UTF-8.
    FOIL_ERROR_ARGUMENT = -1,
    /// A struct's `struct_size` is not one this library knows.
    FOIL_ERROR_STRUCT_SIZE = -2,
    /// The call does not belong here in the order of calls.
    FOIL_ERROR_ORDER = -3,
    /// The outputs do not fit the reply slot.
    FOIL_ERROR_TOO_LARGE = -4,
    /// The program was not started by the engine.
    FOIL_ERROR_ENVIRONMENT = -5,
    /// The engine refused the model, left, or broke the protocol.
    FOIL_ERROR_ENGINE = -6,
    /// A bug of this library.
    FOIL_ERROR_INTERNAL = -7,
}

/// What a tensor's elements are.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum foil_dtype {
    FOIL_BOOL = 1,
    FOIL_U8 = 2,
    FOIL_U16 = 3,
    FOIL_U32 = 4,
    FOIL_U64 = 5,
    FOIL_I8 = 6,
    FOIL_I16 = 7,
    FOIL_I32 = 8,
    FOIL_I64 = 9,
    FOIL_F16 = 10,
    FOIL_BF16 = 11,
    FOIL_F32 = 12,
    FOIL_F64 = 13,
    /// Elements of any bytes, of their own length each.
    FOIL_BYTES = 14,
    /// Elements of UTF-8, of their own length each.
    FOIL_STR = 15,
}

/// Whose fault a failure is.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum foil_failure {
    /// The model's: answered with 500.
    FOIL_RAISED = 1,
    /// The caller's: answered with 400.
    FOIL_INPUT_REFUSED = 2,
}

/// An input or output as it is declared.
#[repr(C)]
pub struct foil_tensor_spec {
    /// `sizeof(foil_tensor_spec)`.
    pub struct_size: usize,
    /// UTF-8, ending in 0.
    pub name: *const c_char,
    /// A `foil_dtype`.
    pub dtype: u32,
    /// How many dimensions.
    pub rank: u32,
    /// Their sizes; FOIL_ANY where it is not declared.
    pub dims: *const i64,
}

/// A model as it is declared.
#[repr(C)]
pub struct foil_model {
    /// `sizeof(foil_model)`.
    pub struct_size: usize,
    /// UTF-8, ending in 0.
    pub name: *const c_char,
    pub inputs: *const foil_tensor_spec,
    pub input_count: usize,
    pub outputs: *const foil_tensor_spec,
    pub output_count: usize,
    /// Rows of the largest batch; 0: the model takes no batches, and dims have no batch in front.
    pub max_batch: u32,
    /// Microseconds after which a batch counts as lost; 0: 30 seconds.
    pub batch_timeout_us: u64,
    /// Microseconds of the p99 promised; 0: none.
    pub slo_us: u64,
}

/// The batch in hand.
#[repr(C)]
pub struct foil_batch {
    /// `sizeof(foil_batch)`.
    pub struct_size: usize,
    /// Rows of every batched input.
    pub rows: u32,
    /// The engine's name for it, for logs.
    pub id: u64,
}

/// A tensor in shared memory, valid until the batch is answered.
#[repr(C)]
pub struct foil_tensor {
    /// `sizeof(foil_tensor)`.
    pub struct_size: usize,
    /// A `foil_dtype`.
    pub dtype: u32,
    /// How many dimensions.
    pub rank: u32,
    /// Their sizes.
    pub shape: *const u64,
    /// The elements, row by row, at a multiple of 64 bytes; inputs may be written in place.
    pub data: *mut c_void,
    /// How many bytes `data` has.
    pub bytes: usize,
    /// FOIL_BYTES and FOIL_STR: element i is data[offsets[i]..offsets[i+1]]; else null.
    pub offsets: *const u32,
    /// How many elements.
    pub elements: usize,
}

/// One model in this process. Opaque.
pub struct foil_container {
    served: Served,
}

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// FOIL_ABI_VERSION of the library that is linked.
#[unsafe(no_mangle)]
pub extern "C" fn foil_abi_version() -> u32 {
    FOIL_ABI_VERSION
}

/// Why the last call on this thread failed. Valid until the next call on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn foil_last_error() -> *const c_char {
    LAST_ERROR.with_borrow(|message| message.as_ptr())
}

/// Declares the model to the engine that started this program, and joins its lane.
///
/// # Safety
/// `model` and what it points to are readable; `container` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foil_open(
    model: *const foil_model,
    container: *mut *mut foil_container,
) -> foil_status {
    guarded(|| {
        if container.is_null() {
            return Err(null("container"));
        }
        // SAFETY: as the caller promised.
        let spec = unsafe { read_model(model) }?;
        let served = Served::open(spec, &Identity::from_env()?)?;
        let opened = Box::into_raw(Box::new(foil_container { served }));
        // SAFETY: not null, and writable by the caller's promise.
        unsafe { container.write(opened) };
        Ok(foil_status::FOIL_OK)
    })
}

/// Tells the engine that the model is loaded: batches may come.
///
/// # Safety
/// `container` came from `foil_open` and is not closed, as for every function below.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foil_ready(container: *mut foil_container) -> foil_status {
    // SAFETY: as the caller promised.
    unsafe { with(container, |served| Ok(served.ready().map(|()| foil_status::FOIL_OK)?)) }
}

/// Tells the engine why the model can't be served. Close and exit afterwards.
///
/// # Safety
/// As for `foil_ready`; `message` is a string ending in 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foil_load_failed(
    container: *mut foil_container,
    message: *const c_char,
) -> foil_status {
    // SAFETY: as the caller promised.
    unsafe {
        with(container, |served| {
            let message = text("message", message)?;
            Ok(served.load_failed(message).map(|()| foil_status::FOIL_OK)?)
        })
    }
}

/// Waits for a batch, at most `wait_ms` and never more than 100 ms.
///
/// # Safety
/// As for `foil_ready`; `batch` is null or readable and writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foil_next(
    container: *mut foil_container,
    wait_ms: u32,
    batch: *mut foil_batch,
) -> foil_status {
    // SAFETY: as the caller promised.
    unsafe {
        with(container, |served| {
            sized(batch, "batch", |it| it.struct_size)?;
            let waited = served.next(Duration::from_millis(wait_ms.into()))?;
            let Waited::Batch { id, rows } = waited else {
                return Ok(match waited {
                    Waited::Idle => foil_status::FOIL_IDLE,
                    _ => foil_status::FOIL_SHUT,
                });
            };
            batch.write(foil_batch { struct_size: size_of::<foil_batch>(), rows, id });
            Ok(foil_status::FOIL_OK)
        })
    }
}

/// Shows an input of the batch in hand, in declared order.
///
/// # Safety
/// As for `foil_ready`; `tensor` is null or readable and writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foil_input(
    container: *mut foil_container,
    index: usize,
    tensor: *mut foil_tensor,
) -> foil_status {
    // SAFETY: as the caller promised.
    unsafe {
        with(container, |served| {
            sized(tensor, "tensor", |it| it.struct_size)?;
            tensor.write(shown(&served.input(index)?));
            Ok(foil_status::FOIL_OK)
        })
    }
}

/// Makes room for an output of numbers in the reply; write its elements to `tensor->data`.
///
/// # Safety
/// As for `foil_ready`; `shape` has `rank` sizes, `tensor` is null or readable and writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foil_output(
    container: *mut foil_container,
    index: usize,
    shape: *const u64,
    rank: u32,
    tensor: *mut foil_tensor,
) -> foil_status {
    // SAFETY: as the caller promised.
    unsafe {
        with(container, |served| {
            sized(tensor, "tensor", |it| it.struct_size)?;
            let shape = sizes(shape, rank)?;
            tensor.write(shown(&served.output(index, shape)?));
            Ok(foil_status::FOIL_OK)
        })
    }
}

/// Gives an output of texts or bytes: element i is values[offsets[i]..offsets[i+1]], and offsets
/// has one entry more than the shape has elements. The values are copied.
///
/// # Safety
/// As for `foil_ready`; `shape` has `rank` sizes, `offsets` as many entries as said, `values` as
/// many bytes as the last of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foil_output_texts(
    container: *mut foil_container,
    index: usize,
    shape: *const u64,
    rank: u32,
    offsets: *const u32,
    values: *const c_void,
) -> foil_status {
    // SAFETY: as the caller promised; the slices end before the call does.
    unsafe {
        with(container, |served| {
            let shape = sizes(shape, rank)?;
            let elements = schemas::tensor::elements(shape).unwrap_or(u64::MAX);
            let entries = elements.checked_add(1).filter(|&it| it <= u64::from(u32::MAX));
            let entries = entries.ok_or_else(|| argument("the shape has too many elements"))?;
            if offsets.is_null() {
                return Err(null("offsets"));
            }
            let offsets = std::slice::from_raw_parts(offsets, entries as usize);
            let values_bytes = offsets.last().copied().unwrap_or(0) as usize;
            let values = match (values.is_null(), values_bytes) {
                (_, 0) => &[],
                (true, _) => return Err(null("values")),
                (false, len) => std::slice::from_raw_parts(values.cast::<u8>(), len),
            };
            served.output_texts(index, shape, offsets, values)?;
            Ok(foil_status::FOIL_OK)
        })
    }
}

/// Answers the batch with the outputs given.
///
/// # Safety
/// As for `foil_ready`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foil_reply(container: *mut foil_container) -> foil_status {
    // SAFETY: as the caller promised.
    unsafe { with(container, |served| Ok(served.reply().map(|()| foil_status::FOIL_OK)?)) }
}

/// Answers the batch with a failure: `kind` is a `foil_failure`, `row` the row at fault or -1.
///
/// # Safety
/// As for `foil_ready`; `message` is a string ending in 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foil_fail(
    container: *mut foil_container,
    kind: u32,
    message: *const c_char,
    row: i64,
) -> foil_status {
    // SAFETY: as the caller promised.
    unsafe {
        with(container, |served| {
            let kind = match kind {
                1 => FailureKind::Raised,
                2 => FailureKind::InputRefused,
                _ => return Err(argument("kind is no foil_failure")),
            };
            let message = text("message", message)?;
            served.fail(kind, message, u32::try_from(row).ok())?;
            Ok(foil_status::FOIL_OK)
        })
    }
}

/// Leaves the lane and frees the handle; null is fine.
///
/// # Safety
/// As for `foil_ready`; the handle and every pointer got from it are dead afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foil_close(container: *mut foil_container) {
    if container.is_null() {
        return;
    }
    // SAFETY: it came from `Box::into_raw` in `foil_open`, and is closed once.
    let container = unsafe { Box::from_raw(container) };
    let _closed_or_panicked = catch_unwind(AssertUnwindSafe(|| drop(container)));
}

/// Runs a call on a handle.
///
/// # Safety
/// `container` is null or came from `foil_open`, is not closed, and nobody else uses it now.
unsafe fn with(
    container: *mut foil_container,
    call: impl FnOnce(&mut Served) -> Result<foil_status, Failed>,
) -> foil_status {
    guarded(|| {
        // SAFETY: as the caller promised.
        let container = unsafe { container.as_mut() }.ok_or_else(|| null("container"))?;
        call(&mut container.served)
    })
}

/// A failed call: its code and its sentence.
struct Failed(foil_status, String);

impl From<CallError> for Failed {
    fn from(error: CallError) -> Failed {
        let status = match &error {
            CallError::Argument(_) | CallError::Settings(_) => foil_status::FOIL_ERROR_ARGUMENT,
            CallError::Order(_) => foil_status::FOIL_ERROR_ORDER,
            CallError::TooLarge { .. } => foil_status::FOIL_ERROR_TOO_LARGE,
            CallError::Environment { .. } => foil_status::FOIL_ERROR_ENVIRONMENT,
            CallError::Message(schemas::SchemaError::Spec(_)) => foil_status::FOIL_ERROR_ARGUMENT,
            CallError::Refused(_)
            | CallError::Lane(_)
            | CallError::Fault(_)
            | CallError::Message(_) => foil_status::FOIL_ERROR_ENGINE,
        };
        Failed(status, error.to_string())
    }
}

/// Keeps panics and errors on this side of the boundary.
fn guarded(call: impl FnOnce() -> Result<foil_status, Failed>) -> foil_status {
    let outcome = catch_unwind(AssertUnwindSafe(call));
    let bug = || Err(Failed(foil_status::FOIL_ERROR_INTERNAL, "a bug in this library".into()));
    match outcome.unwrap_or_else(|_| bug()) {
        Ok(status) => status,
        Err(Failed(status, message)) => {
            let message = CString::new(message.replace('\0', " ")).unwrap_or_default();
            LAST_ERROR.set(message);
            status
        }
    }
}

fn shown(view: &View<'_>) -> foil_tensor {
    foil_tensor {
        struct_size: size_of::<foil_tensor>(),
        dtype: view.dtype.wire().into(),
        rank: view.shape.len() as u32,
        shape: view.shape.as_ptr(),
        data: view.data.cast(),
        bytes: view.bytes,
        offsets: if view.offsets.is_empty() { std::ptr::null() } else { view.offsets.as_ptr() },
        elements: schemas::tensor::elements(view.shape).unwrap_or(0) as usize,
    }
}
