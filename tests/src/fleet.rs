//! An engine that looks after deployments, and whoever administers it over the socket in its state directory.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::engine::{Engine, WATCHDOG, command, wait_until};

/// The files of one version.
pub type Files<'f> = [(&'f str, &'f str)];

/// A native model that needs nothing.
pub const NOOP: &Files<'static> = &[("model.toml", "runtime = \"native\"\nkind = \"noop\"\n")];

/// One that can't load: its weights are not there.
pub const BROKEN: &Files<'static> = &[("model.toml", "runtime = \"native\"\nkind = \"linear\"\n")];

/// A question that noop answers.
pub fn noop_row() -> String {
    let zeros = vec!["0"; 784].join(",");
    let input = format!(r#"{{"name":"x","shape":[1,784],"datatype":"FP32","data":[{zeros}]}}"#);
    format!("{{\"inputs\":[{input}]}}")
}

/// Files as an archive.
pub fn archive(files: &Files<'_>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, text.as_bytes()).expect("written to memory");
    }
    builder.into_inner().expect("written to memory")
}

/// An engine without a TARGET, on a state directory.
pub fn start(state: &Path) -> Engine {
    start_with(state, &[])
}

pub fn start_with(state: &Path, arguments: &[&str]) -> Engine {
    let mut engine = Engine::start_unready(in_state(state, arguments));
    wait_until("the engine listens", || {
        assert_eq!(engine.has_ended(), None, "{}", engine.said());
        engine.has_address() && UnixStream::connect(socket(state)).is_ok()
    });
    engine
}

/// The command for it.
pub fn in_state(state: &Path, arguments: &[&str]) -> std::process::Command {
    let mut command = command(arguments);
    command.env("FOIL_STATE", state);
    command
}

fn socket(state: &Path) -> PathBuf {
    state.join("admin.sock")
}

/// What came of a request, as far as it came before the engine went.
#[derive(Clone, Debug)]
pub struct Came {
    /// None: nothing came.
    pub status: Option<u16>,
    pub text: String,
}

impl Came {
    /// The lines of JSON that came whole.
    pub fn lines(&self) -> Vec<Value> {
        let whole = self.text.rfind('\n').map_or("", |end| &self.text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }

    /// The version that was accepted: it is durable.
    pub fn accepted(&self) -> Option<u64> {
        let lines = if self.status == Some(200) { self.lines() } else { Vec::new() };
        lines.iter().find(|line| line["event"] == "accepted")?["version"].as_u64()
    }

    /// The version whose end was told, and whether it is ready.
    pub fn ended(&self) -> Option<(u64, bool)> {
        let lines = self.lines();
        let last = lines.iter().find(|it| it["event"] == "ready" || it["event"] == "failed")?;
        Some((last["version"].as_u64()?, last["event"] == "ready"))
    }
}

/// Whoever may change what is deployed.
#[derive(Clone, Debug)]
pub struct Admin {
    socket: PathBuf,
}

impl Admin {
    pub fn of(state: &Path) -> Admin {
        Admin { socket: socket(state) }
    }

    /// Sends a request and takes all that comes, until the engine ends the answer, or itself.
    pub fn send(&self, method: &str, path: &str, body: &[u8]) -> Came {
        let mut whole = Vec::new();
        if let Ok(mut stream) = UnixStream::connect(&self.socket) {
            stream.set_read_timeout(Some(WATCHDOG)).expect("a watchdog");
            let length = body.len();
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
            );
            // An engine that goes is what some tests are about.
            let _sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
            let mut buffer = [0; 65_536];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                whole.extend_from_slice(&buffer[..count]);
            }
        }
        came(&whole)
    }

    pub fn get(&self, path: &str) -> Value {
        let came = self.send("GET", path, b"");
        assert_eq!(came.status, Some(200), "{path}: {came:?}");
        came.json()
    }

    pub fn post(&self, path: &str, body: &str) -> Came {
        self.send("POST", path, body.as_bytes())
    }

    /// `options` as in `?hold=true`.
    pub fn deploy(&self, model: &str, options: &str, files: &Files<'_>) -> Came {
        self.send("PUT", &format!("/fleet/models/{model}{options}"), &archive(files))
    }

    pub fn remove(&self, model: &str) -> Came {
        self.send("DELETE", &format!("/fleet/models/{model}"), b"")
    }

    pub fn model(&self, name: &str) -> Value {
        self.get(&format!("/fleet/models/{name}"))
    }

    /// The role of each version, the newest first.
    pub fn roles(&self, name: &str) -> Vec<(u64, String)> {
        let model = self.model(name);
        let versions = model["versions"].as_array().expect("a list").iter();
        let role = |it: &Value| {
            let role = it["role"].as_str().expect("a role").to_owned();
            (it["version"].as_u64().expect("a version"), role)
        };
        versions.map(role).collect()
    }
}

fn came(bytes: &[u8]) -> Came {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Came { status: None, text: String::new() };
    };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let text = if chunked { unchunked(body) } else { body.to_owned() };
    Came { status, text }
}

/// All chunks that came whole.
fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { break };
        let Some(chunk) = rest.get(..size) else { break };
        text.push_str(chunk);
        body = rest.get(size + 2..).unwrap_or_default();
    }
    text
}

/// Names and versions whose files lie in the state directory; what is half-way in is `.staging`.
pub fn artifacts(state: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for model in fs::read_dir(state.join("artifacts")).into_iter().flatten().flatten() {
        for version in fs::read_dir(model.path()).into_iter().flatten().flatten() {
            let (model, version) = (model.file_name(), version.file_name());
            found.insert(format!("{}/{}", model.to_string_lossy(), version.to_string_lossy()));
        }
    }
    found
}
