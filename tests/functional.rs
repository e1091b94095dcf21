//! What works: models, forms, datatypes, metadata, metrics, deadlines, drains.

mod batching;
mod commands;
mod memory;
mod programs;
mod protocol;
mod slots;
mod tensors;
mod warm_up;
