//! One input of an application as the one row of a task, in the datatype and shape that the model declares.
//!
//! Numbers are cast where the model's datatype holds them exactly; between floats of different width they are rounded to
//! the nearest. An input is a flat list: it fills the model's dimensions in row-major order, and the one that varies, if
//! there is one, follows from its length.

use bytes::Bytes;
use schemas::lifecycle::ModelSpec;
use schemas::tensor::{DType, Dim, Shape, TensorSpec};
use smallvec::smallvec;

use super::request::Input;
use crate::query::types::{TaskInputs, Tensor, TensorData};

/// Why an input is no row of this model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowFault {
    #[error("the model takes {count} inputs; an application sends one")]
    SeveralInputs { count: usize },
    #[error("the model takes {} and can't be sent {kind}", .dtype.name())]
    Datatype { dtype: DType, kind: &'static str },
    #[error("number {index} of the input has no place in the model's datatype {}", .dtype.name())]
    Inexact { index: usize, dtype: DType },
    #[error(
        "the input has {found} elements and does not fill the model's shape {expected} (-1: any size)"
    )]
    Shape { found: usize, expected: String },
    #[error("the model takes text, and the bytes of the input are not UTF-8")]
    NotUtf8,
}

pub fn row(spec: &ModelSpec, input: Input) -> Result<TaskInputs, RowFault> {
    let [declared] = spec.inputs.as_slice() else {
        return Err(RowFault::SeveralInputs { count: spec.inputs.len() });
    };
    let (elements, data) = match input {
        Input::Strings(text) => (1, texts(declared.dtype, "strings", text.into_bytes())?),
        Input::Bytes(bytes) if declared.dtype == DType::U8 => {
            (bytes.len(), TensorData::Fixed(bytes.into()))
        }
        Input::Bytes(bytes) => (1, texts(declared.dtype, "bytes", bytes)?),
        Input::Integers(values) => {
            let cast = Cast { dtype: declared.dtype, kind: "integers", rounds: false };
            (values.len(), cast.all(values.into_iter().map(f64::from))?)
        }
        Input::Floats(values) => {
            let cast = Cast { dtype: declared.dtype, kind: "floats", rounds: true };
            (values.len(), cast.all(values.into_iter().map(f64::from))?)
        }
        Input::Doubles(values) => {
            let cast = Cast { dtype: declared.dtype, kind: "doubles", rounds: true };
            (values.len(), cast.all(values.into_iter())?)
        }
    };
    let shape = shape(declared, elements)?;
    Ok(TaskInputs { tensors: smallvec![Tensor { dtype: declared.dtype, shape, data }], rows: 1 })
}

/// The declared dimensions with one row, filled by so many elements.
fn shape(declared: &TensorSpec, elements: usize) -> Result<Shape, RowFault> {
    let fault = || RowFault::Shape { found: elements, expected: dims_text(declared) };
    let mut varying = None;
    let (mut shape, mut product) = (Shape::new(), 1u64);
    for (place, dim) in declared.dims.iter().enumerate() {
        let size = match dim {
            Dim::Batch => 1,
            Dim::Fixed(size) => *size,
            Dim::Variable if varying.is_none() => {
                varying = Some(place);
                1
            }
            Dim::Variable => return Err(fault()),
        };
        product = product.checked_mul(size).ok_or_else(fault)?;
        shape.push(size);
    }
    let elements = elements as u64;
    match varying {
        Some(place) if elements.checked_rem(product) == Some(0) => {
            shape[place] = elements / product
        }
        None if elements == product => {}
        _ => return Err(fault()),
    }
    Ok(shape)
}

fn dims_text(declared: &TensorSpec) -> String {
    let size = |dim: &Dim| match dim {
        Dim::Batch => None,
        Dim::Fixed(size) => Some(size.to_string()),
        Dim::Variable => Some("-1".to_owned()),
    };
    let sizes: Vec<_> = declared.dims.iter().filter_map(size).collect();
    format!("[{}]", sizes.join(", "))
}

/// One element of a tensor of texts or bytes.
fn texts(dtype: DType, kind: &'static str, text: Vec<u8>) -> Result<TensorData, RowFault> {
    match dtype {
        DType::Bytes => {}
        DType::Str if std::str::from_utf8(&text).is_ok() => {}
        DType::Str => return Err(RowFault::NotUtf8),
        _ => return Err(RowFault::Datatype { dtype, kind }),
    }
    // A body of 4 GiB is refused long before.
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    Ok(TensorData::Variable { offsets: [0, length].into(), values: text.into() })
}

/// How numbers become a model's.
#[derive(Clone, Copy)]
struct Cast {
    dtype: DType,
    kind: &'static str,
    /// Between widths of floats.
    rounds: bool,
}

impl Cast {
    /// Every number of an application is exact in an `f64`.
    fn all(self, values: impl ExactSizeIterator<Item = f64>) -> Result<TensorData, RowFault> {
        macro_rules! whole {
            ($type:ty) => {
                self.each(values, |value| {
                    let cast = value as $type;
                    // The bound is for casts that saturate: 2^63 would come back from i64::MAX.
                    let fits = cast as f64 == value && value < <$type>::MAX as f64 + 1.0;
                    fits.then(|| cast.to_le_bytes())
                })
            };
        }
        match self.dtype {
            DType::U8 => whole!(u8),
            DType::U16 => whole!(u16),
            DType::U32 => whole!(u32),
            DType::U64 => whole!(u64),
            DType::I8 => whole!(i8),
            DType::I16 => whole!(i16),
            DType::I32 => whole!(i32),
            DType::I64 => whole!(i64),
            DType::F32 => self.each(values, |value| self.single(value).map(f32::to_le_bytes)),
            DType::F64 => self.each(values, |value| Some(value.to_le_bytes())),
            dtype @ (DType::Bool | DType::F16 | DType::Bf16 | DType::Bytes | DType::Str) => {
                Err(RowFault::Datatype { dtype, kind: self.kind })
            }
        }
    }

    fn single(self, value: f64) -> Option<f32> {
        let cast = value as f32;
        (cast.is_finite() && (self.rounds || f64::from(cast) == value)).then_some(cast)
    }

    fn each<const N: usize>(
        self,
        values: impl ExactSizeIterator<Item = f64>,
        bytes: impl Fn(f64) -> Option<[u8; N]>,
    ) -> Result<TensorData, RowFault> {
        let mut data = Vec::with_capacity(values.len() * N);
        for (index, value) in values.enumerate() {
            let Some(bytes) = bytes(value) else {
                return Err(RowFault::Inexact { index, dtype: self.dtype });
            };
            data.extend_from_slice(&bytes);
        }
        Ok(TensorData::Fixed(Bytes::from(data)))
    }
}

#[cfg(test)]
mod tests {
    use schemas::lifecycle::Late;

    use super::*;

    fn spec(dtype: DType, dims: &[Dim]) -> ModelSpec {
        let tensor = TensorSpec { name: "x".into(), dtype, dims: dims.to_vec() };
        ModelSpec {
            name: "m".into(),
            platform: "test".into(),
            inputs: vec![tensor.clone()],
            outputs: vec![tensor],
            batched: dims.first() == Some(&Dim::Batch),
            max_batch: 8,
            slo_us: None,
            late: Late::Serve,
            batch_timeout_us: 1,
            replicas: 1,
            pad: false,
            decoupled: false,
        }
    }

    fn cast(dtype: DType, input: Input) -> Result<Vec<u8>, RowFault> {
        let found = row(&spec(dtype, &[Dim::Batch, Dim::Variable]), input)?;
        match &found.tensors[0].data {
            TensorData::Fixed(bytes) => Ok(bytes.to_vec()),
            TensorData::Variable { values, .. } => Ok(values.to_vec()),
        }
    }

    fn filled(dims: &[Dim], elements: usize) -> Option<Vec<u64>> {
        let found = row(&spec(DType::F64, dims), Input::Doubles(vec![0.0; elements])).ok()?;
        Some(found.tensors[0].shape.to_vec())
    }

    #[test]
    fn numbers_are_cast_where_the_datatype_holds_them() {
        assert_eq!(cast(DType::I64, Input::Integers(vec![-1])), Ok((-1i64).to_le_bytes().into()));
        assert_eq!(cast(DType::F64, Input::Integers(vec![7])), Ok(7f64.to_le_bytes().into()));
        assert_eq!(cast(DType::U8, Input::Doubles(vec![255.0])), Ok(vec![255]));
        assert_eq!(cast(DType::F32, Input::Doubles(vec![0.1])), Ok(0.1f32.to_le_bytes().into()));
        let lost = [
            (DType::U8, Input::Integers(vec![256])),
            (DType::U32, Input::Integers(vec![-1])),
            (DType::F32, Input::Integers(vec![16_777_217])),
            (DType::I32, Input::Doubles(vec![0.5])),
            (DType::I64, Input::Doubles(vec![9_223_372_036_854_775_808.0])),
            (DType::F32, Input::Doubles(vec![1e300])),
        ];
        for (dtype, input) in lost {
            let fault = RowFault::Inexact { index: 0, dtype };
            assert_eq!(cast(dtype, input.clone()), Err(fault), "{input:?}");
        }
    }

    #[test]
    fn texts_and_bytes_go_into_either_and_bytes_into_an_array() {
        assert_eq!(cast(DType::U8, Input::Bytes(vec![9, 8])), Ok(vec![9, 8]));
        let one = |dtype, input| row(&spec(dtype, &[Dim::Batch]), input);
        assert!(one(DType::Bytes, Input::Strings("ä".into())).is_ok());
        assert!(one(DType::Str, Input::Bytes(b"a".into())).is_ok());
        assert_eq!(one(DType::Str, Input::Bytes(vec![255])).unwrap_err(), RowFault::NotUtf8);
        let fault = one(DType::F32, Input::Strings("1".into())).unwrap_err();
        assert_eq!(fault.to_string(), "the model takes f32 and can't be sent strings");
    }

    #[test]
    fn a_flat_input_fills_the_dimensions() {
        use Dim::{Batch, Fixed, Variable};
        assert_eq!(filled(&[Batch, Fixed(4)], 4), Some(vec![1, 4]));
        assert_eq!(filled(&[Batch, Fixed(2), Fixed(3)], 6), Some(vec![1, 2, 3]));
        assert_eq!(filled(&[Batch, Variable, Fixed(2)], 6), Some(vec![1, 3, 2]));
        assert_eq!(filled(&[Batch, Variable], 0), Some(vec![1, 0]));
        assert_eq!(filled(&[Batch], 1), Some(vec![1]));
        assert_eq!(filled(&[Fixed(3)], 3), Some(vec![3]));
        assert_eq!(filled(&[Batch, Fixed(4)], 5), None);
        assert_eq!(filled(&[Batch, Variable, Fixed(2)], 5), None);
        assert_eq!(filled(&[Batch, Variable, Fixed(0)], 0), None);
        assert_eq!(filled(&[Batch, Variable, Variable], 4), None);
    }

    #[test]
    fn a_model_of_several_inputs_is_none_for_an_application() {
        let mut spec = spec(DType::F64, &[Dim::Batch]);
        spec.inputs.push(spec.inputs[0].clone());
        let fault = row(&spec, Input::Doubles(vec![0.0])).unwrap_err();
        assert_eq!(fault, RowFault::SeveralInputs { count: 2 });
    }
}
