//! A stand-in for NVIDIA's library, built from `tests/nvml/stub.c`: the GPUs that a script describes.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::engine::{Scratch, root};

/// One built library, in a test's directory.
pub struct Library(PathBuf);

impl Library {
    pub fn build(scratch: &Scratch, script: &str) -> Library {
        let library = Library(scratch.0.join("nvml.so"));
        library.now(script);
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library.0);
        compiler.arg(root().join("tests/nvml/stub.c"));
        assert!(compiler.status().expect("cc runs").success());
        library
    }

    /// From now on this is so; in one step, since the engine reads while a test writes.
    pub fn now(&self, script: &str) {
        let next = self.0.with_extension("next");
        fs::write(&next, script).expect("written");
        fs::rename(&next, self.0.with_extension("so.script")).expect("renamed");
    }

    /// What FOIL_NVML is to be.
    pub fn file(&self) -> &PathBuf {
        &self.0
    }
}
