//! The least work that reads every number: the sum of each row.

use std::path::Path;

use schemas::lifecycle::ModelSpec;
use schemas::tensor::{DType, Dim};

use super::{spec, tensor};
use crate::batch::{Batch, Outputs};
use crate::model::{LoadError, Model, Refusal};

/// A 28 × 28 image.
const FEATURES: usize = 784;

pub struct Noop;

impl Model for Noop {
    fn describe(&self) -> ModelSpec {
        let x = tensor("x", DType::F32, &[Dim::Batch, Dim::Fixed(FEATURES as u64)]);
        spec("noop", vec![x], vec![tensor("output", DType::F32, &[Dim::Batch])])
    }

    fn load(&mut self, _directory: &Path) -> Result<(), LoadError> {
        Ok(())
    }

    fn predict(&mut self, batch: &Batch<'_>, outputs: &mut Outputs) -> Result<(), Refusal> {
        let rows = batch.inputs[0].f32().chunks_exact(FEATURES);
        let sums: Vec<f32> = rows.map(|row| row.iter().sum()).collect();
        outputs.numbers(&[u64::from(batch.rows)], &sums);
        Ok(())
    }
}
