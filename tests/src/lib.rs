//! Starts whole engines on free ports and talks to them as a client would. Every wait has a watchdog.
#![forbid(unsafe_code)]

pub mod client;
pub mod containers;
pub mod docker;
pub mod engine;
pub mod fleet;
pub mod nvml;
pub mod tensors;
pub mod zmtp;

pub use client::{Client, Response};
pub use engine::{Engine, Scratch};
