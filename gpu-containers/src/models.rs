//! The models we ship: two to serve, four to measure and test with.

mod cuda_mlp;
pub mod echo;
pub mod embedding_mlp;
pub mod linear;
pub mod noop;
pub mod saved;
pub mod sleep;
pub mod timed;

use std::time::Duration;

use schemas::lifecycle::{Late, ModelSpec};
use schemas::tensor::{DType, Dim, TensorSpec};

use crate::device::Wanted;
use crate::model::Model;

/// The decorator's defaults of the Python SDK.
const MAX_BATCH: u32 = 64;
const BATCH_TIMEOUT: Duration = Duration::from_secs(30);

/// The model of a kind, not loaded yet.
pub fn of_kind(kind: Kind) -> Box<dyn Model> {
    match kind {
        Kind::Linear => Box::new(linear::Linear::default()),
        Kind::EmbeddingMlp => Box::new(embedding_mlp::EmbeddingMlp::on(Wanted::of_environment())),
        Kind::Echo => Box::new(echo::Echo),
        Kind::Noop => Box::new(noop::Noop),
        Kind::Sleep => Box::new(sleep::Sleep),
        Kind::Timed => Box::new(timed::Timed::default()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// A linear classifier from model.safetensors.
    Linear,
    /// Embeddings, their mean and a multi-layer perceptron from model.safetensors; on a GPU if it was placed on one.
    #[value(name = "embedding_mlp")]
    EmbeddingMlp,
    /// Returns its input.
    Echo,
    /// Sums 784 numbers a row.
    Noop,
    /// Sleeps as many microseconds as the largest row says.
    Sleep,
    /// Takes a fixed time and one for each row, from TIMED_FIXED_US and TIMED_PER_ROW_US.
    Timed,
}

fn spec(name: &str, inputs: Vec<TensorSpec>, outputs: Vec<TensorSpec>) -> ModelSpec {
    ModelSpec {
        name: name.to_owned(),
        platform: format!("native-{name}"),
        inputs,
        outputs,
        batched: true,
        max_batch: MAX_BATCH,
        slo_us: None,
        late: Late::Serve,
        batch_timeout_us: BATCH_TIMEOUT.as_micros() as u64,
        replicas: 1,
        pad: false,
        decoupled: false,
    }
}

fn tensor(name: &str, dtype: DType, dims: &[Dim]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), dtype, dims: dims.to_vec() }
}
