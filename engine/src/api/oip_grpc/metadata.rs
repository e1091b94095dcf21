//! The calls that describe: health, server, models.

use std::rc::Rc;

use schemas::inference::model_metadata_response::TensorMetadata;
use schemas::inference::{
    ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse,
    ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse,
    ServerReadyRequest, ServerReadyResponse,
};
use schemas::tensor::TensorSpec;
use tonic::Status;

use super::refused;
use crate::api::http2::Link;
use crate::api::inference::find;
use crate::api::oip_metadata::{NAME, VERSION, extensions};
use crate::api::router::version;
use crate::codec::bind::dims;
use crate::query::serve::{Query, check_ready};

pub(super) async fn server_live(
    _: Rc<Link>,
    _: ServerLiveRequest,
) -> Result<ServerLiveResponse, Status> {
    Ok(ServerLiveResponse { live: true })
}

pub(super) async fn server_ready(
    link: Rc<Link>,
    _: ServerReadyRequest,
) -> Result<ServerReadyResponse, Status> {
    Ok(ServerReadyResponse { ready: link.is_ready() })
}

pub(super) async fn server(
    link: Rc<Link>,
    _: ServerMetadataRequest,
) -> Result<ServerMetadataResponse, Status> {
    let extensions = extensions(&link.front).into_iter().map(str::to_owned).collect();
    Ok(ServerMetadataResponse { name: NAME.to_owned(), version: VERSION.to_owned(), extensions })
}

/// Unlike HTTP's page, this call says "not ready" of a model that is not there, as its widest-used server does.
pub(super) async fn model_ready(
    link: Rc<Link>,
    asked: ModelReadyRequest,
) -> Result<ModelReadyResponse, Status> {
    let version = version(&asked.version).map_err(|error| refused(&link, &error))?;
    let catalog = link.front.catalog.load();
    let entry = find(&catalog, Query { model: &asked.name, version });
    let ready = entry.is_ok_and(|entry| check_ready(entry).is_ok());
    Ok(ModelReadyResponse { ready })
}

pub(super) async fn model(
    link: Rc<Link>,
    asked: ModelMetadataRequest,
) -> Result<ModelMetadataResponse, Status> {
    let refuse = |error| refused(&link, &error);
    let version = version(&asked.version).map_err(refuse)?;
    let catalog = link.front.catalog.load();
    let entry = find(&catalog, Query { model: &asked.name, version }).map_err(refuse)?;
    let spec = &entry.handle.spec;
    Ok(ModelMetadataResponse {
        name: entry.handle.name.to_string(),
        versions: catalog.versions(&entry.handle.name).map(|it| it.to_string()).collect(),
        platform: spec.platform.clone(),
        inputs: spec.inputs.iter().map(tensor).collect(),
        outputs: spec.outputs.iter().map(tensor).collect(),
        ..ModelMetadataResponse::default()
    })
}

fn tensor(spec: &TensorSpec) -> TensorMetadata {
    TensorMetadata {
        name: spec.name.clone(),
        datatype: spec.dtype.oip_name().to_owned(),
        shape: dims(&spec.dims),
    }
}
