//! Which Python and libraries a model will find where it runs, so that its author can compare before sending it.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use super::FleetError;
use super::asks::RuntimeOf;
use super::overseer::Overseer;
use crate::cli::Launcher;
use crate::fleet::launch::process::kept_environment;
use crate::fleet::launch::{Place, docker};

/// An interpreter with hundreds of libraries says so within a second; one on a slow disk takes longer.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// Names of libraries as pip knows them, in lower case.
const PROGRAM: &str = r#"
import importlib.metadata as metadata, json, platform
libraries = {}
for found in metadata.distributions():
    name = found.metadata["Name"]
    if name:
        libraries.setdefault(name.lower().replace("_", "-"), found.version)
print(json.dumps({"python": platform.python_version(), "libraries": libraries}))
"#;

/// Asked once: what is installed later is found by the next engine.
pub(super) async fn of(overseer: &Overseer, of: &RuntimeOf) -> Result<Value, FleetError> {
    if let Some(known) = overseer.runtimes.borrow().get(of) {
        return Ok(known.clone());
    }
    let known = |name: &String| {
        let unknown = || format!("there is no launcher '{name}'; use process or docker");
        Launcher::named(name).ok_or_else(|| FleetError::Asked(unknown()))
    };
    let launcher = of.launcher.as_ref().map(known).transpose()?;
    let place = Place { launcher, image: of.image.clone(), ..Place::default() };
    let found = match overseer.shared.config.launchers.of(&place) {
        Launcher::Process => of_process(overseer).await?,
        Launcher::Docker => of_image(overseer, of).await?,
    };
    overseer.runtimes.borrow_mut().insert(of.clone(), found.clone());
    Ok(found)
}

async fn of_process(overseer: &Overseer) -> Result<Value, FleetError> {
    let python = &overseer.shared.config.programs.python;
    let failed = |why: String| FleetError::Runtime { why: format!("{}: {why}", python.display()) };
    let mut command = Command::new(python);
    command.env_clear().envs(kept_environment()).args(["-c", PROGRAM]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let ended = timeout(ANSWER_WAIT, command.output()).await;
    let ended = ended.map_err(|_| failed(format!("no answer within {ANSWER_WAIT:?}")))?;
    let output = ended.map_err(|error| failed(error.to_string()))?;
    read(&output.stdout).ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        failed(format!("{}: {}", output.status, said.lines().last().unwrap_or_default()))
    })
}

/// In the image that is asked for, else in the one that Python models have.
async fn of_image(overseer: &Overseer, of: &RuntimeOf) -> Result<Value, FleetError> {
    let ours = docker::python_image();
    let image = of.image.as_deref().unwrap_or(&ours);
    let failed = |why: String| FleetError::Runtime { why };
    let command = ["python", "-c", PROGRAM];
    let docker = &overseer.shared.config.launchers.docker;
    let printed = docker.run_once(image, &command).await;
    let printed = printed.map_err(|error| failed(error.to_string()))?;
    read(printed.as_bytes()).ok_or_else(|| failed(format!("{image}: {printed}")))
}

fn read(printed: &[u8]) -> Option<Value> {
    let last = printed.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty())?;
    serde_json::from_slice(last).ok().filter(Value::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_else_an_interpreter_prints_does_not_matter() {
        let found = read(b"a greeting\n{\"python\":\"3.11.2\",\"libraries\":{}}\n").unwrap();
        assert_eq!(found["python"], "3.11.2");
        assert_eq!(read(b""), None);
        assert_eq!(read(b"[1]\n"), None);
        assert_eq!(read(b"Traceback\n"), None);
    }
}
