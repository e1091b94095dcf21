//! Bytes of a protocol to tensors and back. Pure: no socket, no clock, no status code.
//!
//! A question goes [`json_tensor::parse_request`] → [`binary_tensor::attach`] → [`bind::bind`]; an answer goes
//! through [`answer::encode`]; the messages of gRPC go through [`grpc_tensor`] both ways. Nothing is trusted: sizes are checked before memory is taken for them.

pub mod answer;
pub mod binary_tensor;
pub mod bind;
pub mod classify;
pub mod clipper;
pub mod fault;
pub mod generate;
pub mod grpc_tensor;
pub mod json_tensor;
