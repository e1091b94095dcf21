//! Sleeps as long as it is asked to: a model of any speed, for tests and measurements.

use std::path::Path;
use std::time::Duration;

use schemas::lifecycle::ModelSpec;
use schemas::tensor::{DType, Dim};

use super::{spec, tensor};
use crate::batch::{Batch, Outputs};
use crate::model::{LoadError, Model, Refusal};

/// A longer sleep is a mistake in the unit.
const SLEEP_MAX: Duration = Duration::from_secs(60);

pub struct Sleep;

impl Model for Sleep {
    fn describe(&self) -> ModelSpec {
        let of = |name| vec![tensor(name, DType::F32, &[Dim::Batch])];
        spec("sleep", of("micros"), of("output"))
    }

    fn load(&mut self, _directory: &Path) -> Result<(), LoadError> {
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "sleeping is what this model does")]
    fn predict(&mut self, batch: &Batch<'_>, outputs: &mut Outputs) -> Result<(), Refusal> {
        let micros = batch.inputs[0].f32();
        let longest = micros.iter().copied().fold(0.0, f32::max);
        let span = Duration::from_micros(longest as u64);
        if span > SLEEP_MAX {
            let row = micros.iter().position(|&it| it == longest).map(|row| row as u32);
            let message = format!("{span:?} is longer than the {SLEEP_MAX:?} this model sleeps");
            return Err(Refusal::Input { message, row });
        }
        std::thread::sleep(span);
        outputs.numbers(&[u64::from(batch.rows)], micros);
        Ok(())
    }
}
