use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::{pread, pwrite};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::api::front_end::{HttpLimits, HttpOptions};
use crate::api::test_server::{Reply, Script, TestServer, entry, post, run, spec};
use crate::client_shm::registry::{Bounds, Names, Registry};
use crate::query::types::{Prediction, Timings};

const BOUNDS: Bounds = Bounds { regions_max: 8, bytes_max: 1 << 30 };
const SERVER: &str = "/v2/systemsharedmemory";

/// A server of model `m` (`x: f32[n, 2]` and `s: bytes[n]`, in and out) and one region `r`.
struct Shared {
    server: TestServer,
    registry: Arc<Registry>,
    memory: OwnedFd,
}

fn shared(script: Script, bytes: u64) -> Shared {
    let registry = Arc::new(Registry::new(BOUNDS, Names::Allowed));
    let memory = memfd_create("test", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&memory, bytes).unwrap();
    fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL).unwrap();
    registry.register_passed("r", memory.try_clone().unwrap(), 1).unwrap();
    let limits = HttpLimits { body_bytes_max: 1 << 20, ..HttpLimits::default() };
    let models = vec![entry(spec("m", true), 1, script)];
    let given = Some(registry.clone());
    let server = TestServer::start_sharing(models, limits, HttpOptions::default(), given);
    Shared { server, registry, memory }
}

impl Shared {
    fn put(&self, at: u64, bytes: &[u8]) {
        assert_eq!(pwrite(&self.memory, bytes, at).unwrap(), bytes.len());
    }

    fn get(&self, at: u64, bytes: usize) -> Vec<u8> {
        let mut found = vec![0; bytes];
        assert_eq!(pread(&self.memory, &mut found, at).unwrap(), bytes);
        found
    }

    async fn ask(&self, body: &Value) -> Reply {
        self.server.infer("", body.to_string().as_bytes()).await
    }
}

fn place(offset: u64, size: u64) -> Value {
    json!({"shared_memory_region": "r", "shared_memory_offset": offset, "shared_memory_byte_size": size})
}

/// One row: `x` at 8, `s` at 32.
fn question() -> Value {
    json!({"inputs": [
        {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": place(8, 8)},
        {"name": "s", "shape": [1], "datatype": "BYTES", "parameters": place(32, 7)},
    ]})
}

fn row() -> Vec<u8> {
    [1.5f32, -2.0].iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn filled(script: Script) -> Shared {
    let shared = shared(script, 4096);
    shared.put(8, &row());
    shared.put(32, b"\x03\0\0\0abc");
    shared
}

#[test]
fn inputs_come_from_a_region_and_outputs_go_there() {
    run(async {
        let shared = filled(Script::Echo);
        let mut question = question();
        question["outputs"] = json!([
            {"name": "s", "parameters": place(100, 50)},
            {"name": "x", "parameters": place(200, 8)},
        ]);
        let answer = shared.ask(&question).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(
            answer.json()["outputs"],
            json!([
                {"name": "s", "datatype": "BYTES", "shape": [1]},
                {"name": "x", "datatype": "FP32", "shape": [1, 2]},
            ])
        );
        assert_eq!(shared.get(100, 7), b"\x03\0\0\0abc");
        assert_eq!(shared.get(200, 8), row());
    });
}

#[test]
fn regions_mix_with_json_and_binary_tensors() {
    run(async {
        let shared = filled(Script::Echo);
        let mut question = question();
        question["inputs"][1] = json!({"name": "s", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 5}});
        question["outputs"] = json!([
            {"name": "x", "parameters": {"binary_data": true}},
            {"name": "s", "parameters": place(0, 5)},
        ]);
        let text = question.to_string();
        let header = format!("inference-header-content-length: {}\r\n", text.len());
        let body = [text.as_bytes(), b"\x01\0\0\0z"].concat();
        let answer = shared.server.infer(&header, &body).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        assert!(answer.body.ends_with(&row()));
        assert_eq!(shared.get(0, 5), b"\x01\0\0\0z");
    });
}

#[test]
fn a_place_that_can_not_be_is_refused_before_the_model_runs() {
    run(async {
        let (holder, mut held) = mpsc::channel(1);
        let shared = filled(Script::Hold(holder));
        let cases = [
            ("/inputs/0/parameters/shared_memory_region", json!("q"), "region 'q'"),
            ("/inputs/0/parameters/shared_memory_offset", json!(4090), "leave"),
            ("/inputs/0/parameters/shared_memory_offset", json!(i64::MAX), "leave"),
            ("/inputs/0/parameters/shared_memory_offset", json!(-1), "whole number"),
            ("/inputs/0/parameters/shared_memory_byte_size", json!(9), "takes 8 bytes"),
            ("/inputs/0/parameters/shared_memory_byte_size", json!(null), "whole number"),
            ("/inputs/0/parameters", json!({"shared_memory_region": "r"}), "both"),
            ("/inputs/0/parameters", json!({"shared_memory_byte_size": 8}), "both"),
            ("/inputs/1/parameters/shared_memory_byte_size", json!(6), "points outside"),
            ("/outputs/0/parameters/shared_memory_region", json!("q"), "region 'q'"),
            ("/outputs/0/parameters/shared_memory_byte_size", json!(4097), "leave"),
        ];
        for (path, value, why) in cases {
            let mut question = question();
            question["outputs"] = json!([{"name": "x", "parameters": place(0, 8)}]);
            *question.pointer_mut(path).unwrap() = value;
            let answer = shared.ask(&question).await;
            assert_eq!(answer.status, 400, "{path}");
            assert!(answer.error().contains(why), "{path}: {}", answer.error());
        }
        assert!(held.try_recv().is_err(), "no question reached the model");
    });
}

#[test]
fn data_beside_a_region_is_refused() {
    run(async {
        let shared = filled(Script::Echo);
        let mut question = question();
        question["inputs"][0]["data"] = json!([1, 2]);
        assert!(shared.ask(&question).await.error().contains("says twice"));
    });
}

#[test]
fn a_region_that_is_too_small_for_the_output_is_an_error() {
    run(async {
        let shared = filled(Script::Echo);
        let mut question = question();
        question["outputs"] = json!([{"name": "s", "parameters": place(0, 6)}]);
        let answer = shared.ask(&question).await;
        assert_eq!(answer.status, 400);
        assert!(answer.error().contains("takes 7 bytes"), "{}", answer.error());
        assert_eq!(shared.get(0, 6), [0; 6], "nothing of it is written");
    });
}

#[test]
fn a_region_that_is_unregistered_under_way_serves_what_is_under_way() {
    run(async {
        let (holder, mut held) = mpsc::channel(1);
        let shared = filled(Script::Hold(holder));
        let mut question = question();
        question["outputs"] = json!([{"name": "x", "parameters": place(64, 8)}]);
        let mut client = shared.server.client().await;
        client.send(&post("/v2/models/m/infer", "", question.to_string().as_bytes())).await;
        let submission = held.recv().await.unwrap();
        shared.registry.disconnected(1);
        // What the client writes now is too late for this request.
        shared.put(8, &[0; 8]);
        assert!(shared.ask(&question).await.error().contains("region 'r'"));
        let (outputs, timings) = (submission.inputs.tensors, Timings::default());
        submission.reply.waiter.send(Ok(Prediction { outputs, timings })).unwrap();
        assert_eq!(client.reply().await.status, 200);
        assert_eq!(shared.get(64, 8), row());
    });
}

#[test]
fn the_tensors_of_a_request_are_bounded_together() {
    run(async {
        let shared = shared(Script::Echo, 4 << 20);
        let input = |name: &str, rows: u64| json!({"name": name, "shape": [rows, 2], "datatype": "FP32", "parameters": place(0, rows * 8)});
        let question = json!({"inputs": [input("x", 1 << 16), input("s", (1 << 16) + 1)]});
        let answer = shared.ask(&question).await;
        assert_eq!(answer.status, 400);
        assert!(answer.error().contains("1048576 bytes"), "{}", answer.error());
    });
}

#[test]
fn without_the_switch_nothing_is_offered_and_the_flag_is_named() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let row = json!({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": place(0, 8)}]});
        let answer = server.infer("", row.to_string().as_bytes()).await;
        assert_eq!(answer.status, 400);
        assert!(answer.error().contains("--client-shm"));
        let register = post(&format!("{SERVER}/region/r/register"), "", b"{}");
        for answer in [server.get(&format!("{SERVER}/status")).await, server.ask(&register).await] {
            assert_eq!(answer.status, 403);
            assert!(answer.error().contains("--client-shm"));
        }
        let extensions = server.get("/v2").await.json()["extensions"].to_string();
        assert!(!extensions.contains("shared_memory"), "{extensions}");
    });
}

#[test]
fn only_regions_with_a_key_are_shown() {
    run(async {
        let shared = shared(Script::Echo, 64);
        assert_eq!(shared.server.get(&format!("{SERVER}/status")).await.json(), json!([]));
        let one = shared.server.get(&format!("{SERVER}/region/r/status")).await;
        assert_eq!(one.status, 404);
        let extensions = shared.server.get("/v2").await.json()["extensions"].to_string();
        assert!(extensions.contains("system_shared_memory"), "{extensions}");
    });
}

#[test]
fn registering_takes_what_it_needs_and_says_so() {
    run(async {
        let server = shared(Script::Echo, 64).server;
        let long = format!(r#"{{"key":"/{}","byte_size":1}}"#, "x".repeat(20_000));
        for (body, status) in [
            ("", 400),
            ("{", 400),
            (r#"{"key":"/a"}"#, 400),
            (r#"{"key":"/a","byte_size":-1}"#, 400),
            (r#"{"key":"/a","byte_size":1,"offset":1.5}"#, 400),
            (r#"{"key":"/hydrofoil-1","byte_size":1}"#, 400),
            (r#"{"key":"/no-such-object-anywhere","byte_size":1}"#, 404),
            (&long, 413),
        ] {
            let path = format!("{SERVER}/region/a/register");
            let answer = server.ask(&post(&path, "", body.as_bytes())).await;
            assert_eq!(answer.status, status, "{body:.60}: {}", answer.error());
        }
        assert_eq!(server.get(&format!("{SERVER}/region/a/register")).await.status, 405);
    });
}

#[test]
fn cuda_memory_is_refused_and_its_other_pages_answer() {
    run(async {
        let server = TestServer::one(Script::Echo);
        let all = server.get("/v2/cudasharedmemory/status").await;
        assert_eq!((all.status, all.json()), (200, json!([])));
        assert_eq!(server.get("/v2/cudasharedmemory/region/r/status").await.status, 404);
        for path in ["unregister", "region/r/unregister"] {
            let answer = server.ask(&post(&format!("/v2/cudasharedmemory/{path}"), "", b"")).await;
            assert_eq!(answer.status, 200, "{path}");
        }
        let register = post("/v2/cudasharedmemory/region/r/register", "", b"{}");
        let answer = server.ask(&register).await;
        assert_eq!(answer.status, 400);
        assert!(answer.error().contains("CUDA"));
    });
}
