//! Replicas that are given a device, of those that a file says there are. A process sees what its environment names.

use std::collections::BTreeMap;

use harness::Scratch;
use harness::client::Client;
use harness::engine::{Engine, command, kill, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Tells which GPU it sees.
const MODEL: &str = "import os, hydrofoil as foil

@foil.model(max_batch=2, slo='2s')
class Sees:
    def predict(self, x: foil.i64['n']) -> foil.str['n']:
        return [os.environ.get('CUDA_VISIBLE_DEVICES', 'all')] * len(x)
";

/// Two GPUs beside the first two CPUs of this machine.
const TWO_GPUS: &str = r#"{"hosts": [{"name": "here",
    "cpus": {"nodes": [{"id": 0, "memory_bytes": 8589934592, "cores": [[0], [1]]}]},
    "gpus": [{"uuid": "GPU-1", "name": "NVIDIA H100", "memory_bytes": 8589934592},
             {"uuid": "GPU-2", "name": "NVIDIA L4", "memory_bytes": 8589934592}]}]}"#;

const NO_GPU: &str = r#"{"hosts": [{"name": "here",
    "cpus": {"nodes": [{"id": 0, "memory_bytes": 8589934592, "cores": [[0], [1]]}]}}]}"#;

fn arguments(scratch: &Scratch, inventory: &str, settings: &str) -> Vec<String> {
    scratch.write("models/sees/1/model.py", MODEL);
    scratch.write("models/sees/model.toml", settings);
    scratch.write("inventory.json", inventory);
    let flags = ["--admin", "127.0.0.1:0", "--cores", "0", "--inventory"];
    let files = [scratch.path("inventory.json"), scratch.path("models")];
    flags.map(str::to_owned).into_iter().chain(files).collect()
}

fn engine(scratch: &Scratch, inventory: &str, settings: &str) -> Engine {
    let arguments = arguments(scratch, inventory, settings);
    Engine::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), 1)
}

/// What `foil ps` shows of each live replica.
fn replicas(engine: &Engine) -> Vec<Value> {
    let admin = engine.admin.expect("an admin address");
    let page = Client::connect(admin).get("/fleet/replicas").json();
    let replicas = page["replicas"].as_array().cloned().unwrap_or_default();
    replicas.into_iter().filter(|replica| replica["standing"] == "live").collect()
}

/// The devices that the live replicas were given, in order.
fn devices(engine: &Engine) -> Vec<String> {
    let name = |replica: &Value| replica["on"].as_str().unwrap_or_default().to_owned();
    let mut found: Vec<_> = replicas(engine).iter().map(name).collect();
    found.sort_unstable();
    found
}

/// What the process of the replica on a device was started with.
fn environment(engine: &Engine, device: &str) -> BTreeMap<String, String> {
    let replica = replicas(engine).into_iter().find(|replica| replica["on"] == device);
    let pid = replica.expect("it is live")["pid"].as_u64().expect("a process");
    let text = std::fs::read_to_string(format!("/proc/{pid}/environ")).expect("it runs");
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn ask(engine: &Engine) -> String {
    let input = json!({"name": "x", "shape": [1], "datatype": "INT64", "data": [1]});
    let answer = engine.infer("sees", &json!({ "inputs": [input] }).to_string());
    answer.output(0)[0].as_str().expect("a name").to_owned()
}

#[test]
fn each_replica_sees_the_gpu_that_it_was_given() {
    let scratch = Scratch::new("seats-gpu");
    let engine = engine(&scratch, TWO_GPUS, "device = \"gpu\"\nreplicas = 2\n");
    wait_until("both are live", || devices(&engine) == ["GPU-1", "GPU-2"]);
    for device in ["GPU-1", "GPU-2"] {
        let told = environment(&engine, device);
        assert_eq!(told["CUDA_VISIBLE_DEVICES"], device);
        assert_eq!((&*told["FOIL_GPU"], &*told["FOIL_DEVICE"]), (device, "gpu"));
    }
    assert!(ask(&engine).starts_with("GPU-"));
    let live = "foil_device_replicas{model=\"sees\",version=\"1\",device=\"gpu\",state=\"live\"}";
    assert_eq!(engine.metric(live), 2.0);
}

#[test]
fn a_model_of_either_device_has_the_gpu_first_and_the_cpu_after() {
    let scratch = Scratch::new("seats-auto");
    let settings = "device = \"auto\"\ngpu = \"H100\"\nthreads = 1\nreplicas = 2\n";
    let engine = engine(&scratch, TWO_GPUS, settings);
    wait_until("both are live", || devices(&engine) == ["GPU-1", "cpu0"]);
    let told = environment(&engine, "cpu0");
    assert_eq!((&*told["CUDA_VISIBLE_DEVICES"], &*told["NVIDIA_VISIBLE_DEVICES"]), ("", "void"));
    assert_eq!((&*told["FOIL_DEVICE"], &*told["OMP_NUM_THREADS"]), ("cpu", "1"));
    let of = |device: &str| {
        let found = replicas(&engine).into_iter().find(|replica| replica["on"] == device);
        found.expect("it is live")
    };
    assert_eq!(of("cpu0")["cpus"], json!([1]), "not the front end's");
    let gone = of("GPU-1");
    kill(gone["pid"].as_u64().expect("a process") as u32, Signal::KILL);
    wait_until("it is back on the GPU", || {
        let again = replicas(&engine).into_iter().find(|replica| replica["on"] == "GPU-1");
        again.is_some_and(|again| again["pid"] != gone["pid"])
    });
}

#[test]
fn a_model_that_finds_no_gpu_ends_the_command_with_the_reason() {
    let scratch = Scratch::new("seats-none");
    let refused = |inventory: &str, settings: &str| {
        let arguments = arguments(&scratch, inventory, settings);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let output = command(&arguments).output().expect("foil runs");
        assert!(!output.status.success(), "{settings}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let none = refused(NO_GPU, "device = \"gpu\"\n");
    assert!(none.contains("sees") && none.to_lowercase().contains("gpu"), "{none}");
    let small = refused(TWO_GPUS, "device = \"gpu\"\ngpu_memory = \"64g\"\n");
    assert!(small.contains("lower gpu_memory"), "{small}");
    let unknown = refused(TWO_GPUS, "device = \"tpu\"\n");
    assert!(unknown.contains("use cpu, gpu or auto"), "{unknown}");
}

#[test]
fn without_a_gpu_a_model_of_either_device_runs_on_the_cpu() {
    let scratch = Scratch::new("seats-cpu");
    let engine = engine(&scratch, NO_GPU, "device = \"auto\"\n");
    assert_eq!(ask(&engine), "", "it sees none");
    assert_eq!(replicas(&engine)[0]["device"], "cpu");
}
