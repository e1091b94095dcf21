//! The images of `cargo xtask images`: small, for nobody in particular, and at work without a network or a writable root.

use harness::docker::{docker, image, is_here};
use harness::engine::root;
use serde_json::Value;

/// The sandbox of a replica, as far as it bears on whether an image works in it.
const SANDBOX: [&str; 10] = [
    "run",
    "--rm",
    "--network=none",
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--tmpfs=/tmp",
    "--user=65534:65534",
    "--init",
    "--label=hydrofoil.test",
];

/// What the native image promises.
const NATIVE_BYTES_MAX: u64 = 15_000_000;

fn in_sandbox(more: &[&str]) -> String {
    docker(&[&SANDBOX[..], more].concat())
}

fn inspect(image: &str, format: &str) -> String {
    docker(&["image", "inspect", "--format", format, image]).trim().to_owned()
}

#[test]
fn the_native_image_is_one_small_program_that_runs_in_the_sandbox() {
    if !is_here() {
        return;
    }
    let native = image("native");
    let bytes: u64 = inspect(&native, "{{.Size}}").parse().expect("a number");
    assert!(bytes < NATIVE_BYTES_MAX, "{bytes}");
    assert_eq!(inspect(&native, "{{len .RootFS.Layers}}"), "1");
    assert!(in_sandbox(&[&native, "--version"]).starts_with("foil-container "));
}

#[test]
fn the_python_image_reads_a_model_in_the_sandbox() {
    if !is_here() {
        return;
    }
    let models = format!("--volume={}:/model:ro", root().join("tests/models").display());
    let described =
        in_sandbox(&[&models, &image("python"), "--target", "/model/parts.py", "--describe"]);
    let spec: Value = serde_json::from_str(&described).expect("a declaration");
    assert_eq!(spec["decoupled"], true, "{spec}");
}

#[test]
fn images_run_as_nobody_and_can_be_built_upon() {
    if !is_here() {
        return;
    }
    for name in ["native", "python"] {
        assert_eq!(inspect(&image(name), "{{.Config.User}}"), "65534:65534", "{name}");
    }
    // As in `FROM hydrofoil/python`, `USER root`, `RUN pip install …`.
    let python = image("python");
    let pip = ["run", "--rm", "--network=none", "--user=0:0", "--entrypoint=pip", &python, "list"];
    let listed = docker(&pip);
    assert!(["numpy", "cloudpickle", "hydrofoil"].iter().all(|it| listed.contains(it)), "{listed}");
}
