//! What is asked of a model over gRPC: requests shaped by its metadata, with the values that HTTP would carry.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use schemas::inference::model_infer_request::InferInputTensor;
use schemas::inference::{
    ModelInferRequest, ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest,
    ModelReadyResponse, ServerLiveRequest, ServerLiveResponse,
};
use serde_json::{Value, json};

use super::exchange::{Lost, Reply, answer, framed, head};
use super::peer::Peer;
use super::runtime;
use crate::clock::Clock;
use crate::payload::{Input, PayloadError, Values, inputs_of, raw};
use crate::plan::{Expect, Target, Transport};

/// For a server that is up; a first call may build something there.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    #[error("could not connect to {address}: {source}; is this the server's gRPC port?")]
    Connect { address: SocketAddr, source: io::Error },
    #[error("{address} closed the connection under {call}")]
    Closed { address: SocketAddr, call: &'static str },
    #[error("{address} gave {call} no answer within {TIMEOUT:?}; is the server up?")]
    Late { address: SocketAddr, call: &'static str },
    #[error("what {address} answered to {call} isn't gRPC; is this the server's gRPC port?")]
    NotGrpc { address: SocketAddr, call: &'static str },
    #[error("the server answered {call} with the status {status}: {told}")]
    Refused { call: &'static str, status: u16, told: String },
    #[error("the answer to {call} can't be read: {source}")]
    Answer { call: &'static str, source: prost::DecodeError },
    #[error("the model '{model}' isn't ready; load it or wait until it is")]
    NotReady { model: String },
    #[error(transparent)]
    Payload(#[from] PayloadError),
    #[error("the system refused to wait for events: {0}")]
    Poll(io::Error),
}

/// Load for a model that is ready, shaped by its metadata. No version: the server chooses.
pub fn prepare(
    address: SocketAddr,
    model: &str,
    version: Option<u64>,
    rows: u64,
    seed: u64,
) -> Result<Target, GrpcError> {
    let inputs = inputs(address, model, version, rows)?;
    let bytes = message(model, version, &inputs, Values::random(seed));
    let expect = Expect { status: Some(0), ..Expect::default() };
    Ok(Target { transport: Transport::Grpc, ..Target::one(address, bytes, expect) })
}

/// What a model that is ready takes.
pub fn inputs(
    address: SocketAddr,
    model: &str,
    version: Option<u64>,
    rows: u64,
) -> Result<Vec<Input>, GrpcError> {
    if !is_ready(address, model, version)? {
        return Err(GrpcError::NotReady { model: model.to_owned() });
    }
    let asked = ModelMetadataRequest { name: model.to_owned(), version: text(version) };
    let metadata = call(address, "ModelMetadata", &asked)?;
    Ok(inputs_of(&described(&metadata), rows)?)
}

/// One request, with its tensors as raw contents.
pub fn message(model: &str, version: Option<u64>, inputs: &[Input], mut values: Values) -> Vec<u8> {
    let raw = inputs.iter().map(|input| Bytes::from(raw(input, &mut values))).collect();
    let tensors = inputs.iter().map(|input| InferInputTensor {
        name: input.name.clone(),
        datatype: input.datatype_name.clone(),
        shape: input.shape.iter().map(|&length| length.cast_signed()).collect(),
        ..InferInputTensor::default()
    });
    let request = ModelInferRequest {
        model_name: model.to_owned(),
        model_version: text(version),
        inputs: tensors.collect(),
        raw_input_contents: raw,
        ..ModelInferRequest::default()
    };
    request.encode_to_vec()
}

/// No version is an empty one.
fn text(version: Option<u64>) -> String {
    version.map_or_else(String::new, |version| version.to_string())
}

pub fn is_live(address: SocketAddr) -> Result<bool, GrpcError> {
    let told: ServerLiveResponse = call(address, "ServerLive", &ServerLiveRequest {})?;
    Ok(told.live)
}

pub fn is_ready(address: SocketAddr, model: &str, version: Option<u64>) -> Result<bool, GrpcError> {
    let asked = ModelReadyRequest { name: model.to_owned(), version: text(version) };
    let told: ModelReadyResponse = call(address, "ModelReady", &asked)?;
    Ok(told.ready)
}

/// The answer to one request, for comparing later ones with it.
pub fn ask(address: SocketAddr, message: &[u8]) -> Result<Vec<u8>, GrpcError> {
    Ok(exchange(address, "ModelInfer", message)?.to_vec())
}

/// The metadata as HTTP would tell them.
fn described(metadata: &ModelMetadataResponse) -> Value {
    let inputs = metadata.inputs.iter().map(
        |input| json!({ "name": input.name, "datatype": input.datatype, "shape": input.shape }),
    );
    json!({ "inputs": inputs.collect::<Vec<_>>() })
}

// ---- one call ----

fn call<Told: Message + Default>(
    address: SocketAddr,
    call: &'static str,
    asked: &impl Message,
) -> Result<Told, GrpcError> {
    let message = exchange(address, call, &asked.encode_to_vec())?;
    Told::decode(message).map_err(|source| GrpcError::Answer { call, source })
}

/// On a connection of its own.
fn exchange(address: SocketAddr, call: &'static str, message: &[u8]) -> Result<Bytes, GrpcError> {
    let exchanged = async {
        let opened = Peer::open(address, Clock::start()).await;
        let mut peer = opened.map_err(|source| GrpcError::Connect { address, source })?;
        let closed = |_| GrpcError::Closed { address, call };
        let response = peer.ask(head(address, call), framed(message)).map_err(closed)?;
        answer(response).await.map_err(|lost| match lost {
            Lost::Closed => GrpcError::Closed { address, call },
            Lost::NotGrpc => GrpcError::NotGrpc { address, call },
        })
    };
    let limited = async { tokio::time::timeout(TIMEOUT, exchanged).await };
    let late = |_| GrpcError::Late { address, call };
    let reply = runtime().map_err(GrpcError::Poll)?.block_on(limited).map_err(late)??;
    match reply {
        Reply { status: 0, message, .. } => Ok(message),
        Reply { status, told, .. } => Err(GrpcError::Refused { call, status, told }),
    }
}
