//! Between the engine's tensors and Clipper's arrays: a batch of rows becomes an array a row, texts become one tensor.
//! Pure.

use std::time::Duration;

use bytes::Bytes;
use schemas::predict::{Failure, FailureKind};
use schemas::tensor::DType;
use smallvec::smallvec;

use super::models::InputType;
use crate::dispatch::lane::Reply;
use crate::dispatch::lane::remote::OwnedBatch;
use crate::ids::BatchId;
use crate::query::types::{Tensor, TensorData};

/// Each row of the batch, in order.
pub(super) fn inputs(batch: &OwnedBatch) -> Vec<Bytes> {
    let mut inputs = Vec::with_capacity(batch.rows as usize);
    // Models of containers have one input.
    for tensor in batch.tasks.iter().filter_map(|task| task.first()) {
        match &tensor.data {
            TensorData::Fixed(bytes) => {
                let rows = tensor.shape.first().map_or(1, |&rows| rows as usize);
                let row_bytes = bytes.len() / rows.max(1);
                inputs.extend(
                    (0..rows).map(|row| bytes.slice(row * row_bytes..(row + 1) * row_bytes)),
                );
            }
            TensorData::Variable { offsets, values } => {
                let ends = offsets.windows(2).map(|ends| ends[0] as usize..ends[1] as usize);
                inputs.extend(ends.map(|range| values.slice(range)));
            }
        }
    }
    inputs
}

/// Clipper's containers end with an exception when all arrays of a batch are empty, and so would the next one that gets
/// the batch. Texts may be empty.
pub(super) fn refuse_empty(
    batch: BatchId,
    input_type: InputType,
    inputs: &[Bytes],
) -> Option<Reply> {
    if input_type == InputType::Strings {
        return None;
    }
    let row = inputs.iter().position(Bytes::is_empty)?;
    let message = "the input is empty; Clipper's containers can't take arrays without elements";
    Some(failed(batch, FailureKind::InputRefused, message.into(), Some(row as u32)))
}

/// What a container answered for `rows` rows.
pub(super) fn reply(batch: BatchId, rows: u32, outputs: &[Bytes]) -> Reply {
    let got = outputs.len();
    if got as u64 != u64::from(rows) {
        let message = format!("the container answered {got} outputs to {rows} inputs");
        return failed(batch, FailureKind::BadOutput, message, None);
    }
    if let Some(row) = outputs.iter().position(|output| str::from_utf8(output).is_err()) {
        let message = format!("the container's output {row} is not UTF-8");
        return failed(batch, FailureKind::BadOutput, message, Some(row as u32));
    }
    // What a message may hold is far below what offsets count.
    let ends = outputs.iter().scan(0, |end, output| {
        *end += output.len() as u32;
        Some(*end)
    });
    let data = TensorData::Variable {
        offsets: std::iter::once(0).chain(ends).collect(),
        values: outputs.concat().into(),
    };
    let output = Tensor { dtype: DType::Str, shape: smallvec![rows.into()], data };
    // Containers don't say what their model took.
    Reply { batch, model: Duration::ZERO, outcome: Ok(vec![output]) }
}

fn failed(batch: BatchId, kind: FailureKind, message: String, row: Option<u32>) -> Reply {
    Reply { batch, model: Duration::ZERO, outcome: Err(Failure { kind, message, row }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: BatchId = BatchId(7);

    fn numbers(shape: [u64; 2], bytes: &'static [u8]) -> Tensor {
        let data = TensorData::Fixed(Bytes::from_static(bytes));
        Tensor { dtype: DType::I32, shape: smallvec![shape[0], shape[1]], data }
    }

    fn texts(offsets: &[u32], values: &'static [u8]) -> Tensor {
        let shape = smallvec![offsets.len() as u64 - 1];
        let values = Bytes::from_static(values);
        Tensor {
            dtype: DType::Str,
            shape,
            data: TensorData::Variable { offsets: offsets.into(), values },
        }
    }

    fn batch(tensors: Vec<Tensor>) -> OwnedBatch {
        let tasks = tensors.into_iter().map(|tensor| smallvec![tensor]).collect();
        OwnedBatch { id: BATCH, rows: 3, tasks }
    }

    #[test]
    fn each_row_is_an_array_whatever_its_length_and_its_task() {
        let batch = batch(vec![
            numbers([2, 1], &[1, 0, 0, 0, 2, 0, 0, 0]),
            numbers([1, 2], &[3, 0, 0, 0, 4, 0, 0, 0]),
        ]);
        let found = inputs(&batch);
        let expected: [&[u8]; 3] = [&[1, 0, 0, 0], &[2, 0, 0, 0], &[3, 0, 0, 0, 4, 0, 0, 0]];
        assert_eq!(found, expected);
    }

    #[test]
    fn texts_are_taken_where_their_slice_starts() {
        let found = inputs(&batch(vec![texts(&[2, 3, 3], b"xxabc"), texts(&[0, 2], b"de")]));
        assert_eq!(found, [&b"a"[..], b"", b"de"]);
    }

    #[test]
    fn a_row_without_elements_is_its_callers_fault_but_an_empty_text_is_a_text() {
        let inputs = [Bytes::from_static(b"abcd"), Bytes::new()];
        let refused = refuse_empty(BATCH, InputType::Floats, &inputs).unwrap();
        let failure = refused.outcome.unwrap_err();
        assert_eq!((failure.kind, failure.row), (FailureKind::InputRefused, Some(1)));
        assert!(refuse_empty(BATCH, InputType::Strings, &inputs).is_none());
        assert!(refuse_empty(BATCH, InputType::Floats, &inputs[..1]).is_none());
    }

    #[test]
    fn outputs_become_one_tensor() {
        let outputs = ["1.0", "", "größer"].map(|text| Bytes::from_static(text.as_bytes()));
        let tensors = reply(BATCH, 3, &outputs).outcome.unwrap();
        let TensorData::Variable { offsets, values } = &tensors[0].data else { panic!("texts") };
        assert_eq!(offsets[..], [0, 3, 3, 11]);
        assert_eq!(values, "1.0größer".as_bytes());
        assert_eq!(tensors[0].shape.as_slice(), [3]);
    }

    #[test]
    fn outputs_too_many_too_few_or_no_text_fail_the_batch() {
        let outputs = [Bytes::from_static(b"1"), Bytes::from_static(b"\xff")];
        for (rows, row) in [(1, None), (3, None), (2, Some(1))] {
            let failure = reply(BATCH, rows, &outputs).outcome.unwrap_err();
            assert_eq!((failure.kind, failure.row), (FailureKind::BadOutput, row), "{rows}");
        }
    }
}
