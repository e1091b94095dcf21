//! Clients on the same machine: memory they share with the engine by a name, and HTTP over a Unix socket.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use harness::client::bytes_of;
use harness::engine::{Engine, Scratch, WATCHDOG, model, program, root};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, ftruncate};
use rustix::io::{pread, pwrite};
use rustix::shm::{self, OFlags};
use serde_json::{Value, json};

/// A POSIX object of a client's, gone with it.
struct Object {
    key: String,
    memory: OwnedFd,
}

impl Object {
    fn new(name: &str, bytes: u64) -> Object {
        let key = format!("/foil-test-{}-{name}", std::process::id());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let memory = shm::open(&key, flags, Mode::RUSR | Mode::WUSR).expect("an object");
        ftruncate(&memory, bytes).expect("sized");
        Object { key, memory }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // A test may have unlinked it itself.
        let _gone = shm::unlink(&self.key);
    }
}

fn register(engine: &Engine, region: &str, object: &Object, bytes: u64) -> u16 {
    let body = json!({"key": object.key, "offset": 0, "byte_size": bytes}).to_string();
    let path = format!("/v2/systemsharedmemory/region/{region}/register");
    engine.client().request("POST", &path, &[], body.as_bytes()).status
}

/// One row of two numbers from the start of the region `r`, answered at its byte 64.
fn question() -> String {
    let place = |offset| json!({"shared_memory_region": "r", "shared_memory_offset": offset, "shared_memory_byte_size": 8});
    let input = json!({"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": place(0)});
    json!({"inputs": [input], "outputs": [{"name": "y", "parameters": place(64)}]}).to_string()
}

fn numbers(pair: [f32; 2]) -> Vec<u8> {
    pair.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[test]
fn tensors_go_through_memory_that_a_client_registered() {
    let engine = Engine::start(&[&model("in_place.py"), "--client-shm"], 1);
    let object = Object::new("row", 4096);
    pwrite(&object.memory, &numbers([0.5, 2.0]), 0).expect("written");
    assert_eq!(register(&engine, "r", &object, 4096), 200);
    let status = engine.get("/v2/systemsharedmemory/status").json();
    let shown = json!([{"name": "r", "key": object.key, "offset": 0, "byte_size": 4096}]);
    assert_eq!(status, shown);

    let answer = engine.infer("in_place", &question());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let output = answer.json()["outputs"][0].clone();
    assert_eq!(output["data"], Value::Null);
    let mut found = [0; 8];
    pread(&object.memory, &mut found, 64).expect("read");
    assert_eq!(found.to_vec(), numbers([1.0, 4.0]));
    let mut row = [0; 8];
    pread(&object.memory, &mut row, 0).expect("read");
    assert_eq!(row.to_vec(), numbers([0.5, 2.0]), "the model works on a copy");
}

#[test]
fn a_client_that_cuts_its_memory_off_hurts_nobody_but_itself() {
    let engine = Engine::start(&[&model("in_place.py"), "--client-shm"], 1);
    let object = Object::new("cut", 1 << 20);
    assert_eq!(register(&engine, "r", &object, 1 << 20), 200);
    ftruncate(&object.memory, 0).expect("cut off");
    let answer = engine.infer("in_place", &question());
    assert_eq!(answer.status, 400);
    assert!(answer.error().contains("shorter"), "{}", answer.error());
    ftruncate(&object.memory, 8).expect("a little again");
    let answer = engine.infer("in_place", &question());
    assert_eq!(answer.status, 400, "there is no room for the output");
    assert_eq!(engine.get("/v2/models/in_place/ready").status, 200);
}

#[test]
fn no_name_of_a_lane_leads_to_a_lane() {
    let lane = ["--client-shm", "--lane", "posix"];
    let engine = Engine::start(&[&[model("in_place.py").as_str()], &lane[..]].concat(), 1);
    // What the engine holds of its lanes is unlinked; its descriptors still lead there, to those who may open them.
    let descriptors = fs::read_dir(format!("/proc/{}/fd", engine.pid())).expect("it lives");
    let lanes: Vec<_> = descriptors
        .flatten()
        .filter(|it| fs::read_link(it.path()).is_ok_and(|to| to.starts_with("/dev/shm")))
        .collect();
    assert!(!lanes.is_empty(), "a posix lane lies in /dev/shm");
    let number = lanes[0].file_name().to_string_lossy().into_owned();
    let to = fs::read_link(lanes[0].path()).expect("a link").display().to_string();
    let name = to.trim_start_matches("/dev/shm").trim_end_matches(" (deleted)");
    for key in [
        name.to_owned(),
        format!("/{name}"),
        format!("/../..{to}"),
        format!("/proc/self/fd/{number}"),
        format!("/../../proc/self/fd/{number}"),
    ] {
        let body = json!({"key": key, "byte_size": 8}).to_string();
        let path = "/v2/systemsharedmemory/region/r/register";
        let answer = engine.client().request("POST", path, &[], body.as_bytes());
        assert_eq!(answer.status, 400, "{key}: {}", answer.error());
    }
}

#[test]
fn a_python_client_passes_its_memory_and_gets_the_outputs_there() {
    let scratch = Scratch::new("passed");
    let socket = scratch.path("client-shm");
    let flags = ["--client-shm", "--client-shm-socket", &socket];
    let engine = Engine::start(&[&[model("in_place.py").as_str()], &flags[..]].concat(), 1);
    let client = root().join("tests/clients/shared_region.py");
    let http = engine.http.to_string();
    let client = Command::new(program("python")).arg(client).args([&http, &socket]).output();
    let client = client.expect("python starts");
    assert!(client.status.success(), "{}", String::from_utf8_lossy(&client.stderr));
    assert!(engine.stop().success());
    assert!(!fs::exists(&socket).expect("looked"), "the socket goes with the engine");
}

/// One request over a connection of its own.
fn ask(path: &str, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).expect("the engine listens");
    stream.set_read_timeout(Some(WATCHDOG)).expect("a watchdog");
    stream.write_all(request).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read to the end");
    answer
}

#[test]
fn http_is_answered_over_a_unix_socket_as_well() {
    let scratch = Scratch::new("http-socket");
    let path = scratch.path("http");
    let flags = ["--http-socket", &path, "--socket-mode", "660"];
    let engine = Engine::start(&[&[model("in_place.py").as_str()], &flags[..]].concat(), 1);
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).expect("it is there"));
    assert_eq!(mode & 0o777, 0o660);
    let body =
        json!({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0.5, 2]}]});
    let body = body.to_string();
    let close = [("connection", "close")];
    let request = bytes_of("POST", "/v2/models/in_place/infer", &close, body.as_bytes());
    let answer = ask(&path, &request);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("[1.0,4.0]"), "{answer}");
    assert_eq!(engine.infer("in_place", &body).status, 200, "and over TCP");
    assert!(engine.stop().success());
    assert!(!fs::exists(&path).expect("looked"), "the socket goes with the engine");
}

#[test]
fn a_socket_is_taken_over_from_the_dead_and_from_nobody_else() {
    let scratch = Scratch::new("http-stale");
    let path = scratch.path("http");
    let file = model("in_place.py");
    let arguments = [file.as_str(), "--http-socket", &path];
    let first = Engine::start(&arguments, 1);
    let mut second = Engine::start_unready(harness::engine::command(&arguments));
    assert!(!second.wait().success());
    assert!(second.said().contains("another server listens"), "{}", second.said());
    // Killed, it leaves its socket behind.
    drop(first);
    assert!(fs::exists(&path).expect("looked"));
    let _third = Engine::start(&arguments, 1);
    let close = [("connection", "close")];
    assert!(ask(&path, &bytes_of("GET", "/v2/health/ready", &close, b"")).contains("200 OK"));
}
