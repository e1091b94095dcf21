//! The model repository extension: what there is, load, unload. Both protocols call these; none asks the fleet itself.

use hyper::HeaderMap;

use crate::api::admin::{Operation, may};
use crate::api::front_end::FrontEnd;
use crate::api::status::ApiError;
use crate::fleet::orders::{Indexed, Load, Standing};

/// A file of the model in the request itself, as in `file:1/model.py`.
const FILE: &str = "file:";
/// The model's configuration, as JSON.
const CONFIG: &str = "config";

/// A parameter of a load, as its protocol brings it.
pub enum Parameter<'p> {
    Text(&'p str),
    /// Bytes, a number, a truth value.
    Other,
}

/// Everything that is loaded, or lies in a repository; only what can answer where `ready`.
pub async fn index(front: &FrontEnd, ready: bool) -> Result<Vec<Indexed>, ApiError> {
    let mut lines = front.fleet.index().await?;
    lines.retain(|line| !ready || line.standing == Some(Standing::Ready));
    Ok(lines)
}

/// Loads a model, or loads it anew where its files or settings have changed. Returns when it is ready.
pub async fn load<'p>(
    front: &FrontEnd,
    headers: &HeaderMap,
    name: String,
    parameters: impl Iterator<Item = (&'p str, Parameter<'p>)>,
) -> Result<(), ApiError> {
    may(Operation::LoadModel, &front.door, headers)?;
    let config = override_of(parameters)?.map(Into::into);
    Ok(front.fleet.load(Load { name, config }).await?)
}

/// Unloads every version of a model. Returns when what was accepted has been answered.
pub async fn unload(front: &FrontEnd, headers: &HeaderMap, name: String) -> Result<(), ApiError> {
    may(Operation::UnloadModel, &front.door, headers)?;
    Ok(front.fleet.unload(name).await?)
}

fn override_of<'p>(
    parameters: impl Iterator<Item = (&'p str, Parameter<'p>)>,
) -> Result<Option<&'p str>, ApiError> {
    let mut config = None;
    for (name, parameter) in parameters {
        match (name, parameter) {
            (CONFIG, Parameter::Text(text)) => config = Some(text),
            (CONFIG, Parameter::Other) => return Err(ApiError::LoadConfig),
            (file, _) if file.starts_with(FILE) => return Err(ApiError::LoadFiles),
            (unknown, _) => {
                let name = crate::codec::fault::excerpt(unknown);
                return Err(ApiError::LoadParameter { name });
            }
        }
    }
    Ok(config)
}
