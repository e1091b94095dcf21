//! The model repository extension: index, load, unload.

use std::rc::Rc;

use hyper::HeaderMap;
use schemas::inference::model_repository_parameter::ParameterChoice;
use schemas::inference::repository_index_response::ModelIndex;
use schemas::inference::{
    RepositoryIndexRequest, RepositoryIndexResponse, RepositoryModelLoadRequest,
    RepositoryModelLoadResponse, RepositoryModelUnloadRequest, RepositoryModelUnloadResponse,
};
use tonic::Status;

use super::refused;
use crate::api::http2::Link;
use crate::api::repository::{self, Parameter};
use crate::fleet::orders::{Indexed, Standing};

pub(super) async fn index(
    link: Rc<Link>,
    asked: RepositoryIndexRequest,
) -> Result<RepositoryIndexResponse, Status> {
    let lines = repository::index(&link.front, asked.ready).await;
    let lines = lines.map_err(|error| refused(&link, &error))?;
    Ok(RepositoryIndexResponse { models: lines.into_iter().map(line).collect() })
}

fn line(line: Indexed) -> ModelIndex {
    let Indexed { name, version, standing, reason } = line;
    let version = version.map(|version| version.to_string()).unwrap_or_default();
    let state = standing.map_or("", Standing::name).to_owned();
    ModelIndex { name, version, state, reason }
}

pub(super) async fn load(
    link: Rc<Link>,
    headers: HeaderMap,
    asked: RepositoryModelLoadRequest,
) -> Result<RepositoryModelLoadResponse, Status> {
    let parameters = asked.parameters.iter().map(|(name, parameter)| {
        let value = match &parameter.parameter_choice {
            Some(ParameterChoice::StringParam(text)) => Parameter::Text(text),
            _ => Parameter::Other,
        };
        (name.as_str(), value)
    });
    let loaded = repository::load(&link.front, &headers, asked.model_name, parameters).await;
    loaded.map_err(|error| refused(&link, &error))?;
    Ok(RepositoryModelLoadResponse {})
}

/// Whether models that only this one needs go with it is not asked: here none needs another.
pub(super) async fn unload(
    link: Rc<Link>,
    headers: HeaderMap,
    asked: RepositoryModelUnloadRequest,
) -> Result<RepositoryModelUnloadResponse, Status> {
    let unloaded = repository::unload(&link.front, &headers, asked.model_name).await;
    unloaded.map_err(|error| refused(&link, &error))?;
    Ok(RepositoryModelUnloadResponse {})
}
