//! The model repository extension over HTTP.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::api::body::{self, BodyLimits, Continue};
use crate::api::connections::Connection;
use crate::api::front_end::FrontEnd;
use crate::api::oip_http::HttpResponse;
use crate::api::repository::{self, Parameter};
use crate::api::router::RepositoryPage;
use crate::api::status::{self, ApiError};
use crate::fleet::orders::{Indexed, Standing};

/// A model's configuration is a page or two of text.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// What a request of this extension may say.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    /// Of an index.
    ready: bool,
    /// Of a load: see [`repository::load`]. Of an unload: whether models that only this one needs go with it; here none
    /// needs another.
    parameters: Map<String, Value>,
}

pub async fn answer(
    front: &FrontEnd,
    connection: &Connection,
    page: RepositoryPage<'_>,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<HttpResponse, ApiError> {
    let asked = read(front, connection, body).await?;
    match page {
        RepositoryPage::Index => {
            let lines = repository::index(front, asked.ready).await?;
            return Ok(listing(&lines));
        }
        RepositoryPage::Load(name) => {
            let parameters = asked.parameters.iter().map(|(name, value)| {
                (name.as_str(), value.as_str().map_or(Parameter::Other, Parameter::Text))
            });
            repository::load(front, headers, name.into_owned(), parameters).await?;
        }
        RepositoryPage::Unload(name) => {
            repository::unload(front, headers, name.into_owned()).await?;
        }
    }
    Ok(Response::new(Full::default()))
}

async fn read(
    front: &FrontEnd,
    connection: &Connection,
    body: Incoming,
) -> Result<Asked, ApiError> {
    let limits = BodyLimits { bytes_max: BODY_BYTES_MAX, ..front.limits.of_bodies() };
    let body = body::read(body, limits, connection, Continue::No).await?;
    // A load may take its time.
    connection.await_nothing();
    if body.trim_ascii().is_empty() {
        return Ok(Asked::default());
    }
    serde_json::from_slice(&body).map_err(|error| ApiError::AdminBody { why: error.to_string() })
}

fn listing(lines: &[Indexed]) -> HttpResponse {
    let all: Vec<_> = lines.iter().map(line).collect();
    let mut response = Response::new(Full::from(Bytes::from(Value::Array(all).to_string())));
    response.headers_mut().insert(CONTENT_TYPE, status::JSON);
    response
}

/// What was never loaded has a name only.
fn line(line: &Indexed) -> Value {
    let mut shown = json!({ "name": line.name });
    if let Some(version) = line.version {
        shown["version"] = json!(version.to_string());
    }
    if let Some(standing) = line.standing.map(Standing::name) {
        shown["state"] = json!(standing);
        shown["reason"] = json!(line.reason);
    }
    shown
}
