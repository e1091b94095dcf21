//! The calls of the model repository and model configuration extensions.

use std::rc::Rc;

use hyper::HeaderMap;
use schemas::inference::model_repository_parameter::ParameterChoice;
use schemas::inference::repository_index_response::ModelIndex;
use schemas::inference::{
    ModelConfigRequest, ModelConfigResponse, RepositoryIndexRequest, RepositoryIndexResponse,
    RepositoryModelLoadRequest, RepositoryModelLoadResponse, RepositoryModelUnloadRequest,
    RepositoryModelUnloadResponse,
};
use tonic::Status;

use super::refused;
use crate::api::http2::Link;
use crate::api::inference::find;
use crate::api::model_config;
use crate::api::repository::{self, Parameter};
use crate::api::router::version;
use crate::fleet::orders::{Indexed, Standing};
use crate::query::serve::Query;

pub(super) async fn config(
    link: Rc<Link>,
    asked: ModelConfigRequest,
) -> Result<ModelConfigResponse, Status> {
    let refuse = |error| refused(&link, &error);
    let version = version(&asked.version).map_err(refuse)?;
    let catalog = link.front.catalog.load();
    let entry = find(&catalog, Query { model: &asked.name, version }).map_err(refuse)?;
    Ok(ModelConfigResponse { config: Some(model_config::of(&entry.handle)) })
}

pub(super) async fn index(
    link: Rc<Link>,
    asked: RepositoryIndexRequest,
) -> Result<RepositoryIndexResponse, Status> {
    let lines = repository::index(&link.front, asked.ready).await;
    let lines = lines.map_err(|error| refused(&link, &error))?;
    Ok(RepositoryIndexResponse { models: lines.into_iter().map(line).collect() })
}

fn line(line: Indexed) -> ModelIndex {
    ModelIndex {
        name: line.name,
        version: line.version.map(|version| version.to_string()).unwrap_or_default(),
        state: line.standing.map(Standing::name).unwrap_or_default().to_owned(),
        reason: line.reason,
    }
}

/// `headers`: the call's metadata, which may show that its sender is an administrator.
pub(super) async fn load(
    link: Rc<Link>,
    headers: HeaderMap,
    asked: RepositoryModelLoadRequest,
) -> Result<RepositoryModelLoadResponse, Status> {
    let parameters = asked.parameters.iter().map(|(name, it)| match &it.parameter_choice {
        Some(ParameterChoice::StringParam(text)) => (name.as_str(), Parameter::Text(text)),
        _ => (name.as_str(), Parameter::Other),
    });
    let loaded =
        repository::load(&link.front, &headers, asked.model_name.clone(), parameters).await;
    loaded.map(|()| RepositoryModelLoadResponse {}).map_err(|error| refused(&link, &error))
}

pub(super) async fn unload(
    link: Rc<Link>,
    headers: HeaderMap,
    asked: RepositoryModelUnloadRequest,
) -> Result<RepositoryModelUnloadResponse, Status> {
    let unloaded = repository::unload(&link.front, &headers, asked.model_name).await;
    unloaded.map(|()| RepositoryModelUnloadResponse {}).map_err(|error| refused(&link, &error))
}
