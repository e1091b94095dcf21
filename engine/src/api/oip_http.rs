//! The Open Inference Protocol over HTTP: bytes → question → prediction → bytes.
//!
//! Invariants: every request gets one response; whatever fails goes through [`status`]; nothing of a request outlives
//! its connection. The path of an inference takes no lock and builds no tree of JSON values.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use hyper::http::request::Parts;
use hyper::{Request, Response, Version};
use schemas::lifecycle::ModelSpec;
use smallvec::SmallVec;

use crate::api::body::{self, BodyLimits, Continue, Gathering};
use crate::api::connections::{Connection, Connections, DrainPhase};
use crate::api::encoding::{self, Encoding};
use crate::api::front_end::{FrontEnd, HttpLimits};
use crate::api::http2::Link;
use crate::api::inference::{self, Answered, Question};
use crate::api::oip_metadata as metadata;
use crate::api::router::{ModelPage, Route, route};
use crate::api::status::{self, ApiError};
use crate::classes::{Classes, SloClass};
use crate::clock::Time;
use crate::codec::answer::{self, About};
use crate::codec::binary_tensor::{self, Form};
use crate::codec::bind::{Named, bind};
use crate::codec::classify;
use crate::codec::fault::{InputFault, excerpt};
use crate::codec::json_tensor::{InputData, RequestInput, parse_request};
use crate::ids::ClassId;
use crate::query::serve::Query;
use crate::query::types::{Tensor, Timings};

const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");

pub type HttpResponse = Response<Full<Bytes>>;

/// One of several requests that a connection carries side by side.
pub async fn handle_beside(link: Rc<Link>, request: Request<Incoming>) -> HttpResponse {
    let shared = link.connections.share();
    let mut answer = pin!(handle(&link.front, &link.connections, &shared.connection, request));
    poll_fn(|context| {
        shared.connection.register(context);
        answer.as_mut().poll(context)
    })
    .await
}

/// One request of one connection.
pub async fn handle(
    front: &FrontEnd,
    connections: &Connections,
    connection: &Connection,
    request: Request<Incoming>,
) -> HttpResponse {
    let now = front.clock.coarse();
    connection.await_body(now.after(front.limits.body_time_max));
    let closes = closes(&request);
    let mut response = dispatch(front, connections, connection, request).await;
    if closes || connections.phase() != DrainPhase::Serving {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    connection.await_head(front.clock.coarse().after(front.limits.idle_time_max));
    response
}

/// A chunked body ends its connection: a length may have stood beside the chunks, which hyper takes away unseen, and
/// whoever went by that length would take the rest of such a body for the next request.
fn closes(request: &Request<Incoming>) -> bool {
    request.body().size_hint().exact().is_none() && request.version() <= Version::HTTP_11
}

async fn dispatch(
    front: &FrontEnd,
    connections: &Connections,
    connection: &Connection,
    request: Request<Incoming>,
) -> HttpResponse {
    let (Parts { method, uri, mut headers, .. }, body) = request.into_parts();
    let (query, page) = match route(&method, uri.path()) {
        Err(error) => return refused(front, &error),
        Ok(Route::Live) => return metadata::live(),
        Ok(Route::Ready) => return metadata::ready(is_ready(front, connections)),
        Ok(Route::Server) => return metadata::server(),
        Ok(Route::Model { name, version, page }) => ((name, version), page),
    };
    let query = Query { model: &query.0, version: query.1 };
    if page == ModelPage::Infer {
        let received = receive(front, connections, connection, &headers, body).await;
        headers.clear();
        return match received {
            Ok(Received { wanted: Some(encoding), asked }) => {
                packed(encoding, infer(front, query, asked, headers).await).await
            }
            Ok(Received { wanted: None, asked }) => infer(front, query, asked, headers).await,
            Err(error) => refused(front, &error),
        };
    }
    let catalog = front.catalog.load();
    match inference::find(&catalog, query) {
        Err(error) => refused(front, &error),
        Ok(entry) if page == ModelPage::Ready => metadata::model_ready(entry),
        Ok(entry) if page == ModelPage::Batching => {
            let handle = entry.handle.clone();
            drop(catalog);
            metadata::batching(&handle).await
        }
        Ok(entry) => metadata::model(&catalog, entry),
    }
}

/// An error that concerns no model, or none that exists.
fn refused(front: &FrontEnd, error: &ApiError) -> HttpResponse {
    front.recorder.error(error.shown().kind);
    status::response(error)
}

fn is_ready(front: &FrontEnd, connections: &Connections) -> bool {
    connections.phase() == DrainPhase::Serving && front.catalog.load().is_ready()
}

/// A whole request, and the encoding that its answer is wanted in.
struct Received {
    wanted: Option<Encoding>,
    asked: Asked,
}

/// A whole request, before anything in it is looked at.
struct Asked {
    body: Bytes,
    form: Form,
    timeout: Option<Duration>,
    class: Option<ClassId>,
    arrived: Time,
}

async fn receive(
    front: &FrontEnd,
    connections: &Connections,
    connection: &Connection,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Received, ApiError> {
    let said = Said::read(headers);
    let encoding = said.encoding.map(|value| Encoding::of_request(value.as_bytes())).transpose()?;
    let timeout = said.timeout.map(header_timeout).transpose()?;
    let class = said.class.map(|name| known_class(&front.classes, name.as_bytes())).transpose()?;
    let limits = body_limits(&front.limits);
    let expects = said.expect.is_some_and(|value| !value.is_empty());
    let expects = if expects { Continue::Asked } else { Continue::No };
    let mut body = body::read(body, limits, connections, connection, expects).await?;
    connection.await_nothing();
    if let Some(encoding) = encoding.flatten() {
        body = encoding::inflate(encoding, body, Gathering::new(connections, limits)).await?;
    }
    let arrived = front.clock.now();
    let form = binary_tensor::form(said.json_bytes.map(HeaderValue::as_bytes), body.len())?;
    let wanted = said.accepts.and_then(|value| Encoding::wanted(value.as_bytes()));
    let class = class.map(|class| class.id);
    Ok(Received { wanted, asked: Asked { body, form, timeout, class, arrived } })
}

fn body_limits(limits: &HttpLimits) -> BodyLimits {
    BodyLimits {
        bytes_max: limits.body_bytes_max,
        time_max: limits.body_time_max,
        gathered_bytes_max: limits.gathered_bytes_max,
    }
}

/// The headers that matter here, each by its first value.
#[derive(Default)]
struct Said<'h> {
    accepts: Option<&'h HeaderValue>,
    encoding: Option<&'h HeaderValue>,
    expect: Option<&'h HeaderValue>,
    json_bytes: Option<&'h HeaderValue>,
    timeout: Option<&'h HeaderValue>,
    /// The request's SLO class. Over the parameter `foil_class`, so that a proxy in front has the last word.
    class: Option<&'h HeaderValue>,
}

impl<'h> Said<'h> {
    /// One pass over the few headers of a request is cheaper than five look-ups, each of which hashes its name.
    fn read(headers: &'h HeaderMap) -> Said<'h> {
        let mut said = Said::default();
        for (name, value) in headers {
            let slot = match name.as_str() {
                "accept-encoding" => &mut said.accepts,
                "content-encoding" => &mut said.encoding,
                "expect" => &mut said.expect,
                "inference-header-content-length" => &mut said.json_bytes,
                "x-request-timeout-ms" => &mut said.timeout,
                "x-foil-class" => &mut said.class,
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        said
    }
}

fn header_timeout(value: &HeaderValue) -> Result<Duration, ApiError> {
    let text = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let ms = text.and_then(|text| text.parse().ok()).filter(|ms| *ms > 0);
    ms.map(Duration::from_millis).ok_or(ApiError::BadTimeout)
}

fn known_class<'c>(classes: &'c Classes, name: &[u8]) -> Result<&'c SloClass, InputFault> {
    classes.find(name).ok_or_else(|| InputFault::UnknownClass {
        found: excerpt(&String::from_utf8_lossy(name)),
        known: classes.known(),
    })
}

/// `headers` are the request's, emptied, for those of the answer: hyper keeps them for the next request.
async fn infer(
    front: &FrontEnd,
    query: Query<'_>,
    asked: Asked,
    headers: HeaderMap,
) -> HttpResponse {
    let arrived = asked.arrived;
    let understand = |spec: &ModelSpec| understand(spec, &front.classes, asked);
    let answered = inference::infer(front, query, arrived, understand, |answered| {
        respond(front, answered, headers)
    });
    answered.await.unwrap_or_else(|error| status::response(&error))
}

/// The answer, compressed. The length of its JSON stays that of the JSON as it was.
async fn packed(encoding: Encoding, response: HttpResponse) -> HttpResponse {
    let (mut parts, body) = response.into_parts();
    let plain = body.collect().await.unwrap_or_else(|never| match never {}).to_bytes();
    let body = match encoding::deflate(encoding, &plain).await {
        None => plain,
        Some(packed) => {
            let name = HeaderValue::from_static(encoding.name());
            parts.headers.insert(CONTENT_ENCODING, name);
            packed.into()
        }
    };
    Response::from_parts(parts, Full::from(body))
}

fn understand(spec: &ModelSpec, classes: &Classes, asked: Asked) -> Result<Question, InputFault> {
    let Asked { body, form, timeout: by_header, class: class_by_header, .. } = asked;
    let (json, behind) = match form {
        Form::Raw => return understand_raw(spec, body, by_header, class_by_header),
        Form::Json => (&body[..], None),
        Form::JsonThenBytes { json_bytes } => (&body[..json_bytes], Some(body.slice(json_bytes..))),
    };
    let mut request = parse_request(json)?;
    binary_tensor::attach(&mut request.inputs, behind)?;
    let chosen = answer::choose(spec, &request)?;
    let id = request.id.map(|id| id.into_owned());
    let timeout = request.timeout_us.map(Duration::from_micros);
    let timeout = [by_header, timeout].into_iter().flatten().min();
    let class = request.class.as_deref().filter(|_| class_by_header.is_none());
    let class = class.map(|name| known_class(classes, name.as_bytes())).transpose()?;
    let class = class.or_else(|| classes.of_priority(request.priority?.get()));
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
    answered: Answered<'_>,
    mut headers: HeaderMap,
) -> Result<HttpResponse, ApiError> {
    let Answered { handle, chosen, id, mut prediction } = answered;
    classify::replace(&handle.spec, &handle.labels, &chosen, &mut prediction.outputs)?;
    let about = About {
        spec: &handle.spec,
        model: &handle.name,
        version: handle.version,
        id: id.as_deref(),
    };
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
