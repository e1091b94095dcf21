//! The repository's own rules: layers, sizes, where crates and unsafe code may stand, freshness, metrics in use.

mod layers;
mod shape;
mod source;
