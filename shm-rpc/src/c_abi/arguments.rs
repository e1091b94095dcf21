//! C's arguments, turned into values or refused by name.

use super::{FOIL_ANY, Failed, foil_model, foil_status, foil_tensor_spec};
use schemas::lifecycle::{Late, ModelSpec};
use schemas::tensor::{DType, Dim, RANK_MAX, TENSORS_MAX, TensorSpec};
use std::ffi::{CStr, c_char};

pub(super) fn argument(message: &str) -> Failed {
    Failed(foil_status::FOIL_ERROR_ARGUMENT, message.to_owned())
}

pub(super) fn null(name: &str) -> Failed {
    Failed(foil_status::FOIL_ERROR_ARGUMENT, format!("{name} is null"))
}

/// Refuses a struct that is null, or of a version this library does not know.
///
/// # Safety
/// `value` is null or readable.
pub(super) unsafe fn sized<T>(
    value: *const T,
    name: &str,
    size: impl FnOnce(&T) -> usize,
) -> Result<&T, Failed> {
    // SAFETY: as the caller promised.
    let value = unsafe { value.as_ref() }.ok_or_else(|| null(name))?;
    let (found, expected) = (size(value), size_of::<T>());
    if found == expected {
        return Ok(value);
    }
    let message = format!("{name}.struct_size is {found}, expected {expected}: set it to sizeof");
    Err(Failed(foil_status::FOIL_ERROR_STRUCT_SIZE, message))
}

/// # Safety
/// `value` is null or a string ending in 0.
pub(super) unsafe fn text(name: &str, value: *const c_char) -> Result<String, Failed> {
    if value.is_null() {
        return Err(null(name));
    }
    // SAFETY: not null, and a string by the caller's promise.
    let value = unsafe { CStr::from_ptr(value) };
    value.to_str().map(str::to_owned).map_err(|_| argument(&format!("{name} is not UTF-8")))
}

/// # Safety
/// `shape` is null or has `rank` sizes, for as long as the slice is used.
pub(super) unsafe fn sizes<'a>(shape: *const u64, rank: u32) -> Result<&'a [u64], Failed> {
    if rank as usize > RANK_MAX {
        return Err(argument("the shape has more than 8 dimensions"));
    }
    if rank == 0 {
        return Ok(&[]);
    }
    if shape.is_null() {
        return Err(null("shape"));
    }
    // SAFETY: not null, and as long as the caller promised.
    Ok(unsafe { std::slice::from_raw_parts(shape, rank as usize) })
}

/// # Safety
/// `model` is null or points to a model whose pointers are null or as long as they say.
pub(super) unsafe fn read_model(model: *const foil_model) -> Result<ModelSpec, Failed> {
    // SAFETY: as the caller promised, here and for all it points to.
    unsafe {
        let model = sized(model, "model", |it| it.struct_size)?;
        let batched = model.max_batch > 0;
        Ok(ModelSpec {
            name: text("model.name", model.name)?,
            platform: "program".into(),
            inputs: read_tensors("inputs", model.inputs, model.input_count, batched)?,
            outputs: read_tensors("outputs", model.outputs, model.output_count, batched)?,
            batched,
            max_batch: model.max_batch.max(1),
            slo_us: (model.slo_us > 0).then_some(model.slo_us),
            late: Late::Serve,
            batch_timeout_us: match model.batch_timeout_us {
                0 => 30_000_000,
                given => given,
            },
            replicas: 1,
            pad: false,
            decoupled: false,
        })
    }
}

/// # Safety
/// `specs` is null or has `count` entries whose pointers are null or as long as they say.
pub(super) unsafe fn read_tensors(
    name: &str,
    specs: *const foil_tensor_spec,
    count: usize,
    batched: bool,
) -> Result<Vec<TensorSpec>, Failed> {
    if specs.is_null() {
        return Err(null(name));
    }
    if count > TENSORS_MAX {
        return Err(argument(&format!("{name} has {count} tensors, at most {TENSORS_MAX} go")));
    }
    // SAFETY: as the caller promised.
    (0..count).map(|index| unsafe { read_tensor(specs.add(index), batched) }).collect()
}

/// # Safety
/// As for [`read_tensors`], for one entry.
pub(super) unsafe fn read_tensor(
    spec: *const foil_tensor_spec,
    batched: bool,
) -> Result<TensorSpec, Failed> {
    // SAFETY: as the caller promised.
    unsafe {
        let spec = sized(spec, "tensor_spec", |it| it.struct_size)?;
        let dtype = u8::try_from(spec.dtype).ok().and_then(DType::from_wire);
        let dims = sizes(spec.dims.cast::<u64>(), spec.rank)?.iter().enumerate();
        let dim = |(place, size): (usize, &u64)| match (size.cast_signed(), place, batched) {
            (FOIL_ANY, 0, true) => Ok(Dim::Batch),
            (FOIL_ANY, _, _) => Ok(Dim::Variable),
            (fixed @ 0.., _, _) => Ok(Dim::Fixed(fixed.cast_unsigned())),
            _ => Err(argument("a dimension is negative; FOIL_ANY is -1")),
        };
        Ok(TensorSpec {
            name: text("tensor_spec.name", spec.name)?,
            dtype: dtype.ok_or_else(|| argument("tensor_spec.dtype is no foil_dtype"))?,
            dims: dims.map(dim).collect::<Result<_, _>>()?,
        })
    }
}
