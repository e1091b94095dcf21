//! Embeddings of a row's ids, their mean, and a multi-layer perceptron: the native model for GPUs, and on the CPU.
//!
//! Input `ids` (rows × ids a row), output `scores` f32 (rows × outputs). A negative id is padding. An id that the table
//! doesn't have refuses the request that brought it. Weights: [`weights`]. It runs where the engine placed it (see
//! [`Wanted::of_environment`]); a device that can't be had is an error, not a reason to run on the CPU instead: who placed
//! it there decides.

pub mod buckets;
mod cpu;
pub mod weights;

use std::path::Path;

use schemas::lifecycle::ModelSpec;
use schemas::tensor::{DType, Dim};

use super::cuda_mlp::CudaMlp;
use super::{saved, spec, tensor};
use crate::batch::{Batch, Input, Outputs};
use crate::device::Wanted;
use crate::model::{DeviceLost, Lane, LoadError, Model, Refusal};
use cpu::CpuMlp;
use weights::{Ids, Shape, Weights};

/// The model; empty until it is loaded.
#[derive(Debug)]
pub struct EmbeddingMlp {
    loaded: Option<Loaded>,
    on: Wanted,
}

#[derive(Debug)]
struct Loaded {
    shape: Shape,
    outputs: usize,
    runs: Runs,
}

#[derive(Debug)]
enum Runs {
    Cpu(CpuMlp),
    Gpu(Box<CudaMlp>),
}

impl EmbeddingMlp {
    pub fn on(wanted: Wanted) -> EmbeddingMlp {
        EmbeddingMlp { loaded: None, on: wanted }
    }

    fn loaded(&mut self) -> &mut Loaded {
        self.loaded.as_mut().expect("a model is loaded before it is described or run")
    }

    /// On a device: what batches can be queued on.
    pub fn device(&mut self) -> Option<&mut CudaMlp> {
        match &mut self.loaded().runs {
            Runs::Cpu(_) => None,
            Runs::Gpu(gpu) => Some(gpu),
        }
    }

    /// Of the ids.
    pub fn shape(&self) -> Option<Shape> {
        self.loaded.as_ref().map(|loaded| loaded.shape)
    }
}

impl Model for EmbeddingMlp {
    fn describe(&self) -> ModelSpec {
        let loaded = self.loaded.as_ref().expect("a model is loaded before it is described");
        let per_row = Dim::Fixed(loaded.shape.per_row as u64);
        let ids = tensor("ids", loaded.shape.ids, &[Dim::Batch, per_row]);
        let outputs = Dim::Fixed(loaded.outputs as u64);
        let scores = tensor("scores", DType::F32, &[Dim::Batch, outputs]);
        spec("embedding_mlp", vec![ids], vec![scores])
    }

    fn load(&mut self, directory: &Path) -> Result<(), LoadError> {
        let weights = saved::read(directory, Weights::parse)?;
        let (shape, last) = (weights.shape, weights.layers.last());
        let outputs = last.map_or(0, |layer| layer.outputs);
        let runs = match self.on {
            Wanted::Cpu => Runs::Cpu(CpuMlp::new(weights)),
            Wanted::Gpu(_) => Runs::Gpu(Box::new(CudaMlp::load(&weights, &self.on)?)),
        };
        self.loaded = Some(Loaded { shape, outputs, runs });
        Ok(())
    }

    fn join(&mut self, lane: &Lane<'_>) -> Result<(), LoadError> {
        match &mut self.loaded().runs {
            Runs::Cpu(_) => Ok(()),
            Runs::Gpu(gpu) => gpu.join(lane),
        }
    }

    fn predict(&mut self, batch: &Batch<'_>, outputs: &mut Outputs) -> Result<(), Refusal> {
        let loaded = self.loaded();
        let input = &batch.inputs[0];
        let ids = ids(input);
        refuse_unknown(ids, &loaded.shape)?;
        let sizes = [u64::from(batch.rows), loaded.outputs as u64];
        match &mut loaded.runs {
            Runs::Cpu(cpu) => outputs.numbers(&sizes, cpu.run(ids)),
            Runs::Gpu(gpu) => outputs.raw(&sizes, gpu.run(input.bytes(), batch.rows)?, &[]),
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), DeviceLost> {
        match &mut self.loaded().runs {
            Runs::Cpu(_) => Ok(()),
            Runs::Gpu(gpu) => gpu.check(),
        }
    }
}

fn ids<'a>(input: &Input<'a>) -> Ids<'a> {
    match input.dtype {
        DType::I32 => Ids::I32(input.numbers(DType::I32)),
        _ => Ids::I64(input.numbers(DType::I64)),
    }
}

fn refuse_unknown(ids: Ids<'_>, shape: &Shape) -> Result<(), Refusal> {
    let Some((at, id)) = ids.beyond(shape.vocabulary) else { return Ok(()) };
    let message = format!("id {id} is not in the table of {} ids", shape.vocabulary);
    Err(Refusal::Input { message, row: Some((at / shape.per_row) as u32) })
}
