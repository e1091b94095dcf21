//! What a model is: it describes itself, loads, and predicts whole batches.

use std::path::Path;

use schemas::lifecycle::ModelSpec;

use crate::batch::{Batch, Outputs};

/// Why a model can't be loaded; the sentence reaches whoever started the engine.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read {path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("{path} is not what the model needs: {message}")]
    Weights { path: String, message: String },
    #[error("{name} {message}")]
    Setting { name: &'static str, message: String },
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
}

/// A model that a native container serves.
pub trait Model {
    /// Inputs, outputs and settings. Called after [`Model::load`] and never again, so weights may give the sizes.
    fn describe(&self) -> ModelSpec;

    /// Reads weights from the version's directory.
    fn load(&mut self, directory: &Path) -> Result<(), LoadError>;

    /// Predicts a whole batch: one output for each declared one, in order, of as many rows as came in.
    fn predict(&mut self, batch: &Batch, outputs: &mut Outputs) -> Result<(), Refusal>;
}
