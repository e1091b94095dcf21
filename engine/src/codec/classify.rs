//! The classification extension: the largest scores of each row, as text, in place of the tensor.
//!
//! An entry is `score:class`, with `:label` behind it where the class has one; scores of floating point have six
//! digits behind the point, as Triton writes them. Equal scores stand in the order of their classes, and what is not a
//! number stands last: there the widest-used server leaves the order open.

use std::cmp::Ordering;
use std::fmt::{Display, Write};
use std::num::NonZeroU32;

use bytes::Bytes;
use schemas::lifecycle::ModelSpec;
use schemas::tensor::DType;
use smallvec::smallvec;

use crate::codec::answer::Chosen;
use crate::codec::fault::InputFault;
use crate::labels::Labels;
use crate::query::types::{Tensor, TensorData};

/// Whether scores of this datatype have an order and a text.
pub fn can_be_classified(dtype: DType) -> bool {
    !matches!(dtype, DType::Bool | DType::F16 | DType::Bf16 | DType::Bytes | DType::Str)
}

/// Puts classes in the place of those outputs that were asked for so.
pub fn replace(
    spec: &ModelSpec,
    labels: &Labels,
    chosen: &[Chosen],
    outputs: &mut [Tensor],
) -> Result<(), InputFault> {
    for choice in chosen {
        let Some(count) = choice.classes else { continue };
        let name = &spec.outputs[choice.index].name;
        let output = &mut outputs[choice.index];
        let rows = if spec.batched { output.shape.first().copied() } else { None };
        *output = classes(output, rows, count, labels.of(name)).ok_or_else(|| {
            InputFault::NotClassified { tensor: name.clone(), dtype: output.dtype }
        })?;
    }
    Ok(())
}

/// BYTES of the shape `[rows, count]`, or `[count]` for a model without rows. None: the scores have no order, or their
/// texts are longer than a tensor can be.
fn classes(
    scores: &Tensor,
    rows: Option<u64>,
    count: NonZeroU32,
    labels: &[String],
) -> Option<Tensor> {
    let TensorData::Fixed(data) = &scores.data else { return None };
    let count = count.get() as usize;
    let texts = match scores.dtype {
        DType::U8 => Texts::of(data, rows, count, labels, u8::from_le_bytes),
        DType::U16 => Texts::of(data, rows, count, labels, u16::from_le_bytes),
        DType::U32 => Texts::of(data, rows, count, labels, u32::from_le_bytes),
        DType::U64 => Texts::of(data, rows, count, labels, u64::from_le_bytes),
        DType::I8 => Texts::of(data, rows, count, labels, i8::from_le_bytes),
        DType::I16 => Texts::of(data, rows, count, labels, i16::from_le_bytes),
        DType::I32 => Texts::of(data, rows, count, labels, i32::from_le_bytes),
        DType::I64 => Texts::of(data, rows, count, labels, i64::from_le_bytes),
        DType::F32 => {
            Texts::of(data, rows, count, labels, |it| Float(f32::from_le_bytes(it).into()))
        }
        DType::F64 => Texts::of(data, rows, count, labels, |it| Float(f64::from_le_bytes(it))),
        DType::Bool | DType::F16 | DType::Bf16 | DType::Bytes | DType::Str => return None,
    }?;
    let shape = match rows {
        Some(rows) => smallvec![rows, texts.per_row],
        None => smallvec![texts.per_row],
    };
    let data =
        TensorData::Variable { offsets: texts.offsets.into(), values: Bytes::from(texts.values) };
    Some(Tensor { dtype: DType::Bytes, shape, data })
}

/// A floating-point score: %f of the C library.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct Float(f64);

impl Display for Float {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_nan() { out.write_str("nan") } else { write!(out, "{:.6}", self.0) }
    }
}

struct Texts {
    per_row: u64,
    offsets: Vec<u32>,
    values: String,
}

impl Texts {
    fn of<T: PartialOrd + Copy + Display, const N: usize>(
        data: &[u8],
        rows: Option<u64>,
        count: usize,
        labels: &[String],
        score: impl Fn([u8; N]) -> T,
    ) -> Option<Texts> {
        let (elements, _) = data.as_chunks::<N>();
        let rows = rows.unwrap_or(1) as usize;
        let classes = elements.len().checked_div(rows).unwrap_or(0);
        let per_row = count.min(classes) as u64;
        let mut texts = Texts { per_row, offsets: vec![0], values: String::new() };
        for row in elements.chunks(classes.max(1)) {
            let row: Vec<T> = row.iter().map(|element| score(*element)).collect();
            for class in largest(&row, count) {
                texts.push(row[class], class, labels.get(class))?;
            }
        }
        Some(texts)
    }

    fn push(&mut self, score: impl Display, class: usize, label: Option<&String>) -> Option<()> {
        let written = match label {
            None => write!(self.values, "{score}:{class}"),
            Some(label) => write!(self.values, "{score}:{class}:{label}"),
        };
        written.expect("a string takes every character");
        self.offsets.push(u32::try_from(self.values.len()).ok()?);
        Some(())
    }
}

/// Where the largest `count` of them stand, the largest first.
fn largest<T: PartialOrd + Copy>(row: &[T], count: usize) -> Vec<usize> {
    let by_size = |&a: &usize, &b: &usize| after(row[a], row[b]).then(a.cmp(&b));
    let mut order: Vec<usize> = (0..row.len()).collect();
    if count < row.len() {
        order.select_nth_unstable_by(count, by_size);
        order.truncate(count);
    }
    order.sort_unstable_by(by_size);
    order
}

/// What does not equal itself stands behind everything that does.
fn after<T: PartialOrd + Copy>(a: T, b: T) -> Ordering {
    let missing = |it: T| it.partial_cmp(&it).is_none();
    b.partial_cmp(&a).unwrap_or_else(|| missing(a).cmp(&missing(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(shape: &[u64], scores: &[f32]) -> Tensor {
        let data: Vec<u8> = scores.iter().flat_map(|score| score.to_le_bytes()).collect();
        let data = TensorData::Fixed(data.into());
        Tensor { dtype: DType::F32, shape: shape.into(), data }
    }

    fn texts(tensor: &Tensor) -> Vec<String> {
        let TensorData::Variable { offsets, values } = &tensor.data else { panic!("no texts") };
        let text = |ends: &[u32]| {
            String::from_utf8(values[ends[0] as usize..ends[1] as usize].to_vec()).unwrap()
        };
        offsets.windows(2).map(text).collect()
    }

    fn classes_of(tensor: &Tensor, rows: Option<u64>, count: u32, labels: &[&str]) -> Tensor {
        let labels: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
        classes(tensor, rows, NonZeroU32::new(count).unwrap(), &labels).unwrap()
    }

    #[test]
    fn each_row_has_its_own_largest() {
        let scores = floats(&[2, 4], &[0.1, 0.7, 0.15, 0.05, 4.0, 3.0, 2.0, 1.0]);
        let found = classes_of(&scores, Some(2), 2, &["a", "b"]);
        assert_eq!((found.dtype, found.shape.as_slice()), (DType::Bytes, &[2, 2][..]));
        // Triton's own texts for these scores, with labels for two of the classes.
        let expected = ["0.700000:1:b", "0.150000:2", "4.000000:0:a", "3.000000:1:b"];
        assert_eq!(texts(&found), expected);
    }

    #[test]
    fn more_than_there_are_is_all_of_them_and_rows_may_be_missing() {
        let found = classes_of(&floats(&[3], &[1.0, 2.0, 3.0]), None, 9, &[]);
        assert_eq!(found.shape.as_slice(), [3]);
        assert_eq!(texts(&found), ["3.000000:2", "2.000000:1", "1.000000:0"]);
        let nothing = classes_of(&floats(&[2, 0], &[]), Some(2), 3, &[]);
        assert_eq!((nothing.shape.as_slice(), texts(&nothing).len()), (&[2, 0][..], 0));
    }

    #[test]
    fn equal_scores_stand_in_order_and_what_is_no_number_last() {
        let scores = [f32::NAN, 5.0, f32::INFINITY, 5.0, f32::NEG_INFINITY];
        let found = classes_of(&floats(&[1, 5], &scores), Some(1), 5, &[]);
        assert_eq!(texts(&found), ["inf:2", "5.000000:1", "5.000000:3", "-inf:4", "nan:0"]);
    }

    #[test]
    fn whole_scores_are_written_whole_and_compared_exactly() {
        let scores = [i64::MAX - 1, i64::MAX, -3];
        let data: Vec<u8> = scores.iter().flat_map(|score| score.to_le_bytes()).collect();
        let data = TensorData::Fixed(data.into());
        let tensor = Tensor { dtype: DType::I64, shape: smallvec![1, 3], data };
        let found = classes_of(&tensor, Some(1), 3, &[]);
        assert_eq!(texts(&found), ["9223372036854775807:1", "9223372036854775806:0", "-3:2"]);
    }

    #[test]
    fn what_has_no_order_has_no_classes() {
        let half = Tensor { dtype: DType::F16, ..floats(&[1, 1], &[1.0]) };
        assert_eq!(classes(&half, Some(1), NonZeroU32::MIN, &[]), None);
        assert!(!can_be_classified(DType::F16) && can_be_classified(DType::U8));
    }
}
