//! The Open Inference Protocol over HTTP: bytes → question → prediction → bytes.
//!
//! Invariants: every request gets one response; whatever fails goes through [`status`]; nothing of a request outlives
//! its connection. The path of an inference takes no lock and builds no tree of JSON values.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use schemas::lifecycle::ModelSpec;
use smallvec::SmallVec;

use crate::api::body::{self, BodyLimits, Continue};
use crate::api::connections::{Connection, Connections, DrainPhase};
use crate::api::front_end::FrontEnd;
use crate::api::inference::{self, Answered, Question, known_class};
use crate::api::model_config;
use crate::api::oip_metadata as metadata;
use crate::api::oip_shared_memory;
use crate::api::repository_http;
use crate::api::router::{ModelPage, Route, route};
use crate::api::settings::{self, Of};
use crate::api::shared_memory::SharedMemory;
use crate::api::statistics;
use crate::api::status::{self, ApiError};
use crate::api::trail::{self, Trail};
use crate::classes::Classes;
use crate::clock::Time;
use crate::codec::answer::{self, About};
use crate::codec::binary_tensor::{self, Form};
use crate::codec::bind::{Named, bind};
use crate::codec::fault::{InputFault, excerpt};
use crate::codec::json_tensor::{InputData, RequestInput, parse_request};
use crate::ids::{ClassId, Version};
use crate::observe::request_ids::{REQUEST_ID, TRACE_PARENT};
use crate::query::serve::Query;
use crate::query::types::{Tensor, Timings};

const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Bytes of a body that changes settings: a handful of short names and values.
const SETTINGS_BYTES_MAX: u64 = 64 << 10;

pub type HttpResponse = Response<Full<Bytes>>;

/// One request of one connection.
pub async fn handle(
    front: &FrontEnd,
    connections: &Connections,
    connection: &Connection,
    request: Request<Incoming>,
) -> HttpResponse {
    let now = front.clock.coarse();
    connection.await_body(now.after(front.limits.body_time_max));
    let mut response = dispatch(front, connections, connection, request).await;
    if connections.phase() != DrainPhase::Serving {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    connection.await_head(front.clock.coarse().after(front.limits.idle_time_max));
    response
}

async fn dispatch(
    front: &FrontEnd,
    connections: &Connections,
    connection: &Connection,
    request: Request<Incoming>,
) -> HttpResponse {
    let (Parts { method, uri, mut headers, .. }, body) = request.into_parts();
    let said = Said::read(&headers);
    let trail = Trail::begin(front, said.trace_parent, said.request_id);
    let answered = match route(&method, uri.path()) {
        Err(error) => Err(counted(front, error)),
        Ok(Route::Model { name, version, page: ModelPage::Infer }) => {
            let received = receive(front, connection, &said, body).await;
            headers.clear();
            match received {
                Ok(received) => {
                    infer(front, Query { model: &name, version }, received, headers).await
                }
                Err(error) => Err(counted(front, error)),
            }
        }
        Ok(route) => {
            let incoming =
                Rest { connection, headers: &headers, said: &said, method: &method, body };
            let page = Box::pin(page(front, connections, route, incoming)).await;
            page.map_err(|error| counted(front, error))
        }
    };
    trail::end(front, trail, &method, uri.path(), answered)
}

/// What pages other than inference may want of their request.
struct Rest<'r> {
    connection: &'r Connection,
    headers: &'r HeaderMap,
    said: &'r Said<'r>,
    method: &'r Method,
    body: Incoming,
}

async fn page(
    front: &FrontEnd,
    connections: &Connections,
    route: Route<'_>,
    rest: Rest<'_>,
) -> Result<HttpResponse, ApiError> {
    let (name, version, page) = match route {
        Route::Live => return Ok(metadata::live()),
        Route::Ready => return Ok(metadata::ready(is_ready(front, connections))),
        Route::Server => return Ok(metadata::server(front)),
        Route::Statistics => return statistics_page(front, None, None).await,
        Route::Logging => return settings_page(front, Of::Log, rest).await,
        Route::Trace { name } => {
            return settings_page(front, Of::Trace { model: name.as_deref() }, rest).await;
        }
        Route::Repository(page) => {
            let Rest { connection, headers, body, .. } = rest;
            return repository_http::answer(front, connection, page, headers, body).await;
        }
        Route::SharedMemory { family, act } => {
            return oip_shared_memory::page(front, rest.connection, (family, act), rest.body).await;
        }
        Route::Model { name, version, page } => (name, version, page),
    };
    if page == ModelPage::Statistics {
        return statistics_page(front, Some(&name), version).await;
    }
    let catalog = front.catalog.load_full();
    let entry = inference::find(&catalog, Query { model: &name, version })?;
    match page {
        ModelPage::Ready => Ok(metadata::model_ready(entry)),
        ModelPage::Config => {
            Ok(metadata::json_response(StatusCode::OK, &model_config::json(&entry.handle)))
        }
        ModelPage::Batching => Ok(metadata::batching(&entry.handle).await),
        _ => Ok(metadata::model(&catalog, entry)),
    }
}

/// An error that concerns no model, or none that exists.
fn counted(front: &FrontEnd, error: ApiError) -> ApiError {
    front.recorder.error(error.shown().kind);
    error
}

async fn statistics_page(
    front: &FrontEnd,
    model: Option<&str>,
    version: Option<Version>,
) -> Result<HttpResponse, ApiError> {
    let counted = statistics::statistics(front, model, version).await?;
    Ok(metadata::json_response(StatusCode::OK, &statistics::json(&counted)))
}

async fn settings_page(
    front: &FrontEnd,
    of: Of<'_>,
    rest: Rest<'_>,
) -> Result<HttpResponse, ApiError> {
    let settings = if rest.method == Method::POST {
        let Rest { connection, headers, said, body, .. } = rest;
        let body = whole(front, connection, said, body, SETTINGS_BYTES_MAX).await?;
        settings::change(front, headers, of, &settings::parse(&body)?)?
    } else {
        settings::read(front, of)?
    };
    Ok(metadata::json_response(StatusCode::OK, &settings.into()))
}

fn is_ready(front: &FrontEnd, connections: &Connections) -> bool {
    connections.phase() == DrainPhase::Serving && front.catalog.load().is_ready()
}

/// A whole request, before anything in it is looked at.
struct Received {
    body: Bytes,
    form: Form,
    timeout: Option<Duration>,
    class: Option<ClassId>,
    arrived: Time,
}

async fn receive(
    front: &FrontEnd,
    connection: &Connection,
    said: &Said<'_>,
    body: Incoming,
) -> Result<Received, ApiError> {
    check_encoding(said.encoding)?;
    let timeout = said.timeout.map(header_timeout).transpose()?;
    let class = said.class.map(|name| known_class(&front.classes, name.as_bytes())).transpose()?;
    let body = whole(front, connection, said, body, front.limits.body_bytes_max).await?;
    connection.await_nothing();
    let arrived = front.clock.now();
    let form = binary_tensor::form(said.json_bytes.map(HeaderValue::as_bytes), body.len())?;
    Ok(Received { body, form, timeout, class: class.map(|class| class.id), arrived })
}

async fn whole(
    front: &FrontEnd,
    connection: &Connection,
    said: &Said<'_>,
    body: Incoming,
    bytes_max: u64,
) -> Result<Bytes, ApiError> {
    let limits = BodyLimits { bytes_max, time_max: front.limits.body_time_max };
    let expects = said.expect.is_some_and(|value| !value.is_empty());
    let expects = if expects { Continue::Asked } else { Continue::No };
    body::read(body, limits, connection, expects).await
}

/// The headers that matter here, each by its first value.
#[derive(Default)]
struct Said<'h> {
    encoding: Option<&'h HeaderValue>,
    expect: Option<&'h HeaderValue>,
    json_bytes: Option<&'h HeaderValue>,
    timeout: Option<&'h HeaderValue>,
    /// The request's SLO class. Over the parameter `foil_class`, so that a proxy in front has the last word.
    class: Option<&'h HeaderValue>,
    trace_parent: Option<&'h HeaderValue>,
    request_id: Option<&'h HeaderValue>,
}

impl<'h> Said<'h> {
    /// One pass over the few headers of a request is cheaper than as many look-ups, each of which hashes its name.
    fn read(headers: &'h HeaderMap) -> Said<'h> {
        let mut said = Said::default();
        for (name, value) in headers {
            let slot = match name.as_str() {
                "content-encoding" => &mut said.encoding,
                "expect" => &mut said.expect,
                "inference-header-content-length" => &mut said.json_bytes,
                "x-request-timeout-ms" => &mut said.timeout,
                "x-foil-class" => &mut said.class,
                TRACE_PARENT => &mut said.trace_parent,
                REQUEST_ID => &mut said.request_id,
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        said
    }
}

fn check_encoding(encoding: Option<&HeaderValue>) -> Result<(), ApiError> {
    let Some(encoding) = encoding else { return Ok(()) };
    if encoding.is_empty() || encoding.as_bytes().eq_ignore_ascii_case(b"identity") {
        return Ok(());
    }
    Err(ApiError::Encoding { found: excerpt(&String::from_utf8_lossy(encoding.as_bytes())) })
}

fn header_timeout(value: &HeaderValue) -> Result<Duration, ApiError> {
    let text = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let ms = text.and_then(|text| text.parse().ok()).filter(|ms| *ms > 0);
    ms.map(Duration::from_millis).ok_or(ApiError::BadTimeout)
}

/// `headers` are the request's, emptied, for those of the answer: hyper keeps them for the next request.
async fn infer(
    front: &FrontEnd,
    query: Query<'_>,
    received: Received,
    headers: HeaderMap,
) -> Result<HttpResponse, ApiError> {
    let arrived = received.arrived;
    let memory = SharedMemory::of(front);
    let understand = |spec: &ModelSpec| understand(spec, &front.classes, &memory, received);
    let answered = inference::infer(front, query, arrived, understand, |answered| {
        respond(front, &memory, answered, headers)
    });
    answered.await
}

fn understand(
    spec: &ModelSpec,
    classes: &Classes,
    memory: &SharedMemory<'_>,
    received: Received,
) -> Result<Question, InputFault> {
    let Received { body, form, timeout: by_header, class: class_by_header, .. } = received;
    let (json, behind) = match form {
        Form::Raw => return understand_raw(spec, body, by_header, class_by_header),
        Form::Json => (&body[..], None),
        Form::JsonThenBytes { json_bytes } => (&body[..json_bytes], Some(body.slice(json_bytes..))),
    };
    let mut request = parse_request(json)?;
    binary_tensor::attach(&mut request.inputs, behind)?;
    memory.attach(&mut request.inputs)?;
    let chosen = answer::choose(spec, &request)?;
    memory.expect(spec, &chosen)?;
    let id = request.id.map(|id| id.into_owned());
    let timeout = request.timeout_us.map(Duration::from_micros);
    let timeout = [by_header, timeout].into_iter().flatten().min();
    let class = request.class.as_deref().filter(|_| class_by_header.is_none());
    let class = class.map(|name| known_class(classes, name.as_bytes())).transpose()?;
    let class = class_by_header.or(class.map(|class| class.id));
    let given = request.inputs.iter_mut().map(named).collect::<Result<SmallVec<[_; 1]>, _>>()?;
    Ok(Question { inputs: bind(spec, given)?, chosen, id, timeout, class })
}

fn understand_raw(
    spec: &ModelSpec,
    body: Bytes,
    timeout: Option<Duration>,
    class: Option<ClassId>,
) -> Result<Question, InputFault> {
    let tensor = binary_tensor::raw(spec, body)?;
    let given = [Named { name: &spec.inputs[0].name, tensor }];
    let chosen = answer::all(spec, true)?;
    Ok(Question { inputs: bind(spec, given)?, chosen, id: None, timeout, class })
}

fn named<'r>(input: &'r mut RequestInput<'_>) -> Result<Named<'r>, InputFault> {
    let data = std::mem::replace(&mut input.data, InputData::Behind { size: 0 });
    let InputData::Here(data) = data else {
        return Err(InputFault::NoData { tensor: excerpt(&input.name) });
    };
    let shape = std::mem::take(&mut input.shape);
    Ok(Named { name: &input.name, tensor: Tensor { dtype: input.dtype, shape, data } })
}

fn respond(
    front: &FrontEnd,
    memory: &SharedMemory<'_>,
    answered: Answered<'_>,
    mut headers: HeaderMap,
) -> Result<HttpResponse, ApiError> {
    let Answered { handle, chosen, id, prediction } = answered;
    let about = About {
        spec: &handle.spec,
        model: &handle.name,
        version: handle.version,
        id: id.as_deref(),
    };
    memory.deliver(&handle.spec, &chosen, &prediction.outputs)?;
    let encoded = answer::encode(about, &chosen, &prediction.outputs)?;
    match encoded.json_bytes {
        None => headers.insert(CONTENT_TYPE, status::JSON),
        Some(json_bytes) => {
            headers.insert(HEADER_LENGTH, header_number(json_bytes as u64));
            headers.insert(CONTENT_TYPE, BINARY)
        }
    };
    if front.options.server_timing {
        headers.insert(SERVER_TIMING, server_timing(&prediction.timings));
    }
    let mut response = Response::new(Full::from(encoded.body));
    *response.headers_mut() = headers;
    Ok(response)
}

fn header_number(number: u64) -> HeaderValue {
    let mut text = HeaderText::new();
    push_number(&mut text, number);
    HeaderValue::from_bytes(&text).expect("digits only")
}

/// Written without memory of its own: longer only for times of hours.
type HeaderText = SmallVec<[u8; 96]>;

/// `queue;dur=0.021, lane;dur=0.034, model;dur=1.207;desc="batch 8"`, milliseconds.
fn server_timing(timings: &Timings) -> HeaderValue {
    let mut text = HeaderText::new();
    let spans = [
        (&b"queue;dur="[..], timings.queue),
        (b", lane;dur=", timings.lane),
        (b", model;dur=", timings.model),
    ];
    for (name, span) in spans {
        text.extend_from_slice(name);
        push_ms(&mut text, span);
    }
    text.extend_from_slice(b";desc=\"batch ");
    push_number(&mut text, u64::from(timings.batch_rows));
    text.push(b'"');
    HeaderValue::from_bytes(&text).expect("digits and ASCII punctuation only")
}

fn push_ms(text: &mut HeaderText, span: Duration) {
    let us = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    push_number(text, us / 1000);
    let rest = us % 1000;
    text.extend_from_slice(&[b'.', digit(rest / 100), digit(rest / 10), digit(rest)]);
}

/// `number` in decimal.
fn push_number(text: &mut HeaderText, number: u64) {
    if number >= 10 {
        push_number(text, number / 10);
    }
    text.push(digit(number));
}

/// The last digit of a number.
fn digit(number: u64) -> u8 {
    b'0' + (number % 10) as u8
}

#[cfg(test)]
mod tests;
