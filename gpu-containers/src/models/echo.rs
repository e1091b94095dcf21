//! Returns its input: what is left is the corridor.

use std::path::Path;

use schemas::lifecycle::ModelSpec;
use schemas::tensor::{DType, Dim};

use super::{spec, tensor};
use crate::batch::{Batch, Outputs};
use crate::model::{LoadError, Model, Refusal};

pub struct Echo;

impl Model for Echo {
    fn describe(&self) -> ModelSpec {
        let of = |name| vec![tensor(name, DType::Bytes, &[Dim::Batch, Dim::Variable])];
        spec("echo", of("x"), of("output"))
    }

    fn load(&mut self, _directory: &Path) -> Result<(), LoadError> {
        Ok(())
    }

    fn predict(&mut self, batch: &Batch<'_>, outputs: &mut Outputs) -> Result<(), Refusal> {
        let x = &batch.inputs[0];
        outputs.raw(&x.shape, x.bytes(), &x.offsets);
        Ok(())
    }
}
