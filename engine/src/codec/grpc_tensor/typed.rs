//! Typed `contents`: a list for each kind of element, of which the right one and no other may hold any.

use bytes::Bytes;
use schemas::inference::InferTensorContents;
use schemas::tensor::DType;

use crate::codec::fault::{InputFault, excerpt};
use crate::query::types::TensorData;

/// The elements, and how many there are.
pub(super) fn read(
    name: &str,
    dtype: DType,
    contents: InferTensorContents,
) -> Result<(usize, TensorData), InputFault> {
    let Some((expected, found)) = list(dtype, &contents) else {
        return Err(InputFault::NotTyped { tensor: excerpt(name), dtype });
    };
    if found != total(&contents) {
        return Err(InputFault::WrongContents { tensor: excerpt(name), dtype, expected });
    }
    Ok((found, data(name, dtype, contents)?))
}

/// The list that elements of this datatype belong in, and how many it holds.
fn list(dtype: DType, contents: &InferTensorContents) -> Option<(&'static str, usize)> {
    Some(match dtype {
        DType::Bool => ("bool_contents", contents.bool_contents.len()),
        DType::I8 | DType::I16 | DType::I32 => ("int_contents", contents.int_contents.len()),
        DType::I64 => ("int64_contents", contents.int64_contents.len()),
        DType::U8 | DType::U16 | DType::U32 => ("uint_contents", contents.uint_contents.len()),
        DType::U64 => ("uint64_contents", contents.uint64_contents.len()),
        DType::F32 => ("fp32_contents", contents.fp32_contents.len()),
        DType::F64 => ("fp64_contents", contents.fp64_contents.len()),
        DType::Bytes | DType::Str => ("bytes_contents", contents.bytes_contents.len()),
        DType::F16 | DType::Bf16 => return None,
    })
}

fn total(contents: &InferTensorContents) -> usize {
    contents.bool_contents.len()
        + contents.int_contents.len()
        + contents.int64_contents.len()
        + contents.uint_contents.len()
        + contents.uint64_contents.len()
        + contents.fp32_contents.len()
        + contents.fp64_contents.len()
        + contents.bytes_contents.len()
}

fn data(name: &str, dtype: DType, contents: InferTensorContents) -> Result<TensorData, InputFault> {
    let bytes = match dtype {
        DType::Bool => contents.bool_contents.into_iter().map(u8::from).collect(),
        DType::I8 => narrowed(name, dtype, &contents.int_contents, i8::to_le_bytes)?,
        DType::I16 => narrowed(name, dtype, &contents.int_contents, i16::to_le_bytes)?,
        DType::I32 => little_endian(&contents.int_contents, i32::to_le_bytes),
        DType::I64 => little_endian(&contents.int64_contents, i64::to_le_bytes),
        DType::U8 => narrowed(name, dtype, &contents.uint_contents, u8::to_le_bytes)?,
        DType::U16 => narrowed(name, dtype, &contents.uint_contents, u16::to_le_bytes)?,
        DType::U32 => little_endian(&contents.uint_contents, u32::to_le_bytes),
        DType::U64 => little_endian(&contents.uint64_contents, u64::to_le_bytes),
        DType::F32 => little_endian(&contents.fp32_contents, f32::to_le_bytes),
        DType::F64 => little_endian(&contents.fp64_contents, f64::to_le_bytes),
        DType::Bytes | DType::Str => return joined(name, &contents.bytes_contents),
        DType::F16 | DType::Bf16 => {
            return Err(InputFault::NotTyped { tensor: excerpt(name), dtype });
        }
    };
    Ok(TensorData::Fixed(bytes.into()))
}

fn little_endian<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|value| bytes(*value)).collect()
}

/// Elements that travel in a wider type than their own.
fn narrowed<W: Copy, T: TryFrom<W>, const N: usize>(
    name: &str,
    dtype: DType,
    values: &[W],
    bytes: impl Fn(T) -> [u8; N],
) -> Result<Vec<u8>, InputFault> {
    let mut narrow = Vec::with_capacity(values.len() * N);
    for (index, value) in values.iter().enumerate() {
        let value = T::try_from(*value).map_err(|_| InputFault::ContentsRange {
            tensor: excerpt(name),
            index,
            dtype,
        })?;
        narrow.extend_from_slice(&bytes(value));
    }
    Ok(narrow)
}

fn joined(name: &str, elements: &[Bytes]) -> Result<TensorData, InputFault> {
    let mut offsets = Vec::with_capacity(elements.len() + 1);
    let mut values = Vec::with_capacity(elements.iter().map(Bytes::len).sum());
    offsets.push(0);
    for (index, element) in elements.iter().enumerate() {
        values.extend_from_slice(element);
        let end = u32::try_from(values.len())
            .map_err(|_| InputFault::BytesElement { tensor: excerpt(name), index: index as u64 })?;
        offsets.push(end);
    }
    Ok(TensorData::Variable { offsets: offsets.into(), values: values.into() })
}
