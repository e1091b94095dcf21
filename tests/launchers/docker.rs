//! What holds in Docker beyond it: the sandbox, seen from inside and as Docker has it, and what is told of failures.

use harness::docker::{docker, image, is_here};
use harness::engine::{Engine, command, wait_until};
use serde_json::Value;

use super::place::{Place, ask, refusal};

#[test]
fn the_sandbox_is_as_declared() {
    if !is_here() {
        return;
    }
    let (engine, _scratch) = Place::Docker.spy("declared", "memory = \"512m\"\ncpus = [1]");
    let id = Place::Docker.running(engine.pid()).remove(0);
    let told: Value = serde_json::from_str(&docker(&["inspect", &id])).expect("JSON");
    let (config, host) = (&told[0]["Config"], &told[0]["HostConfig"]);
    for (key, value) in [
        ("ReadonlyRootfs", "true"),
        ("CapDrop", "[\"ALL\"]"),
        ("SecurityOpt", "[\"no-new-privileges:true\"]"),
        ("NetworkMode", "\"none\""),
        ("IpcMode", "\"private\""),
        ("PidsLimit", "256"),
        ("Memory", "536870912"),
        ("MemorySwap", "536870912"),
        ("OomScoreAdj", "500"),
        ("CpusetCpus", "\"1\""),
        ("Init", "true"),
        ("Privileged", "false"),
        ("PidMode", "\"\""),
    ] {
        assert_eq!(host[key].to_string(), value, "{key}");
    }
    assert_eq!(host["RestartPolicy"]["Name"], "no");
    assert_eq!(host["LogConfig"]["Config"]["max-size"], "1m");
    let mounts = told[0]["Mounts"].as_array().expect("mounts");
    assert!(mounts.len() == 2 && mounts.iter().all(|it| it["RW"] == false), "{mounts:?}");
    let env = config["Env"].as_array().expect("an environment");
    assert!(env.iter().any(|it| it == "NVIDIA_VISIBLE_DEVICES=void"), "{env:?}");
}

#[test]
fn a_model_can_not_get_out_of_its_sandbox() {
    if !is_here() {
        return;
    }
    let (engine, _scratch) = Place::Docker.spy("inside", "");
    assert_ne!(ask(&engine, "os.getuid()"), "0");
    let status = ask(&engine, "open('/proc/self/status').read()");
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    for attempt in [
        "open('/file', 'w')",
        "open('/model/file', 'w')",
        "open('/run/hydrofoil/file', 'w')",
        "os.unlink('/model/model.py')",
        "socket.create_connection(('127.0.0.1', 8000), 1)",
        "socket.create_connection(('192.0.2.1', 80), 1)",
    ] {
        let seen = ask(&engine, attempt);
        assert!(seen.starts_with("refused: "), "{attempt}: {seen}");
    }
    assert_eq!(ask(&engine, "os.listdir('/sys/class/net')"), "['lo']");
    assert_eq!(ask(&engine, "open('/tmp/file', 'w').write('mine')"), "4", "/tmp is its own");
}

#[test]
fn a_model_that_wants_more_memory_than_it_may_have_is_told_so_and_replaced() {
    if !is_here() {
        return;
    }
    let (engine, _scratch) = Place::Docker.spy("memory", "memory = \"96m\"");
    let hog = r#"{"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": ["len(b'1' * (1 << 30))"]}]}"#;
    let answer = engine.infer("spy", hog);
    assert_eq!(answer.status, 500, "{}", answer.text());
    wait_until("it is told", || engine.said().contains("out of memory"));
    wait_until("another is there", || engine.metric("foil_replicas{model=\"spy\"") == 1.0);
    assert_eq!(ask(&engine, "1 + 1"), "2");
}

#[test]
fn every_failure_to_start_says_what_to_do() {
    if !is_here() {
        return;
    }
    let scratch = Place::Docker.repository("failures", "image = \"nobody/has:this\"");
    let said = refusal(&[&scratch.path("")]);
    assert!(
        said.contains("cargo xtask images") && said.contains("docker pull nobody/has:this"),
        "{said}"
    );

    let native = image("native");
    scratch.write("spy/model.toml", &format!("image = \"{native}\""));
    let said = refusal(&[&scratch.path("")]);
    assert!(
        said.contains("exit status: 2") && said.contains("--target"),
        "another's program: {said}"
    );

    let settings = format!("image = \"{native}\"\nruntime = \"program\"\nprogram = \"run\"");
    scratch.write("spy/model.toml", &settings);
    scratch.write("spy/1/run", "#!/bin/sh\n");
    let file = scratch.0.join("spy/1/run");
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&file, all).expect("changed");
    let said = refusal(&[&scratch.path("")]);
    assert!(said.contains("exit status: 127") && said.contains("No such file"), "no shell: {said}");
    assert!(said.contains("probably the program that was to run is not there"), "{said}");

    let mut command = command(&["--launcher", "docker", &scratch.path("spy/1/model.py")]);
    command.env("DOCKER_HOST", format!("unix://{}", scratch.path("no.sock")));
    let mut engine = Engine::start_unready(command);
    assert!(!engine.wait().success());
    wait_until("it says why", || engine.said().contains("error: "));
    assert!(engine.said().contains("the daemon does not run"), "{}", engine.said());
}

#[test]
fn an_image_of_ones_own_runs_what_it_runs() {
    if !is_here() {
        return;
    }
    let scratch = Place::Docker.repository("own", "");
    // What any image that speaks to the engine does: its own entrypoint, and the model's files at hand.
    let build = scratch.path("image");
    scratch.write(
        "image/Dockerfile",
        &format!(
            "FROM {}\nLABEL hydrofoil.test=1\nCMD [\"--kind\", \"noop\", \"--path\", \"/model\"]\n",
            image("native")
        ),
    );
    let tag = format!("hydrofoil-test/own:{}", std::process::id());
    docker(&["build", "--quiet", "--tag", &tag, &build]);
    std::fs::remove_dir_all(&build).expect("removed");
    scratch.write("spy/model.toml", &format!("runtime = \"program\"\nimage = \"{tag}\""));
    let engine = Engine::start(&[&scratch.path("")], 1);
    assert_eq!(engine.get("/v2/models/spy/ready").status, 200);
    assert!(engine.stop().success());
    docker(&["image", "rm", &tag]);
}

/// A GPU that this machine's Docker can't give, by what a file says.
const GPU: &str = r#"{"hosts": [{"name": "here",
    "cpus": {"nodes": [{"id": 0, "memory_bytes": 8589934592, "cores": [[0], [1]]}]},
    "gpus": [{"uuid": "GPU-1", "name": "NVIDIA H100", "memory_bytes": 8589934592}]}]}"#;

#[test]
fn a_gpu_that_docker_has_not_is_told_and_the_cpu_used_where_the_model_allows_it() {
    if !is_here() || has_gpus() {
        return;
    }
    let scratch = Place::Docker.repository("gpu", "device = \"gpu\"");
    scratch.write("inventory.json", GPU);
    let inventory = scratch.path("inventory.json");
    let said = refusal(&["--inventory", &inventory, &scratch.path("")]);
    assert!(said.contains("Docker has no GPU to give"), "{said}");
    assert!(said.contains("nvidia-ctk runtime configure"), "what mends it: {said}");

    scratch.write("spy/model.toml", "launcher = \"docker\"\ndevice = \"auto\"\n");
    let engine = Engine::start(&["--inventory", &inventory, &scratch.path("")], 1);
    assert_eq!(ask(&engine, "os.environ['FOIL_DEVICE']"), "cpu");
    assert_eq!(ask(&engine, "os.environ['NVIDIA_VISIBLE_DEVICES']"), "void");
    assert!(engine.said().contains("runs on the CPU"), "{}", engine.said());
    wait_until("what could not be started is gone", || {
        Place::Docker.running(engine.pid()).len() == 1
    });
}

/// Docker has NVIDIA's runtime.
fn has_gpus() -> bool {
    docker(&["info", "--format", "{{json .Runtimes}}"]).contains("nvidia")
}
