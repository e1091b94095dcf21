//! What works: models, forms, datatypes, metadata, metrics, deadlines, drains.

mod batching;
mod classes;
mod clipper;
mod clipper_containers;
mod commands;
mod deployments;
mod devices;
mod embedding_mlp;
mod fleet_commands;
mod images;
mod memory;
mod observing;
mod padding;
mod pinned;
mod programs;
mod prometheus;
mod protocol;
mod repository;
mod scaling;
mod seats;
mod shared_memory;
mod slots;
mod streaming;
mod tensors;
mod triton_config;
mod warm_up;
