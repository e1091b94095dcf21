//! Replicas of one model on unlike devices, here processes that sleep for unlike times.

use std::collections::BTreeMap;

use harness::Scratch;
use harness::engine::{Engine, command, kill, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Sleeps for what its environment says; tells how its device is called.
const MODEL: &str = "import os, time, hydrofoil as foil

@foil.model(max_batch=2, slo='2s')
class Sleeps:
    def load(self, ctx):
        self.delay_s, self.device = float(os.environ['DELAY_MS']) / 1e3, ctx.device

    def predict(self, x: foil.i64['n']) -> foil.str['n']:
        time.sleep(self.delay_s)
        return [self.device] * len(x)
";

const GROUPS: &str = "[env]\nDELAY_MS = \"1\"\n[[devices]]\nname = \"fast\"\nreplicas = 2\n[[devices]]\nname = \"slow\"\n[devices.env]\nDELAY_MS = \"40\"\n";

fn engine(scratch: &Scratch, settings: &str) -> Engine {
    scratch.write("models/sleeps/1/model.py", MODEL);
    scratch.write("models/sleeps/model.toml", settings);
    Engine::start(&[&scratch.path("models")], 1)
}

fn replicas(engine: &Engine, device: &str, state: &str) -> f64 {
    let labels = format!("model=\"sleeps\",version=\"1\",device=\"{device}\",state=\"{state}\"");
    engine.metric(&format!("foil_device_replicas{{{labels}}}"))
}

/// The device that answered.
fn ask(engine: &Engine) -> String {
    let input = json!({"name": "x", "shape": [1], "datatype": "INT64", "data": [1]});
    let answer = engine.infer("sleeps", &json!({ "inputs": [input] }).to_string());
    answer.output(0)[0].as_str().expect("a name").to_owned()
}

/// Each container's device, by its environment, with its delay. Which replica answers what is the batching's affair.
fn containers(engine: &Engine) -> BTreeMap<u32, (String, String)> {
    let value = |environment: &str, key: &str| {
        let found = environment.split('\0').filter_map(|pair| pair.split_once('='));
        found.filter(|(name, _)| *name == key).map(|(_, value)| value.to_owned()).next()
    };
    let told = |pid: u32| {
        let environment = std::fs::read_to_string(format!("/proc/{pid}/environ")).ok()?;
        let device = value(&environment, "FOIL_DEVICE")?;
        Some((pid, (device, value(&environment, "DELAY_MS")?)))
    };
    engine.containers().into_iter().filter_map(told).collect()
}

#[test]
fn each_group_has_its_replicas_environment_and_name() {
    let scratch = Scratch::new("devices");
    let engine = engine(&scratch, GROUPS);
    wait_until("all replicas are live", || {
        (replicas(&engine, "fast", "live"), replicas(&engine, "slow", "live")) == (2.0, 1.0)
    });
    let mut found: Vec<_> = containers(&engine).into_values().collect();
    found.sort_unstable();
    let of = |device: &str, delay: &str| (device.to_owned(), delay.to_owned());
    assert_eq!(found, [of("fast", "1"), of("fast", "1"), of("slow", "40")]);
    assert!(["fast", "slow"].contains(&&*ask(&engine)), "a model is told its group's name");
    let total = "foil_replicas{model=\"sleeps\",version=\"1\",device=\"any\"}";
    assert_eq!(engine.metric(total), 3.0);
    let page = engine.get("/v2/models/sleeps/batching").json();
    let devices = page["devices"].as_array().expect("devices");
    let names: Vec<_> = devices.iter().map(|device| &device["name"]).collect();
    assert_eq!(names, [&json!("fast"), &json!("slow")]);
    let live: Vec<_> = devices.iter().map(|device| &device["replicas"]["live"]).collect();
    assert_eq!(live, [&json!(2), &json!(1)]);
    let is_learned = |device: &Value| {
        let sizes = device["curve"]["measured"].as_array().map_or(0, Vec::len);
        sizes > 0 && device["batch_ms"]["one"].as_f64().is_some_and(|ms| ms > 0.0)
    };
    assert!(
        devices.iter().any(is_learned),
        "what it took is known of the one that answered: {page}"
    );
}

#[test]
fn a_replica_that_died_comes_back_on_its_device() {
    let scratch = Scratch::new("device-again");
    let engine = engine(&scratch, GROUPS);
    wait_until("the slow one is live", || replicas(&engine, "slow", "live") == 1.0);
    let slow = || {
        let all = containers(&engine);
        all.into_iter().find(|(_, (device, _))| device == "slow").map(|(pid, _)| pid)
    };
    let before = slow().expect("it is live");
    kill(before, Signal::KILL);
    wait_until("another takes its place", || slow().is_some_and(|pid| pid != before));
    wait_until("both groups are whole", || {
        (replicas(&engine, "fast", "live"), replicas(&engine, "slow", "live")) == (2.0, 1.0)
    });
}

#[test]
fn a_model_without_groups_is_one_on_the_cpu() {
    let scratch = Scratch::new("no-devices");
    let engine = engine(&scratch, "replicas = 2\n[env]\nDELAY_MS = \"1\"\n");
    wait_until("both replicas are live", || replicas(&engine, "cpu", "live") == 2.0);
    assert_eq!(ask(&engine), "cpu");
    let page: Value = engine.get("/v2/models/sleeps/batching").json();
    assert_eq!(page["devices"].as_array().map(Vec::len), Some(1));
}

#[test]
fn groups_that_can_not_be_end_the_command_with_a_sentence() {
    let scratch = Scratch::new("bad-devices");
    scratch.write("models/sleeps/1/model.py", MODEL);
    let refused = |settings: &str| {
        scratch.write("models/sleeps/model.toml", settings);
        let output = command(&[&scratch.path("models")]).output().expect("foil runs");
        assert!(!output.status.success(), "{settings}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for (settings, says) in [
        (format!("replicas = 3\n{GROUPS}"), "replicas can't stand beside [[devices]]"),
        ("[[devices]]\nname = \"a\"\nreplicas = 0\n".to_owned(), "'a' has no replicas"),
        ("[[devices]]\nname = \"a\"\ncpus = [9999]\n".to_owned(), "CPU 9999"),
        ("[[devices]]\nreplicas = 1\n".to_owned(), "name"),
    ] {
        let error = refused(&settings);
        assert!(error.contains(says) && error.contains("sleeps"), "{says}: {error}");
    }
}
