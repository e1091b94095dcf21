//! The names a request goes by, from its head to its answer and into the log.
//!
//! Most requests bring none and are not logged: they have no trail.

use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::api::front_end::FrontEnd;
use crate::api::oip_http::HttpResponse;
use crate::api::status::{self, ApiError};
use crate::clock::Time;
use crate::observe::reports::Ended;
use crate::observe::request_ids::{REQUEST_ID, RequestIds, TRACE_PARENT};

#[derive(Debug)]
pub struct Trail {
    ids: Option<RequestIds>,
    /// When the head was read, where each request has a line of the log.
    began: Option<Time>,
}

impl Trail {
    /// Of a request's headers.
    pub fn read(front: &FrontEnd, headers: &HeaderMap) -> Option<Box<Trail>> {
        let (mut trace_parent, mut request_id) = (None, None);
        for (name, value) in headers {
            match name.as_str() {
                TRACE_PARENT => trace_parent = Some(value),
                REQUEST_ID => request_id = Some(value),
                _ => {}
            }
        }
        Trail::begin(front, trace_parent, request_id)
    }

    /// Of the values of the headers by which a request can be named.
    pub fn begin(
        front: &FrontEnd,
        trace_parent: Option<&HeaderValue>,
        request_id: Option<&HeaderValue>,
    ) -> Option<Box<Trail>> {
        let each = front.reports.wants_each();
        if !each && trace_parent.is_none() && request_id.is_none() {
            return None;
        }
        let value = HeaderValue::as_bytes;
        let mut ids = RequestIds::of(trace_parent.map(value), request_id.map(value));
        if each {
            ids.get_or_insert_default().name(|| front.reports.name());
        }
        Some(Box::new(Trail { ids, began: each.then(|| front.clock.now()) }))
    }
}

/// The answer, with the names it goes by, when the log has its due. Errors were counted before.
pub fn end(
    front: &FrontEnd,
    trail: Option<Box<Trail>>,
    method: &Method,
    path: &str,
    answered: Result<HttpResponse, ApiError>,
) -> HttpResponse {
    match (answered, trail) {
        (Ok(response), None) => response,
        (answered, trail) => {
            let asked = Asked { protocol: "http", method: method.as_str(), path };
            followed(front, trail.as_deref(), asked, answered)
        }
    }
}

/// How a call over gRPC failed: its code, and why.
#[derive(Clone, Copy, Debug)]
pub struct Failed<'r> {
    pub code: u16,
    pub message: &'r str,
}

/// The same of a call over gRPC, whose answer is made already; `headers` are its.
pub fn end_call(
    front: &FrontEnd,
    trail: Option<&Trail>,
    path: &str,
    failed: Option<Failed<'_>>,
    headers: &mut HeaderMap,
) {
    if trail.is_none() && failed.is_none() {
        return;
    }
    let asked = Asked { protocol: "grpc", method: "POST", path };
    let ended = asked.ended(failed.map_or(0, |failed| failed.code), trail);
    if let Some(Failed { code, message }) = failed
        && OUR_FAULTS.contains(&code)
    {
        front.reports.failed(ended, &message, front.clock.now());
    }
    log_and_name(front, trail, ended, headers);
}

/// gRPC's codes: deadline exceeded, internal, unavailable.
const OUR_FAULTS: [u16; 3] = [4, 13, 14];

#[derive(Clone, Copy)]
struct Asked<'r> {
    protocol: &'static str,
    method: &'r str,
    path: &'r str,
}

impl<'r> Asked<'r> {
    fn ended(self, status: u16, trail: Option<&'r Trail>) -> Ended<'r> {
        let Asked { protocol, method, path } = self;
        Ended { protocol, method, path, status, ids: trail.and_then(|trail| trail.ids.as_ref()) }
    }
}

fn followed(
    front: &FrontEnd,
    trail: Option<&Trail>,
    asked: Asked<'_>,
    answered: Result<HttpResponse, ApiError>,
) -> HttpResponse {
    let mut response = answered.unwrap_or_else(|error| {
        let response = status::response(&error);
        if response.status().is_server_error() {
            let ended = asked.ended(response.status().as_u16(), trail);
            front.reports.failed(ended, &error, front.clock.now());
        }
        response
    });
    let ended = asked.ended(response.status().as_u16(), trail);
    log_and_name(front, trail, ended, response.headers_mut());
    response
}

fn log_and_name(
    front: &FrontEnd,
    trail: Option<&Trail>,
    ended: Ended<'_>,
    headers: &mut HeaderMap,
) {
    for (name, value) in ended.ids.into_iter().flat_map(RequestIds::named) {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if let Some(began) = trail.and_then(|trail| trail.began) {
        front.reports.ended(ended, front.clock.now().since(began));
    }
}
