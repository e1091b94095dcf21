//! Values of an answer as JSON: numbers by their shortest form that reads back equal, NaN and infinities as `null`.

use schemas::tensor::DType;
use serde::Serialize;

use crate::query::types::{Tensor, TensorData};

/// Why a tensor has no JSON form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoJson {
    /// FP16 and BF16.
    Datatype,
    /// Bytes that are not UTF-8.
    NotUtf8,
}

/// Whether values of a datatype can be written as JSON at all.
pub fn has_json_form(dtype: DType) -> bool {
    !matches!(dtype, DType::F16 | DType::Bf16)
}

/// A string with its quotes and escapes, or a number.
pub fn scalar<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value)
        .expect("memory takes every byte, and scalars always serialize");
}

/// A flat list of the tensor's elements.
pub fn data(out: &mut Vec<u8>, tensor: &Tensor) -> Result<(), NoJson> {
    out.push(b'[');
    match &tensor.data {
        TensorData::Fixed(data) => fixed(out, tensor.dtype, data)?,
        TensorData::Variable { offsets, values } => texts(out, offsets, values)?,
    }
    out.push(b']');
    Ok(())
}

fn fixed(out: &mut Vec<u8>, dtype: DType, data: &[u8]) -> Result<(), NoJson> {
    match dtype {
        DType::Bool => numbers(out, data, |[byte]| byte != 0),
        DType::U8 => numbers(out, data, u8::from_le_bytes),
        DType::U16 => numbers(out, data, u16::from_le_bytes),
        DType::U32 => numbers(out, data, u32::from_le_bytes),
        DType::U64 => numbers(out, data, u64::from_le_bytes),
        DType::I8 => numbers(out, data, i8::from_le_bytes),
        DType::I16 => numbers(out, data, i16::from_le_bytes),
        DType::I32 => numbers(out, data, i32::from_le_bytes),
        DType::I64 => numbers(out, data, i64::from_le_bytes),
        DType::F32 => numbers(out, data, f32::from_le_bytes),
        DType::F64 => numbers(out, data, f64::from_le_bytes),
        DType::F16 | DType::Bf16 | DType::Bytes | DType::Str => return Err(NoJson::Datatype),
    }
    Ok(())
}

fn numbers<T: Serialize, const N: usize>(
    out: &mut Vec<u8>,
    data: &[u8],
    value: impl Fn([u8; N]) -> T,
) {
    let (elements, _) = data.as_chunks::<N>();
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        scalar(out, &value(*element));
    }
}

fn texts(out: &mut Vec<u8>, offsets: &[u32], values: &[u8]) -> Result<(), NoJson> {
    for (index, ends) in offsets.windows(2).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let element = &values[ends[0] as usize..ends[1] as usize];
        scalar(out, std::str::from_utf8(element).map_err(|_| NoJson::NotUtf8)?);
    }
    Ok(())
}
