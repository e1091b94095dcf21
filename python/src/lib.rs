//! The extension module `hydrofoil._native`: the container's end of a lane, for Python models.
//!
//! Python decides, this module moves: `Lane` waits with the interpreter released, shows a batch as
//! NumPy arrays over the request slot, and copies outputs into the reply slot. No Python code runs
//! per row, and none per tensor beyond one call that makes its array. Deliberately absent: the
//! checks on what a model returns (`hydrofoil._outputs`), and any policy.
#![deny(unsafe_code)]

use pyo3::prelude::*;

mod clock;
mod inputs;
mod lane;
#[allow(unsafe_code, reason = "the one file that shows shared memory to the interpreter")]
mod memory;
mod outputs;
mod spec;
mod work;

#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::lane::Lane;
}
