//! Models in C and C++, compiled here against the C ABI, served by a real engine.

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::engine::{Engine, Scratch, root};
use serde_json::{Value, json};

const C: [&str; 6] = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1"];
const CPP: [&str; 6] = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1"];
/// What Rust's standard library needs of the system, where it is linked statically.
const SYSTEM: [&str; 4] = ["-lpthread", "-ldl", "-lm", "-lgcc_s"];

/// Builds the library as `kind`, apart from this build's own directory.
fn library(kind: &str, file: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-abi");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["rustc", "--quiet", "--package", "shm-rpc", "--features", "c-abi", "--lib"])
        .args(["--crate-type", kind, "--target-dir"])
        .arg(&target)
        .current_dir(root())
        .status();
    assert!(built.expect("cargo runs").success(), "the {kind} builds");
    target.join("debug").join(file)
}

fn compile(compiler: &str, flags: &[&str], source: &str, link: &[&str], to: &str) -> bool {
    let root = root();
    let compiled = Command::new(compiler)
        .args(flags)
        .arg("-I")
        .arg(root.join("shm-rpc/include"))
        .arg(root.join("shm-rpc/examples/c").join(source))
        .args(link)
        .args(["-o", to])
        .status();
    match compiled {
        Ok(status) => {
            assert!(status.success(), "{source} compiles without a warning");
            true
        }
        Err(error) => {
            eprintln!("skipped: no {compiler} here ({error})");
            false
        }
    }
}

fn infer(engine: &Engine, model: &str, input: Value) -> harness::Response {
    engine.infer(model, &json!({ "inputs": [input] }).to_string())
}

#[test]
fn examples_in_c_and_cpp_serve_through_a_real_engine() {
    let files = Scratch::new("programs");
    for (model, program) in [("double", "double"), ("words", "words")] {
        let toml = format!("runtime = \"program\"\nprogram = \"{program}\"\nmax_batch = 8\n");
        files.write(&format!("{model}/model.toml"), &toml);
        files.write(&format!("{model}/1/keep"), "");
    }
    let dynamic = library("cdylib", "libshm_rpc.so");
    let directory = dynamic.parent().expect("a directory").display().to_string();
    let rpath = format!("-Wl,-rpath,{directory}");
    let link = ["-L", &directory, "-lshm_rpc", &rpath];
    let archive = library("staticlib", "libshm_rpc.a").display().to_string();
    let linked_in = [&[archive.as_str()], &SYSTEM[..]].concat();
    // The archive first: with both present, -l would take the shared one anyway.
    let compiled = compile("cc", &C, "double.c", &linked_in, &files.path("double/1/double"))
        && compile("c++", &CPP, "words.cpp", &link, &files.path("words/1/words"));
    if !compiled {
        return;
    }
    let engine = Engine::start(&[&files.0.display().to_string()], 2);
    let rows = json!({"name": "x", "shape": [2, 4], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6, 7, 8.5]});
    let answer = infer(&engine, "double", rows);
    assert_eq!(answer.output(0), json!([2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 17.0]));
    let texts = ["the quick  brown fox", "", "ünïcode", " two words "];
    let answer = infer(
        &engine,
        "words",
        json!({"name": "text", "shape": [4], "datatype": "BYTES", "data": texts}),
    );
    assert_eq!(answer.output(0), json!([4, 0, 1, 2]));
    assert_eq!(answer.output(1)[0], json!("THE QUICK  BROWN FOX"));
    let metadata = engine.get("/v2/models/double").json();
    assert_eq!(metadata["platform"], json!("program"));
    assert!(engine.stop().success());
}

#[test]
fn a_program_that_is_not_there_or_not_executable_is_named() {
    let files = Scratch::new("no-program");
    files.write("m/1/run.txt", "not a program");
    for (toml, says) in [
        ("runtime = \"program\"", "needs program"),
        ("runtime = \"program\"\nprogram = \"absent\"", "can't be found"),
        ("runtime = \"program\"\nprogram = \"run.txt\"", "chmod +x"),
        ("program = \"run.txt\"", "runtime = \"program\""),
    ] {
        files.write("m/model.toml", toml);
        let output = harness::engine::command(&[&files.0.display().to_string()]).output();
        let said = String::from_utf8_lossy(&output.expect("foil runs").stderr).into_owned();
        assert!(said.contains(says), "{toml}: {said}");
    }
}
