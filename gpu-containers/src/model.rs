//! What a model is: it describes itself, loads, and predicts whole batches.

use std::path::Path;

use schemas::lifecycle::ModelSpec;

use crate::batch::{Batch, Outputs};
use crate::device::CudaError;
use crate::staging::Arrivals;

/// Why a model can't be loaded; the sentence reaches whoever started the engine.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read {path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("{path} is not what the model needs: {message}")]
    Weights { path: String, message: String },
    #[error("{name} {message}")]
    Setting { name: &'static str, message: String },
    #[error("the model was placed on a GPU: {0}")]
    Device(#[from] CudaError),
}

/// The device does not answer any more: this container is of no use, and another one is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the GPU failed: {0}")]
pub struct DeviceLost(pub CudaError);

/// What batches will come through.
pub struct Lane<'a> {
    /// Rows of the largest.
    pub max_batch: u32,
    /// How many are under way at a time: one of an engine's, up to two of the bare loop's.
    pub depth: u32,
    pub requests: Arrivals<'a>,
}

/// Why a batch got no predictions; the message reaches the caller.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The model's own fault.
    #[error("{0}")]
    Raised(String),
    /// The caller's fault, in one row where it can be named.
    #[error("{message}")]
    Input { message: String, row: Option<u32> },
    /// Nobody's fault, and the end of this container.
    #[error(transparent)]
    Device(#[from] DeviceLost),
}

/// A model that a native container serves.
pub trait Model {
    /// Inputs, outputs and settings. Called after [`Model::load`] and never again, so weights may give the sizes.
    fn describe(&self) -> ModelSpec;

    /// Reads weights from the version's directory.
    fn load(&mut self, directory: &Path) -> Result<(), LoadError>;

    /// Called once, after [`Model::describe`] and before the first batch.
    fn join(&mut self, _lane: &Lane<'_>) -> Result<(), LoadError> {
        Ok(())
    }

    /// Predicts a whole batch: one output for each declared one, in order, of as many rows as came in.
    fn predict(&mut self, batch: &Batch<'_>, outputs: &mut Outputs) -> Result<(), Refusal>;

    /// Called now and then while nothing comes: whether what the model runs on still answers.
    fn check(&mut self) -> Result<(), DeviceLost> {
        Ok(())
    }
}
