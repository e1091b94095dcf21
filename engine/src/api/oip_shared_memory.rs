//! The pages of Triton's shared memory extensions: what is registered, register, unregister.
//!
//! System shared memory is there if it was switched on. CUDA shared memory is not offered, yet its pages answer, since
//! load generators and test programs clear both families before they begin.

use std::borrow::Cow;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{HeaderMap, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::admin::{Operation, may};
use crate::api::body::{self, BodyLimits, Continue};
use crate::api::connections::Connection;
use crate::api::front_end::FrontEnd;
use crate::api::oip_metadata::json_response;
use crate::api::shared_memory::registry;
use crate::api::status::ApiError;
use crate::client_shm::region::{Origin, Region};
use crate::client_shm::registry::{RegisterFault, Registry};

/// A key, two numbers and what a client adds in ignorance.
const BODY_BYTES_MAX: u64 = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    System,
    Cuda,
}

/// What is asked of a family's regions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act<'p> {
    /// Of one region or of all.
    Status {
        region: Option<Cow<'p, str>>,
    },
    Register {
        region: Cow<'p, str>,
    },
    Unregister {
        region: Option<Cow<'p, str>>,
    },
}

#[derive(Deserialize)]
struct RegisterBody {
    key: String,
    #[serde(default)]
    offset: u64,
    byte_size: u64,
}

pub async fn page(
    front: &FrontEnd,
    connection: &Connection,
    headers: &HeaderMap,
    (family, act): (Family, Act<'_>),
    body: Incoming,
) -> Result<Response<Full<Bytes>>, ApiError> {
    if !matches!(act, Act::Status { .. }) {
        may(Operation::ShareMemory, &front.door, headers)?;
    }
    let answer = match (family, act) {
        (Family::Cuda, act) => cuda(act)?,
        (Family::System, Act::Register { region }) => {
            let registry = registry(front)?;
            let limits = BodyLimits { bytes_max: BODY_BYTES_MAX, ..front.limits.of_bodies() };
            let body = body::read(body, limits, connection, Continue::No).await?;
            connection.await_nothing();
            register(registry, &region, &body)?
        }
        (Family::System, Act::Status { region }) => status(registry(front)?, region.as_deref())?,
        (Family::System, Act::Unregister { region }) => {
            let registry = registry(front)?;
            match region {
                Some(region) => registry.unregister_named(&region),
                None => registry.unregister_all_named(),
            }
            json!({})
        }
    };
    Ok(json_response(StatusCode::OK, &answer))
}

/// There are no regions, and so none of a name.
fn cuda(act: Act<'_>) -> Result<Value, RegisterFault> {
    match act {
        Act::Status { region: None } => Ok(json!([])),
        Act::Status { region: Some(_) } => Err(RegisterFault::Unknown),
        Act::Register { .. } => Err(RegisterFault::Cuda),
        Act::Unregister { .. } => Ok(json!({})),
    }
}

fn register(registry: &Registry, region: &str, body: &[u8]) -> Result<Value, RegisterFault> {
    let asked: RegisterBody = serde_json::from_slice(body)
        .map_err(|error| RegisterFault::Request { reason: error.to_string() })?;
    registry.register_named(region, &asked.key, asked.offset, asked.byte_size)?;
    Ok(json!({}))
}

fn status(registry: &Registry, region: Option<&str>) -> Result<Value, RegisterFault> {
    let regions = registry.snapshot();
    let wanted = |name: &str| region.is_none_or(|region| region == name);
    let shown: Vec<_> =
        regions.named().into_iter().filter(|it| wanted(&it.name)).filter_map(shown).collect();
    if region.is_some() && shown.is_empty() {
        return Err(RegisterFault::Unknown);
    }
    Ok(Value::Array(shown))
}

fn shown(region: &Region) -> Option<Value> {
    let Origin::Named { key, offset } = &region.origin else { return None };
    let (name, byte_size) = (&*region.name, region.byte_size);
    Some(json!({ "name": name, "key": key, "offset": offset, "byte_size": byte_size }))
}
