//! Where the cases run: as child processes, and in Docker where this machine has it.

use harness::docker::{containers, docker, is_here};
use harness::engine::{Engine, Scratch, command, wait_until};
use rustix::process::Signal;
use serde_json::json;

/// Answers with what it is asked to evaluate, so that a case can look around where the model runs.
const SPY: &str = r#"
import atexit, os, socket, sys, time
import hydrofoil as foil

print("spy looks around", flush=True)
atexit.register(print, "spy has left", flush=True)

@foil.model
def spy(x: foil.str["n"]) -> foil.str["n"]:
    return [str(attempt(text)) for text in x]

def attempt(text):
    try:
        return eval(text or "0")
    except OSError as error:
        return f"refused: {error}"
"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Process,
    Docker,
}

impl Place {
    /// Every launcher that works here; the harness says which does not.
    pub(super) fn each(case: impl Fn(Place)) {
        case(Place::Process);
        if is_here() {
            case(Place::Docker);
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Place::Process => "process",
            Place::Docker => "docker",
        }
    }

    /// A repository with the spy, and more of its model.toml.
    pub(super) fn repository(self, case: &str, settings: &str) -> Scratch {
        let scratch = Scratch::new(&format!("launchers-{case}-{}", self.name()));
        scratch.write("spy/1/model.py", SPY);
        scratch.write("spy/model.toml", &format!("launcher = \"{}\"\n{settings}", self.name()));
        scratch
    }

    pub(super) fn spy(self, case: &str, settings: &str) -> (Engine, Scratch) {
        let scratch = self.repository(case, settings);
        (Engine::start(&[&scratch.path("")], 1), scratch)
    }

    /// The one replica's container is killed, from outside and without a warning.
    pub(super) fn kill_the_replica(self, engine: &Engine) {
        match self {
            Place::Process => harness::engine::kill(engine.containers()[0], Signal::KILL),
            Place::Docker => {
                docker(&["kill", "--signal=KILL", &self.running(engine.pid())[0]]);
            }
        }
    }

    /// What runs for an engine that may be gone.
    pub(super) fn running(self, engine: u32) -> Vec<String> {
        match self {
            Place::Process => {
                let home = std::env::temp_dir().join(format!("hydrofoil-{engine}/"));
                processes_with(&format!("FOIL_SOCKET={}", home.display()))
            }
            Place::Docker => containers(engine),
        }
    }
}

/// Processes in whose environment this is to be found.
fn processes_with(text: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let ids = processes.filter_map(|entry| entry.file_name().into_string().ok());
    let has = |id: &String| {
        std::fs::read(format!("/proc/{id}/environ"))
            .is_ok_and(|it| it.windows(text.len()).any(|part| part == text.as_bytes()))
    };
    ids.filter(|id| id.parse::<u32>().is_ok()).filter(has).collect()
}

/// What the spy sees.
pub(super) fn ask(engine: &Engine, expression: &str) -> String {
    let input = json!({"name": "x", "shape": [1], "datatype": "BYTES", "data": [expression]});
    let answer = engine.infer("spy", &json!({ "inputs": [input] }).to_string());
    assert_eq!(answer.status, 200, "{expression}: {}", answer.text());
    answer.output(0)[0].as_str().expect("text").to_owned()
}

/// What an engine says that can't start.
pub(super) fn refusal(arguments: &[&str]) -> String {
    let mut engine = Engine::start_unready(command(arguments));
    assert!(!engine.wait().success(), "{}", engine.said());
    wait_until("it says why", || engine.said().contains("error: "));
    engine.said()
}
