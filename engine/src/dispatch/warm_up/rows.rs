//! Rows for synthetic batches: of the model's own sample, or zeros of the shapes it declares. Pure.
//!
//! A sample is the body of an inference request, as a client would send it. Its rows are repeated to fill a batch;
//! nothing is copied for that.

use bytes::Bytes;
use schemas::lifecycle::ModelSpec;
use schemas::tensor::{Dim, Shape, TensorSpec, elements};

use crate::codec::binary_tensor;
use crate::codec::bind::{Named, bind};
use crate::codec::fault::InputFault;
use crate::codec::json_tensor::{InputData, parse_request};
use crate::dispatch::lane::shm::rows_of;
use crate::query::types::{TaskInputs, Tensor, TensorData};

/// Rows that batches are made of.
#[derive(Debug, Default)]
pub struct Rows(Vec<TaskInputs>);

impl Rows {
    /// One row of zeros and empty strings; 1 stands for a variable dimension. None at all where it would take more than
    /// `bytes_max`: beside a dimension that varies, a model may declare one of any size.
    pub fn zeros(spec: &ModelSpec, bytes_max: u64) -> Rows {
        let mut left = bytes_max;
        let tensors: Option<Vec<_>> =
            spec.inputs.iter().map(|input| zeros(input, &mut left)).collect();
        Rows(
            tensors
                .map(|tensors| TaskInputs { tensors: tensors.into(), rows: 1 })
                .into_iter()
                .collect(),
        )
    }

    /// Those of the request in `json`, if it suits the model.
    pub fn of_sample(spec: &ModelSpec, json: &[u8]) -> Result<Rows, InputFault> {
        let mut request = parse_request(json)?;
        binary_tensor::attach(&mut request.inputs, None)?;
        let mut given = Vec::with_capacity(request.inputs.len());
        for input in &mut request.inputs {
            let data = std::mem::replace(&mut input.data, InputData::Behind { size: 0 });
            // Attaching without bytes behind the JSON has refused all that is not here.
            let InputData::Here(data) = data else { continue };
            let tensor = Tensor { dtype: input.dtype, shape: input.shape.clone(), data };
            given.push(Named { name: &input.name, tensor });
        }
        Ok(Rows(split(bind(spec, given)?, spec.batched)))
    }

    /// The inputs of a batch, a task a row.
    pub fn batch(&self, rows: u32) -> Vec<&TaskInputs> {
        self.0.iter().cycle().take(rows as usize).collect()
    }

    /// What each of them costs; a sample's rows are all of one shape.
    pub fn row_cost(&self, spec: &ModelSpec) -> u32 {
        self.0.first().map_or(1, |row| row.row_cost(spec))
    }

    /// The most rows, up to `rows_max`, that take at most `bytes_max`; 0 when not even the first does.
    pub fn fitting(&self, rows_max: u32, bytes_max: u64) -> u32 {
        let round: u64 = self.0.iter().map(TaskInputs::bytes).sum();
        let rounds = bytes_max.checked_div(round).unwrap_or(u64::MAX);
        let mut rows = rounds.saturating_mul(self.0.len() as u64);
        let mut left = bytes_max.saturating_sub(rounds.saturating_mul(round));
        for row in self.0.iter().map(TaskInputs::bytes) {
            if rows >= u64::from(rows_max) || row > left {
                break;
            }
            left -= row;
            rows += 1;
        }
        u32::try_from(rows).unwrap_or(u32::MAX).min(rows_max)
    }
}

fn split(whole: TaskInputs, batched: bool) -> Vec<TaskInputs> {
    if !batched {
        return vec![whole];
    }
    let row = |nth| {
        let part = |tensor: &Tensor| rows_of(tensor, whole.rows, nth, 1);
        TaskInputs { tensors: whole.tensors.iter().map(part).collect(), rows: 1 }
    };
    (0..whole.rows).map(row).collect()
}

fn zeros(spec: &TensorSpec, left: &mut u64) -> Option<Tensor> {
    let size = |dim: &Dim| match dim {
        Dim::Fixed(size) => *size,
        Dim::Batch | Dim::Variable => 1,
    };
    const OFFSET_BYTES: u64 = 4;
    let shape: Shape = spec.dims.iter().map(size).collect();
    let elements = elements(&shape)?;
    let element_bytes = spec.dtype.size_bytes().map_or(OFFSET_BYTES, |size| size as u64);
    *left = left.checked_sub(elements.checked_mul(element_bytes)?)?;
    let elements = elements as usize;
    let data = match spec.dtype.size_bytes() {
        Some(size) => TensorData::Fixed(Bytes::from(vec![0; elements * size])),
        None => {
            TensorData::Variable { offsets: vec![0; elements + 1].into(), values: Bytes::new() }
        }
    };
    Some(Tensor { dtype: spec.dtype, shape, data })
}

#[cfg(test)]
mod tests {
    use schemas::lifecycle::Late;
    use schemas::tensor::DType;

    use super::*;

    fn tensor(name: &str, dtype: DType, dims: &[Dim]) -> TensorSpec {
        TensorSpec { name: name.into(), dtype, dims: dims.to_vec() }
    }

    fn spec(inputs: Vec<TensorSpec>, max_batch: u32) -> ModelSpec {
        ModelSpec {
            name: "m".into(),
            platform: "test".into(),
            outputs: vec![tensor("y", DType::F32, &[Dim::Batch])],
            batched: inputs[0].dims[0] == Dim::Batch,
            inputs,
            max_batch,
            slo_us: None,
            late: Late::Serve,
            batch_timeout_us: 1_000_000,
            replicas: 1,
            pad: false,
            decoupled: false,
        }
    }

    #[test]
    fn zeros_have_the_declared_shapes_with_one_for_what_varies() {
        let inputs = vec![
            tensor("x", DType::F32, &[Dim::Batch, Dim::Fixed(3), Dim::Variable]),
            tensor("word", DType::Str, &[Dim::Batch, Dim::Fixed(2)]),
        ];
        let rows = Rows::zeros(&spec(inputs, 8), 1 << 20);
        let batch = rows.batch(5);
        assert_eq!(batch.len(), 5);
        assert_eq!(batch[4].tensors[0].shape.as_slice(), [1, 3, 1]);
        assert_eq!(batch[4].tensors[0].data, TensorData::Fixed(Bytes::from(vec![0; 12])));
        let empty = TensorData::Variable { offsets: [0, 0, 0].into(), values: Bytes::new() };
        assert_eq!(batch[4].tensors[1].data, empty);
    }

    #[test]
    fn rows_that_no_slot_could_hold_are_never_made() {
        for huge in [1 << 21, 1 << 40, u64::MAX] {
            let dims = [Dim::Batch, Dim::Fixed(huge), Dim::Variable, Dim::Fixed(2)];
            for dtype in [DType::F64, DType::Bytes] {
                let rows = Rows::zeros(&spec(vec![tensor("x", dtype, &dims)], 8), 1 << 20);
                assert_eq!(rows.fitting(8, u64::MAX), 0, "{dtype:?} of {huge}");
            }
        }
    }

    #[test]
    fn rows_of_a_sample_are_repeated_in_order() {
        let spec = spec(vec![tensor("x", DType::U8, &[Dim::Batch])], 8);
        let sample =
            br#"{"inputs": [{"name": "x", "shape": [2], "datatype": "UINT8", "data": [7, 9]}]}"#;
        let rows = Rows::of_sample(&spec, sample).unwrap();
        let values: Vec<_> = rows
            .batch(5)
            .iter()
            .map(|row| match &row.tensors[0].data {
                TensorData::Fixed(bytes) => bytes[0],
                TensorData::Variable { .. } => panic!("a number"),
            })
            .collect();
        assert_eq!(values, [7, 9, 7, 9, 7]);
    }

    #[test]
    fn a_sample_of_another_shape_or_in_binary_is_refused_with_the_reason() {
        let spec = spec(vec![tensor("x", DType::U8, &[Dim::Batch])], 8);
        let refused = |json: &str| Rows::of_sample(&spec, json.as_bytes()).unwrap_err().to_string();
        let shaped =
            r#"{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "UINT8", "data": [7, 9]}]}"#;
        assert!(refused(shaped).contains("shape"));
        let behind = r#"{"inputs": [{"name": "x", "shape": [1], "datatype": "UINT8", "parameters": {"binary_data_size": 1}}]}"#;
        assert!(refused(behind).contains("binary_data_size"));
        assert!(!refused("{").is_empty());
    }

    #[test]
    fn a_batch_fits_its_bytes_to_the_row() {
        let spec = spec(vec![tensor("x", DType::U8, &[Dim::Batch, Dim::Variable])], 64);
        let one = Rows::zeros(&spec, 1 << 20);
        assert_eq!(one.fitting(64, 10), 10);
        assert_eq!(one.fitting(4, 10), 4);
        assert_eq!(one.fitting(4, 0), 0);
        let sample = br#"{"inputs": [{"name": "x", "shape": [2, 3], "datatype": "UINT8", "data": [1,2,3,4,5,6]}]}"#;
        assert_eq!(Rows::of_sample(&spec, sample).unwrap().fitting(64, 16), 5);
    }

    #[test]
    fn a_model_without_a_batch_dimension_gets_its_one_question() {
        let mut spec = spec(vec![tensor("x", DType::U8, &[Dim::Fixed(2)])], 1);
        spec.outputs = vec![tensor("y", DType::F32, &[Dim::Fixed(1)])];
        let sample =
            br#"{"inputs": [{"name": "x", "shape": [2], "datatype": "UINT8", "data": [7, 9]}]}"#;
        let rows = Rows::of_sample(&spec, sample).unwrap();
        assert_eq!(rows.batch(1)[0].tensors[0].shape.as_slice(), [2]);
    }
}
