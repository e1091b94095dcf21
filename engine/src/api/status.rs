//! The one place that knows status numbers: a total match from everything that can go wrong to what a client sees.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use crate::api::admin::Forbidden;
use crate::api::fleet::Refusal;
use crate::client_shm::registry::RegisterFault;
use crate::codec::fault::InputFault;
use crate::fleet::orders::OrderError;
use crate::ids::Version;
use crate::observe::metrics::ErrorKind;
use crate::observe::setting::SettingError;
use crate::query::types::TaskError;

/// Milliseconds to wait, for clients that can be more exact than `Retry-After` allows.
pub const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// While the engine drains: whoever balances load has moved the caller by then.
const DRAINING_RETRY: Duration = Duration::from_secs(1);
/// While more models are loaded and unloaded than may be at once.
const ORDERS_RETRY: Duration = Duration::from_secs(1);

/// Bodies that others send: most are there within a second.
const CROWDED_RETRY: Duration = Duration::from_secs(1);

/// Why a request gets no answer. Each message is a sentence for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    #[error("there is no such page; see GET /v2 for the server and /v2/models/NAME for a model")]
    UnknownPath,
    #[error("this page takes {allow} only")]
    Method { allow: &'static str },
    #[error("there is no model '{model}'; check the name, or serve it")]
    UnknownModel { model: String },
    #[error("model '{model}' has no version {version}; leave the version out for the newest")]
    UnknownVersion { model: Arc<str>, version: Version },
    #[error("'{found}' is no version of a model; versions are whole numbers")]
    BadVersion { found: String },
    #[error(
        "the request body has more than the {limit} bytes this server takes; send fewer rows per request"
    )]
    BodyTooLarge { limit: u64 },
    #[error(
        "request bodies that arrive at this time have more than {limit} bytes together; retry after the time given, or raise gathered_bytes_max"
    )]
    Crowded { limit: u64 },
    #[error("the request body did not arrive within {limit:?}; send it without pauses")]
    SlowSender { limit: Duration },
    #[error("the request body broke off or is not valid HTTP; send it again, whole")]
    BrokenBody,
    #[error(
        "the content encoding '{found}' is not offered; send the body as it is, or with gzip or deflate"
    )]
    Encoding { found: String },
    #[error(
        "the body is not what its Content-Encoding says, or not all of it; compress it again (deflate means zlib's framing)"
    )]
    BrokenEncoding,
    #[error("X-Request-Timeout-Ms must be a whole number of milliseconds, 1 or more")]
    BadTimeout,
    #[error("grpc-timeout must be up to eight digits and one of H, M, S, m, u, n")]
    BadGrpcTimeout,
    #[error("the body of this request can't be read: {why}; see the model repository extension")]
    AdminBody { why: String },
    #[error("the parameter 'config' of a load is a model's configuration as a string of JSON")]
    LoadConfig,
    #[error(
        "files in a load request are not taken; put them into the model's directory, then load it"
    )]
    LoadFiles,
    #[error("a load has no parameter '{name}'; it takes 'config'")]
    LoadParameter { name: String },
    /// What was asked of the deployed models.
    #[error("{why}")]
    Fleet { refusal: Refusal, why: String },
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error(transparent)]
    Order(#[from] OrderError),
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error(transparent)]
    Input(#[from] InputFault),
    #[error(transparent)]
    SharedMemory(#[from] RegisterFault),
    #[error(transparent)]
    Task(#[from] TaskError),
}

/// How an error shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub status: StatusCode,
    pub kind: ErrorKind,
    pub retry_after: Option<Duration>,
}

impl ApiError {
    pub fn shown(&self) -> Shown {
        let (status, kind) = match self {
            ApiError::UnknownPath => (StatusCode::NOT_FOUND, ErrorKind::UnknownPath),
            ApiError::Method { .. } => (StatusCode::METHOD_NOT_ALLOWED, ErrorKind::Method),
            ApiError::UnknownModel { .. } => (StatusCode::NOT_FOUND, ErrorKind::UnknownModel),
            ApiError::UnknownVersion { .. } | ApiError::BadVersion { .. } => {
                (StatusCode::NOT_FOUND, ErrorKind::UnknownVersion)
            }
            ApiError::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::TooLarge),
            ApiError::SlowSender { .. } => (StatusCode::REQUEST_TIMEOUT, ErrorKind::SlowSender),
            ApiError::Encoding { .. } => (StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorKind::Encoding),
            ApiError::Crowded { .. } => {
                return Shown {
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    kind: ErrorKind::QueueFull,
                    retry_after: Some(CROWDED_RETRY),
                };
            }
            ApiError::Setting(SettingError::Unsupported { .. })
            | ApiError::Input(InputFault::NotOffered { .. }) => {
                (StatusCode::NOT_IMPLEMENTED, ErrorKind::Unsupported)
            }
            ApiError::BrokenBody
            | ApiError::BrokenEncoding
            | ApiError::BadTimeout
            | ApiError::BadGrpcTimeout
            | ApiError::AdminBody { .. }
            | ApiError::LoadConfig
            | ApiError::LoadParameter { .. }
            | ApiError::Setting(_)
            | ApiError::Input(_) => (StatusCode::BAD_REQUEST, ErrorKind::BadInput),
            ApiError::LoadFiles => (StatusCode::NOT_IMPLEMENTED, ErrorKind::BadInput),
            ApiError::Forbidden(_) => (StatusCode::FORBIDDEN, ErrorKind::Forbidden),
            ApiError::SharedMemory(fault) => (registered(fault), ErrorKind::BadInput),
            ApiError::Fleet { refusal, .. } => return shown_refusal(*refusal),
            ApiError::Order(error) => return shown_order(error),
            ApiError::Task(error) => return shown_task(error),
        };
        Shown { status, kind, retry_after: None }
    }

    /// Whether bytes of the request may be left unread, so that the connection can't carry another one.
    fn ends_connection(&self) -> bool {
        match self {
            ApiError::BodyTooLarge { .. }
            | ApiError::Crowded { .. }
            | ApiError::SlowSender { .. }
            | ApiError::BrokenBody => true,
            ApiError::Task(error) => *error == TaskError::Draining,
            _ => false,
        }
    }
}

fn registered(fault: &RegisterFault) -> StatusCode {
    match fault {
        RegisterFault::Off | RegisterFault::NotOurs | RegisterFault::Own => StatusCode::FORBIDDEN,
        RegisterFault::Unknown | RegisterFault::NoObject => StatusCode::NOT_FOUND,
        RegisterFault::Taken => StatusCode::CONFLICT,
        RegisterFault::TooMany { .. } | RegisterFault::TooLarge { .. } => {
            StatusCode::INSUFFICIENT_STORAGE
        }
        RegisterFault::Cuda
        | RegisterFault::Request { .. }
        | RegisterFault::Name
        | RegisterFault::Key
        | RegisterFault::Reserved { .. }
        | RegisterFault::Kind
        | RegisterFault::Size { .. }
        | RegisterFault::NoDescriptor
        | RegisterFault::Line
        | RegisterFault::Unsealed
        | RegisterFault::System(_) => StatusCode::BAD_REQUEST,
    }
}

fn shown_refusal(refusal: Refusal) -> Shown {
    let (status, retry_after) = match refusal {
        Refusal::Bad => (StatusCode::BAD_REQUEST, None),
        Refusal::Absent => (StatusCode::NOT_FOUND, None),
        Refusal::Conflict => (StatusCode::CONFLICT, None),
        Refusal::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, None),
        Refusal::Busy => (StatusCode::SERVICE_UNAVAILABLE, Some(ORDERS_RETRY)),
        Refusal::Broken => (StatusCode::INTERNAL_SERVER_ERROR, None),
    };
    Shown { status, kind: ErrorKind::Order, retry_after }
}

fn shown_order(error: &OrderError) -> Shown {
    let (status, retry_after) = match error {
        OrderError::NotFound { .. } | OrderError::NotLoaded { .. } => (StatusCode::NOT_FOUND, None),
        OrderError::Name { .. }
        | OrderError::Settings { .. }
        | OrderError::NotAlive { .. }
        | OrderError::Polled { .. } => (StatusCode::BAD_REQUEST, None),
        OrderError::Deployed { .. } => (StatusCode::CONFLICT, None),
        OrderError::Busy | OrderError::HandingOver | OrderError::Stopping => {
            (StatusCode::SERVICE_UNAVAILABLE, Some(ORDERS_RETRY))
        }
    };
    Shown { status, kind: ErrorKind::Order, retry_after }
}

fn shown_task(error: &TaskError) -> Shown {
    let (status, kind, retry_after) = match error {
        TaskError::QueueFull { retry_after } => {
            (StatusCode::SERVICE_UNAVAILABLE, ErrorKind::QueueFull, Some(*retry_after))
        }
        TaskError::Overloaded { retry_after } => {
            (StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Overloaded, Some(*retry_after))
        }
        TaskError::NoReplica { retry_after, .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, ErrorKind::NoReplica, Some(*retry_after))
        }
        TaskError::Draining => {
            (StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Draining, Some(DRAINING_RETRY))
        }
        TaskError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::TooLarge, None),
        TaskError::DeadlinePassed => (StatusCode::GATEWAY_TIMEOUT, ErrorKind::DeadlinePassed, None),
        TaskError::BatchTimeout { .. } => {
            (StatusCode::GATEWAY_TIMEOUT, ErrorKind::BatchTimeout, None)
        }
        TaskError::InputRefused { .. } => (StatusCode::BAD_REQUEST, ErrorKind::InputRefused, None),
        TaskError::ModelRaised { .. } => {
            (StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::ModelRaised, None)
        }
        TaskError::BadOutput { .. } => {
            (StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::BadOutput, None)
        }
        TaskError::ReplicaLost { .. } | TaskError::StreamBroken { .. } => {
            (StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::ReplicaLost, None)
        }
        TaskError::Quarantined { .. } => {
            (StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::Quarantined, None)
        }
        TaskError::ReaderTooSlow { .. } => {
            (StatusCode::REQUEST_TIMEOUT, ErrorKind::SlowReader, None)
        }
        TaskError::NotOnePart { .. } => (StatusCode::BAD_REQUEST, ErrorKind::NotOnePart, None),
    };
    Shown { status, kind, retry_after }
}

/// `{"error": "…"}` with the status and headers that go with it.
pub fn response(error: &ApiError) -> Response<Full<Bytes>> {
    let shown = error.shown();
    let body = serde_json::json!({ "error": error.to_string() }).to_string();
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = shown.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    if let ApiError::Method { allow } = error {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    if let Some(wait) = shown.retry_after {
        let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        headers.insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
        headers.insert(RETRY_AFTER_MS, HeaderValue::from(ms));
    }
    if error.ends_connection() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests;
