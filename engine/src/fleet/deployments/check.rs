//! Whether a version answers its own sample as its author's machine did, before it may take traffic.

use std::fs;
use std::io;
use std::path::Path;
use std::rc::Rc;

use super::events::Event;
use super::model::{Managed, Running, Stage};
use super::wanted::Failure;
use super::{FleetError, in_archive};
use crate::dispatch::check::{self, Tolerance};
use crate::dispatch::handle::ModelHandle;
use crate::fleet::target::read_toml;

const SAMPLE: &str = "sample.json";
const EXPECTED: &str = "expected.json";
/// As large as a sample for the warm-up may be.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Begins it; the outcome is the stage of what is running.
pub(super) fn check(managed: &Rc<Managed>, version: u64) {
    let Some(running) = managed.running(version) else { return };
    *running.stage.borrow_mut() = Stage::Checking;
    let managed = managed.clone();
    tokio::task::spawn_local(async move {
        let outcome = compare(&managed, &running).await;
        if !running.is_leaving() {
            *running.stage.borrow_mut() = match outcome {
                Ok(()) => Stage::Checked,
                Err(why) => Stage::Failed(why),
            };
        }
        managed.changed.notify_one();
    });
}

async fn compare(managed: &Managed, running: &Running) -> Result<(), Failure> {
    let failed = |error: String| Failure { error, ..Failure::default() };
    let files = files(managed, running.version).await.map_err(|error| failed(error.to_string()))?;
    let Some(Files { sample, expected, tolerance }) = files else { return Ok(()) };
    let established = running.model().and_then(|it| Some(it.established.get()?.handle.clone()));
    let Some(handle) = established else { return Ok(()) };
    if handle.spec.decoupled {
        // An answer in parts has no one form to compare with.
        return Ok(());
    }
    managed.tell(running.version, &Event::Step("checking its answer to the sample".into()));
    let now = managed.shared.config.clock.now();
    let answered = answer(&handle, &sample, now).await.map_err(failed)?;
    check::compare(&handle.spec, &answered, &expected, tolerance).map_err(|difference| Failure {
        error: format!("its answer to {SAMPLE} is not the expected one: {difference}"),
        output: String::new(),
        cause: Some("it runs with other libraries, or is not the model that the answer came from".into()),
        fix: Some(
            "install the same versions where it runs, allow more by [check] rtol and atol in model.toml, or write \
             expected.json anew"
                .into(),
        ),
    })?;
    running.checked.set(true);
    Ok(())
}

async fn answer(
    handle: &ModelHandle,
    sample: &[u8],
    now: crate::clock::Time,
) -> Result<check::Answer, String> {
    let inputs = check::inputs(&handle.spec, sample);
    let inputs = inputs.map_err(|fault| format!("{SAMPLE} does not suit the model: {fault}"))?;
    let answered = check::ask(handle, inputs, now).await;
    answered.map_err(|error| format!("it does not answer {SAMPLE}: {error}"))
}

struct Files {
    sample: Vec<u8>,
    expected: Vec<u8>,
    tolerance: Tolerance,
}

/// None: there is nothing to compare with.
async fn files(managed: &Managed, version: u64) -> Result<Option<Files>, FleetError> {
    let overseer = managed.overseer()?;
    let directory = overseer.holds()?.artifacts.of(&managed.name, version);
    let read = move || {
        let Some(expected) = read_file(&directory, EXPECTED)? else { return Ok(None) };
        let Some(sample) = read_file(&directory, SAMPLE)? else {
            let why = format!("{EXPECTED} is the answer to {SAMPLE}, which is not there");
            return Err(FleetError::Files { why });
        };
        let toml = read_toml(&directory.join("model.toml"))
            .map_err(|error| FleetError::Files { why: in_archive(&error, &directory) })?;
        let tolerance = Tolerance { relative: toml.check.rtol, absolute: toml.check.atol };
        Ok(Some(Files { sample, expected, tolerance }))
    };
    tokio::task::spawn_blocking(read).await.unwrap_or(Err(FleetError::Stopping))
}

fn read_file(directory: &Path, name: &str) -> Result<Option<Vec<u8>>, FleetError> {
    let wrong = |why: String| FleetError::Files { why };
    let path = directory.join(name);
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(about) if about.len() > FILE_BYTES_MAX => {
            return Err(wrong(format!("{name} is larger than {FILE_BYTES_MAX} bytes")));
        }
        _ => {}
    }
    fs::read(&path).map(Some).map_err(|error| wrong(format!("{name} can't be read: {error}")))
}
