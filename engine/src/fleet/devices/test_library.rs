//! For tests: a stand-in for NVIDIA's library, built from `tests/nvml/stub.c`, with a script that a test rewrites.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Two GPUs, of which the second is split in two.
pub(crate) const TWO_GPUS: &str = "\
gpu GPU-1 NVIDIA_H100_80GB_HBM3 81920 512 1024 00000000:65:00.0 9.0 0
gpu GPU-2 NVIDIA_H100_80GB_HBM3 81920 512 0 00000000:66:00.0 9.0 1
slice 1 MIG-a NVIDIA_H100_80GB_HBM3_MIG_1g.10gb 9728 12
slice 1 MIG-b NVIDIA_H100_80GB_HBM3_MIG_2g.20gb 20096 13
";

/// One built library, removed with its owner.
pub(crate) struct Library(PathBuf);

impl Library {
    pub(crate) fn new(name: &str, script: &str) -> Library {
        let name = format!("foil-nvml-{}-{name}", std::process::id());
        let library = Library(std::env::temp_dir().join(name));
        fs::create_dir_all(&library.0).expect("a temporary directory");
        library.now(script);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/nvml/stub.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(library.file()).arg(source);
        assert!(compiler.status().expect("cc runs").success());
        library
    }

    /// From now on this is so; in one step, since the library reads while a test writes.
    pub(crate) fn now(&self, script: &str) {
        let (file, next) = (self.0.join("nvml.so.script"), self.0.join("next"));
        fs::write(&next, script).expect("written");
        fs::rename(&next, &file).expect("renamed");
    }

    pub(crate) fn file(&self) -> OsString {
        self.0.join("nvml.so").into_os_string()
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // What can't be removed is left to the system's own cleaning.
        let _left = fs::remove_dir_all(&self.0);
    }
}
