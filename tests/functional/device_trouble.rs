//! What becomes of replicas whose GPU is in trouble, told by a stand-in for NVIDIA's library.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use harness::Scratch;
use harness::engine::{Engine, command, wait_until};
use harness::nvml::Library;
use serde_json::json;

/// Tells which GPU it sees. As a process it never touches one.
const MODEL: &str = "import os, hydrofoil as foil

@foil.model(max_batch=8, slo='2s')
class Sees:
    def predict(self, x: foil.i64['n']) -> foil.str['n']:
        return [os.environ.get('CUDA_VISIBLE_DEVICES', 'all') or 'none'] * len(x)
";

const ONE_GPU: &str = "gpu GPU-1 NVIDIA_H100_80GB_HBM3 81920 512 1024 00000000:65:00.0 9.0 0\n";
const TWO_GPUS: &str = "gpu GPU-1 NVIDIA_H100_80GB_HBM3 81920 512 1024 00000000:65:00.0 9.0 0\n\
    gpu GPU-2 NVIDIA_H100_80GB_HBM3 81920 512 1024 00000000:66:00.0 9.0 0\n";

fn engine(scratch: &Scratch, library: &Library, settings: &str) -> Engine {
    scratch.write("models/sees/1/model.py", MODEL);
    scratch.write("models/sees/model.toml", settings);
    let mut command = command(&["--cores", "0", &scratch.path("models")]);
    command.env("FOIL_NVML", library.file());
    Engine::start_with(command, 1)
}

fn ask(engine: &Engine) -> String {
    let input = json!({"name": "x", "shape": [1], "datatype": "INT64", "data": [1]});
    let answer = engine.infer("sees", &json!({ "inputs": [input] }).to_string());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.output(0)[0].as_str().expect("a name").to_owned()
}

/// One caller after the other, each of whom must be answered, while something happens; how many were.
fn while_asked(engine: &Engine, happens: impl FnOnce()) -> u64 {
    let (over, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let callers = [0, 1].map(|_| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    ask(engine);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        happens();
        over.store(true, Ordering::Relaxed);
        callers.into_iter().for_each(|caller| caller.join().expect("each was answered"));
    });
    asked.load(Ordering::Relaxed)
}

#[test]
fn a_replica_of_a_lost_gpu_comes_up_on_the_cpu_and_no_request_is_lost() {
    let scratch = Scratch::new("gpu-lost");
    let library = Library::build(&scratch, ONE_GPU);
    let engine = engine(&scratch, &library, "device = \"auto\"\ngpu_memory = \"2g\"\n");
    assert_eq!(ask(&engine), "GPU-1");
    assert_eq!(engine.metric("foil_device_seats{device=\"GPU-1\""), 1.0);
    let asked = while_asked(&engine, || {
        library.now(&format!("{ONE_GPU}lost 0\n"));
        wait_until("it answers from the CPU", || ask(&engine) == "none");
    });
    assert!(asked > 0);
    assert_eq!(engine.metric("foil_device_healthy{device=\"GPU-1\""), 0.0);
    assert_eq!(engine.metric("foil_device_seats{device=\"GPU-1\""), 0.0);
    assert!(engine.said().contains("takes no more replicas"), "{}", engine.said());
}

#[test]
fn replicas_leave_an_unhealthy_gpu_for_another() {
    let scratch = Scratch::new("gpu-other");
    let library = Library::build(&scratch, TWO_GPUS);
    let engine = engine(&scratch, &library, "device = \"gpu\"\ngpu_memory = \"2g\"\n");
    let first = ask(&engine);
    let index = if first == "GPU-1" { 0 } else { 1 };
    while_asked(&engine, || {
        library.now(&format!("{TWO_GPUS}xid {index} 79\n"));
        wait_until("it answers from the other", || ask(&engine) != first);
    });
    assert_eq!(engine.restarts("sees"), 0.0, "none was lost");
}

#[test]
fn a_replica_that_stays_on_an_unhealthy_gpu_answers_as_long_as_it_can() {
    let scratch = Scratch::new("gpu-stays");
    let library = Library::build(&scratch, ONE_GPU);
    let engine = engine(&scratch, &library, "device = \"gpu\"\n");
    library.now(&format!("{ONE_GPU}xid 0 79\n"));
    wait_until("it is said", || engine.said().contains("out of service"));
    assert_eq!(ask(&engine), "GPU-1");
    harness::engine::kill(engine.containers()[0], rustix::process::Signal::KILL);
    wait_until("the model says why it is not there", || {
        engine.get("/v2/models/sees/ready").status != 200
    });
    let input = json!({"name": "x", "shape": [1], "datatype": "INT64", "data": [1]});
    let request = json!({ "inputs": [input] }).to_string();
    wait_until("with the device's trouble", || {
        let answer = engine.infer("sees", &request);
        answer.status != 200 && answer.text().contains("Xid 79")
    });
}

#[test]
fn a_replica_that_may_be_broken_begins_anew_and_no_request_is_lost() {
    let scratch = Scratch::new("gpu-suspect");
    let library = Library::build(&scratch, ONE_GPU);
    let engine = engine(&scratch, &library, "device = \"gpu\"\n");
    let before = engine.containers();
    while_asked(&engine, || {
        library.now(&format!("{ONE_GPU}xid 0 31\n"));
        wait_until("another life answers", || {
            ask(&engine) == "GPU-1" && engine.containers() != before
        });
    });
    assert_eq!(engine.metric("foil_device_healthy{device=\"GPU-1\""), 1.0);
    assert!(engine.said().contains("begins anew: Xid 31"), "{}", engine.said());
}
