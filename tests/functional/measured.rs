//! Models that may run on a GPU or on the CPU: measured on both, they go where they are faster. A process is slow or quick
//! by the name of its device; no GPU is asked.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use harness::Scratch;
use harness::client::Client;
use harness::engine::{Ends, Engine, command, wait_until};
use serde_json::json;

/// Answers with the device that it runs on, after as long as its parameters say for that.
const MODEL: &str = "import time, hydrofoil as foil

@foil.model(max_batch=4, slo='2s')
class Goes:
    def load(self, ctx):
        self.device, self.delay_s = ctx.device, float(ctx.parameters[ctx.device]) / 1e3

    def predict(self, x: foil.i64['n']) -> foil.str['n']:
        time.sleep(self.delay_s)
        return [self.device] * len(x)
";

const ONE_GPU: &str = r#"{"hosts": [{"name": "here",
    "cpus": {"nodes": [{"id": 0, "memory_bytes": 8589934592, "cores": [[0], [1]]}]},
    "gpus": [{"uuid": "GPU-1", "name": "NVIDIA H100", "memory_bytes": 8589934592}]}]}"#;

/// An engine that reviews each second; milliseconds of a batch on either device.
fn engine(scratch: &Scratch, gpu_ms: u32, cpu_ms: u32) -> Engine {
    scratch.write("models/goes/1/model.py", MODEL);
    let parameters = format!("[parameters]\ngpu = \"{gpu_ms}\"\ncpu = \"{cpu_ms}\"\n");
    scratch.write("models/goes/model.toml", &format!("device = \"auto\"\n{parameters}"));
    scratch.write("inventory.json", ONE_GPU);
    scratch.write("foil.toml", "[limits]\nreview_s = 1\n");
    let files = ["inventory.json", "foil.toml", "state", "models"].map(|it| scratch.path(it));
    let [inventory, config, state, models] = files.each_ref().map(String::as_str);
    let flags = ["--inventory", inventory, "--config", config, "--state", state, models];
    let mut command = command(&flags);
    command.env("FOIL_LOG", "info,engine::fleet::keeper=debug");
    Engine::start_with(command, 1)
}

fn where_it_runs(client: &mut Client) -> String {
    let input = json!({"name": "x", "shape": [1], "datatype": "INT64", "data": [1]});
    let answer = client.infer("goes", &json!({ "inputs": [input] }).to_string());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.output(0)[0].as_str().expect("a name").to_owned()
}

#[test]
fn a_model_moves_to_the_device_that_it_is_measured_to_be_faster_on_and_no_request_fails() {
    let scratch = Scratch::new("measured-moves");
    let engine = engine(&scratch, 40, 1);
    let (done, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    assert_eq!(
        where_it_runs(&mut engine.client()),
        "gpu",
        "its first wish, before anything was measured"
    );
    std::thread::scope(|scope| {
        let _ends = Ends(&done);
        let asker = scope.spawn(|| {
            let mut client = engine.client();
            while !done.load(Ordering::Relaxed) {
                where_it_runs(&mut client);
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut client = engine.client();
        wait_until("it was measured on the CPU", || engine.said().contains("was measured there"));
        wait_until("it has moved", || engine.said().contains("moves: soonest at this rate"));
        wait_until("only the CPU answers", || (0..20).all(|_| where_it_runs(&mut client) == "cpu"));
        done.store(true, Ordering::Relaxed);
        asker.join().expect("every request was answered");
    });
    assert!(served.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_model_stays_where_it_is_faster_and_is_tried_elsewhere_once() {
    let scratch = Scratch::new("measured-stays");
    let engine = engine(&scratch, 1, 40);
    wait_until("it was measured on the CPU", || engine.said().contains("was measured there"));
    let mut client = engine.client();
    wait_until("enough reviews to move it", || {
        where_it_runs(&mut client);
        let said = engine.said();
        let (_, since) = said.split_once("was measured there").expect("it was");
        since.matches("was reviewed").count() > 4
    });
    assert_eq!(where_it_runs(&mut client), "gpu");
    let said = engine.said();
    assert_eq!(said.matches("was measured there").count(), 1, "{said}");
    assert!(!said.contains("moves: "), "{said}");
}
