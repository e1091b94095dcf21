//! What crosses a process boundary: headers of batches and replies, and the words of the handshake.
//!
//! `fbs/` is the only definition of what passes between engine and containers, `proto/` of what passes between a client
//! and the engine over gRPC (feature `grpc`); `generated/` is made from both by `cargo xtask codegen` and committed. Everything else
//! sees plain values: a reader verifies a private copy of the bytes, copies every field out, and checks relations that
//! the verifier can't know. No reader panics, whatever the bytes. Deliberately absent: tensors' elements, which lie
//! beside the header and are moved by `shm-rpc`.
#![deny(unsafe_code)]

/// Made by `cargo xtask codegen`; the only unsafe code of this crate, in accessors over verified bytes.
#[allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::missing_safety_doc,
    clippy::unwrap_used,
    dead_code,
    mismatched_lifetime_syntaxes,
    non_camel_case_types,
    unreachable_pub,
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    unused_imports
)]
mod generated {
    #[cfg(feature = "grpc")]
    #[rustfmt::skip]
    #[path = "grpc.health.v1.rs"]
    pub mod health;
    #[cfg(feature = "grpc")]
    #[rustfmt::skip]
    pub mod inference;
    #[rustfmt::skip]
    mod schema;
    pub(crate) use schema::hydrofoil::*;
}

mod error;
pub mod lifecycle;
pub mod predict;
#[cfg(feature = "settings")]
pub mod settings;
pub mod tensor;
mod wire;

pub use error::SchemaError;
/// The Open Inference Protocol over gRPC with Triton's extensions, and gRPC's own health service, as `proto/` has them.
#[cfg(feature = "grpc")]
pub use generated::{health, inference};
/// The definitions of both as a `FileDescriptorSet`, for a server's reflection.
#[cfg(feature = "grpc")]
pub const GRPC_DESCRIPTORS: &[u8] = include_bytes!("generated/grpc.bin");
