//! The image of the native models: one static program.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::Made;
use super::build::{Content, Recipe, image_bytes, source, try_out};
use crate::shell::{Done, cargo, command, output, target_dir};
use crate::steps::Step;

/// Half a minute on two cores; the linker takes most of it.
const COMPILE_WAIT: Duration = Duration::from_secs(20 * 60);

/// What the image promises.
const BYTES_MAX: u64 = 15_000_000;

/// Static with the C library that the engine has too, so that it costs the same: memory is copied by the very same code.
const STATIC: &str = "-C target-feature=+crt-static";

pub(super) fn make(image: &str) -> Done<Made> {
    let program = compile(image, "gpu-containers", "foil-container")?;
    let recipe = Recipe {
        name: "native",
        image,
        dockerfile: source("native/Dockerfile"),
        base: None,
        content: Content::default().read(&program)?,
    };
    let made = recipe.make(|context| {
        let copied = fs::copy(&program, context.join("foil-container"));
        copied.map(drop).map_err(|error| format!("cannot copy {}: {error}", program.display()))
    })?;
    if matches!(made, Made::New) {
        try_out(image)?;
    }
    let bytes = image_bytes(image)?;
    if bytes < BYTES_MAX {
        Ok(made)
    } else {
        Err(format!("{image} has {bytes} bytes; it promises less than {BYTES_MAX}"))
    }
}

/// A program of the workspace, static and stripped, as users run it otherwise.
fn compile(image: &str, package: &str, program: &str) -> Done<PathBuf> {
    let host = host()?;
    let mut build = cargo(&["build", "--profile", "wheel", "--locked", "--target", &host]);
    build.args(["--package", package, "--bin", program]);
    build.env("RUSTFLAGS", STATIC).env("CARGO_PROFILE_WHEEL_STRIP", "symbols");
    Step { of: image, doing: "compiling", wait: COMPILE_WAIT }.run(&mut build)?;
    Ok(target_dir().join(host).join("wheel").join(program))
}

/// Named to cargo, so that the flags are for the program and not for what builds it.
fn host() -> Done<String> {
    let told = output(&mut command("rustc", &["-vV"]))?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc -vV names no host".into())
}
