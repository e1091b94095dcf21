//! Any bytes as a message of gRPC that asks a model, up to its tensors.
#![no_main]

use bytes::Bytes;
use engine::client_shm::region::Place;
use engine::codec::bind::bind;
use engine::codec::fault::InputFault;
use engine::codec::grpc_tensor;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use schemas::inference::ModelInferRequest;
use schemas::lifecycle::{Late, ModelSpec};
use schemas::tensor::{DType, Dim, TensorSpec};

fn spec() -> ModelSpec {
    let tensor = |name: &str, dtype| TensorSpec {
        name: name.into(),
        dtype,
        dims: vec![Dim::Batch, Dim::Variable],
    };
    let tensors = vec![tensor("x", DType::F32), tensor("s", DType::Str)];
    ModelSpec {
        name: "m".into(),
        platform: "fuzz".into(),
        inputs: tensors.clone(),
        outputs: tensors,
        batched: true,
        max_batch: 8,
        slo_us: None,
        late: Late::Serve,
        batch_timeout_us: 1,
        replicas: 1,
        pad: false,
        decoupled: false,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut message) = ModelInferRequest::decode(Bytes::copy_from_slice(bytes)) else { return };
    let spec = spec();
    let _ = grpc_tensor::asked(&message.parameters);
    let _ = grpc_tensor::choose(&spec, &message.outputs);
    let raw = std::mem::take(&mut message.raw_input_contents);
    // Of client memory any place holds its own name.
    let fetch = |name: &str, place: &Place| {
        let bytes = place.region.bytes().cycle().take(place.size.min(64) as usize).collect();
        if name.is_empty() { Err(InputFault::NoInputs) } else { Ok(bytes) }
    };
    if let Ok(given) = grpc_tensor::inputs(&mut message.inputs, raw, fetch) {
        let _ = bind(&spec, given);
    }
});
