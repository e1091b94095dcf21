//! The names a request goes by, from its head to its answer and into the log.
//!
//! Most requests bring none and are not logged: they have no trail.

use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};

use crate::api::front_end::FrontEnd;
use crate::api::oip_http::HttpResponse;
use crate::api::status::{self, ApiError};
use crate::clock::Time;
use crate::observe::reports::Ended;
use crate::observe::request_ids::RequestIds;

#[derive(Debug)]
pub struct Trail {
    ids: Option<RequestIds>,
    /// When the head was read, where each request has a line of the log.
    began: Option<Time>,
}

impl Trail {
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
            let asked = Asked { method, path };
            followed(front, trail.as_deref(), asked, answered)
        }
    }
}

#[derive(Clone, Copy)]
struct Asked<'r> {
    method: &'r Method,
    path: &'r str,
}

fn followed(
    front: &FrontEnd,
    trail: Option<&Trail>,
    asked: Asked<'_>,
    answered: Result<HttpResponse, ApiError>,
) -> HttpResponse {
    let ids = trail.and_then(|trail| trail.ids.as_ref());
    let ended = |status| Ended {
        protocol: "http",
        method: asked.method.as_str(),
        path: asked.path,
        status,
        ids,
    };
    let mut response = answered.unwrap_or_else(|error| {
        let response = status::response(&error);
        if response.status().is_server_error() {
            front.reports.failed(ended(response.status().as_u16()), &error, front.clock.now());
        }
        response
    });
    for (name, value) in ids.into_iter().flat_map(RequestIds::named) {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    if let Some(began) = trail.and_then(|trail| trail.began) {
        let took = front.clock.now().since(began);
        front.reports.ended(ended(response.status().as_u16()), took);
    }
    response
}
