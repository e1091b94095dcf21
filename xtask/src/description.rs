//! schemathesis against `foil serve`: whether the HTTP API is what docs/openapi.json says, whatever is sent.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::setup::{pip_for_clients, python, setup};
use crate::shell::{Done, command, root, run, target_dir, venv, works};

const SCHEMATHESIS: &str = "schemathesis==4.32.5";
/// Of each operation and phase; a minute in all.
const EXAMPLES: &str = "--max-examples=10";
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

/// A name that is served; 501 says that something is unsupported, which is no failure.
const SETTINGS: &str = "[parameters]\n\"path.model\" = \"noop\"\n\"path.version\" = 1\n\n\
    [checks.not_a_server_error]\nexpected-statuses = [\"2xx\", \"3xx\", \"4xx\", 501]\n";
const MODEL: &str = "runtime = \"native\"\nkind = \"noop\"\n";

pub(crate) fn description() -> Done {
    setup()?;
    let schemathesis = environment()?;
    let directory = target_dir().join("description");
    let settings = directory.join("schemathesis.toml");
    write(&settings, SETTINGS)?;
    write(&directory.join("models/noop/model.toml"), MODEL)?;
    let version = directory.join("models/noop/1");
    fs::create_dir_all(&version).map_err(|error| format!("{}: {error}", version.display()))?;
    let server = Server::start(&directory.join("models"))?;
    let mut tests = command(schemathesis, &["--config-file"]);
    tests.arg(settings).arg("run").arg(root().join("docs/openapi.json"));
    run(tests.args(["--url", &server.url, "--checks", CHECKS, EXAMPLES]).current_dir(directory))
}

fn write(path: &Path, text: &str) -> Done {
    let directory = path.parent().unwrap_or(path);
    let written = fs::create_dir_all(directory).and_then(|()| fs::write(path, text));
    written.map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// Its own Python, and the program in it.
fn environment() -> Done<PathBuf> {
    let directory = target_dir().join("schemathesis");
    let program = directory.join("bin/schemathesis");
    if works(&mut command(&program, &["--version"])) {
        return Ok(program);
    }
    let python = python().ok_or("no Python that is new enough; install python3")?;
    run(command(python, &["-m", "venv", "--clear"]).arg(&directory))?;
    run(pip_for_clients(&directory.join("bin/python")).arg(SCHEMATHESIS))?;
    Ok(program)
}

/// `foil serve` on ports of the system's choice, ended with its owner.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(models: &Path) -> Done<Server> {
        let mut serve = command(venv("foil"), &["serve"]);
        let anywhere = "127.0.0.1:0";
        serve.args(["--http", anywhere, "--grpc", anywhere, "--metrics", anywhere]).arg(models);
        let serve = serve.env("FOIL_STATE", "none").stderr(Stdio::piped());
        let mut child = serve.spawn().map_err(|error| format!("foil did not start: {error}"))?;
        let said = child.stderr.take().ok_or("foil has no stderr")?;
        let mut server = Server { child, url: String::new() };
        let mut lines = BufReader::new(said).lines().map_while(Result::ok);
        for line in lines.by_ref() {
            if let Some(address) = line.strip_prefix("listening") {
                server.url = address.split_whitespace().next().unwrap_or_default().to_owned();
            }
            if line.starts_with("ready ") {
                // What it says later must go somewhere, or it would wait for its reader.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(server);
            }
        }
        Err("foil ended before its model was ready".into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
