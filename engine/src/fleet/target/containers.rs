//! What model.toml says of a model's containers.

use std::path::Path;

use super::{MODEL_FILE, TargetError, split_class};
use crate::cli::Launcher;
use crate::config::ModelToml;
use crate::fleet::launch::{Place, parse_memory};

pub(super) fn place(path: &Path, toml: &ModelToml) -> Result<Place, TargetError> {
    let wrong = |message: String| TargetError::Setting { path: path.to_owned(), message };
    let launcher = toml.launcher.as_deref().map(|name| {
        let unknown = || wrong(format!("launcher '{name}' does not exist; use process or docker"));
        Launcher::named(name).ok_or_else(unknown)
    });
    let launcher = launcher.transpose()?;
    if toml.image.is_some() && launcher == Some(Launcher::Process) {
        return Err(wrong("image goes with launcher = \"docker\"".into()));
    }
    if toml.image.as_deref().is_some_and(|image| image.trim().is_empty()) {
        return Err(wrong("image is empty; name one, or leave it out".into()));
    }
    let memory = toml.memory.as_deref().map(parse_memory).transpose();
    let memory_bytes = memory.map_err(|error| wrong(format!("memory {error}")))?;
    Ok(Place { launcher, image: toml.image.clone(), memory_bytes })
}

/// The Python file with the model, and its class: in the version's own directory, so that all it needs lies beside it.
pub(super) fn entry<'a>(path: &Path, toml: &'a ModelToml) -> Result<&'a str, TargetError> {
    let wrong = |message: String| TargetError::Setting { path: path.to_owned(), message };
    let Some(entry) = &toml.entry else { return Ok(MODEL_FILE) };
    if !matches!(toml.runtime.as_deref(), None | Some("python")) {
        return Err(wrong("entry goes with runtime = \"python\"".into()));
    }
    let file = split_class(entry).0;
    let plain = Path::new(file).file_name().is_some_and(|name| name == file);
    if !plain || !file.ends_with(".py") {
        return Err(wrong(format!(
            "entry '{entry}' is no Python file of the version's directory; write it as in net.py or net.py:Net"
        )));
    }
    Ok(entry)
}
