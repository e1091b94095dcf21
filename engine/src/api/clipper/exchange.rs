//! One request and its reply, whichever of Clipper's two APIs it is for.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, EXPECT, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use std::rc::Rc;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::api::body::{self, Continue};
use crate::api::connections::{Connection, Connections, DrainPhase};
use crate::api::front_end::FrontEnd;
use crate::api::listener;
use crate::api::oip_http::HttpResponse;
use crate::api::status::{self, ApiError};
use crate::apps::Mode;
use crate::clock::Time;
use crate::observe::metrics::ErrorKind;

/// A whole request.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// When its last byte was read.
    pub(super) arrived: Time,
}

/// What it comes to. Clipper calls everything JSON, plain texts too.
#[derive(Debug)]
pub(super) enum Reply {
    Good(Bytes),
    /// The caller's fault; with its kind for the account.
    Bad(String, ErrorKind),
    NoSuchPage,
    Method {
        allow: &'static str,
    },
    /// For administrators alone.
    Forbidden(ApiError),
    /// The engine can't do it now.
    Unavailable(String),
}

impl Reply {
    pub(super) fn text(text: impl Into<String>) -> Reply {
        Reply::Good(Bytes::from(text.into()))
    }

    fn status(&self) -> StatusCode {
        match self {
            Reply::Good(_) => StatusCode::OK,
            Reply::Bad(..) => StatusCode::BAD_REQUEST,
            Reply::NoSuchPage => StatusCode::NOT_FOUND,
            Reply::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Reply::Forbidden(error) => error.shown().status,
            Reply::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error_kind(&self) -> Option<ErrorKind> {
        match self {
            Reply::Good(_) => None,
            Reply::Bad(_, kind) => Some(*kind),
            Reply::NoSuchPage => Some(ErrorKind::UnknownPath),
            Reply::Method { .. } => Some(ErrorKind::Method),
            Reply::Forbidden(error) => Some(error.shown().kind),
            Reply::Unavailable(_) => Some(ErrorKind::Draining),
        }
    }

    /// Clipper has no such answers: it closes the connection without a word.
    fn is_silence(&self) -> bool {
        matches!(self, Reply::NoSuchPage | Reply::Method { .. })
    }

    fn into_body(self) -> Bytes {
        match self {
            Reply::Good(body) => body,
            Reply::Bad(text, _) | Reply::Unavailable(text) => text.into(),
            Reply::Forbidden(error) => error.to_string().into(),
            Reply::NoSuchPage => error_body(
                "Not found",
                "there is no such page or application; applications are asked at /NAME/predict",
            ),
            Reply::Method { allow } => {
                error_body("Method not allowed", &format!("this page takes {allow} only"))
            }
        }
    }
}

fn error_body(error: &str, cause: &str) -> Bytes {
    serde_json::json!({ "error": error, "cause": cause }).to_string().into()
}

/// The whole of a connection.
pub(super) async fn speak<A>(
    front: &FrontEnd,
    connections: &Rc<Connections>,
    stream: TcpStream,
    mode: Mode,
    answer: A,
) where
    A: AsyncFn(&FrontEnd, Asked) -> Reply,
{
    let hang_up = Notify::new();
    let handle = async |front: &FrontEnd,
                        connections: &Connections,
                        connection: &Rc<Connection>,
                        request: Request<Incoming>| {
        match exchange(front, connection, request, mode, &answer).await {
            Some(response) => closing(front, connections, connection, response),
            None => {
                hang_up.notify_one();
                std::future::pending().await
            }
        }
    };
    tokio::select! {
        () = listener::http1(front, connections, stream, handle) => {}
        () = hang_up.notified() => front.recorder.connection_closed(),
    }
}

/// None: the connection is to be closed without an answer.
async fn exchange<A>(
    front: &FrontEnd,
    connection: &Connection,
    request: Request<Incoming>,
    mode: Mode,
    answer: &A,
) -> Option<HttpResponse>
where
    A: AsyncFn(&FrontEnd, Asked) -> Reply,
{
    connection.await_body(front.clock.coarse().after(front.limits.body_time_max));
    let (Parts { method, uri, headers, .. }, body) = request.into_parts();
    let limits = front.limits.of_bodies();
    let expects = if headers.contains_key(EXPECT) { Continue::Asked } else { Continue::No };
    let body = match body::read(body, limits, connection, expects).await {
        Ok(body) => body,
        Err(error) => {
            front.recorder.error(error.shown().kind);
            return Some(status::response(&error));
        }
    };
    connection.await_nothing();
    let (arrived, path) = (front.clock.now(), uri.path().to_owned());
    let reply = answer(front, Asked { method, path, headers, body, arrived }).await;
    if let Some(kind) = reply.error_kind() {
        front.recorder.error(kind);
    }
    (mode == Mode::Sane || !reply.is_silence()).then(|| response(reply))
}

fn response(reply: Reply) -> HttpResponse {
    let (status, allow) = (
        reply.status(),
        match reply {
            Reply::Method { allow } => Some(allow),
            _ => None,
        },
    );
    let mut response = Response::new(Full::from(reply.into_body()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, status::JSON);
    if let Some(allow) = allow {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

fn closing(
    front: &FrontEnd,
    connections: &Connections,
    connection: &Connection,
    mut response: HttpResponse,
) -> HttpResponse {
    if connections.phase() != DrainPhase::Serving {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    connection.await_head(front.clock.coarse().after(front.limits.idle_time_max));
    response
}
