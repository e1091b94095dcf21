//! The commands that look at this machine and ask no engine.

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use harness::Scratch;
use harness::engine::program;
use serde_json::Value;

fn foil(arguments: &[&str]) -> Output {
    let mut foil = Command::new(program("foil"));
    foil.args(arguments).stdin(Stdio::null()).env("FOIL_PYTHON", program("python"));
    // Neither a GPU of this machine nor its driver is this test's matter.
    foil.env("FOIL_NVML", "/nowhere/libnvidia-ml.so.1");
    foil.output().expect("foil runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn devices_are_shown_and_an_inventory_is_read_back() {
    let shown = text(&foil(&["devices"]).stdout);
    assert!(shown.contains("cpu0") && shown.contains("no GPUs: /nowhere/"), "{shown}");
    let written = text(&foil(&["devices", "--json"]).stdout);
    let inventory: Value = serde_json::from_str(&written).expect("JSON");
    let cores = &inventory["hosts"][0]["cpus"]["nodes"][0]["cores"];
    assert!(cores.as_array().is_some_and(|cores| !cores.is_empty()), "{written}");
    let scratch = Scratch::new("inventory");
    scratch.write("host.json", &written);
    let file = scratch.path("host.json");
    assert_eq!(text(&foil(&["devices", "--inventory", &file, "--json"]).stdout), written);
    let refused = foil(&["devices", "--inventory", "/nowhere.json"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("/nowhere.json"));
}

#[test]
fn the_doctor_says_what_fails_and_ends_so() {
    let asked = foil(&["doctor", "--json"]);
    let found: Value = serde_json::from_slice(&asked.stdout).expect("JSON");
    let checks = found["checks"].as_array().expect("a list");
    let verdict = |name: &str| {
        let check = checks.iter().find(|check| check["name"] == name);
        check.unwrap_or_else(|| panic!("{name} is looked at: {found}"))["verdict"].clone()
    };
    assert_eq!(verdict("kernel"), "ok");
    assert_eq!([verdict("python"), verdict("python hydrofoil")], ["ok", "ok"]);
    let failed = checks.iter().filter(|check| check["verdict"] == "fail").count();
    assert_eq!(found["fail"], failed, "{found}");
    // What else runs on this machine may hold a port.
    assert_eq!(asked.status.code(), Some(i32::from(failed > 0)));
    assert!(checks.iter().all(|check| check["verdict"] == "ok" || check["mend"].is_string()));
}

#[test]
fn the_doctor_looks_where_an_engine_is_to_listen() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("it is bound");
    let asked = foil(&["doctor", "--json", "--grpc", &address.to_string()]);
    let found: Value = serde_json::from_slice(&asked.stdout).expect("JSON");
    let name = format!("port {} (gRPC)", address.port());
    let checks = found["checks"].as_array().expect("a list");
    let check = checks.iter().find(|check| check["name"] == *name).expect("it is looked at");
    assert_eq!(check["found"], "taken by another program");
}

#[test]
fn the_doctor_fails_where_python_lacks_us() {
    let mut doctor = Command::new(program("foil"));
    doctor.arg("doctor").stdin(Stdio::null()).env("FOIL_PYTHON", "/nowhere/python");
    let asked = doctor.output().expect("foil runs");
    assert_eq!(asked.status.code(), Some(1));
    let said = text(&asked.stdout);
    let line = said.lines().find(|line| line.starts_with("fail  python  ")).expect("a line");
    assert!(line.contains("/nowhere/python: not found"), "{said}");
    assert!(text(&asked.stderr).contains("checks failed"));
}
