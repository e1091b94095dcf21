//! The fleet over HTTP, for administrators: what is deployed, and how that changes.
//!
//! A roll-out answers with a line of JSON for each thing that happens, as it happens; the first says that it is durable.
//! A client that hangs up changes nothing: the version goes on.

use std::rc::Rc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

use crate::api::admin::{Operation, may};
use crate::api::body::{self, BodyLimits, Continue};
use crate::api::connections::Connection;
use crate::api::event_stream::AnswerBody;
use crate::api::front_end::FrontEnd;
use crate::api::oip_http::HttpResponse;
use crate::api::oip_metadata::json_response;
use crate::api::router::fleet::FleetPage;
use crate::api::status::ApiError;
use crate::fleet::deployments::FleetError;
use crate::fleet::deployments::asks::{Ask, Roll, RuntimeOf, Set, Show};

mod asked;
mod deploy;
pub mod lines;
mod logs;

use self::asked::Query;

/// What these pages are asked with besides archives: a few short values.
const BODY_BYTES_MAX: u64 = 64 << 10;

/// One request.
pub struct Request<'r> {
    pub connection: &'r Rc<Connection>,
    pub headers: &'r HeaderMap,
    /// Behind the path.
    pub query: Option<&'r str>,
    pub expects: Continue,
    pub body: Incoming,
}

/// The head of the answer, and its body where that comes in lines.
pub type Answer = (HttpResponse, Option<AnswerBody>);

pub async fn answer(
    front: &FrontEnd,
    page: FleetPage<'_>,
    request: Request<'_>,
) -> Result<Answer, ApiError> {
    may(operation(&page), &front.door, request.headers)?;
    let query = Query::read(request.query)?;
    let whole = match page {
        FleetPage::Engine => show(front, Show::Engine).await,
        FleetPage::Models => show(front, Show::Models).await,
        FleetPage::Replicas => show(front, Show::Replicas).await,
        FleetPage::Model(name) => show(front, Show::Model { name: name.into_owned() }).await,
        FleetPage::Runtime => runtime(front, &query).await,
        FleetPage::Remove(name) => remove(front, name.into_owned(), &query).await,
        FleetPage::Scale(name) => {
            let replicas = asked::replicas(&read(front, request).await?)?;
            set(front, name.into_owned(), Set::Replicas(replicas)).await
        }
        FleetPage::Slo(name) => {
            let slo = asked::slo(&read(front, request).await?)?;
            set(front, name.into_owned(), Set::Slo(slo)).await
        }
        FleetPage::Deploy(name) => {
            return deploy::deploy(front, name.into_owned(), &query, request).await;
        }
        FleetPage::Promote(name) => {
            let connection = request.connection.clone();
            let version = asked::version(&read(front, request).await?)?;
            let roll = Roll::Promote { version };
            return deploy::roll(front, &connection, name.into_owned(), roll).await;
        }
        FleetPage::Rollback(name) => {
            let connection = request.connection.clone();
            read(front, request).await?;
            return deploy::roll(front, &connection, name.into_owned(), Roll::Back).await;
        }
        FleetPage::Logs(name) => {
            return logs::logs(front, request.connection, name.into_owned(), &query).await;
        }
    };
    Ok((whole?, None))
}

fn operation(page: &FleetPage<'_>) -> Operation {
    match page {
        FleetPage::Engine
        | FleetPage::Models
        | FleetPage::Model(_)
        | FleetPage::Replicas
        | FleetPage::Runtime
        | FleetPage::Logs(_) => Operation::SeeFleet,
        FleetPage::Deploy(_) => Operation::Deploy,
        FleetPage::Promote(_) | FleetPage::Rollback(_) => Operation::Promote,
        FleetPage::Scale(_) | FleetPage::Slo(_) => Operation::Scale,
        FleetPage::Remove(_) => Operation::RemoveModel,
    }
}

async fn show(front: &FrontEnd, what: Show) -> Result<HttpResponse, ApiError> {
    let shown = front.fleet.ask(|done| Ask::Show { what, done }).await?;
    Ok(json_response(StatusCode::OK, &shown))
}

async fn runtime(front: &FrontEnd, query: &Query<'_>) -> Result<HttpResponse, ApiError> {
    let text = |key| query.text(key).map(str::to_owned);
    let of = RuntimeOf { launcher: text("launcher"), image: text("image") };
    let shown = front.fleet.ask(|done| Ask::Runtime { of, done }).await?;
    Ok(json_response(StatusCode::OK, &shown))
}

async fn set(front: &FrontEnd, name: String, set: Set) -> Result<HttpResponse, ApiError> {
    let shown = front.fleet.ask(|done| Ask::Set { name, set, done }).await?;
    Ok(json_response(StatusCode::OK, &shown))
}

async fn remove(
    front: &FrontEnd,
    name: String,
    query: &Query<'_>,
) -> Result<HttpResponse, ApiError> {
    let version = query.number("version")?;
    front.fleet.ask(|done| Ask::Remove { name, version, done }).await?;
    Ok(json_response(StatusCode::OK, &json!({})))
}

/// A body of JSON; empty is an empty object.
async fn read(front: &FrontEnd, request: Request<'_>) -> Result<Value, ApiError> {
    let limits = BodyLimits { bytes_max: BODY_BYTES_MAX, ..front.limits.of_bodies() };
    let Request { connection, expects, body, .. } = request;
    let body = body::read(body, limits, connection, expects).await?;
    connection.await_nothing();
    if body.trim_ascii().is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_slice(&body).map_err(|error| ApiError::AdminBody { why: error.to_string() })
}

/// The head of an answer whose body comes in pieces.
fn head(kind: HeaderValue) -> HttpResponse {
    let mut response = Response::new(Full::<Bytes>::default());
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// How a refusal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Bad,
    Absent,
    Conflict,
    TooLarge,
    Busy,
    Broken,
}

impl From<FleetError> for ApiError {
    fn from(error: FleetError) -> ApiError {
        use crate::fleet::deployments::artifacts::ArchiveError;
        use crate::fleet::deployments::wanted::Refused;
        let refusal = match &error {
            FleetError::NoModel { .. }
            | FleetError::NoReplica
            | FleetError::Refused { refused: Refused::NoVersion { .. }, .. } => Refusal::Absent,
            FleetError::Refused { refused: Refused::Replicas { .. }, .. } => Refusal::Bad,
            FleetError::NotDeployed { .. }
            | FleetError::NotManaging
            | FleetError::Refused { .. } => Refusal::Conflict,
            FleetError::Archive(ArchiveError::TooLarge(_)) => Refusal::TooLarge,
            FleetError::Archive(ArchiveError::Write { .. })
            | FleetError::Disk(_)
            | FleetError::Runtime { .. }
            | FleetError::Store(_) => Refusal::Broken,
            FleetError::Name { .. }
            | FleetError::Archive(_)
            | FleetError::Files { .. }
            | FleetError::Asked(_) => Refusal::Bad,
            FleetError::Uploads | FleetError::Order(_) | FleetError::Stopping => Refusal::Busy,
        };
        ApiError::Fleet { refusal, why: error.to_string() }
    }
}
