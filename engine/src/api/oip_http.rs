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
use hyper::{Method, Request, Response, StatusCode};
use schemas::lifecycle::ModelSpec;
use smallvec::SmallVec;

use crate::api::body::{self, BodyLimits, Continue, Gathering};
use crate::api::connections::{Connection, Connections, DrainPhase};
use crate::api::encoding::{self, Encoding};
use crate::api::event_stream::AnswerBody;
use crate::api::fleet;
use crate::api::front_end::FrontEnd;
use crate::api::generate::{self, Asked};
use crate::api::http2::Link;
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

/// One of several requests that a connection carries side by side.
pub async fn handle_beside(link: Rc<Link>, request: Request<Incoming>) -> Response<AnswerBody> {
    let shared = link.connections.share();
    let mut answer = pin!(handle(&link.front, &link.connections, &shared.connection, request));
    let mut answer = poll_fn(|context| {
        shared.connection.register(context);
        answer.as_mut().poll(context)
    })
    .await;
    answer.body_mut().hold(|| link.turn());
    answer
}

/// One request of one connection.
pub async fn handle(
    front: &FrontEnd,
    connections: &Connections,
    connection: &Rc<Connection>,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let now = front.clock.coarse();
    connection.await_body(now.after(front.limits.body_time_max));
    let closes = closes(&request);
    let (mut response, events) = dispatch(front, connections, connection, request).await;
    if closes || connections.phase() != DrainPhase::Serving {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    connection.await_head(front.clock.coarse().after(front.limits.idle_time_max));
    response.map(|whole| events.unwrap_or(AnswerBody::Whole(whole)))
}

/// A chunked body ends its connection: a length may have stood beside the chunks, which hyper takes away unseen, and
/// whoever went by that length would take the rest of such a body for the next request.
fn closes(request: &Request<Incoming>) -> bool {
    request.body().size_hint().exact().is_none() && request.version() <= hyper::Version::HTTP_11
}

async fn dispatch(
    front: &FrontEnd,
    connections: &Connections,
    connection: &Rc<Connection>,
    request: Request<Incoming>,
) -> (HttpResponse, Option<AnswerBody>) {
    let mut events = None;
    let (Parts { method, uri, mut headers, .. }, body) = request.into_parts();
    let said = Said::read(&headers);
    let trail = Trail::begin(front, said.trace_parent, said.request_id);
    let answered = match route(&method, uri.path()) {
        Err(error) => Err(counted(front, error)),
        Ok(Route::Model { name, version, page: ModelPage::Infer }) => {
            let received = receive(front, connection, &said, body).await;
            let wanted = said.accepts.and_then(|value| Encoding::wanted(value.as_bytes()));
            headers.clear();
            let answered = match received {
                Ok(received) => {
                    infer(front, Query { model: &name, version }, received, headers).await
                }
                Err(error) => Err(counted(front, error)),
            };
            match (wanted, answered) {
                (Some(encoding), Ok(response)) => Ok(packed(encoding, response).await),
                (_, answered) => answered,
            }
        }
        Ok(Route::Model {
            name,
            version,
            page: page @ (ModelPage::Generate | ModelPage::GenerateStream),
        }) => match Box::pin(receive(front, connection, &said, body)).await {
            Ok(received) => {
                let query = Query { model: &name, version };
                let answered = generate::answer(front, connection, query, page, received.into());
                let answered = Box::pin(answered).await;
                answered.map(|(head, body)| {
                    events = body.map(AnswerBody::Events);
                    head
                })
            }
            Err(error) => Err(counted(front, error)),
        },
        Ok(Route::Fleet(page)) => {
            let (query, expects) = (uri.query(), said.expects());
            let request = fleet::Request { connection, headers: &headers, query, expects, body };
            let answered = Box::pin(fleet::answer(front, page, request)).await;
            answered
                .map(|(head, body)| {
                    events = body;
                    head
                })
                .map_err(|error| counted(front, error))
        }
        Ok(route) => {
            let incoming =
                Rest { connection, headers: &headers, said: &said, method: &method, body };
            let page = Box::pin(page(front, connections, route, incoming)).await;
            page.map_err(|error| counted(front, error))
        }
    };
    (trail::end(front, trail, &method, uri.path(), answered), events)
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
        Route::Description => return Ok(metadata::description()),
        Route::Models => return Ok(metadata::models(&front.catalog.load())),
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
            let Rest { connection, headers, body, .. } = rest;
            return oip_shared_memory::page(front, connection, headers, (family, act), body).await;
        }
        // Answered where bodies may come in pieces.
        Route::Fleet(_) => return Err(ApiError::UnknownPath),
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
        let limits = BodyLimits { bytes_max: SETTINGS_BYTES_MAX, ..front.limits.of_bodies() };
        let Rest { connection, headers, said, body, .. } = rest;
        let body = body::read(body, limits, connection, said.expects()).await?;
        settings::change(front, headers, of, &settings::parse(&body)?)?
    } else {
        settings::read(front, of)?
    };
    Ok(metadata::json_response(StatusCode::OK, &settings.into()))
}

fn is_ready(front: &FrontEnd, connections: &Connections) -> bool {
    connections.phase().is_ready() && front.catalog.load().is_ready()
}

/// A whole request, before anything in it is looked at.
struct Received {
    body: Bytes,
    form: Form,
    timeout: Option<Duration>,
    class: Option<ClassId>,
    arrived: Time,
}

impl From<Received> for Asked {
    fn from(received: Received) -> Asked {
        let Received { body, timeout, class, arrived, .. } = received;
        Asked { body, timeout, class, arrived }
    }
}

async fn receive(
    front: &FrontEnd,
    connection: &Connection,
    said: &Said<'_>,
    body: Incoming,
) -> Result<Received, ApiError> {
    let encoding = said.encoding.map(|value| Encoding::of_request(value.as_bytes())).transpose()?;
    let timeout = said.timeout.map(header_timeout).transpose()?;
    let class = said.class.map(|name| known_class(&front.classes, name.as_bytes())).transpose()?;
    let limits = front.limits.of_bodies();
    let mut body = body::read(body, limits, connection, said.expects()).await?;
    connection.await_nothing();
    if let Some(encoding) = encoding.flatten() {
        body = encoding::inflate(encoding, body, Gathering::new(connection, limits)).await?;
    }
    let arrived = front.clock.now();
    let form = binary_tensor::form(said.json_bytes.map(HeaderValue::as_bytes), body.len())?;
    Ok(Received { body, form, timeout, class: class.map(|class| class.id), arrived })
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
    trace_parent: Option<&'h HeaderValue>,
    request_id: Option<&'h HeaderValue>,
}

impl<'h> Said<'h> {
    /// One pass over the few headers of a request is cheaper than as many look-ups, each of which hashes its name.
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
                TRACE_PARENT => &mut said.trace_parent,
                REQUEST_ID => &mut said.request_id,
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        said
    }

    /// The empty expectation of C++ clients asks for nothing.
    fn expects(&self) -> Continue {
        let asked = self.expect.is_some_and(|value| !value.is_empty());
        if asked { Continue::Asked } else { Continue::No }
    }
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
    memory: &SharedMemory<'_>,
    answered: Answered<'_>,
    mut headers: HeaderMap,
) -> Result<HttpResponse, ApiError> {
    let Answered { handle, chosen, id, prediction } = answered;
    let about = About { spec: &handle.spec, model: &handle.name, version: handle.version, id };
    memory.deliver(&handle.spec, chosen, &prediction.outputs)?;
    let encoded = answer::encode(about, chosen, &prediction.outputs)?;
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
