//! Images of one static program and nothing else.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::Made;
use super::build::{Content, Recipe, image_bytes, source};
use crate::shell::{Done, cargo, command, output, root, target_dir};
use crate::steps::Step;

/// Half a minute on two cores; the linker takes most of it.
const COMPILE_WAIT: Duration = Duration::from_secs(20 * 60);

/// What the image promises.
const BYTES_MAX: u64 = 15_000_000;

/// Static with the C library that the engine has too, so that it costs the same: memory is copied by the very same code.
const STATIC: &str = "-C target-feature=+crt-static";

/// A program of the workspace that is all of its image.
pub(super) struct Native {
    pub(super) name: &'static str,
    pub(super) package: &'static str,
    pub(super) program: &'static str,
    pub(super) dockerfile: PathBuf,
}

impl Native {
    /// The models we ship.
    pub(super) fn models() -> Native {
        Native {
            name: "native",
            package: "gpu-containers",
            program: "foil-container",
            dockerfile: source("native/Dockerfile"),
        }
    }

    /// What the tests attack the engine with.
    pub(super) fn hostile() -> Native {
        Native {
            name: "hostile",
            package: "tests",
            program: "hostile-container",
            dockerfile: root().join("tests/containers/hostile/Dockerfile"),
        }
    }

    pub(super) fn make(self, image: &str) -> Done<Made> {
        let program = compile(image, self.package, self.program)?;
        let recipe = Recipe {
            name: self.name,
            image,
            dockerfile: self.dockerfile,
            base: None,
            content: Content::default().read(&program)?,
        };
        let made = recipe.make(|context| {
            let copied = fs::copy(&program, context.join(self.program));
            copied.map(drop).map_err(|error| format!("cannot copy {}: {error}", program.display()))
        })?;
        let bytes = image_bytes(image)?;
        if bytes < BYTES_MAX {
            Ok(made)
        } else {
            Err(format!("{image} has {bytes} bytes; it promises less than {BYTES_MAX}"))
        }
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
