//! The container side in Rust: the serve loop, the trait a model implements, and the models we ship.
//!
//! A container runs one replica of one model. It trusts the engine that started it, and nothing else. Deliberately
//! absent so far: devices. GPU models bring `device.rs` and `staging.rs`.
#![forbid(unsafe_code)]

pub mod batch;
pub mod clock;
pub mod model;
pub mod models;
pub mod serve;
