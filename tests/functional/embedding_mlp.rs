//! The native model for GPUs through a real engine: on the CPU, and on a driver of our own that computes on the CPU
//! (`tests/cuda/fake_cuda.c`).

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use harness::Scratch;
use harness::engine::{Engine, program, root, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

const C: [&str; 7] = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"];
const LIBRARIES: [&str; 3] = ["libcuda.so.1", "libcublas.so.13", "libnvrtc.so.13"];
const VOCABULARY: i64 = 500;
const IDS: i64 = 6;
const CLASSES: usize = 5;
/// Scores are around one; sums in another order differ by this much and no more.
const TOLERANCE: f64 = 1e-4;

fn container(arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program("foil-container"));
    command.args(arguments).envs(env.iter().copied());
    command.output().expect("foil-container runs")
}

fn weights(scratch: &Scratch, model: &str, dtype: &str) {
    let path = scratch.path(&format!("models/{model}/1"));
    let [vocabulary, ids, classes] = [VOCABULARY, IDS, CLASSES as i64].map(|it| it.to_string());
    let shape = ["--vocabulary", &vocabulary, "--dim", "24", "--ids", &ids, "--dtype", dtype];
    let layers = ["--hidden", "40,17", "--classes", &classes, "--path", &path];
    let made = container(&[&["weights"], &shape[..], &layers].concat(), &[]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// A model without a word of a device, with `env` of its own.
fn add(scratch: &Scratch, model: &str, dtype: &str, env: &[(&str, &str)]) {
    weights(scratch, model, dtype);
    let env: String = env.iter().map(|(key, value)| format!("{key} = \"{value}\"\n")).collect();
    let toml =
        format!("runtime = \"native\"\nkind = \"embedding_mlp\"\nmax_batch = 12\n[env]\n{env}");
    scratch.write(&format!("models/{model}/model.toml"), &toml);
}

/// Where the driver of our own is; None where there is no compiler.
pub(super) fn fake_cuda(scratch: &Scratch) -> Option<String> {
    let directory = scratch.path("fake");
    std::fs::create_dir_all(&directory).expect("made");
    let library = Path::new(&directory).join(LIBRARIES[0]);
    let source = root().join("tests/cuda/fake_cuda.c");
    let compiled = Command::new("cc").args(C).arg(source).arg("-o").arg(&library).status();
    let Ok(status) = compiled else {
        eprintln!("skipped: no cc here");
        return None;
    };
    assert!(status.success(), "the driver compiles without a warning");
    for name in &LIBRARIES[1..] {
        std::os::unix::fs::symlink(&library, Path::new(&directory).join(name)).expect("linked");
    }
    Some(directory)
}

/// The device of `fake_cuda.c`, and a CPU.
const INVENTORY: &str = r#"{"hosts": [{"name": "here",
    "cpus": {"nodes": [{"id": 0, "memory_bytes": 8589934592, "cores": [[0], [1]]}]},
    "gpus": [{"uuid": "GPU-0f0f0000-0000-0000-0000-000000000001", "name": "Fake GPU",
              "memory_bytes": 8589934592}]}]}"#;

/// Where a driver is looked for first and is not one: as a machine without, wherever the tests run.
fn no_cuda(scratch: &Scratch) -> String {
    for name in ["libcuda.so", "libcuda.so.1"] {
        scratch.write(&format!("none/{name}"), "");
    }
    scratch.path("none")
}

/// So many rows of ids, some of them padding.
fn ids(rows: i64) -> Vec<i64> {
    (0..rows * IDS).map(|at| if at % 7 == 3 { -1 } else { at * 7_919 % VOCABULARY }).collect()
}

fn request(ids: &[i64], datatype: &str) -> String {
    let rows = ids.len() as i64 / IDS;
    let input = json!({"name": "ids", "shape": [rows, IDS], "datatype": datatype, "data": ids});
    json!({ "inputs": [input] }).to_string()
}

fn scores(engine: &Engine, model: &str, datatype: &str, rows: i64) -> Vec<f64> {
    let answer = engine.infer(model, &request(&ids(rows), datatype));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let scores = answer.output(0);
    let scores = scores.as_array().expect("numbers");
    scores.iter().map(|score| score.as_f64().expect("a number")).collect()
}

fn agree(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < TOLERANCE, "{found} is not {expected}");
    }
}

#[test]
fn embeddings_and_layers_serve_on_the_cpu_in_either_size_of_ids() {
    let scratch = Scratch::new("embedding-cpu");
    add(&scratch, "wide", "i64", &[]);
    add(&scratch, "narrow", "i32", &[]);
    let engine = Engine::start(&[&scratch.path("models")], 2);
    for rows in [1, 3, 12] {
        let wide = scores(&engine, "wide", "INT64", rows);
        assert_eq!(wide.len(), rows as usize * CLASSES);
        agree(&scores(&engine, "narrow", "INT32", rows), &wide);
    }
    let one = scores(&engine, "wide", "INT64", 1);
    assert_eq!(&scores(&engine, "wide", "INT64", 12)[..CLASSES], one, "rows don't mix");
    let mut wrong = ids(2);
    wrong[IDS as usize] = VOCABULARY;
    let refused = engine.infer("wide", &request(&wrong, "INT64"));
    assert_eq!(refused.status, 400);
    assert!(refused.error().contains("id 500 is not in the table of 500"), "{}", refused.error());
    assert!(engine.stop().success());
}

#[test]
fn a_device_answers_as_the_cpu_does_and_gives_everything_back() {
    for lane in ["memfd", "posix"] {
        answers_as_the_cpu_does(lane);
    }
}

fn answers_as_the_cpu_does(lane: &str) {
    let scratch = Scratch::new(&format!("embedding-{lane}"));
    let Some(libraries) = fake_cuda(&scratch) else { return };
    scratch.write("trace", "");
    let trace = scratch.path("trace");
    // Under root a container has a user of its own.
    std::fs::set_permissions(&trace, Permissions::from_mode(0o666)).expect("ours");
    let on = [("CUDA_VISIBLE_DEVICES", "0"), ("LD_LIBRARY_PATH", &libraries)];
    add(&scratch, "cpu", "i64", &[]);
    add(&scratch, "pinned", "i64", &[&on[..], &[("FAKE_CUDA_TRACE", &trace)]].concat());
    let refuses = |call| [("FAKE_CUDA_FAIL", call)];
    add(&scratch, "staged", "i32", &[&on[..], &refuses("cuMemHostRegister_v2=801")].concat());
    add(&scratch, "called", "i64", &[&on[..], &refuses("cuStreamBeginCapture_v2=801")].concat());
    let mut engine = Engine::start(&["--lane", lane, &scratch.path("models")], 4);
    for rows in 1..=12 {
        let expected = scores(&engine, "cpu", "INT64", rows);
        agree(&scores(&engine, "pinned", "INT64", rows), &expected);
        agree(&scores(&engine, "staged", "INT32", rows), &expected);
        agree(&scores(&engine, "called", "INT64", rows), &expected);
    }
    let said = engine.said();
    assert!(said.contains("Fake GPU: batches are copied from the lane"), "{said}");
    let staged = "batches are staged, as the lane can't be pinned: cuMemHostRegister_v2 failed: CUDA_ERROR_NOT_SUPPORTED (801)";
    assert!(said.contains(staged), "{said}");
    assert!(said.contains("can't be captured: cuStreamBeginCapture_v2 failed"), "{said}");
    engine.signal(Signal::TERM);
    assert!(engine.wait().success());
    let left = std::fs::read_to_string(&trace).expect("the context was released");
    assert_eq!(left, "live 0\n", "memory, streams, events and graphs were given back");
}

#[test]
fn one_model_serves_from_the_gpu_and_the_cpu_that_the_engine_gave_its_replicas() {
    let scratch = Scratch::new("embedding-placed");
    let Some(libraries) = fake_cuda(&scratch) else { return };
    add(&scratch, "cpu", "i64", &[]);
    weights(&scratch, "m", "i64");
    let toml = format!(
        "runtime = \"native\"\nkind = \"embedding_mlp\"\ndevice = \"auto\"\ngpu_whole = true\nthreads = 1\nreplicas = 2\n[env]\nLD_LIBRARY_PATH = \"{libraries}\"\n"
    );
    scratch.write("models/m/model.toml", &toml);
    scratch.write("inventory.json", INVENTORY);
    let (inventory, models) = (scratch.path("inventory.json"), scratch.path("models"));
    let engine = Engine::start(&["--inventory", &inventory, "--cores", "0", &models], 2);
    let live = |device: &str| {
        let labels = format!("model=\"m\",version=\"1\",device=\"{device}\",state=\"live\"");
        engine.metric(&format!("foil_device_replicas{{{labels}}}"))
    };
    wait_until("one is on each", || live("gpu") == 1.0 && live("cpu") == 1.0);
    let pinned = "Fake GPU: batches are copied from the lane";
    assert_eq!(engine.said().matches(pinned).count(), 1, "{}", engine.said());
    for rows in (1..=12).cycle().take(40) {
        let expected = scores(&engine, "cpu", "INT64", rows);
        agree(&scores(&engine, "m", "INT64", rows), &expected);
    }
    assert!(engine.stop().success());
}

#[test]
fn a_device_that_is_lost_ends_its_container_by_name_and_another_one_serves() {
    let scratch = Scratch::new("embedding-lost");
    let Some(libraries) = fake_cuda(&scratch) else { return };
    let on = [("CUDA_VISIBLE_DEVICES", "0"), ("LD_LIBRARY_PATH", &*libraries)];
    let mut told = Vec::new();
    for (variable, says) in [
        ("FAKE_CUDA_LOST", "the GPU failed: cuEventQuery failed: CUDA_ERROR_LAUNCH_FAILED (719)"),
        ("FAKE_CUDA_HANG", "the GPU failed: cuEventQuery has nothing to say for 5 s"),
    ] {
        let file = scratch.path(variable);
        add(&scratch, variable, "i64", &[&on[..], &[(variable, &file)]].concat());
        told.push((variable, file, says));
    }
    let engine = Engine::start(&[&scratch.path("models")], 2);
    let before = scores(&engine, "FAKE_CUDA_LOST", "INT64", 2);
    for (model, ..) in &told {
        scratch.write(model, "");
    }
    for (model, file, says) in &told {
        wait_until("an idle container finds its device gone", || engine.said().contains(says));
        std::fs::remove_file(file).expect("it was written");
        wait_until("another one serves", || {
            let answer = engine.infer(model, &request(&ids(2), "INT64"));
            engine.restarts(model) > 0.0 && answer.status == 200
        });
        assert_eq!(scores(&engine, model, "INT64", 2), before, "the same weights");
    }
    assert!(engine.stop().success());
}

#[test]
fn a_batch_that_meets_a_lost_device_is_answered_with_its_error_and_the_next_one_elsewhere() {
    let scratch = Scratch::new("embedding-batch");
    let Some(libraries) = fake_cuda(&scratch) else { return };
    let lost = scratch.path("lost");
    let on = [("FOIL_GPU", "GPU-0f0f0000-0000-0000-0000-000000000001")];
    let fake = [("LD_LIBRARY_PATH", &*libraries), ("FAKE_CUDA_LOST", &lost)];
    add(&scratch, "m", "i64", &[&on[..], &fake].concat());
    let engine = Engine::start(&[&scratch.path("models")], 1);
    scratch.write("lost", "");
    let failed = engine.infer("m", &request(&ids(1), "INT64"));
    assert_eq!(failed.status, 500);
    assert!(failed.error().contains("cuEventSynchronize failed"), "{}", failed.error());
    std::fs::remove_file(&lost).expect("it was written");
    wait_until("another container serves", || {
        let answer = engine.infer("m", &request(&ids(1), "INT64"));
        engine.restarts("m") > 0.0 && answer.status == 200
    });
    assert!(engine.stop().success());
}

#[test]
fn a_model_placed_on_a_gpu_does_not_load_without_one_and_says_why() {
    let scratch = Scratch::new("embedding-none");
    let none = no_cuda(&scratch);
    add(&scratch, "m", "i64", &[("FOIL_GPU", "GPU-0"), ("LD_LIBRARY_PATH", &none)]);
    let failed = harness::engine::command(&[&scratch.path("models")]).output();
    let said = String::from_utf8_lossy(&failed.expect("foil runs").stderr).into_owned();
    assert!(said.contains("the model was placed on a GPU: libcuda.so.1 can't be loaded"), "{said}");
}

#[test]
fn a_probe_tells_what_a_device_can_do_and_exits_with_3_without_a_driver() {
    let scratch = Scratch::new("probe");
    let refused = container(&["probe", "--json"], &[("LD_LIBRARY_PATH", &no_cuda(&scratch))]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("install NVIDIA's driver"));
    let Some(libraries) = fake_cuda(&scratch) else { return };
    let asked = container(&["probe", "--json"], &[("LD_LIBRARY_PATH", &libraries)]);
    let report: Value = serde_json::from_slice(&asked.stdout).expect("JSON");
    assert_eq!(report["driver"], "12.4");
    let device = &report["devices"][0];
    assert_eq!(device["uuid"], "GPU-0f0f0000-0000-0000-0000-000000000001");
    assert_eq!(device["registers_read_only"], false);
    let measured = &device["measured"];
    for memory in ["pageable", "shared", "shared_registered", "pinned"] {
        assert!(measured[memory]["to_device_gb_s"].as_f64() > Some(0.0), "{memory}: {report}");
    }
    let refused = measured["read_only_registered"]["error"].as_str().expect("a refusal");
    assert!(refused.starts_with("cuMemHostRegister_v2 failed"), "{refused}");
    let wrong = container(&["probe", "--uuid", "GPU-1"], &[("LD_LIBRARY_PATH", &libraries)]);
    assert_eq!(wrong.status.code(), Some(1));
}

#[test]
fn a_bare_loop_counts_batches_one_by_one_and_two_at_a_time() {
    let scratch = Scratch::new("bare");
    let Some(libraries) = fake_cuda(&scratch) else { return };
    weights(&scratch, "m", "i32");
    let path = scratch.path("models/m/1");
    for (device, depth, says) in
        [("cpu", "1", "cpu"), ("gpu", "1", "Fake GPU"), ("gpu", "2", "Fake GPU")]
    {
        let fixed = ["bench", "--kind", "embedding_mlp", "--seconds", "1", "--batch", "7"];
        let asked = ["--path", &path, "--device", device, "--depth", depth];
        let done = container(&[&fixed[..], &asked].concat(), &[("LD_LIBRARY_PATH", &libraries)]);
        let told: Value = serde_json::from_slice(&done.stdout).expect("JSON");
        assert_eq!((&told["device"], &told["batch"]), (&json!(says), &json!(7)));
        assert!(
            told["batches"].as_u64() > Some(0) && told["min_us"].as_f64() > Some(0.0),
            "{told}"
        );
    }
}
