//! Hydrofoil's serving engine. See `ARCHITECTURE.md` for the walk of a request.
#![deny(unsafe_code)]

pub mod api;
pub mod app;
pub mod apps;
pub mod batch;
pub mod classes;
pub mod cli;
pub mod client;
pub mod client_shm;
pub mod clipper_rpc;
pub mod clock;
pub mod codec;
pub mod config;
pub mod dispatch;
pub mod fleet;
pub mod handover;
pub mod host;
pub mod ids;
pub mod labels;
pub mod observe;
pub mod query;
pub mod socket_file;
mod table;
pub mod threads;
pub mod triton_config;
