//! Triton's generate extension: inputs by their names in one flat object, outputs in another; whole, or as events.
//!
//! The status of a stream is decided by its first part. What goes wrong later is its last event, `{"error": "…"}`.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use schemas::lifecycle::ModelSpec;

use crate::api::connections::Connection;
use crate::api::event_stream::Events;
use crate::api::front_end::FrontEnd;
use crate::api::inference::{self, Question, known_class};
use crate::api::oip_http::HttpResponse;
use crate::api::router::ModelPage;
use crate::api::status::{self, ApiError};
use crate::api::streaming;
use crate::classes::Classes;
use crate::clock::Time;
use crate::codec::bind::bind;
use crate::codec::fault::InputFault;
use crate::codec::{answer, generate};
use crate::ids::ClassId;
use crate::query::serve::Query;

const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// A whole request, before anything in it is looked at.
pub struct Asked {
    pub body: Bytes,
    pub timeout: Option<Duration>,
    pub class: Option<ClassId>,
    pub arrived: Time,
}

/// The head of an answer, and its events where it comes as such.
pub async fn answer(
    front: &FrontEnd,
    connection: &Rc<Connection>,
    query: Query<'_>,
    page: ModelPage,
    asked: Asked,
) -> Result<(HttpResponse, Option<Box<Events>>), ApiError> {
    if page != ModelPage::GenerateStream {
        return whole(front, query, asked).await.map(|response| (response, None));
    }
    let streamed = events(front, connection, query, asked).await;
    streamed.map(|(head, events)| (head, Some(events)))
}

/// One answer, of one part.
async fn whole(front: &FrontEnd, query: Query<'_>, asked: Asked) -> Result<HttpResponse, ApiError> {
    let arrived = asked.arrived;
    let understand = |spec: &ModelSpec| understand(spec, &front.classes, &asked);
    inference::infer(front, query, arrived, understand, |answered| {
        let about = answer::About {
            spec: &answered.handle.spec,
            model: &answered.handle.name,
            version: answered.handle.version,
            id: answered.id,
        };
        let mut body = Vec::new();
        generate::write(&mut body, about, answered.chosen, &answered.prediction.outputs)?;
        let mut response = Response::new(Full::from(body));
        response.headers_mut().insert(CONTENT_TYPE, status::JSON);
        Ok(response)
    })
    .await
}

/// An answer of any number of parts: its head, once the first has come, and its events.
async fn events(
    front: &FrontEnd,
    connection: &Rc<Connection>,
    query: Query<'_>,
    asked: Asked,
) -> Result<(HttpResponse, Box<Events>), ApiError> {
    let arrived = asked.arrived;
    let understand = |spec: &ModelSpec| understand(spec, &front.classes, &asked);
    let mut answers = streaming::ask(front, query, arrived, understand)?;
    let first = answers.next().await.transpose()?;
    let (connection, clock) = (connection.clone(), front.clock);
    let events = Events::new(answers, first, connection, clock, front.limits.idle_time_max);
    let mut response = Response::new(Full::default());
    response.headers_mut().insert(CONTENT_TYPE, EVENTS);
    response.headers_mut().insert(CACHE_CONTROL, NO_CACHE);
    Ok((response, Box::new(events)))
}

fn understand(spec: &ModelSpec, classes: &Classes, asked: &Asked) -> Result<Question, InputFault> {
    let read = generate::read(spec, &asked.body)?;
    let chosen = answer::all(spec, false)?;
    let class = read.class.as_deref().filter(|_| asked.class.is_none());
    let class = class.map(|name| known_class(classes, name.as_bytes())).transpose()?;
    let class = asked.class.or(class.map(|class| class.id));
    let timeout = read.timeout_us.map(Duration::from_micros);
    let timeout = [asked.timeout, timeout].into_iter().flatten().min();
    let id = read.id.map(|id| id.into_owned());
    Ok(Question { inputs: bind(spec, read.inputs)?, chosen, id, timeout, class })
}
