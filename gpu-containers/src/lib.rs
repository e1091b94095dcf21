//! The container side in Rust: the serve loop, the trait a model implements, and the models we ship.
//!
//! A container runs one replica of one model. It trusts the engine that started it, and nothing else. A model may run on
//! a GPU: [`device`] and [`staging`] are the two places that know CUDA, and hold all unsafe code.
#![deny(unsafe_code)]

pub mod bare;
pub mod batch;
pub mod clock;
pub mod device;
pub mod model;
pub mod models;
pub mod probe;
pub mod serve;
pub mod staging;
