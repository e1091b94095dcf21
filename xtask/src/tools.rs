//! Programs from crates.io that some lanes need, in a folder of their own below `target/`.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::shell::{Done, cargo, run, target_dir};

fn root() -> Done<PathBuf> {
    std::path::absolute(target_dir().join("tools")).map_err(|error| error.to_string())
}

pub(crate) fn folder() -> Done<PathBuf> {
    Ok(root()?.join("bin"))
}

/// What programs are looked for in, with the folder in front.
pub(crate) fn path() -> Done<OsString> {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder()?).chain(std::env::split_paths(&inherited));
    std::env::join_paths(folders)
        .map_err(|error| format!("the folder of the tools cannot be in PATH: {error}"))
}

/// Builds a program of this version, or of the newest. Such programs only start others and read what those write: their
/// own speed, and what they say of their own lines, are not worth the wait.
pub(crate) fn install(program: &str, version: Option<&str>) -> Done {
    let mut install = cargo(&["install", "--quiet", "--locked", "--force", "--debug", program]);
    install.args(version.iter().flat_map(|version| ["--version", version]));
    run(install.arg("--root").arg(root()?).env("CARGO_PROFILE_DEV_DEBUG", "0"))
}
