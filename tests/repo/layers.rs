//! Who may name what.

use super::source::{files, production};

/// A crate, and the only places that may name it.
const CONFINED: [(&str, &[&str]); 25] = [
    ("nvml_wrapper", &["engine/src/fleet/devices/nvml"]),
    ("sd_notify", &["engine/src/app/service_manager.rs"]),
    ("base64", &["engine/src/codec/clipper"]),
    (
        "hyper",
        &["engine/src/api", "engine/src/client", "engine/src/observe/export/server.rs", "bench/"],
    ),
    (
        "hyper_util",
        &["engine/src/api", "engine/src/client", "engine/src/observe/export/server.rs", "bench/"],
    ),
    ("bollard", &["engine/src/fleet/launch/docker"]),
    ("core_affinity", &["engine/src/threads.rs", "bench/src/threads.rs"]),
    (
        "mimalloc",
        &[
            "engine/src/main.rs",
            "engine/benches/instructions.rs",
            "gpu-containers/src/main.rs",
            "bench/src/main.rs",
        ],
    ),
    ("flate2", &["engine/src/api/encoding.rs", "engine/src/fleet/deployments/uploads.rs"]),
    ("rusqlite", &["engine/src/fleet/deployments/store.rs"]),
    ("flatbuffers", &["schemas/"]),
    (
        "indicatif",
        &[
            "engine/src/client/progress.rs",
            "bench/src/output/progress.rs",
            "xtask/src/steps/show.rs",
        ],
    ),
    ("h2", &["bench/src/grpc"]),
    (
        "prost",
        &[
            "schemas/",
            "engine/src/api/oip_grpc",
            "bench/src/grpc",
            "bench/src/overhead/ask.rs",
            "xtask/src/codegen.rs",
            "fuzz/fuzz_targets/grpc_message.rs",
        ],
    ),
    ("tonic", &["schemas/", "engine/src/api/oip_grpc", "bench/src/grpc/tests.rs"]),
    ("tonic_reflection", &["engine/src/api/oip_grpc"]),
    ("send_wrapper", &["engine/src/api/oip_grpc"]),
    ("pyo3", &["python/"]),
    ("prometheus_client", &["engine/src/observe/export"]),
    ("cudarc", &["gpu-containers/src/device"]),
    (
        "safetensors",
        &[
            "gpu-containers/src/models/saved.rs",
            "gpu-containers/src/models/embedding_mlp/weights.rs",
        ],
    ),
    ("loom", &["shm-rpc/src/sync.rs", "shm-rpc/src/control.rs", "shm-rpc/src/ring/models.rs"]),
    ("tar", &["engine/src/client/archive.rs", "engine/src/fleet/deployments/artifacts"]),
    ("shared_memory", &["shm-rpc/src/segment/posix.rs"]),
    ("libc", &["shm-rpc/src/segment/numa.rs"]),
];

/// A room of the engine, and the rooms it must not import.
const FORBIDDEN: [(&str, &[&str]); 13] = [
    (
        "batch",
        &[
            "api",
            "app",
            "apps",
            "dispatch",
            "fleet",
            "query",
            "observe",
            "config",
            "cli",
            "clipper_rpc",
        ],
    ),
    ("codec", &["api", "app", "dispatch", "fleet", "config", "cli", "batch", "clipper_rpc"]),
    (
        "observe",
        &["apps", "api", "app", "dispatch", "fleet", "config", "cli", "batch", "clipper_rpc"],
    ),
    ("dispatch", &["apps", "api", "app", "fleet", "config", "cli", "clipper_rpc"]),
    ("query", &["apps", "api", "app", "batch", "config", "cli", "clipper_rpc"]),
    ("fleet", &["apps", "api", "app", "batch", "codec", "query", "clipper_rpc"]),
    ("api", &["app", "batch", "config", "cli"]),
    ("apps", &["api", "app", "batch", "codec", "config", "cli", "observe", "dispatch", "query"]),
    ("clipper_rpc", &["apps", "api", "app", "batch", "codec", "config", "cli", "observe"]),
    (
        "config",
        &["apps", "api", "app", "batch", "dispatch", "fleet", "query", "observe", "clipper_rpc"],
    ),
    (
        "threads",
        &["apps", "api", "app", "batch", "dispatch", "fleet", "query", "observe", "clipper_rpc"],
    ),
    // Commands about this machine ask no engine.
    (
        "host",
        &[
            "apps",
            "api",
            "app",
            "batch",
            "client",
            "codec",
            "dispatch",
            "query",
            "observe",
            "clipper_rpc",
        ],
    ),
    // The commands know an engine by its HTTP API alone.
    (
        "client",
        &[
            "apps",
            "api",
            "app",
            "batch",
            "codec",
            "dispatch",
            "fleet",
            "query",
            "observe",
            "clipper_rpc",
        ],
    ),
];

/// Files that may hold unsafe code: shared memory, the interpreter's glue, and one system call each.
const UNSAFE: [&str; 14] = [
    "shm-rpc/src/control.rs",
    "shm-rpc/src/segment/window.rs",
    "shm-rpc/src/segment/mapping.rs",
    "shm-rpc/src/segment/numa.rs",
    "shm-rpc/src/container_side/frozen.rs",
    "shm-rpc/src/container_side/view.rs",
    "shm-rpc/src/c_abi.rs",
    "shm-rpc/src/c_abi/arguments.rs",
    "python/src/memory.rs",
    "gpu-containers/src/device",
    "gpu-containers/src/staging",
    "engine/src/dispatch/lane/doorbell.rs",
    "engine/src/fleet/launch/process.rs",
    "bench/src/",
];

fn names(code: &str, krate: &str) -> bool {
    let path = format!("{krate}::");
    code.match_indices(&path)
        .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
}

#[test]
fn each_outside_world_is_named_in_its_own_place_only() {
    for (krate, homes) in CONFINED {
        let mut found = false;
        for file in files().iter().filter(|file| !file.path.starts_with("tests/")) {
            for (line, code) in file.code().filter(|(_, code)| names(code, krate)) {
                found = true;
                let home = homes.iter().any(|home| file.path.starts_with(home));
                assert!(
                    home,
                    "{}:{line} names {krate}, which belongs to {homes:?}: {code}",
                    file.path
                );
            }
        }
        assert!(found, "{krate} is named nowhere: take it off the list");
    }
}

#[test]
fn rooms_import_along_the_walk_only() {
    for file in production().iter().filter(|file| file.path.starts_with("engine/src/")) {
        let room = file.path["engine/src/".len()..].split(['/', '.']).next().unwrap_or_default();
        let Some((_, forbidden)) = FORBIDDEN.iter().find(|(it, _)| *it == room) else { continue };
        for (line, code) in file.code() {
            for other in *forbidden {
                let wrong = code.contains(&format!("crate::{other}::"));
                let allowed = ALLOWED.contains(&(file.path.as_str(), *other));
                assert!(!wrong || allowed, "{}:{line}: {room} must not know {other}", file.path);
            }
        }
    }
}

/// Imports against the grain, each with its reason.
const ALLOWED: [(&str, &str); 10] = [
    // Limits are plain numbers.
    ("engine/src/fleet/supervisor.rs", "config"),
    ("engine/src/fleet/target.rs", "config"),
    // And so are batches of a fixed size.
    ("engine/src/fleet/target.rs", "batch"),
    // Welcome sizes lanes; the bell's one unsafe call is shared.
    ("engine/src/fleet/welcome.rs", "dispatch"),
    // The corridor reads the catalog's snapshot.
    ("engine/src/query/serve.rs", "fleet"),
    ("engine/src/api/inference.rs", "fleet"),
    ("engine/src/api/front_end.rs", "fleet"),
    ("engine/src/fleet/supervisor.rs", "dispatch"),
    ("engine/src/fleet/keeper.rs", "dispatch"),
    // Limits are plain numbers here too.
    ("engine/src/clipper_rpc.rs", "config"),
];

#[test]
fn unsafe_code_stands_where_it_is_listed_only() {
    for file in production() {
        for (line, code) in file.code() {
            let word =
                code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
            let listed = UNSAFE.iter().any(|home| file.path.starts_with(home));
            assert!(!word || listed, "{}:{line}: unsafe code belongs to {UNSAFE:?}", file.path);
        }
    }
}

#[test]
fn only_clocks_read_the_clock() {
    for file in production().iter().filter(|file| !file.path.starts_with("xtask/")) {
        for (line, code) in file.code() {
            let reads = code.contains("Instant::now(") || code.contains("SystemTime::now(");
            assert!(
                !reads || file.path.ends_with("/clock.rs"),
                "{}:{line} reads the clock",
                file.path
            );
        }
    }
}

#[test]
fn every_metric_and_error_kind_is_used_somewhere() {
    let files = production();
    let metrics =
        files.iter().find(|file| file.path.ends_with("observe/metrics.rs")).expect("it exists");
    let kinds = metrics.code().filter_map(|(_, code)| {
        let (kind, name) = code.trim().split_once(" = \"")?;
        name.ends_with("\",").then_some(kind)
    });
    let mut count = 0;
    for kind in kinds {
        count += 1;
        let used = files.iter().any(|file| {
            file.path != metrics.path
                && file.code().any(|(_, code)| code.contains(&format!("ErrorKind::{kind}")))
        });
        assert!(used, "ErrorKind::{kind} is declared and never recorded");
    }
    assert!(count > 10, "the kinds were not found: {count}");
}
