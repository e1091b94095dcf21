//! What works: models, forms, datatypes, metadata, metrics, deadlines, drains.

mod batching;
mod commands;
mod protocol;
mod tensors;
