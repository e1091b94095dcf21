//! `foil-bench gpu-check`: on a machine without a GPU, and on one that plays it has one (`tests/cuda/fake_cuda.c`).

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use harness::Scratch;
use harness::engine::program;
use serde_json::{Value, json};

use super::embedding_mlp::fake_cuda;

const UUID: &str = "GPU-0f0f0000-0000-0000-0000-000000000001";

/// The programs as `cargo xtask gpu-check` lays them, and what `nvidia-smi` is there.
fn lay(scratch: &Scratch, nvidia_smi: &str) {
    scratch.write("bundle/python/none", "");
    scratch.write("bundle/bin/none", "");
    for name in ["foil", "foil-container", "foil-bench"] {
        symlink(program(name), scratch.path(&format!("bundle/bin/{name}"))).expect("linked");
    }
    scratch.write("first/nvidia-smi", &format!("#!/bin/sh\n{nvidia_smi}\n"));
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(scratch.path("first/nvidia-smi"), mode).expect("ours");
}

/// What it finds, by the names of its steps.
fn check(scratch: &Scratch, only: &str, env: &[(&str, &str)]) -> (bool, Value) {
    let others = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(scratch.path("bundle/bin/foil-bench"));
    command.args(["gpu-check", "--small", "--only", only]);
    command.args(["--bundle", &scratch.path("bundle"), "--out", &scratch.path("out")]);
    command.arg("--python").arg(program("python"));
    command.env("PATH", format!("{}:{others}", scratch.path("first"))).envs(env.iter().copied());
    let output = command.output().expect("it runs");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    let found = std::fs::read(Path::new(&scratch.path("out")).join("gpu-check.json"));
    let found = serde_json::from_slice(&found.expect("it writes what it found")).expect("JSON");
    assert!(Path::new(&scratch.path("out")).join("gpu-check.md").exists());
    (output.status.success(), found)
}

fn step<'a>(found: &'a Value, name: &str) -> &'a Value {
    let steps = found["steps"].as_array().expect("a list");
    steps.iter().find(|step| step["name"] == name).expect("the step is there")
}

#[test]
fn without_a_gpu_what_needs_none_is_checked_and_the_rest_says_why_not() {
    let scratch = Scratch::new("gpu-check-none");
    lay(&scratch, "echo 'no devices here' >&2; exit 9");
    let (all_right, found) = check(&scratch, "native correct", &[]);
    assert!(all_right, "{found:#}");
    let native = step(&found, "native correct");
    assert_eq!(native["outcome"], "done");
    assert_eq!(native["figures"][0]["verdict"], "pass", "{native:#}");
    let (all_right, found) = check(&scratch, "copies", &[]);
    assert!(all_right, "what is not here fails nothing");
    let copies = step(&found, "copies");
    assert_eq!(copies["outcome"], "skipped");
    assert_eq!(copies["why"], "no GPU: exit 9: no devices here");
    assert_eq!(found["gpu"], Value::Null);
}

#[test]
fn the_native_model_on_a_gpu_is_held_against_the_cpu() {
    let scratch = Scratch::new("gpu-check-fake");
    let Some(libraries) = fake_cuda(&scratch) else { return };
    lay(&scratch, &format!("echo '{UUID}, Fake GPU, 1.0'"));
    let gpu = json!({"uuid": UUID, "name": "Fake GPU", "memory_bytes": 80_u64 << 30});
    let node = json!({"id": 0, "memory_bytes": 8_u64 << 30, "cores": [[0], [1]]});
    let host = json!({"name": "here", "cpus": {"nodes": [node]}, "gpus": [gpu]});
    scratch.write("fleet.json", &json!({ "hosts": [host] }).to_string());
    let fleet = scratch.path("fleet.json");
    let env = [("FOIL_INVENTORY", fleet.as_str()), ("LD_LIBRARY_PATH", libraries.as_str())];
    let (all_right, found) = check(&scratch, "native correct", &env);
    assert!(all_right, "{found:#}");
    assert_eq!(found["gpu"], "Fake GPU, driver 1.0");
    let figures = step(&found, "native correct")["figures"].as_array().expect("figures").clone();
    let last = figures.last().expect("one");
    assert!(last["name"].as_str().is_some_and(|name| name.starts_with("GPU from CPU")), "{last}");
    assert_eq!(last["verdict"], "pass");
}
