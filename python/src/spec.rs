//! The declaration of a model, from Python values to what hello says.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use schemas::lifecycle::{Late, ModelSpec};
use schemas::tensor::{DType, Dim, TensorSpec};

const PLATFORM: &str = "python";

/// A declaration as `hydrofoil.container.spec_of` makes it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Declared {
    name: String,
    inputs: Vec<(String, String, Vec<Option<DeclaredDim>>)>,
    outputs: Vec<(String, String, Vec<Option<DeclaredDim>>)>,
    batched: bool,
    max_batch: u32,
    slo_us: Option<u64>,
    late: String,
    batch_timeout_us: u64,
    replicas: u32,
    pad: bool,
    decoupled: bool,
}

/// A fixed dimension, or the batch by its name; a variable one is None.
#[derive(FromPyObject)]
enum DeclaredDim {
    Fixed(u64),
    Batch(#[allow(dead_code, reason = "there is one name, which Python checked")] String),
}

impl Declared {
    pub(crate) fn into_spec(self) -> PyResult<ModelSpec> {
        let spec = ModelSpec {
            name: self.name,
            platform: PLATFORM.to_owned(),
            inputs: self.inputs.into_iter().map(tensor).collect::<PyResult<_>>()?,
            outputs: self.outputs.into_iter().map(tensor).collect::<PyResult<_>>()?,
            batched: self.batched,
            max_batch: self.max_batch,
            slo_us: self.slo_us,
            late: if self.late == "shed" { Late::Shed } else { Late::Serve },
            batch_timeout_us: self.batch_timeout_us,
            replicas: self.replicas,
            pad: self.pad,
            decoupled: self.decoupled,
        };
        spec.check().map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(spec)
    }
}

fn tensor((name, dtype, dims): (String, String, Vec<Option<DeclaredDim>>)) -> PyResult<TensorSpec> {
    let unknown = || PyValueError::new_err(format!("unknown datatype {dtype}"));
    let dtype = DType::from_name(&dtype).ok_or_else(unknown)?;
    let dims = dims.into_iter().map(dim).collect();
    Ok(TensorSpec { name, dtype, dims })
}

fn dim(declared: Option<DeclaredDim>) -> Dim {
    match declared {
        None => Dim::Variable,
        Some(DeclaredDim::Fixed(size)) => Dim::Fixed(size),
        Some(DeclaredDim::Batch(_)) => Dim::Batch,
    }
}
