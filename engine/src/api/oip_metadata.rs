//! The pages of the Open Inference Protocol that describe: health, server, models. Asked for rarely, so plain.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use hyper::{Response, StatusCode};
use schemas::tensor::TensorSpec;
use serde_json::{Value, json};

use crate::api::front_end::FrontEnd;
use crate::api::status::{ApiError, JSON};
use crate::codec::bind::dims;
use crate::dispatch::handle::ModelHandle;
use crate::fleet::catalog::{Catalog, ModelEntry};
use crate::query::serve::check_ready;
use crate::query::types::TaskError;

/// Clients switch features on by these: only what works is listed.
const EXTENSIONS: [&str; 10] = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "parameters",
    "schedule_policy",
    "statistics",
    "trace",
    "logging",
];
const SYSTEM_SHARED_MEMORY: &str = "system_shared_memory";

/// What the server calls itself.
pub const NAME: &str = "hydrofoil";
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

pub fn live() -> Response<Full<Bytes>> {
    json_response(StatusCode::OK, &json!({ "live": true }))
}

/// The protocol's page calls the flag `live`, its widest-used server `ready`: both are there.
pub fn ready(ready: bool) -> Response<Full<Bytes>> {
    json_response(status_of(ready), &json!({ "ready": ready, "live": true }))
}

/// The extensions that work here, as they are switched on.
pub fn extensions(front: &FrontEnd) -> Vec<&'static str> {
    let mut extensions = EXTENSIONS.to_vec();
    if front.shared_memory.as_ref().is_some_and(|registry| registry.allows_names()) {
        extensions.push(SYSTEM_SHARED_MEMORY);
    }
    extensions
}

pub fn server(front: &FrontEnd) -> Response<Full<Bytes>> {
    let about = json!({ "name": NAME, "version": VERSION, "extensions": extensions(front) });
    json_response(StatusCode::OK, &about)
}

/// Of the HTTP pages, in OpenAPI's terms.
const DESCRIPTION: &str = include_str!("../../../docs/openapi.json");

pub fn description() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(DESCRIPTION));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// As KServe's own server lists them.
pub fn models(catalog: &Catalog) -> Response<Full<Bytes>> {
    let mut names: Vec<_> =
        catalog.entries().into_iter().map(|entry| entry.handle.name.to_string()).collect();
    names.dedup();
    json_response(StatusCode::OK, &json!({ "models": names }))
}

pub fn model_ready(entry: &ModelEntry) -> Response<Full<Bytes>> {
    let name = &*entry.handle.name;
    match check_ready(entry) {
        Ok(_) => json_response(StatusCode::OK, &json!({ "name": name, "ready": true })),
        Err(error) => {
            let mut response = crate::api::status::response(&ApiError::Task(error.clone()));
            let about = json!({ "name": name, "ready": false, "error": error.to_string() });
            *response.body_mut() = Full::from(about.to_string());
            response
        }
    }
}

pub fn model(catalog: &Catalog, entry: &ModelEntry) -> Response<Full<Bytes>> {
    let (handle, spec) = (&entry.handle, &entry.handle.spec);
    let versions: Vec<_> =
        catalog.versions(&handle.name).map(|version| version.to_string()).collect();
    let about = json!({
        "name": &*handle.name,
        "versions": versions,
        "platform": spec.platform,
        "inputs": tensors(&spec.inputs),
        "outputs": tensors(&spec.outputs),
    });
    json_response(StatusCode::OK, &about)
}

/// What the model's batching learned and does.
pub async fn batching(handle: &ModelHandle) -> Response<Full<Bytes>> {
    let Some(mut about) = handle.explain().await else {
        return crate::api::status::response(&ApiError::Task(TaskError::Draining));
    };
    about["name"] = json!(&*handle.name);
    about["version"] = json!(handle.version.to_string());
    json_response(StatusCode::OK, &about)
}

fn tensors(specs: &[TensorSpec]) -> Vec<Value> {
    let one = |spec: &TensorSpec| json!({ "name": spec.name, "datatype": spec.dtype.oip_name(), "shape": dims(&spec.dims) });
    specs.iter().map(one).collect()
}

fn status_of(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

pub fn json_response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}
